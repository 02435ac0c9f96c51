"""A sample of the stored maps in, scores out."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitreport.batches import prepared_batches
from vitreport.engines import SCORE, Receipt
from vitreport.errors import ImageError, SettingsError
from vitreport.explanation import ImageRef
from vitreport.faithfulness.metric import BACKGROUND, IGNORED, Case, Gallery, Metric
from vitreport.images.decoder import decoded_mask
from vitreport.model.trace import Trace
from vitreport.plan import Plan
from vitreport.store import MetricRecord, RunFolder, TechniqueRecord
from vitreport.store.folder import images_part, score_part, technique_part
from vitreport.store.schema import scores_table
from vitreport.techniques.technique import Context, Technique

SCORED_TOGETHER = 64
"""Images in a part of scores: they are decoded and scored together."""
_FIRST = 10
"""Which part of the sample is scored first, to tell how long the rest takes: a tenth."""
_LEAST_PASSES = 0.02
"""What a technique and image cost at least, in plain forward passes, by a metric that makes none."""


@dataclass(frozen=True)
class Drawn:
    """An image that is scored.

    Attributes:
        id: of the image.
        shard: in which its maps are stored.
        target: for which its maps are scored: its first explained class.
        lot: its place in the draw; metrics that score fewer images take the first.
    """

    id: str
    shard: int
    target: int
    lot: int


@dataclass(frozen=True)
class Ready:
    """Drawn images with all that scoring reads of them.

    Attributes:
        drawn: the images.
        gallery: their pixels, labels and maps.
        masks: ``(images, height, width)``; None where no masks are given.
        mask_notes: why an image has no mask, or None.
    """

    drawn: Sequence[Drawn]
    gallery: Gallery
    masks: Tensor | None
    mask_notes: Sequence[str | None]


Pending = Sequence[tuple[MetricRecord, Metric, Sequence[TechniqueRecord]]]
"""Metrics, each with the techniques that it is to score."""


@dataclass(frozen=True)
class Scorer:
    """The worker of the second stage: scores a part of the sample and writes its parts.

    Attributes:
        folder: the run folder, with the maps of every shard.
        plan: what is scored, and by what.
    """

    folder: RunFolder
    plan: Plan

    @cached_property
    def parts(self) -> Mapping[int, Sequence[Drawn]]:
        """The images to be scored, drawn by chance from those that were explained; by part, in id order."""
        explained = [
            (row["id"], shard, row["targets"][0])
            for shard in self.plan.shards
            for row in self.folder.read_table(images_part(shard), ["id", "targets"]).to_pylist()
            if row["targets"]
        ]
        lots = sorted(explained, key=lambda row: self._lot(row[0]))[: self.plan.score_images]
        drawn = sorted((Drawn(*row, lot) for lot, row in enumerate(lots)), key=lambda image: image.id)
        starts = range(0, len(drawn), SCORED_TOGETHER)
        return {number: drawn[start : start + SCORED_TOGETHER] for number, start in enumerate(starts)}

    @property
    def images(self) -> int:
        """How many images are scored."""
        return sum(map(len, self.parts.values()))

    def pending(self, part: int) -> Pending:
        """Metrics with the techniques whose scores of a part are not there yet."""
        found = []
        for record, metric in self.plan.metrics:
            missing = [
                technique
                for technique in self.scorable
                if record.skipped is None and not self.folder.has(score_part(record, technique, part))
            ]
            if missing:
                found.append((record, metric, missing))
        return found

    def passes(self, part: int) -> float:
        """Roughly what is pending in a part, in plain forward passes; receipts count these."""
        return sum(
            self._passes(metric, missing) * len(_within(metric, self.parts[part]))
            for _, metric, missing in self.pending(part)
        )

    def seconds_a_pass(self) -> float:
        """What a plain forward pass of one image takes here, measured."""
        model = self.plan.model
        size = self.plan.batch_size if model.device.type == "cuda" else min(4, self.plan.batch_size)
        pixels = torch.zeros(size, 3, *model.input_size, device=model.device)
        seconds = []
        with torch.no_grad():
            for _ in range(3):
                began = time.perf_counter()
                model.module(pixels)
                if model.device.type == "cuda":
                    torch.cuda.synchronize()
                seconds.append(time.perf_counter() - began)
        return min(seconds) / size

    def __call__(self, part: int) -> Iterator[Receipt]:
        """Scores what is pending in a part, one metric after the other, and writes each when it is done.

        All of them score the first slice of the images first: that tells how long the rest takes.
        """
        pending = self.pending(part)
        if not pending:
            return
        ready = self._ready(part, {record.key for _, _, missing in pending for record in missing})
        images = sorted(ready.drawn, key=lambda image: image.lot)
        batch = self.plan.batch_size
        size = min(batch, ceil(self.images / _FIRST))
        first, others = images[:size], images[size:]
        rest = [others[start : start + batch] for start in range(0, len(others), batch)]
        rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
        seconds: dict[str, float] = {}
        for record, metric, missing in pending:
            began = time.perf_counter()
            self._add(rows, record, metric, missing, ready, first)
            seconds[record.key] = (time.perf_counter() - began) / len(first)
            yield Receipt(self._passes(metric, missing) * len(_within(metric, first)), stage=SCORE)
        left = self._seconds_left(part, pending, seconds, images[len(first) :])
        yield Receipt(0, stage=SCORE, seconds_left=left)
        share = self._passes_left(pending, rest) / max(self._seconds_of(pending, seconds, rest), 1e-9)
        for record, metric, missing in pending:
            for some in rest:
                self._add(rows, record, metric, missing, ready, some)
                yield Receipt(share * seconds[record.key] * len(_within(metric, some)), stage=SCORE)
            for technique in missing:
                found = sorted(rows.get((record.key, technique.key), []), key=lambda row: str(row["id"]))
                table = scores_table(found, record.columns)
                self.folder.write_table(score_part(record, technique, part), table)

    def _add(
        self,
        rows: dict[tuple[str, str], list[dict[str, Any]]],
        record: MetricRecord,
        metric: Metric,
        missing: Sequence[TechniqueRecord],
        ready: Ready,
        images: Sequence[Drawn],
    ) -> None:
        """Scores some images by one metric and adds what it finds to `rows`."""
        drawn = _within(metric, images)
        for key, scores in self._score(metric, missing, ready, drawn).items() if drawn else ():
            rows.setdefault((record.key, key), []).extend(
                {"id": image.id, "target": image.target, **score}
                for image, score in zip(drawn, scores, strict=True)
            )

    def _score(
        self, metric: Metric, records: Sequence[TechniqueRecord], ready: Ready, drawn: Sequence[Drawn]
    ) -> dict[str, list[dict[str, Any]]]:
        device = self.plan.model.device
        chosen = [ready.drawn.index(image) for image in drawn]
        case = Case(
            model=self.plan.model,
            pixels=ready.gallery.pixels[chosen].to(device),
            targets=torch.tensor([image.target for image in drawn], device=device),
            image_ids=tuple(image.id for image in drawn),
            seed=self.plan.settings.seed,
            chunk=self.plan.batch_size,
            techniques=self._techniques,
            masks=None if ready.masks is None else ready.masks[chosen],
            mask_notes=tuple(ready.mask_notes[place] for place in chosen),
            gallery=ready.gallery,
            precision=getattr(torch, self.plan.precision),
        )
        maps = {record.key: ready.gallery.maps[record.key][chosen].to(device) for record in records}
        try:
            return metric.score(case, maps)
        except torch.OutOfMemoryError as error:
            raise SettingsError(
                f"{self.plan.batch_size} images at a time do not fit the device's memory; "
                f"try --batch-size {max(1, self.plan.batch_size // 2)}"
            ) from error

    def _passes(self, metric: Metric, records: Sequence[TechniqueRecord]) -> float:
        techniques = [self._techniques[record.key] for record in records]
        return max(metric.passes(self.plan.model, techniques), _LEAST_PASSES * len(techniques))

    def _passes_left(self, pending: Pending, slices: Sequence[Sequence[Drawn]]) -> float:
        return sum(
            self._passes(metric, missing) * len(_within(metric, some))
            for _, metric, missing in pending
            for some in slices
        )

    def _seconds_of(
        self, pending: Pending, seconds: Mapping[str, float], slices: Sequence[Sequence[Drawn]]
    ) -> float:
        """What slices take, where an image takes so many seconds by each metric."""
        return sum(
            seconds[record.key] * len(_within(metric, some))
            for record, metric, _ in pending
            for some in slices
        )

    def _seconds_left(
        self, part: int, pending: Pending, seconds: Mapping[str, float], rest: Sequence[Drawn]
    ) -> float:
        """What the rest of a part takes, and the parts after it."""
        later = [images for number, images in self.parts.items() if number > part]
        return self._seconds_of(pending, seconds, [rest, *later])

    def _lot(self, image_id: str) -> str:
        return hashlib.sha256(f"{self.plan.settings.seed} {image_id} scored".encode()).hexdigest()

    @property
    def scorable(self) -> list[TechniqueRecord]:
        """What is scored: the techniques whose maps of all images are stored, and the controls."""
        maps = [
            record
            for record, _ in self.plan.techniques
            if record.kind == "map" and record.skipped is None and record.most_images is None
        ]
        return maps + [record for record, _ in self.plan.controls]

    @cached_property
    def _techniques(self) -> Mapping[str, Technique]:
        known = (*self.plan.techniques, *self.plan.controls)
        return {record.key: technique for record, technique in known if isinstance(technique, Technique)}

    def _ready(self, part: int, keys: set[str]) -> Ready:
        """Everything about the images of a part; those that cannot be read any more are left out."""
        by_id = {image.id: image for image in self.parts[part]}
        refs = [
            ref for shard in self.plan.shards.values() for ref in shard if ref.id in by_id
        ]  # in id order, as the shards are
        images = [image for batch in prepared_batches(self.plan, refs) for image in batch]
        gone = [image for image in images if image.pixels is None]
        images = [image for image in images if image.pixels is not None]
        if not images:
            raise ImageError(
                f"none of the {len(gone)} images to be scored together can be read any more, the first is "
                f"{gone[0].ref.uri} ({gone[0].reason}); put them back, and the same command goes on"
            )
        drawn = [by_id[image.ref.id] for image in images]
        gallery = Gallery(
            pixels=torch.stack([image.pixels for image in images if image.pixels is not None]),
            labels=torch.tensor([-1 if image.ref.label is None else image.ref.label for image in images]),
            image_ids=tuple(image.ref.id for image in images),
        )
        masks: Tensor | None = None
        notes: list[str | None] = [None] * len(images)
        if self.plan.masks:
            found = [self._mask(image.ref, image.view.original) for image in images if image.view]
            masks, notes = torch.stack([mask for mask, _ in found]), [note for _, note in found]
        controls = {record.key for record, _ in self.plan.controls}
        maps = self._stored(drawn, keys - controls) | self._controls(gallery)
        return Ready(drawn, replace(gallery, maps=maps), masks, notes)

    def _mask(self, ref: ImageRef, size: tuple[int, int]) -> tuple[Tensor, str | None]:
        """The mask of an image of (width, height) as the model sees it; or one that says nothing, and why.

        A mask of nothing but 0 and 255 marks one object: that of the image's label.
        """
        nothing = torch.full(self.plan.model.input_size, IGNORED)
        path = self.plan.masks.get(ref.id)
        if path is None:
            return nothing, "there is no mask"
        try:
            levels = decoded_mask(path)
        except ImageError as error:
            return nothing, f"the mask cannot be read: {error}"
        height, width = levels.shape
        if (width, height) != size:
            return nothing, f"the mask has {width} x {height} pixels, the picture {size[0]} x {size[1]}"
        if set(np.unique(levels).tolist()) == {BACKGROUND, IGNORED}:
            if ref.label is None:
                return nothing, "the mask has only 0 and 255, and the image no label that says what 255 marks"
            levels = np.where(levels == IGNORED, np.int32(ref.label), levels)
        return self.plan.model.preparation.mask(levels), None

    def _stored(self, drawn: Sequence[Drawn], keys: set[str]) -> dict[str, Tensor]:
        """The stored maps of images, by technique."""
        grid = self.plan.model.layout.grid
        places = {image.id: place for place, image in enumerate(drawn)}
        found: dict[str, Tensor] = {}
        for record in self.scorable:
            if record.key not in keys:
                continue
            maps = torch.full((len(drawn), *grid), torch.nan)
            for shard in sorted({image.shard for image in drawn}):
                table = self.folder.read_table(technique_part(record, shard))
                for row in table.to_pylist() if len(table) else ():
                    place = places.get(row["id"])
                    if place is None or row["error"] or row["target"] not in (None, drawn[place].target):
                        continue
                    maps[place] = torch.from_numpy(np.asarray(row["map"], np.float32).reshape(grid))
            found[record.key] = maps
        return found

    def _controls(self, gallery: Gallery) -> dict[str, Tensor]:
        """Maps of the controls, which know nothing of the model and need no trace of it."""
        none = gallery.pixels.new_zeros(len(gallery.pixels), 1)
        trace = Trace(logits=none, pixels=gallery.pixels, readout=none)
        context = Context(trace, self.plan.model, gallery.image_ids, self.plan.settings.seed)
        return {
            record.key: technique.attribute(context)
            for record, technique in self.plan.controls
            if isinstance(technique, Technique)
        }


def _within(metric: Metric, drawn: Sequence[Drawn]) -> list[Drawn]:
    """Those images that a metric scores."""
    return [image for image in drawn if metric.most_images is None or image.lot < metric.most_images]
