"""Maps of a batch outside a run: what metrics and benchmarks explain anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from vitreport.model.layout import patch_sums
from vitreport.model.load import VisionModel
from vitreport.model.trace import Backward
from vitreport.techniques.technique import FAILURES, Context, Technique, alike, needs_of

Maps = dict[str, Tensor]
"""By technique key, float32 ``(batch, rows, cols)``; NaN where a technique failed."""


def maps_of(
    model: VisionModel,
    techniques: Sequence[Technique],
    pixels: Tensor,
    targets: Sequence[Tensor],
    image_ids: Sequence[str],
    seed: int,
    chunk: int,
) -> list[Maps]:
    """Explains pictures for one or several targets each, as a run does.

    Args:
        model: what is explained.
        techniques: with what.
        pixels: normalised, ``(batch, 3, height, width)``.
        targets: class indices, ``(batch,)`` each. All of them are explained from one forward pass, so that
            what does not depend on the target is bitwise the same.
        image_ids: ``(batch,)``; random draws are seeded by them.
        seed: of the run.
        chunk: pictures that a pass may have at a time.

    Returns:
        The maps for each of `targets`.
    """
    found: list[dict[str, list[Tensor]]] = [{one.key: [] for one in techniques} for _ in targets]
    for at in range(0, len(pixels), chunk):
        part = slice(at, at + chunk)
        several = [target[part] for target in targets]
        for place, context, members in contexts(
            model, techniques, pixels[part], several, tuple(image_ids[part]), seed, chunk
        ):
            for group in alike(members):
                for technique, values in zip(group, _attribute(group, context), strict=True):
                    found[place][technique.key].append(values)
    return [{key: torch.cat(parts) for key, parts in maps.items()} for maps in found]


def contexts(
    model: VisionModel,
    techniques: Sequence[Technique],
    pixels: Tensor,
    targets: Sequence[Tensor],
    image_ids: tuple[str, ...],
    seed: int,
    chunk: int,
) -> Iterator[tuple[int, Context, list[Technique]]]:
    """What techniques read of one batch: a forward pass a kind of gradient, and a gradient a target.

    Yields:
        The place in `targets`, the context, and the techniques that read it.
    """
    for backward in Backward:
        members = [technique for technique in techniques if technique.backward is backward]
        if not members:
            continue
        with model.traced(needs_of(members), backward) as tracer:
            forward = tracer.forward(pixels)
        for place, target in enumerate(targets):
            trace = tracer.gradient(forward, target, keep_graph=place + 1 < len(targets))
            yield place, Context(trace, model, image_ids, seed, chunk), members


def _attribute(group: Sequence[Technique], context: Context) -> list[Tensor]:
    grid, batch = context.model.layout.grid, len(context.image_ids)
    try:
        maps = type(group[0]).attribute_all(group, context)
        return [patch_sums(values.float(), grid).detach() for values in maps]
    except torch.OutOfMemoryError:
        raise
    except FAILURES:
        return [context.trace.pixels.new_full((batch, *grid), torch.nan) for _ in group]
