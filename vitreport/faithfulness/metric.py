"""What a metric is: a frozen dataclass whose fields are its parameters and whose method scores maps.

A metric scores the maps that all techniques made of a batch together, so that its passes through the model
are few and large.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, TypeVar, cast

import torch
from torch import Tensor

from vitreport.configurable import Configurable
from vitreport.model.load import VisionModel
from vitreport.registry import Registry
from vitreport.settings import Parameter, TechniqueSpec
from vitreport.store import Check
from vitreport.techniques.maps import Maps, maps_of
from vitreport.techniques.technique import SHARED_PASSES, Technique

Value = TypeVar("Value")
BACKGROUND, IGNORED = -1, -2
"""What a pixel of a mask shows where it is no class."""


@dataclass(frozen=True)
class Gallery:
    """All images that are scored together, of which a batch is a part.

    Attributes:
        pixels: normalised, ``(images, 3, height, width)``.
        labels: class indices, ``(images,)``; -1 without a label.
        image_ids: of the images.
        maps: by technique key, ``(images, rows, cols)``; NaN where there is none.
        shared: what metrics found out about all of them, by name.
    """

    pixels: Tensor
    labels: Tensor
    image_ids: tuple[str, ...]
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    shared: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], Value]) -> Value:
        """Returns what `make` gives, made once only."""
        if name not in self.shared:
            self.shared[name] = make()
        return cast(Value, self.shared[name])


@dataclass(frozen=True)
class Case:
    """A batch whose maps are scored, for one target an image.

    Attributes:
        model: the model.
        pixels: what it is given, normalised, ``(batch, 3, height, width)``.
        targets: explained classes, ``(batch,)``.
        image_ids: of the batch; random draws are seeded by them.
        seed: of the run.
        chunk: whole pictures that a pass may have at a time.
        techniques: what made the maps, by key, for metrics that explain anew.
        masks: which class each pixel shows, ``(batch, height, width)``: an index, `BACKGROUND` or `IGNORED`;
            None without masks.
        mask_notes: why an image's mask says nothing, or None, ``(batch,)``.
        gallery: all images that are scored together; None: this batch is all, and has no labels.
        precision: of passes that only look at the model's score; None takes float16 on a GPU.
    """

    model: VisionModel
    pixels: Tensor
    targets: Tensor
    image_ids: tuple[str, ...]
    seed: int
    chunk: int = 32
    techniques: Mapping[str, Technique] = field(default_factory=dict)
    masks: Tensor | None = None
    mask_notes: tuple[str | None, ...] = ()
    gallery: Gallery | None = None
    precision: torch.dtype | None = None

    def explain(
        self, keys: Iterable[str], pixels: Tensor, *targets: Tensor, image_ids: Sequence[str] | None = None
    ) -> list[Maps]:
        """Explains pictures anew; see `maps_of`.

        Args:
            keys: of the techniques.
            pixels: ``(pictures, 3, height, width)``.
            targets: class indices, ``(pictures,)`` each.
            image_ids: of the pictures; None: those of the batch.
        """
        techniques = [self.techniques[key] for key in keys]
        names = self.image_ids if image_ids is None else image_ids
        return maps_of(self.model, techniques, pixels, targets, names, self.seed, self.chunk)

    @torch.no_grad()
    def logits(self, pixels: Tensor) -> Tensor:
        """What the model says of pictures, ``(pictures, classes)``, float32."""
        return torch.cat([self.model.module(part).float() for part in torch.split(pixels, self.chunk)])

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Passes that only look at the model's score may take half precision."""
        device = self.pixels.device.type
        precision = self.precision or (torch.float16 if device == "cuda" else torch.float32)
        halved = precision is not torch.float32
        with torch.no_grad(), torch.autocast(device, precision if halved else None, enabled=halved):
            yield


Row = dict[str, Any]
"""The ``value`` of one image, None where it is undefined, and the metric's further columns."""


