"""What a technique is: a frozen dataclass whose fields are its parameters and whose method is the work.

A technique gives one map an image and target, which metrics can score. An observation gives something
else to look at (pictures of channels, an atlas of heads) as rows of named values.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any, ClassVar, Literal, Self, TypeVar, cast

import numpy as np
from torch import Tensor

from vitreport.configurable import Configurable
from vitreport.draws import generator
from vitreport.errors import SettingsError, TechniqueError
from vitreport.model.load import VisionModel
from vitreport.model.trace import GRADIENTS, Backward, Need, Trace
from vitreport.registry import Registry
from vitreport.settings import Parameter, TechniqueSpec

FAILURES: tuple[type[Exception], ...] = (
    *(TechniqueError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError),
)
"""What a technique may raise on a batch; the run goes on without its maps."""
SHARED_PASSES = 3
"""The traced forward and gradient of a target, roughly, in plain forward passes."""
Value = TypeVar("Value")
Tier = Literal["core", "standard", "all"]
TIERS: tuple[Tier, ...] = ("core", "standard", "all")


@dataclass(frozen=True)
class Context:
    """What a technique may look at: one batch, explained for one target an image.

    Attributes:
        trace: the traced pass, with the gradient of the targets where it is needed.
        model: the model, for techniques that make passes of their own.
        image_ids: of the batch; random draws are seeded by them.
        seed: of the run.
        chunk: images that a pass of a technique's own may have at a time.
        maps: made of this batch so far, by technique key.
        shared: what passes of their own gave that several techniques read, by name.
    """

    trace: Trace
    model: VisionModel
    image_ids: tuple[str, ...]
    seed: int
    chunk: int = 32
    maps: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    shared: dict[str, Any] = dataclasses.field(default_factory=dict)

    def map_of(self, technique: Technique) -> Tensor:
        """Returns another technique's maps of this batch, made now where they are not there yet."""
        if technique.key not in self.maps:
            self.maps[technique.key] = technique.attribute(self)
        return self.maps[technique.key]

    def once(self, name: str, make: Callable[[], Value]) -> Value:
        """Returns what `make` gives, made for this batch and target once only."""
        if name not in self.shared:
            self.shared[name] = make()
        return cast(Value, self.shared[name])

    def generator(self, image_id: str, draw: str) -> np.random.Generator:
        """A generator of random numbers that depends on the run's seed, the image and a name alone."""
        return generator(self.seed, image_id, draw)

    def each(self) -> Iterator[Context]:
        """The images one by one, each as a batch of its own; without the trace's graph."""
        return (self.only([place]) for place in range(len(self.image_ids)))

    def only(self, places: Sequence[int]) -> Context:
        """Some images of the batch; without the trace's graph."""
        ids = tuple(self.image_ids[place] for place in places)
        return dataclasses.replace(self, trace=self.trace.only(places), image_ids=ids, maps={}, shared={})


@dataclass(frozen=True)
class Explainable(Configurable, ABC):
    """What techniques and observations share.

    Attributes:
        title: for people.
        family: ``attention``, ``gradient``, ``relevance``, ``perturbation``, ``activation``, ``control``.
        tier: the smallest tier that runs it.
        opt_in: whether no tier runs it: it is slow, and must be asked for by name.
        needs: what it reads from the trace.
        own_needs: what it reads from passes of its own.
        backward: whose gradient the trace has.
        class_specific: whether its result depends on the target.
        signed: whether values below zero are evidence against the target.
        source: authors, year, arXiv id, equation.
        shows: what a reader may conclude.
        does_not_show: what a reader may not.
        differs: where it departs from its source, or None.
        licence_note: a notice that goes with its use, or None.
        cost: passes through the model, in words; empty for what its needs say.
        tier_settings: the settings of its parameters that a tier runs.
    """

    title: ClassVar[str]
    family: ClassVar[str]
    tier: ClassVar[Tier] = "core"
    opt_in: ClassVar[bool] = False
    needs: ClassVar[Need]
    own_needs: ClassVar[Need] = Need.NOTHING
    backward: ClassVar[Backward] = Backward.PLAIN
    class_specific: ClassVar[bool] = False
    signed: ClassVar[bool] = False
    source: ClassVar[str]
    shows: ClassVar[str]
    does_not_show: ClassVar[str]
    differs: ClassVar[str | None] = None
    licence_note: ClassVar[str | None] = None
    cost: ClassVar[str] = ""
    tier_settings: ClassVar[tuple[Mapping[str, Parameter], ...]] = ({},)

    def describe(self) -> dict[str, Any]:
        """Plain values: all that a manifest or a listing says of this setting."""
        texts = ("name", "title", "family", "tier", "opt_in", "class_specific", "signed", "source", "shows")
        return {
            **{name: getattr(self, name) for name in texts},
            "does_not_show": self.does_not_show,
            "differs": self.differs,
            "licence_note": self.licence_note,
            "cost": self.cost or _cost(self.needs, self.backward),
            "key": self.key,
            "digest": self.digest,
            "parameters": self.parameters,
            "defaults": self.defaults(),
            "parameter_help": self.parameter_help(),
            "kind": "observation" if isinstance(self, Observation) else "map",
            "columns": dict(self.columns) if isinstance(self, Observation) else {},
            "most_images": self.most_images,
        }

    def supports(self, model: VisionModel) -> str | None:
        """Returns why `model` cannot have this, or None where it can."""
        if (self.class_specific or self.needs & Need.HEAD) and not len(model.classes):
            return "the model has no classifier, so there is no class to explain"
        reasons = (reason for need, reason in model.lacks.items() if need & (self.needs | self.own_needs))
        return next(reasons, None)

    @property
    def most_images(self) -> int | None:
        """How many images of a run it explains at most, one by one; None explains all, in batches."""
        return None

    def passes(self, model: VisionModel) -> float:
        """Roughly what it costs beside the shared trace: an image and target, in plain forward passes."""
        return 0.1


