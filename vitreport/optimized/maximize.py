"""From a finished run to optimised pictures in it: model, targets, pictures, gates, files."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vitreport.errors import SettingsError, StoreError, did_you_mean
from vitreport.model.environment import choose_device, device_name
from vitreport.model.load import VisionModel, load_model
from vitreport.model.memory import automatic_batch_size
from vitreport.optimized import gates
from vitreport.optimized.audited import AuditedImages
from vitreport.optimized.image import PARAMETRISATIONS, Maco, Parametrisation, Pixels
from vitreport.optimized.optimise import Order, Recipe, optimise
from vitreport.optimized.reading import check
from vitreport.optimized.statistics import ImageStatistics
from vitreport.optimized.target import Kind, Target
from vitreport.settings import digest
from vitreport.store import Run
from vitreport.store import optimized as store
from vitreport.store.optimized import Audited, CrossControl, OptimizedPicture, OptimizedRecord

_REVISION = 1
"""Part of every digest: a change of how pictures are made counts it up."""
CLASSES, UNITS = 8, 4
"""Targets where none are named: the classes that occur most often, and the most active units."""
_AT_ONCE_ON_CPU = 8
"""Pictures in a batch: more cost as much each, and what is not finished is lost when a run is stopped."""

Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Wish:
    """What a user asks for.

    Attributes:
        targets: ``class:243``, a class name, ``unit:8:17`` …; empty takes the classes that occur most often
            and the most active units.
        parametrisation: ``fourier``, ``maco``, or ``pixels``, which nothing restrains.
        steps: of the optimiser.
        seeds: pictures of each target.
        copies: changed copies that the model is shown in each step.
    """

    targets: tuple[str, ...] = ()
    parametrisation: str = "fourier"
    steps: int = Recipe.steps
    seeds: int = 4
    copies: int = Recipe.copies

    def __post_init__(self) -> None:
        if self.parametrisation not in PARAMETRISATIONS:
            near = did_you_mean(self.parametrisation, PARAMETRISATIONS)
            raise SettingsError(
                f"unknown parametrisation '{self.parametrisation}'{near or ';'} "
                f"allowed: {', '.join(PARAMETRISATIONS)}"
            )
        for name in ("steps", "seeds", "copies"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be at least 1")

    @property
    def recipe(self) -> Recipe:
        """How the pictures are made."""
        if self.parametrisation == Pixels.name:
            return Recipe.unconstrained(self.steps)
        return Recipe(steps=self.steps, copies=self.copies)


def model_of(run: Run, device: str, checkpoint: Path | None = None) -> VisionModel:
    """Loads the model of a run as it was explained.

    Args:
        run: the run.
        device: ``auto``, ``cpu`` or ``cuda``.
        checkpoint: its weights, where they are no longer at the place that the run names.

    Raises:
        SettingsError: the weights are gone, or are others by now.
    """
    settings, record = run.manifest.settings, run.manifest.model
    named = settings.get("checkpoint")
    if checkpoint is not None and not checkpoint.is_file():
        raise SettingsError(f"there are no weights at {checkpoint}; --checkpoint takes a file")
    if checkpoint is None and named is not None:
        checkpoint = Path(named)
        if not checkpoint.is_file():
            raise SettingsError(
                f"the weights of this run are no longer at {named}; --checkpoint FILE says where they are"
            )
    size = settings.get("image_size")
    model = load_model(
        settings["model"],
        checkpoint=checkpoint,
        image_size=None if size is None else (size[0], size[1]),
        device=choose_device(device),
        head=settings.get("head", "auto"),
    )
    if model.weights_sha256 != record.weights_sha256:
        raise SettingsError(
            f"the weights of '{settings['model']}' are not those that this run explained (SHA-256 "
            f"{model.weights_sha256[:12]}…, the run has {record.weights_sha256[:12]}…); "
            "--checkpoint FILE takes the right ones"
        )
    return replace(model, classes=record.classes)


class Maximizer:
    """Makes optimised pictures for one run; what is there already is not made again."""

    def __init__(self, run: Run, model: VisionModel, wish: Wish, judge: VisionModel | None = None) -> None:
        self._run = run
        self._model = model
        self._wish = wish
        self._judge = judge
        self._images = AuditedImages(run, model)
        self.targets = self._targets()

    def pending(self) -> list[Target]:
        """Targets without pictures."""
        return [target for target in self.targets if self._stored(target) is None]

    def records(self, progress: Told | None = None) -> list[OptimizedRecord]:
        """Makes what is missing.

        Args:
            progress: told how many steps of how many are done, over all batches.

        Returns:
            One record a target, in order.

        Raises:
            StoreError: a file cannot be written, or a record cannot be read.
        """
        pending = self.pending()
        if pending:
            statistics = self._images.statistics()
            audited = dict(zip(pending, self._images.read(pending), strict=True))
            parametrisation = self._parametrisation(statistics)
            parts = list(self._parts(pending))
            for number, part in enumerate(parts):

                def tell(step: int, steps: int, number: int = number) -> None:
                    if progress:
                        progress(number * steps + step, len(parts) * steps)

                self._make(part, [audited[target] for target in part], parametrisation, tell)
        found = [self._stored(target) for target in self.targets]
        if None in found:
            raise StoreError(f"{self._run.folder.place(store.ROOM)} loses files while it is written")
        return [record for record in found if record is not None]

    def cross_control(self, records: Sequence[OptimizedRecord]) -> CrossControl | None:
        """Judges the first picture of each class for every other class, and writes what it finds.

        None, and nothing is written, where there are fewer than two classes.
        """
        made = [
            (target, record)
            for target, record in zip(self.targets, records, strict=True)
            if target.kind is Kind.CLASS
        ]
        if len(made) < 2:
            return None
        scores, passes = [], []
        for _, record in made:
            picture = self._read(record.pictures[0])
            seen = gates.judged(
                self._model,
                picture.expand(len(made), -1, -1, -1),
                [target for target, _ in made],
                [other.audited for _, other in made],
                [record.target] * len(made),
                [record.pictures[0].file] * len(made),
            )
            scores.append(tuple(float(one.looks["clean"].score or 0) for one in seen))
            passes.append(tuple(one.passed for one in seen))
        found = CrossControl(
            digest=self._digest(None),
            targets=tuple(record.target for _, record in made),
            scores=tuple(scores),
            passes=tuple(passes),
        )
        self._run.folder.write_json(store.CONTROLS, found.to_json())
        return found

    def _targets(self) -> list[Target]:
        if not self._wish.targets:
            classes = self._images.common_classes(CLASSES)
            found = classes + self._images.most_active_units(UNITS)
            if not found:
                raise SettingsError(
                    "this run has neither classes nor units to choose from; --target names what to maximize"
                )
            return found
        found = [Target.parse(text, self._model.classes) for text in self._wish.targets]
        for target in found:
            check(self._model, target)
        return list(dict.fromkeys(found))

    def _parametrisation(self, statistics: ImageStatistics) -> Parametrisation:
        kind = PARAMETRISATIONS[self._wish.parametrisation]
        return kind(statistics.to(self._model.device), self._model.input_size)

    def _parts(self, targets: Sequence[Target]) -> Iterator[Sequence[Target]]:
        """Targets that are made in one batch, with all their seeds."""
        at_once = automatic_batch_size(self._model) // self._wish.copies
        if self._model.device.type == "cpu":
            at_once = min(at_once, _AT_ONCE_ON_CPU)
        size = max(1, at_once // self._wish.seeds)
        for start in range(0, len(targets), size):
            yield targets[start : start + size]

    def _make(
        self,
        targets: Sequence[Target],
        audited: Sequence[Audited],
        parametrisation: Parametrisation,
        progress: Told,
    ) -> None:
        """Makes and writes all pictures of some targets; a target's record is its commit mark."""
        seeds = range(self._wish.seeds)
        orders = [
            Order(target, seed, said.deviation or 1.0)
            for target, said in zip(targets, audited, strict=True)
            for seed in seeds
        ]
        made = optimise(self._model, orders, parametrisation, self._wish.recipe, progress)
        made = gates.quantised(made)
        noises = gates.quantised(_noise(parametrisation, targets, self._model.device))
        for place, (target, said) in enumerate(zip(targets, audited, strict=True)):
            own = made[place * len(seeds) : (place + 1) * len(seeds)]
            shown = torch.cat([own, noises[place : place + 1]])
            names = [*(f"seed {seed}" for seed in seeds), "noise"]
            name = self._digest(target)
            files = [store.picture_path(target.slug, name, one) for one in names]
            everything = [target] * len(shown), [said] * len(shown)
            pictures = gates.judged(self._model, shown, *everything, names, files)
            for number, pixels in enumerate(shown):
                content = _png(pixels)
                self._run.folder.write(files[number], content)
                pictures[number] = replace(pictures[number], sha256=hashlib.sha256(content).hexdigest())
            record = self._record(target, said, pictures, own, parametrisation.statistics)
            self._run.folder.write_json(self._path(target), record.to_json())

    def _record(
        self,
        target: Target,
        audited: Audited,
        pictures: Sequence[OptimizedPicture],
        pixels: Tensor,
        statistics: ImageStatistics,
    ) -> OptimizedRecord:
        *own, noise = pictures
        together = gates.gates_together(own)
        if self._judge is not None and target.kind is Kind.CLASS:
            name = self._model.classes[target.index]
            together = (*together, gates.gate_of_judge(self._judge, pixels, name))
        return OptimizedRecord(
            target=target.key,
            title=target.title(self._model.classes),
            kind=target.kind.value,
            index=target.index,
            block=target.block,
            digest=self._digest(target),
            parametrisation=self._wish.parametrisation,
            recipe=asdict(self._wish.recipe),
            weights_sha256=self._model.weights_sha256,
            device=device_name(self._model.device.type),
            statistics=_words(statistics, self._images.from_views),
            audited=audited,
            pictures=tuple(own),
            noise=noise,
            gates=together,
            feature_cosine=gates.feature_cosine(self._model, pixels),
        )

    def _stored(self, target: Target) -> OptimizedRecord | None:
        """What is there of a target, whole; damaged pictures count as none and are made again."""
        try:
            return store.read_record(self._run.folder, self._path(target))
        except StoreError:
            return None

    def _path(self, target: Target) -> str:
        return store.record_path(target.slug, self._digest(target))

    def _digest(self, target: Target | None) -> str:
        """8 hex digits of all that decides a target's pictures and gates; of None all but the target."""
        manifest = self._run.manifest
        identity = [
            _REVISION,
            self._model.weights_sha256,
            manifest.model.canary_sha256,
            manifest.data.catalogue_sha256,
            self._wish.parametrisation,
            asdict(self._wish.recipe),
            self._wish.seeds,
            None if self._judge is None else self._judge.weights_sha256,
            None if target is None else target.key,
        ]
        return digest(identity, 8)

    def _read(self, picture: OptimizedPicture) -> Tensor:
        """Pixels of a stored picture in [0, 1], ``(1, 3, height, width)``."""
        import numpy as np

        content = io.BytesIO(self._run.folder.read(picture.file))
        with Image.open(content, formats=("PNG",)) as image:
            levels = np.asarray(image.convert("RGB"), np.float32)
        return torch.from_numpy(levels / 255).permute(2, 0, 1)[None].to(self._model.device)


def _noise(parametrisation: Parametrisation, targets: Sequence[Target], device: torch.device) -> Tensor:
    """The control: colours and spectrum of natural pictures with random phases, one a target."""
    maco = Maco(parametrisation.statistics, parametrisation.size)
    starts = maco.start([Order(target, 0).generator("noise") for target in targets])
    return maco.pictures(starts.to(device))


def _png(pixels: Tensor) -> bytes:
    levels = (pixels * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    encoded = io.BytesIO()
    Image.fromarray(levels).save(encoded, "PNG", optimize=True)
    return encoded.getvalue()


def _words(statistics: ImageStatistics, from_views: int) -> str:
    if not statistics.pictures:
        return "assumed: no image to learn from, so uncorrelated colours and a spectrum of 1 / frequency"
    images = "1 audited image" if statistics.pictures == 1 else f"{statistics.pictures} audited images"
    views = f", {from_views} of them from the run's JPEG views, as their files are gone" if from_views else ""
    return f"measured on {images}{views}"
