"""What techniques find in a batch, kept until its shard is written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from vitreport.explanation import Attribution, Explanation
from vitreport.model.layout import patch_sums
from vitreport.model.memory import lacks_memory
from vitreport.model.trace import Need
from vitreport.pixel_map import pixel_maps
from vitreport.settings import PixelMaps
from vitreport.store import TechniqueRecord
from vitreport.store.schema import maps_table, observations_table
from vitreport.techniques.technique import (
    FAILURES,
    Context,
    Explainable,
    Observation,
    Technique,
    needs_of,
)

_NOT_FINITE = "the map has values that are not finite"
NO_LOGITS = "the model gives values that are not finite (NaN or infinite) for this image"
"""Why such an image is set aside: nothing follows from it, and no map of it would explain anything."""


class Findings:
    """What a shard's batches found, until it is written."""

    def __init__(self, grid: tuple[int, int], kept: PixelMaps = "none") -> None:
        self._grid = grid
        self._kept = kept
        self.explanations: list[Explanation] = []
        self._maps: dict[str, list[tuple[str, Attribution]]] = defaultdict(list)
        self._rows: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def table(self, record: TechniqueRecord) -> Any:
        """The part of a technique, rows in the order of the images, then of their targets."""
        if record.kind == "observation":
            return observations_table(self._rows[record.key], record.columns)
        order = {explanation.ref.id: place for place, explanation in enumerate(self.explanations)}
        return maps_table(sorted(self._maps[record.key], key=lambda row: order[row[0]]))

    def take(self, others: Findings) -> None:
        """Adds what was found of further images."""
        self.explanations += others.explanations
        for key, maps in others._maps.items():
            self._maps[key] += maps
        for key, rows in others._rows.items():
            self._rows[key] += rows

    def add(
        self,
        context: Context,
        techniques: Sequence[Explainable],
        classes: Sequence[int | None],
        *,
        first: bool,
    ) -> None:
        """Runs settings of one technique on a batch for one target an image and keeps what they give.

        Args:
            context: the batch.
            techniques: the settings, all of one class.
            classes: the targets; None where an image has no further one.
            first: whether these are the images' first targets, the only ones observations look at.
        """
        maps = [technique for technique in techniques if isinstance(technique, Technique)]
        if maps:
            self._attribute(context, maps, classes)
        for technique in techniques:
            if isinstance(technique, Observation) and first:
                self._observe(context, technique, classes)

    def _attribute(
        self,
        context: Context,
        members: Sequence[Technique],
        classes: Sequence[int | None],
    ) -> None:
        """Explains a batch; where that fails, each of its images alone, that none costs another its map."""
        error: str | None = None
        maps: list[Tensor] = []
        try:
            maps = list(type(members[0]).attribute_all(members, context))
            context.maps.update(zip((member.key for member in members), maps, strict=True))
            arrays: list[Any] = [_checked(values, len(classes), self._grid) for values in maps]
            finer = [pixel_maps(values, self._grid, self._kept) for values in maps]
        except FAILURES as failure:
            if lacks_memory(failure):
                raise
            if not maps and len(classes) > 1 and not needs_of(members) & Need.GRAPH:
                for alone, target in zip(context.each(), classes, strict=True):
                    self._attribute(alone, members, [target])
                return
            error = _describe(failure)
            arrays = [[np.zeros((0, 0), np.float32)] * len(classes) for _ in members]
            finer = [[None] * len(classes) for _ in members]
        for member, values, pixels in zip(members, arrays, finer, strict=True):
            rows = zip(context.image_ids, classes, values, pixels, _sound(context), strict=True)
            for image_id, target, value, pixel_map, is_sound in rows:
                if is_sound and (not member.class_specific or target is not None):
                    shown = target if member.class_specific else None
                    wrong = error or (None if np.isfinite(value).all() else _NOT_FINITE)
                    row = (image_id, Attribution(member.key, shown, value, wrong, pixel_map))
                    self._maps[member.key].append(row)

    def _observe(self, context: Context, technique: Observation, classes: Sequence[int | None]) -> None:
        observed: list[Sequence[Mapping[str, Any]]] = []
        try:
            observed = list(technique.observe(context))
            if len(observed) != len(classes):
                raise ValueError(f"it gave rows for {len(observed)} of {len(classes)} images")
        except FAILURES as failure:
            if lacks_memory(failure):
                raise
            if not observed and len(classes) > 1 and not technique.needs & Need.GRAPH:
                for alone, target in zip(context.each(), classes, strict=True):
                    self._observe(alone, technique, [target])
                return
            observed = [[{"error": _describe(failure)}] for _ in classes]
        found = zip(context.image_ids, classes, observed, _sound(context), strict=True)
        for image_id, target, rows, is_sound in found:
            if is_sound and (not technique.class_specific or target is not None):
                self._rows[technique.key] += [{"id": image_id, **row} for row in rows]


def _sound(context: Context) -> list[bool]:
    """Of each image, whether the model gives nothing but finite values."""
    sound: list[bool] = context.trace.logits.isfinite().all(1).tolist()
    return sound


def _checked(values: Tensor, images: int, grid: tuple[int, int]) -> Any:
    """A technique's maps as numpy float32 ``(images, rows, cols)``; pixels are summed up patch by patch."""
    if values.dim() != 3 or len(values) != images:
        raise ValueError(f"it gave maps of shape {tuple(values.shape)} for {images} images")
    return patch_sums(values.float(), grid).cpu().numpy()


def _describe(failure: Exception) -> str:
    return f"{type(failure).__name__}: {failure}"


def columns(explanations: Sequence[Explanation]) -> Iterator[list[int | None]]:
    """The images' first targets, then their second ones, and so on; None where an image has no more.

    There is always a first column, so that techniques which need no target run on images without one.
    """
    depth = max(1, max((len(explanation.targets) for explanation in explanations), default=0))
    for column in range(depth):
        yield [
            explanation.targets[column].index if column < len(explanation.targets) else None
            for explanation in explanations
        ]