def _cost(needs: Need, backward: Backward) -> str:
    if backward is Backward.LIBRA:
        return "one more forward pass and gradient for all Libra techniques together"
    if needs & GRADIENTS:
        return "the shared forward pass and gradient"
    return "the shared forward pass" if needs else "nothing"


@dataclass(frozen=True)
class Technique(Explainable):
    """Gives one map an image: raw values, any sign and range, higher means more for the target."""

    @classmethod
    @abstractmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """Explains one batch with several settings of this technique, which may share work.

        Args:
            techniques: the settings.
            context: the batch.

        Yields:
            For each of `techniques` a float32 tensor on the device: ``(batch, rows, cols)`` on the patch
            grid, or ``(batch, height, width)`` in pixels.
        """

    def attribute(self, context: Context) -> Tensor:
        """Explains one batch with this setting alone; see `attribute_all`."""
        return next(iter(self.attribute_all([self], context)))

    def claimed_sum(self, context: Context) -> Tensor | None:
        """What the values of each map must sum to, ``(batch,)``; None where nothing is claimed."""
        return None


@dataclass(frozen=True)
class Observation(Explainable):
    """Gives rows of named values about each image.

    Attributes:
        columns: name to Arrow type (``int32``, ``float32``, ``string``, ``list<float16>``) of a row's values.
    """

    columns: ClassVar[Mapping[str, str]]

    @abstractmethod
    def observe(self, context: Context) -> Iterator[list[dict[str, Any]]]:
        """Looks at one batch; yields the rows of each image, in the order of the batch."""


TECHNIQUES: Registry[type[Explainable]] = Registry("technique")
Kind = TypeVar("Kind", bound=Explainable)
Member = TypeVar("Member", bound="Explainable")


def register(cls: type[Kind]) -> type[Kind]:
    """Class decorator: makes a technique known under its name."""
    TECHNIQUES.add(cls.name, cls)
    return cls


def needs_of(techniques: Iterable[Explainable]) -> Need:
    """All that these techniques read."""
    return reduce(or_, (technique.needs for technique in techniques), Need.NOTHING)


def alike(techniques: Iterable[Member]) -> list[list[Member]]:
    """Settings of one technique together, so that they can share work; in the order of the first of each."""
    groups: dict[type[Member], list[Member]] = defaultdict(list)
    for technique in techniques:
        groups[type(technique)].append(technique)
    return list(groups.values())


def select(specs: Sequence[str]) -> list[Explainable]:
    """Builds the techniques that specs and tiers ask for, each setting once, in order.

    Raises:
        SettingsError: an unknown technique, parameter or value.
    """
    chosen: dict[str, Explainable] = {}
    for text in specs:
        spec = TechniqueSpec.parse(text)
        for technique in _tier(spec) if spec.name in TIERS else [TECHNIQUES[spec.name].from_spec(spec)]:
            chosen.setdefault(technique.key, technique)
    return list(chosen.values())


def _tier(spec: TechniqueSpec) -> Iterator[Explainable]:
    if spec.parameters:
        raise SettingsError(f"'{spec}': a tier takes no parameters; name the technique")
    reach = TIERS.index(cast(Tier, spec.name))
    for cls in TECHNIQUES.values():
        if TIERS.index(cls.tier) <= reach and not cls.opt_in:
            for setting in cls.tier_settings:
                yield cls(**setting)