@dataclass(frozen=True)
class Metric(Configurable, ABC):
    """Scores maps, ``(rows, cols)`` on the patch grid.

    Attributes:
        title: for people.
        short: the title in a word or two, for the head of a column.
        source: authors, year, arXiv id, equation.
        measures: what a reader may conclude.
        does_not_measure: what a reader may not.
        higher_is_better: whether a larger value speaks for a technique; None: it ranks nothing.
        check: what tells which techniques pass, where it is a check and ranks nothing.
        columns: name to Arrow type of what a row has beside its value.
        details: columns of numbers whose means a report shows beside that of the value: name to words.
        tier: the smallest tier that scores by it.
        tier_settings: the settings of its parameters that a tier has.
        most_images: how many images of the sample it scores at most; None: all.
        needs_labels: whether it scores nothing without labels.
        needs_masks: whether it scores nothing without masks.
    """

    title: ClassVar[str]
    short: ClassVar[str]
    source: ClassVar[str]
    measures: ClassVar[str]
    does_not_measure: ClassVar[str]
    higher_is_better: ClassVar[bool | None] = True
    check: ClassVar[Check | None] = None
    columns: ClassVar[Mapping[str, str]] = {}
    details: ClassVar[Mapping[str, str]] = {}
    tier: ClassVar[Literal["core", "all"]] = "all"
    tier_settings: ClassVar[tuple[Mapping[str, Parameter], ...]] = ({},)
    most_images: ClassVar[int | None] = None
    needs_labels: ClassVar[bool] = False
    needs_masks: ClassVar[bool] = False

    def describe(self) -> dict[str, Any]:
        """Plain values: all that a manifest or a listing says of this setting."""
        texts = ("name", "title", "short", "source", "measures", "does_not_measure", "higher_is_better")
        return {
            **{name: getattr(self, name) for name in texts},
            "key": self.key,
            "parameters": self.parameters,
            "defaults": self.defaults(),
            "parameter_help": self.parameter_help(),
            "columns": dict(self.columns),
            "details": dict(self.details),
            "check": asdict(self.check) if self.check else None,
        }

    @abstractmethod
    def score(self, case: Case, maps: Mapping[str, Tensor]) -> dict[str, list[Row]]:
        """Scores every technique's maps of a batch.

        Args:
            case: the batch.
            maps: by technique key, ``(batch, rows, cols)``; NaN where there is no map.

        Returns:
            By technique key a row an image.
        """

    @abstractmethod
    def passes(self, model: VisionModel, techniques: Sequence[Technique]) -> float:
        """Roughly what it costs to score some techniques on one image, in plain forward passes."""

    def supports(self, model: VisionModel) -> str | None:
        """Returns why `model` cannot be scored by this, or None where it can."""
        return None


def explaining_passes(model: VisionModel, techniques: Sequence[Technique]) -> float:
    """Roughly what it costs to explain one image anew for one target, in plain forward passes."""
    kinds = {technique.backward for technique in techniques if technique.needs}
    return SHARED_PASSES * len(kinds) + sum(technique.passes(model) for technique in techniques)


METRICS: Registry[type[Metric]] = Registry("metric")
Kind = TypeVar("Kind", bound=Metric)


def select(specs: Sequence[str]) -> list[Metric]:
    """Builds the metrics that specs ask for (``none``, ``core``, ``all``, a name with parameters), each once.

    Raises:
        SettingsError: an unknown metric, parameter or value.
    """
    chosen: dict[str, Metric] = {}
    for text in specs:
        spec = TechniqueSpec.parse(text)
        if spec.name in ("none", "core", "all"):
            members = [
                cls(**setting)
                for cls in METRICS.values()
                if spec.name in ("all", cls.tier)
                for setting in cls.tier_settings
            ]
        else:
            members = [METRICS[spec.name].from_spec(spec)]
        for metric in members:
            chosen.setdefault(metric.key, metric)
    return list(chosen.values())


def register(cls: type[Kind]) -> type[Kind]:
    """Class decorator: makes a metric known under its name."""
    METRICS.add(cls.name, cls)
    return cls
