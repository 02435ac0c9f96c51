"""A shard of images in, its predictions, maps and observations out."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitreport.engines import Receipt
from vitreport.errors import ImageError, SettingsError, TechniqueError
from vitreport.explanation import Attribution, Explanation, ImageRef, Prediction, View
from vitreport.images.decode import decode
from vitreport.model.head import Head
from vitreport.model.layout import patch_sums
from vitreport.model.trace import Backward, Forward, Tracer
from vitreport.plan import Plan
from vitreport.store import RunFolder, TechniqueRecord
from vitreport.store.folder import images_part, technique_part
from vitreport.store.schema import images_table, maps_table, observations_table
from vitreport.techniques.technique import Context, Explainable, Observation, Technique, needs_of

TOP_K = 5
_NOT_FINITE = "the map has values that are not finite"
_DECODERS = min(4, os.cpu_count() or 1)
_FAILURES: tuple[type[Exception], ...] = (
    *(TechniqueError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError),
)


@dataclass(frozen=True)
class Prepared:
    """One image, ready for the model, or the reason why it is not."""

    ref: ImageRef
    pixels: Tensor | None = None
    view: View | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Explainer:
    """The worker of the explain wing: explains shards and writes their parts.

    Attributes:
        folder: the run folder.
        plan: what is explained, and how.
    """

    folder: RunFolder
    plan: Plan

    def pending(self, shard: int) -> list[tuple[TechniqueRecord, Explainable]]:
        """Techniques that this model can have and whose part of the shard is not there yet."""
        return [
            (record, technique)
            for record, technique in self.plan.techniques
            if record.skipped is None and not self.folder.has(technique_part(record, shard))
        ]

    def is_done(self, shard: int) -> bool:
        """True where nothing of the shard is pending."""
        return self.folder.has(images_part(shard)) and not self.pending(shard)

    def __call__(self, shard: int) -> Iterator[Receipt]:
        """Explains what is pending in a shard, one batch after the other, then writes its parts."""
        refs = self.plan.shards[shard]
        if self.is_done(shard):
            yield Receipt(len(refs))
            return
        pending = self.pending(shard)
        findings = Findings(self.plan.model.layout.grid)
        for batch in self._batches(refs):
            try:
                self._explain(batch, [technique for _, technique in pending], findings)
            except torch.OutOfMemoryError as error:
                raise SettingsError(
                    f"{len(batch)} images at a time do not fit the device's memory; "
                    f"try --batch-size {max(1, self.plan.batch_size // 2)}"
                ) from error
            yield Receipt(len(batch))
        for record, _ in pending:
            self.folder.write_table(technique_part(record, shard), findings.table(record))
        if not self.folder.has(images_part(shard)):
            self.folder.write_table(images_part(shard), images_table(findings.explanations))

    def _batches(self, refs: Sequence[ImageRef]) -> Iterator[list[Prepared]]:
        """Decodes one batch ahead of the model, in threads, in order."""
        groups = [refs[at : at + self.plan.batch_size] for at in range(0, len(refs), self.plan.batch_size)]
        with ThreadPoolExecutor(_DECODERS) as pool:
            following = [pool.submit(self._prepare, ref) for ref in groups[0]]
            for group in [*groups[1:], []]:
                batch = [future.result() for future in following]
                following = [pool.submit(self._prepare, ref) for ref in group]
                yield batch

    def _prepare(self, ref: ImageRef) -> Prepared:
        try:
            pixels, view = self.plan.model.preparation(decode(self.plan.catalogue.paths[ref.id]))
        except ImageError as error:
            return Prepared(ref, reason=str(error))
        return Prepared(ref, pixels, view)

    def _explain(
        self, batch: Sequence[Prepared], techniques: Sequence[Explainable], findings: Findings
    ) -> None:
        """Explains a batch: one forward pass for each kind of gradient, and a gradient of it a target."""
        usable = [image for image in batch if image.pixels is not None]
        explained: list[Explanation] = []
        for backward in Backward if usable else ():
            members = [technique for technique in techniques if technique.backward is backward]
            if explained and not members:
                continue
            with self.plan.model.traced(needs_of(members), backward) as tracer:
                forward = tracer.forward(self._pixels(usable))
                explained = explained or self._predicted(forward.logits, usable)
                self._explain_targets(tracer, forward, members, explained, findings)
        known = iter(explained)
        findings.explanations += [
            Explanation(image.ref, image.reason) if image.pixels is None else next(known) for image in batch
        ]

    def _explain_targets(
        self,
        tracer: Tracer,
        forward: Forward,
        techniques: Sequence[Explainable],
        explained: Sequence[Explanation],
        findings: Findings,
    ) -> None:
        if not techniques:
            return
        ids = tuple(explanation.ref.id for explanation in explained)
        columns = list(_columns(explained))
        for place, classes in enumerate(columns):
            chosen = [0 if index is None else index for index in classes]
            targets = torch.tensor(chosen, device=forward.logits.device)
            trace = tracer.gradient(forward, targets, keep_graph=place + 1 < len(columns))
            context = Context(trace, self.plan.model, ids, self.plan.settings.seed)
            due = [technique for technique in techniques if technique.class_specific or place == 0]
            findings.add(context, due, classes, first=place == 0)

    def _pixels(self, usable: Sequence[Prepared]) -> Tensor:
        pixels = torch.stack([image.pixels for image in usable if image.pixels is not None])
        return pixels.to(self.plan.model.device)

    def _predicted(self, logits: Tensor, usable: Sequence[Prepared]) -> list[Explanation]:
        """The best classes and the targets of each image."""
        model, targets = self.plan.model, self.plan.targets
        logits = logits.detach().float()
        if model.head is Head.NONE:
            return [Explanation(image.ref, None, image.view) for image in usable]
        scores = model.head.scores(logits).cpu()
        depth = min(max(TOP_K, targets.most), logits.shape[1])
        ranking = logits.topk(depth, 1).indices.cpu().tolist()
        found = []
        for image, row, order in zip(usable, scores, ranking, strict=True):
            chosen = targets.of_image(order, image.ref.label)
            best, explained = (
                tuple(Prediction(index, float(row[index])) for index in indices)
                for indices in (order[:TOP_K], chosen)
            )
            found.append(Explanation(image.ref, None, image.view, best, explained))
        return found


class Findings:
    """What a shard's batches found, until it is written."""

    def __init__(self, grid: tuple[int, int]) -> None:
        self._grid = grid
        self.explanations: list[Explanation] = []
        self._maps: dict[str, list[tuple[str, Attribution]]] = defaultdict(list)
        self._rows: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def table(self, record: TechniqueRecord) -> Any:
        """The part of a technique, rows in the order of the images, then of their targets."""
        if record.kind == "observation":
            return observations_table(self._rows[record.key], record.columns)
        order = {explanation.ref.id: place for place, explanation in enumerate(self.explanations)}
        return maps_table(sorted(self._maps[record.key], key=lambda row: order[row[0]]))

    def add(
        self,
        context: Context,
        techniques: Sequence[Explainable],
        classes: Sequence[int | None],
        *,
        first: bool,
    ) -> None:
        """Runs techniques on a batch for one target an image and keeps what they give.

        Args:
            context: the batch.
            techniques: what to run.
            classes: the targets; None where an image has no further one.
            first: whether these are the images' first targets, the only ones observations look at.
        """
        groups: dict[type[Technique], list[Technique]] = defaultdict(list)
        for technique in techniques:
            if isinstance(technique, Technique):
                groups[type(technique)].append(technique)
        for kind, members in groups.items():
            self._attribute(context, kind, members, classes)
        for technique in techniques:
            if isinstance(technique, Observation) and first:
                self._observe(context, technique, classes)

    def _attribute(
        self,
        context: Context,
        kind: type[Technique],
        members: Sequence[Technique],
        classes: Sequence[int | None],
    ) -> None:
        error: str | None = None
        try:
            maps = list(kind.attribute_all(members, context))
            context.maps.update(zip((member.key for member in members), maps, strict=True))
            arrays: list[Any] = [_checked(values, len(classes), self._grid) for values in maps]
        except torch.OutOfMemoryError:
            raise
        except _FAILURES as failure:
            error = _describe(failure)
            arrays = [[np.zeros((0, 0), np.float32)] * len(classes) for _ in members]
        for member, values in zip(members, arrays, strict=True):
            for image_id, target, value in zip(context.image_ids, classes, values, strict=True):
                if not member.class_specific or target is not None:
                    shown = target if member.class_specific else None
                    wrong = error or (None if np.isfinite(value).all() else _NOT_FINITE)
                    row = (image_id, Attribution(member.key, shown, value, wrong))
                    self._maps[member.key].append(row)

    def _observe(self, context: Context, technique: Observation, classes: Sequence[int | None]) -> None:
        try:
            observed = list(technique.observe(context))
            if len(observed) != len(classes):
                raise ValueError(f"it gave rows for {len(observed)} of {len(classes)} images")
        except torch.OutOfMemoryError:
            raise
        except _FAILURES as failure:
            observed = [[{"error": _describe(failure)}] for _ in classes]
        for image_id, target, rows in zip(context.image_ids, classes, observed, strict=True):
            if not technique.class_specific or target is not None:
                self._rows[technique.key] += [{"id": image_id, **row} for row in rows]


def _checked(values: Tensor, images: int, grid: tuple[int, int]) -> Any:
    """A technique's maps as numpy float32 ``(images, rows, cols)``; pixels are summed up patch by patch."""
    if values.dim() != 3 or len(values) != images:
        raise ValueError(f"it gave maps of shape {tuple(values.shape)} for {images} images")
    return patch_sums(values.float(), grid).cpu().numpy()


def _describe(failure: Exception) -> str:
    return f"{type(failure).__name__}: {failure}"


def _columns(explanations: Sequence[Explanation]) -> Iterator[list[int | None]]:
    """The images' first targets, then their second ones, and so on; None where an image has no more.

    There is always a first column, so that techniques which need no target run on images without one.
    """
    depth = max(1, max((len(explanation.targets) for explanation in explanations), default=0))
    for column in range(depth):
        yield [
            explanation.targets[column].index if column < len(explanation.targets) else None
            for explanation in explanations
        ]
