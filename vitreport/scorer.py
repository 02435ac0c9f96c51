"""A sample of the stored maps in, scores out."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import ceil
from typing import Any

import pyarrow as pa
import torch

from vitreport.engines import SCORE, Receipt
from vitreport.errors import SettingsError
from vitreport.faithfulness.metric import Case, Metric
from vitreport.model.environment import exact_float32
from vitreport.model.memory import SHORT_OF_MEMORY, lacks_memory, release
from vitreport.plan import Plan
from vitreport.sample import Drawn, Ready, SampleReader
from vitreport.store import MetricRecord, RunFolder, TechniqueRecord
from vitreport.store.folder import images_part, score_part
from vitreport.store.schema import scores_table
from vitreport.techniques.technique import Technique

SCORED_TOGETHER = 64
"""Images in a part of scores: they are decoded and scored together."""
_FIRST = 10
"""Which part of the sample is scored first, to tell how long the rest takes: a tenth."""
_LEAST_PASSES = 0.02
"""What a technique and image cost at least, in plain forward passes, by a metric that makes none."""


Pending = Sequence[tuple[MetricRecord, Metric, Sequence[TechniqueRecord]]]
"""Metrics, each with the techniques that it is to score."""

Rows = dict[tuple[str, str], list[dict[str, Any]]]
"""Rows of scores, by metric and technique."""


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
        if pending:
            with exact_float32():
                yield from self._score_part(part, pending)

    def _score_part(self, part: int, pending: Pending) -> Iterator[Receipt]:
        reader = SampleReader(self.folder, self.plan, self.scorable)
        ready = reader.read(self.parts[part], {record.key for _, _, missing in pending for record in missing})
        images = sorted(ready.drawn, key=lambda image: image.lot)
        batch = self.plan.batch_size
        size = min(batch, ceil(self.images / _FIRST))
        first, others = images[:size], images[size:]
        rest = [others[start : start + batch] for start in range(0, len(others), batch)]
        rows: Rows = {}
        fitting: dict[str, int] = {}
        seconds: dict[str, float] = {}
        for record, metric, missing in pending:
            began = time.perf_counter()
            yield from self._add(rows, fitting, record, metric, missing, ready, first)
            seconds[record.key] = (time.perf_counter() - began) / len(first)
            yield Receipt(self._passes(metric, missing) * len(_within(metric, first)), stage=SCORE)
        left = self._seconds_left(part, pending, seconds, images[len(first) :])
        yield Receipt(0, stage=SCORE, seconds_left=left)
        share = self._passes_left(pending, rest) / max(self._seconds_of(pending, seconds, rest), 1e-9)
        for record, metric, missing in pending:
            for some in rest:
                yield from self._add(rows, fitting, record, metric, missing, ready, some)
                yield Receipt(share * seconds[record.key] * len(_within(metric, some)), stage=SCORE)
            self.folder.write_tables(
                {
                    score_part(record, technique, part): partial(_table, rows, record, technique)
                    for technique in missing
                }
            )

    def _add(
        self,
        rows: Rows,
        fitting: dict[str, int],
        record: MetricRecord,
        metric: Metric,
        missing: Sequence[TechniqueRecord],
        ready: Ready,
        images: Sequence[Drawn],
    ) -> Iterator[Receipt]:
        """Scores some images by one metric and adds what it finds to `rows`.

        Where memory runs out, half as many are scored at a time, and a receipt says so; `fitting` keeps by
        metric how many fit.

        Raises:
            SettingsError: one image alone does not fit.
        """
        left = _within(metric, images)
        while left:
            size = fitting.get(record.key, self.plan.batch_size)
            some = left[:size]
            scores: dict[str, list[dict[str, Any]]] | None = None
            try:
                scores = self._score(metric, missing, ready, some, size)
            except (RuntimeError, MemoryError) as error:
                if not lacks_memory(error):
                    raise
                if size == 1:
                    raise SettingsError(
                        f"not even one image at a time can be scored by {record.key} in the memory of the "
                        f"{self.plan.device}; leave that metric out, or run it where there is more memory"
                    ) from error
            if scores is None:
                release(self.plan.model.device)
                fitting[record.key] = half = (size + 1) // 2
                yield Receipt(
                    0,
                    stage=SCORE,
                    notice=f"{SHORT_OF_MEMORY} scoring {size} images at a time by {record.key}: the rest had "
                    f"{half} at most, which moves scores by rounding alone",
                )
                continue
            for key, found in scores.items():
                rows.setdefault((record.key, key), []).extend(
                    {"id": image.id, "target": image.target, **score}
                    for image, score in zip(some, found, strict=True)
                )
            left = left[size:]

    def _score(
        self,
        metric: Metric,
        records: Sequence[TechniqueRecord],
        ready: Ready,
        drawn: Sequence[Drawn],
        chunk: int,
    ) -> dict[str, list[dict[str, Any]]]:
        device = self.plan.model.device
        chosen = [ready.drawn.index(image) for image in drawn]
        case = Case(
            model=self.plan.model,
            pixels=ready.gallery.pixels[chosen].to(device),
            targets=torch.tensor([image.target for image in drawn], device=device),
            image_ids=tuple(image.id for image in drawn),
            seed=self.plan.settings.seed,
            chunk=chunk,
            techniques=self._techniques,
            masks=None if ready.masks is None else ready.masks[chosen],
            mask_notes=tuple(ready.mask_notes[place] for place in chosen),
            gallery=ready.gallery,
            precision=getattr(torch, self.plan.precision),
        )
        maps = {record.key: ready.gallery.maps[record.key][chosen].to(device) for record in records}
        return metric.score(case, maps)

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


def _table(rows: Rows, metric: MetricRecord, technique: TechniqueRecord) -> pa.Table:
    """A technique's scores by a metric, in id order."""
    found = sorted(rows.get((metric.key, technique.key), []), key=lambda row: str(row["id"]))
    return scores_table(found, metric.columns)


def _within(metric: Metric, drawn: Sequence[Drawn]) -> list[Drawn]:
    """Those images that a metric scores."""
    return [image for image in drawn if metric.most_images is None or image.lot < metric.most_images]
