"""Images of a run, decoded and prepared for the model, batch by batch."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from torch import Tensor

from vitreport.errors import ImageError
from vitreport.explanation import ImageRef, View
from vitreport.images.decoder import decoded
from vitreport.images.place import on_disk
from vitreport.plan import Plan

_DECODERS = min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
"""Threads that prepare images, each with a decoding process of its own."""
_AHEAD = 4
"""Batches that are prepared before the model asks for them, at most."""
_AHEAD_BYTES = 256 << 20
"""What the pixels of these may take; one batch is always prepared ahead."""


@dataclass(frozen=True)
class Prepared:
    """One image, ready for the model, or the reason why it is not."""

    ref: ImageRef
    pixels: Tensor | None = None
    view: View | None = None
    reason: str | None = None


def prepared_batches(
    plan: Plan, groups: Iterable[Sequence[ImageRef]]
) -> Generator[list[Prepared], None, None]:
    """Batches of images, in order; the next ones are decoded, in threads, while the model has the last.

    Args:
        plan: how large a batch is, and how images are prepared.
        groups: of images, mostly shards; no batch crosses two, and all are decoded without a break.
    """
    size = plan.batch_size
    batches = (group[at : at + size] for group in groups for at in range(0, len(group), size))
    ahead, pool = _batches_ahead(plan), ThreadPoolExecutor(_DECODERS)
    waiting: deque[list[Future[Prepared]]] = deque()
    try:
        for batch in batches:
            waiting.append([pool.submit(_prepare, plan, ref) for ref in batch])
            if len(waiting) > ahead:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


def _batches_ahead(plan: Plan) -> int:
    height, width = plan.model.input_size
    return max(1, min(_AHEAD, _AHEAD_BYTES // (plan.batch_size * 3 * height * width * 4)))


def _prepare(plan: Plan, ref: ImageRef) -> Prepared:
    try:
        with on_disk(plan.catalogue.paths[ref.id]) as path:
            pixels, view = decoded(path, plan.model.preparation)
    except ImageError as error:
        return Prepared(ref, reason=str(error))
    if plan.model.device.type == "cuda":
        pixels = pixels.pin_memory()  # here, beside the model's work; the copy to the device need not wait
    return Prepared(ref, pixels, view)
