"""What techniques find in a batch, kept until its shard is written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from vitreport.explanation import Attribution, Explanation
from vitreport.model.layout import patch_sums
from vitreport.model.memory import lacks_memory
from vitreport.model.trace import Need
from vitreport.model.transfer import to_host
from vitreport.pixel_map import StoredPixels, stored_pixels
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


@dataclass(frozen=True)
class _Maps:
    """One setting's maps of some images.

    Attributes:
        image_ids: of the images.
        targets: explained classes, None where an image has no further one; empty where none matters.
        sound: whether the model gives nothing but finite values, ``(images,)``.
        values: ``(images, rows, cols)``, float32; None where `error` is set.
        pixels: the same at the resolution of the input, where they are kept.
        error: why there are none.
    """

    image_ids: Sequence[str]
    targets: Sequence[int | None]
    sound: Tensor
    values: Tensor | None
    pixels: StoredPixels | None
    error: str | None

    def rows(self, key: str) -> Iterator[tuple[str, Attribution]]:
        """The maps of those images that have one, with the images' ids."""
        values = (
            np.zeros((len(self.image_ids), 0, 0), np.float32) if self.values is None else self.values.numpy()
        )
        finite: list[bool] = np.isfinite(values).all((1, 2)).tolist()  # type: ignore[assignment]
        targets = self.targets or [None] * len(finite)
        finer = [None] * len(finite) if self.pixels is None else self.pixels.maps()
        rows = zip(self.image_ids, targets, values, finer, finite, self.sound.tolist(), strict=True)
        for image_id, target, value, pixels, is_finite, is_sound in rows:
            if is_sound and (target is not None or not self.targets):
                error = self.error or (None if is_finite else _NOT_FINITE)
                yield image_id, Attribution(key, target, value, error, pixels)


@dataclass(frozen=True)
class _Observed:
    """What one observation says of some images; `sound` as of `_Maps`."""

    image_ids: Sequence[str]
    sound: Tensor
    found: Sequence[Sequence[Mapping[str, Any]]]

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of sound images, each with its image's id."""
        for image_id, rows, is_sound in zip(self.image_ids, self.found, self.sound.tolist(), strict=True):
            if is_sound:
                yield from ({"id": image_id, **row} for row in rows)


class Findings:
    """What a shard's batches found, until it is written.

    Maps may still be on their way from the device: `table` is for after their `arrival`.
    """

    def __init__(self, grid: tuple[int, int], kept: PixelMaps = "none") -> None:
        self._grid = grid
        self._kept = kept
        self.explanations: list[Explanation] = []
        self._maps: dict[str, list[_Maps]] = defaultdict(list)
        self._observed: dict[str, list[_Observed]] = defaultdict(list)

    def table(self, record: TechniqueRecord) -> Any:
        """The part of a technique, rows in the order of the images, then of their targets."""
        if record.kind == "observation":
            observed = self._observed.get(record.key, ())
            return observations_table([row for one in observed for row in one.rows()], record.columns)
        order = {explanation.ref.id: place for place, explanation in enumerate(self.explanations)}
        rows = [row for maps in self._maps.get(record.key, ()) for row in maps.rows(record.key)]
        return maps_table(sorted(rows, key=lambda row: order[row[0]]))

    def take(self, others: Findings) -> None:
        """Adds what was found of further images."""
        self.explanations += others.explanations
        for key, maps in others._maps.items():
            self._maps[key] += maps
        for key, observed in others._observed.items():
            self._observed[key] += observed

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
            kept: list[Tensor | None] = [_checked(values, len(classes), self._grid) for values in maps]
            finer: list[StoredPixels | None] = [
                stored_pixels(values, self._grid, self._kept) for values in maps
            ]
        except FAILURES as failure:
            if lacks_memory(failure):
                raise
            if not maps and len(classes) > 1 and not needs_of(members) & Need.GRAPH:
                for alone, target in zip(context.each(), classes, strict=True):
                    self._attribute(alone, members, [target])
                return
            error = _describe(failure)
            kept, finer = [None] * len(members), [None] * len(members)
        for member, values, pixels in zip(members, kept, finer, strict=True):
            targets = classes if member.class_specific else ()
            found = _Maps(context.image_ids, targets, _sound(context), values, pixels, error)
            self._maps[member.key].append(found)

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
        if technique.class_specific:
            observed = [
                [] if target is None else rows for rows, target in zip(observed, classes, strict=True)
            ]
        self._observed[technique.key].append(_Observed(context.image_ids, _sound(context), observed))


def _sound(context: Context) -> Tensor:
    """Of each image, whether the model gives nothing but finite values; on its way from the device."""
    return context.once("finite logits", lambda: to_host(context.trace.logits.isfinite().all(1)))


def _checked(values: Tensor, images: int, grid: tuple[int, int]) -> Tensor:
    """A technique's maps, float32 ``(images, rows, cols)``, on their way from the device.

    Pixels are summed up patch by patch.
    """
    if values.dim() != 3 or len(values) != images:
        raise ValueError(f"it gave maps of shape {tuple(values.shape)} for {images} images")
    return to_host(patch_sums(values.float(), grid))


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
