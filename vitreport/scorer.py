"""A shard of stored maps in, scores out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitreport.batches import prepared_batches
from vitreport.engines import Receipt
from vitreport.explanation import ImageRef
from vitreport.faithfulness.metric import Case, Metric
from vitreport.model.trace import Trace
from vitreport.plan import Plan
from vitreport.store import MetricRecord, RunFolder, TechniqueRecord
from vitreport.store.folder import images_part, score_part, technique_part
from vitreport.store.schema import scores_table
from vitreport.techniques.technique import Context, Technique

SCORE = "score"
"""The stage of work that images to be scored go through."""


@dataclass(frozen=True)
class Scorer:
    """The worker of the second stage: scores the maps of a shard and writes their parts.

    Attributes:
        folder: the run folder, with the maps of every shard.
        plan: what is scored, and by what.
    """

    folder: RunFolder
    plan: Plan

    def pending(self, shard: int) -> list[tuple[MetricRecord, Metric, list[TechniqueRecord]]]:
        """Metrics with the techniques whose scores in a shard are not there yet."""
        if not self.chosen.get(shard):
            return []
        found = []
        for record, metric in self.plan.metrics:
            missing = [
                technique
                for technique in self._scorable
                if record.skipped is None and not self.folder.has(score_part(record, technique, shard))
            ]
            if missing:
                found.append((record, metric, missing))
        return found

    @cached_property
    def chosen(self) -> Mapping[int, Mapping[str, int]]:
        """The images to be scored, drawn by chance from those that were explained: id to target, by shard."""
        explained = [
            (row["id"], shard, row["targets"][0])
            for shard in self.plan.shards
            for row in self.folder.read_table(images_part(shard), ["id", "targets"]).to_pylist()
            if row["targets"]
        ]
        drawn = sorted(explained, key=lambda row: self._lot(row[0]))[: self.plan.score_images]
        shards: dict[int, dict[str, int]] = {}
        for image_id, shard, target in sorted(drawn):
            shards.setdefault(shard, {})[image_id] = target
        return shards

    def _lot(self, image_id: str) -> str:
        return hashlib.sha256(f"{self.plan.settings.seed} {image_id} scored".encode()).hexdigest()

    @property
    def _scorable(self) -> list[TechniqueRecord]:
        maps = [
            record
            for record, _ in self.plan.techniques
            if record.kind == "map" and record.skipped is None and record.most_images is None
        ]
        return maps + [record for record, _ in self.plan.controls]

    def __call__(self, shard: int) -> Iterator[Receipt]:
        """Scores what is pending in a shard, one batch after the other, then writes its parts."""
        pending = self.pending(shard)
        if not pending:
            return
        targets = self.chosen[shard]
        refs = [ref for ref in self.plan.shards[shard] if ref.id in targets]
        stored = self._stored(shard, targets)
        rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
        work = sum(metric.passes(self.plan.model) * len(missing) for _, metric, missing in pending)
        for batch in prepared_batches(self.plan, refs):
            usable = [image for image in batch if image.pixels is not None]
            case = self._case([image.ref for image in usable], [image.pixels for image in usable], targets)
            controls = self._controls(case)
            for record, metric, missing in pending:
                maps = {
                    technique.key: controls[technique.key]
                    if technique.key in controls
                    else torch.stack([stored[technique.key][name] for name in case.image_ids]).to(case.pixels)
                    for technique in missing
                }
                for key, scores in metric.score(case, maps).items():
                    rows.setdefault((record.key, key), []).extend(
                        {"id": name, "target": targets[name], **score}
                        for name, score in zip(case.image_ids, scores, strict=True)
                    )
                share = metric.passes(self.plan.model) * len(missing) / work
                yield Receipt(len(batch) * share, stage=SCORE)
        for record, _, missing in pending:
            for technique in missing:
                table = scores_table(rows.get((record.key, technique.key), []), record.columns)
                self.folder.write_table(score_part(record, technique, shard), table)

    def _stored(self, shard: int, targets: Mapping[str, int]) -> dict[str, dict[str, Tensor]]:
        """Maps of the images to be scored, by technique and image; NaN where there is none."""
        grid = self.plan.model.layout.grid
        found: dict[str, dict[str, Tensor]] = {}
        for record in self._scorable:
            maps = {name: torch.full(grid, torch.nan) for name in targets}
            part = technique_part(record, shard)
            for row in self.folder.read_table(part).to_pylist() if self.folder.has(part) else ():
                wanted = row["id"] in targets and row["target"] in (None, targets[row["id"]])
                if wanted and not row["error"]:
                    values = np.asarray(row["map"], np.float32).reshape(grid)
                    maps[row["id"]] = torch.from_numpy(values)
            found[record.key] = maps
        return found

    def _case(
        self, refs: Sequence[ImageRef], pixels: Sequence[Tensor | None], targets: Mapping[str, int]
    ) -> Case:
        plan = self.plan
        return Case(
            model=plan.model,
            pixels=torch.stack([one for one in pixels if one is not None]).to(plan.model.device),
            targets=torch.tensor([targets[ref.id] for ref in refs], device=plan.model.device),
            image_ids=tuple(ref.id for ref in refs),
            seed=plan.settings.seed,
            chunk=plan.batch_size,
        )

    def _controls(self, case: Case) -> dict[str, Tensor]:
        """Maps of the controls, which know nothing of the model and need no trace of it."""
        none = case.pixels.new_zeros(len(case.pixels), 1)
        trace = Trace(logits=none, pixels=case.pixels, readout=none, targets=case.targets)
        context = Context(trace, case.model, case.image_ids, case.seed, case.chunk)
        return {
            record.key: technique.attribute(context)
            for record, technique in self.plan.controls
            if isinstance(technique, Technique)
        }
