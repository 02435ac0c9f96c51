"""Images of a run, decoded and prepared for the model, batch by batch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from torch import Tensor

from vitreport.errors import ImageError
from vitreport.explanation import ImageRef, View
from vitreport.images.decoder import decoded
from vitreport.images.place import on_disk
from vitreport.plan import Plan

_DECODERS = min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
"""Threads that prepare images, each with a decoding process of its own."""


@dataclass(frozen=True)
class Prepared:
    """One image, ready for the model, or the reason why it is not."""

    ref: ImageRef
    pixels: Tensor | None = None
    view: View | None = None
    reason: str | None = None


def prepared_batches(plan: Plan, refs: Sequence[ImageRef]) -> Iterator[list[Prepared]]:
    """Batches of images, in order; the next one is decoded, in threads, while the model has the last."""
    groups = [refs[at : at + plan.batch_size] for at in range(0, len(refs), plan.batch_size)]
    with ThreadPoolExecutor(_DECODERS) as pool:
        following = [pool.submit(_prepare, plan, ref) for ref in (groups[0] if groups else ())]
        for group in [*groups[1:], []]:
            batch = [future.result() for future in following]
            following = [pool.submit(_prepare, plan, ref) for ref in group]
            if batch:
                yield batch


def _prepare(plan: Plan, ref: ImageRef) -> Prepared:
    try:
        with on_disk(plan.catalogue.paths[ref.id]) as path:
            pixels, view = decoded(path, plan.model.preparation)
    except ImageError as error:
        return Prepared(ref, reason=str(error))
    if plan.model.device.type == "cuda":
        pixels = pixels.pin_memory()  # here, beside the model's work; the copy to the device need not wait
    return Prepared(ref, pixels, view)
