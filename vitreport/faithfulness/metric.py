"""What a metric is: a frozen dataclass whose fields are its parameters and whose method scores maps.

A metric scores the maps that all techniques made of a batch together, so that its passes through the model
are few and large.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from torch import Tensor

from vitreport.configurable import Configurable
from vitreport.model.load import VisionModel
from vitreport.registry import Registry
from vitreport.settings import Parameter, TechniqueSpec


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
    """

    model: VisionModel
    pixels: Tensor
    targets: Tensor
    image_ids: tuple[str, ...]
    seed: int
    chunk: int = 32


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
        higher_is_better: whether a larger value speaks for a technique; None: it describes, and ranks nothing.
        columns: name to Arrow type of what a row has beside its value.
        tier: the smallest tier that scores by it.
        tier_settings: the settings of its parameters that a tier has.
    """

    title: ClassVar[str]
    short: ClassVar[str]
    source: ClassVar[str]
    measures: ClassVar[str]
    does_not_measure: ClassVar[str]
    higher_is_better: ClassVar[bool | None] = True
    columns: ClassVar[Mapping[str, str]] = {}
    tier: ClassVar[Literal["core", "all"]] = "all"
    tier_settings: ClassVar[tuple[Mapping[str, Parameter], ...]] = ({},)

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
    def passes(self, model: VisionModel) -> float:
        """Roughly what it costs: a technique and image, in plain forward passes."""

    def supports(self, model: VisionModel) -> str | None:
        """Returns why `model` cannot be scored by this, or None where it can."""
        return None


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
