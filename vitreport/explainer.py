"""A shard of images in, its predictions, maps and observations out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch
from torch import Tensor

from vitreport.background import Background
from vitreport.batches import Prepared, prepared_batches
from vitreport.engines import EXPLAIN, Receipt
from vitreport.errors import SettingsError
from vitreport.explanation import Explanation, Prediction
from vitreport.findings import NO_LOGITS, Findings, columns
from vitreport.model.environment import exact_float32
from vitreport.model.head import Head
from vitreport.model.memory import SHORT_OF_MEMORY, lacks_memory, release
from vitreport.model.trace import Backward, Forward, Need
from vitreport.model.tracer import Tracer
from vitreport.model.transfer import arrival, fetched
from vitreport.plan import Plan
from vitreport.store import RunFolder, TechniqueRecord
from vitreport.store.folder import images_part, technique_part
from vitreport.store.schema import images_table
from vitreport.techniques.technique import SHARED_PASSES, Context, Explainable, alike, needs_of

TOP_K = 5
_HALVED = "the rest of their shard had {} at most, which moves maps by rounding alone (1e-5 of their maximum)"


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

    def amounts(self, shards: Iterable[int]) -> dict[str, int]:
        """Images that remain in some shards, by stage: all of them, and those of each capped technique."""
        refs = {shard: {ref.id for ref in self.plan.shards[shard]} for shard in shards}
        amounts = {EXPLAIN: sum(map(len, refs.values()))}
        for shard, ids in refs.items():
            for _, technique in self.pending(shard):
                if technique.most_images is not None:
                    amounts[technique.key] = amounts.get(technique.key, 0) + len(
                        ids & self._capped(technique)
                    )
        return amounts

    def is_done(self, shard: int) -> bool:
        """True where nothing of the shard is pending."""
        return self.folder.has(images_part(shard)) and not self.pending(shard)

    def __call__(self, shard: int) -> Iterator[Receipt]:
        """Explains what is pending in a shard, one batch after the other, then writes its parts."""
        return self.in_turn([shard])

    def in_turn(self, shards: Sequence[int]) -> Iterator[Receipt]:
        """Explains shards in order; while one is explained, the parts of the last one are written."""
        groups = {shard: self.plan.shards[shard] for shard in shards}
        todo = [shard for shard in shards if not self.is_done(shard)]
        if len(todo) < len(groups):
            yield Receipt(sum(map(len, groups.values())) - sum(len(groups[shard]) for shard in todo))
        batches = prepared_batches(self.plan, (groups[shard] for shard in todo))
        with exact_float32(), closing(batches), Background() as writer:
            for shard, several in groupby(batches, key=lambda batch: batch[0].ref.shard):
                pending = self.pending(shard)
                findings = self._nothing_yet()
                techniques, size = [technique for _, technique in pending], self.plan.batch_size
                for batch in several:
                    writer.check()
                    size = yield from self._explain_what_fits(batch, techniques, findings, size)
                records, arrived = [record for record, _ in pending], arrival(self.plan.model.device)
                writer.start(partial(self._write, shard, records, findings, arrived))

    def _nothing_yet(self) -> Findings:
        return Findings(self.plan.model.layout.grid, self.plan.settings.pixel_maps)

    def _write(
        self,
        shard: int,
        records: Sequence[TechniqueRecord],
        findings: Findings,
        arrived: Callable[[], None],
    ) -> None:
        """Writes the parts of a shard, when its maps have arrived; that of its images comes last."""
        arrived()
        self.folder.write_tables(
            {technique_part(record, shard): partial(findings.table, record) for record in records}
        )
        if not self.folder.has(images_part(shard)):
            self.folder.write_table(images_part(shard), images_table(findings.explanations))

    def _explain_what_fits(
        self, batch: Sequence[Prepared], techniques: Sequence[Explainable], findings: Findings, size: int
    ) -> Generator[Receipt, None, int]:
        """Explains a batch, at most `size` images at a time, and half as many where memory runs out.

        Returns:
            How many at a time did fit.

        Raises:
            SettingsError: one image alone does not fit.
        """
        at = 0
        while at < len(batch):
            some, found = batch[at : at + size], self._nothing_yet()
            told: Counter[str] = Counter()
            enough = True
            try:
                for receipt in self._explain(some, techniques, found, size):
                    told[receipt.stage] += receipt.done  # type: ignore[assignment]
                    yield receipt
            except (RuntimeError, MemoryError) as error:
                if not lacks_memory(error):
                    raise
                enough = False
            if enough:
                findings.take(found)
                at += len(some)
                continue
            for stage, done in told.items():
                yield Receipt(-done, stage=stage)
            if len(some) == 1:
                raise SettingsError(
                    f"not even one image fits the memory of the {self.plan.device}; give a smaller "
                    "--image-size or fewer techniques, or run it where there is more memory"
                )
            release(self.plan.model.device)
            size = (len(some) + 1) // 2
            yield Receipt(0, notice=f"{SHORT_OF_MEMORY} {len(some)} images at a time: {_HALVED.format(size)}")
        return size

    def _explain(
        self, batch: Sequence[Prepared], techniques: Sequence[Explainable], findings: Findings, chunk: int
    ) -> Iterator[Receipt]:
        """Explains a batch: one forward pass for each kind of gradient, and a gradient of it a target.

        Receipts come as techniques are done, each for its share of the batch's work. A pass of a technique's
        own has at most `chunk` images.
        """
        usable = [image for image in batch if image.pixels is not None]
        explained: list[Explanation] = []
        told = 0.0
        for backward in Backward if usable else ():
            members = [technique for technique in techniques if technique.backward is backward]
            if explained and not members:
                continue
            with self.plan.model.traced(needs_of(members), backward) as tracer:
                forward = tracer.forward(self._pixels(usable))
            explained = explained or self._predicted(forward.logits, usable)
            share = len(batch) / self._work(techniques, explained)
            for receipt in self._explain_targets(tracer, forward, members, explained, findings, share, chunk):
                told += receipt.done if receipt.stage == EXPLAIN else 0
                yield receipt
        damaged = {image.ref.id for image in batch if image.pixels is None}
        for technique in techniques:
            if technique.most_images is not None and (lost := damaged & self._capped(technique)):
                yield Receipt(len(lost), stage=technique.key)
        known = iter(explained)
        findings.explanations += [
            Explanation(image.ref, image.reason) if image.pixels is None else next(known) for image in batch
        ]
        yield Receipt(len(batch) - told)

    def _work(self, techniques: Sequence[Explainable], explained: Sequence[Explanation]) -> float:
        """Passes of a batch, roughly, over its images; those of capped techniques are told apart."""
        targets = sum(1 for _ in columns(explained))
        return SHARED_PASSES * targets + sum(
            technique.passes(self.plan.model) * (targets if technique.class_specific else 1)
            for technique in techniques
            if technique.most_images is None
        )

    def _explain_targets(
        self,
        tracer: Tracer,
        forward: Forward,
        techniques: Sequence[Explainable],
        explained: Sequence[Explanation],
        findings: Findings,
        share: float,
        chunk: int,
    ) -> Iterator[Receipt]:
        """Explains one target an image after the other; a receipt is `share` for each pass."""
        plan, ids = self.plan, tuple(explanation.ref.id for explanation in explained)
        targets_of = list(columns(explained)) if techniques else []
        for place, classes in enumerate(targets_of):
            chosen = [0 if index is None else index for index in classes]
            targets = torch.tensor(chosen).to(forward.logits.device, non_blocking=True)
            trace = tracer.gradient(forward, targets, keep_graph=place + 1 < len(targets_of))
            context = Context(trace, plan.model, ids, plan.settings.seed, chunk)
            due = [technique for technique in techniques if technique.class_specific or place == 0]
            present = [number for number, index in enumerate(classes) if index is not None]
            fewer = context if len(present) in (0, len(classes)) else context.only(present)
            for members in alike([one for one in due if one.most_images is None]):
                if present and members[0].class_specific and not needs_of(members) & Need.GRAPH:
                    findings.add(fewer, members, [classes[number] for number in present], first=place == 0)
                else:
                    findings.add(context, members, classes, first=place == 0)
                yield Receipt(share * sum(technique.passes(plan.model) for technique in members))
            for technique in due:
                if technique.most_images is not None:
                    yield from self._explain_singly(context, technique, classes, findings)

    def _explain_singly(
        self, context: Context, technique: Explainable, classes: Sequence[int | None], findings: Findings
    ) -> Iterator[Receipt]:
        """Explains those images of a batch, one by one, that a capped technique takes."""
        capped = self._capped(technique)
        for place, target in enumerate(classes):
            if context.image_ids[place] in capped and (target is not None or not technique.class_specific):
                findings.add(context.only([place]), [technique], [target], first=True)
                yield Receipt(1, stage=technique.key)

    def _capped(self, technique: Explainable) -> set[str]:
        """Ids of the images that a technique explains: the first ones of the run."""
        return {ref.id for ref in self.plan.catalogue.refs[: technique.most_images]}

    def _pixels(self, usable: Sequence[Prepared]) -> Tensor:
        device = self.plan.model.device
        pixels = (image.pixels for image in usable if image.pixels is not None)
        return torch.stack([one.to(device, non_blocking=True) for one in pixels])

    def _predicted(self, logits: Tensor, usable: Sequence[Prepared]) -> list[Explanation]:
        """The best classes and the targets of each image; or why it is set aside."""
        model, targets = self.plan.model, self.plan.targets
        logits = logits.detach().float()
        if model.head is Head.NONE:
            return [Explanation(image.ref, None, image.view) for image in usable]
        depth = min(max(TOP_K, targets.most), logits.shape[1])
        scores, ranking, sound = fetched(
            model.head.scores(logits), logits.topk(depth, 1).indices, logits.isfinite().all(1)
        )
        found = []
        for image, row, order, is_sound in zip(usable, scores, ranking.tolist(), sound, strict=True):
            if not is_sound:
                found.append(Explanation(image.ref, NO_LOGITS))
                continue
            chosen = targets.of_image(order, image.ref.label)
            best, explained = (
                tuple(Prediction(index, float(row[index])) for index in indices)
                for indices in (order[:TOP_K], chosen)
            )
            found.append(Explanation(image.ref, None, image.view, best, explained))
        return found
