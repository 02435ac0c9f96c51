"""What the index says, and what pages share: view dataclasses, the same for the site and the PDF.

`vitreport.report.reading` fills them from a run. They hold words and numbers, no markup (images:
`image_page`; techniques: `technique_page`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from vitreport.figures.scale import Scale
from vitreport.report.outputs import Outputs
from vitreport.report.wording import number, percent

if TYPE_CHECKING:
    from vitreport.report.chapter import AuditPage
    from vitreport.report.technique_page import TechniquePage
    from vitreport.report.trust_page import TrustPage

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Fact:
    """A term and what is to be said of it."""

    term: str
    value: str


@dataclass(frozen=True)
class ClassView:
    """A class of the model, or an output that is none.

    Attributes:
        index: of the class, as in the logits.
        name: in full, synonyms included.
        short: its first synonym.
        score: its probability in [0, 1], or its value; None where it is not known.
        text: the score as readers see it, ``37.2 %`` or ``3.42``; empty without one.
    """

    index: int
    name: str
    short: str
    score: float | None = None
    text: str = ""

    @property
    def bar(self) -> str:
        """Length of a bar out of 100, as text; of a probability."""
        return f"{100 * (self.score or 0):.1f}"

    @property
    def is_seen(self) -> bool:
        """Whether a narrow bar of that length would be more than a speck."""
        return (self.score or 0) >= 0.01


@dataclass(frozen=True)
class ImageRow:
    """One image in a table of images.

    Attributes:
        id: as in the catalogue; also the name of the image's page.
        name: the file's name.
        uri: the file, as the user named it.
        predicted: None where the image is quarantined or the model has no classifier.
        correct: whether the prediction is the label; None where that cannot be said.
        reason: why the image is quarantined, or None.
        outputs: of the model.
    """

    id: str
    name: str
    uri: str
    shard: int
    label: ClassView | None
    group: str | None
    predicted: ClassView | None
    correct: bool | None
    reason: str | None
    outputs: Outputs

    @property
    def says(self) -> str:
        """What the model says of it, in a word; empty where it does not say a class."""
        found = self.predicted
        return "" if found is None else self.outputs.predicted(found.short, found.score)

    @property
    def verdict(self) -> str:
        """``correct``, ``wrong``, ``quarantined`` or empty."""
        if self.reason is not None:
            return "quarantined"
        return "" if self.correct is None else ("correct" if self.correct else "wrong")

    @property
    def finding(self) -> str:
        """The verdict in a sentence, with the numbers."""
        if self.predicted is None:
            return self.outputs.nothing
        said = self.outputs.sentence(self.predicted.short, self.predicted.score)
        if not self.outputs.judged:
            return f"{said}."
        if self.label is None:
            return f"{said}; the image has no label."
        return f"{said}, which is right." if self.correct else f"{said}; the label is {self.label.short}."


@dataclass(frozen=True)
class Columns:
    """Which columns a table of images has: those in which some cell says something.

    Attributes:
        says: the heading over what the model says; empty without such a column.
        reason: whether it must have room for why an image is quarantined.
        score: the heading over the number; empty without such a column.
        label: whether there is one.
        verdict: whether there is one.
        group: whether there is one.
    """

    says: str
    reason: bool
    score: str
    label: bool
    verdict: bool
    group: bool

    @classmethod
    def of(cls, rows: Sequence[ImageRow]) -> Columns:
        """Those for these images."""
        return cls(
            says=next((row.outputs.first.capitalize() for row in rows if row.says), ""),
            reason=any(row.reason for row in rows),
            score=next((row.outputs.score.capitalize() for row in rows if row.predicted), ""),
            label=any(row.label for row in rows),
            verdict=any(row.correct is not None for row in rows),
            group=any(row.group is not None for row in rows),
        )

    @property
    def predicted(self) -> str:
        """The heading over what the model says, or else over reasons; empty without such a column."""
        return self.says or ("Reason" if self.reason else "")

    @property
    def hidden(self) -> str:
        """Names of the columns that it does not have, for the style sheet."""
        shown = {
            "predicted": self.predicted,
            "number": self.score,
            "label": self.label,
            "said": self.verdict,
            "group": self.group,
        }
        return " ".join(f"no-{name}" for name, there in shown.items() if not there)


@dataclass(frozen=True)
class Slice:
    """The images of one label or group: how many, and how many of the labelled ones are right."""

    name: str
    images: int
    labelled: int
    correct: int

    @property
    def accuracy(self) -> str:
        """``37.2 %``, or empty where nothing is labelled."""
        return percent(self.correct / self.labelled) if self.labelled else ""


@dataclass(frozen=True)
class Slices:
    """The images by label or by group, the largest first.

    Attributes:
        by: ``label`` or ``group``.
        rows: the largest slices.
        further: how many slices are not shown.
    """

    by: str
    rows: tuple[Slice, ...]
    further: int


@dataclass(frozen=True)
class IndexPage:
    """The start of a report.

    Attributes:
        summary: the findings, a sentence each.
        outputs: of the model.
        rows: every image of the run, in the order of their files' names, the quarantined ones included.
        command: what reproduces the run; empty where it is not to be shown.
        published: as in the manifest.
        trust: what the scores say; None where the run was asked for none.
        audit: what the run shows as a whole; None where no image could be explained.
    """

    title: str
    outputs: Outputs
    summary: tuple[str, ...]
    model: tuple[Fact, ...]
    data: tuple[Fact, ...]
    slices: tuple[Slices, ...]
    notices: tuple[str, ...]
    techniques: tuple[TechniquePage, ...]
    provenance: tuple[Fact, ...]
    command: str
    rows: tuple[ImageRow, ...]
    trust: TrustPage | None
    audit: AuditPage | None
    published: Mapping[str, str] = field(default_factory=dict)

    @property
    def ran(self) -> tuple[TechniquePage, ...]:
        """The techniques of which at least one setting ran."""
        return tuple(page for page in self.techniques if not page.skipped)

    @property
    def skipped_by_reason(self) -> tuple[tuple[str, tuple[TechniquePage, ...]], ...]:
        """The techniques that this model cannot have, those with one reason together."""
        skipped = (page for page in self.techniques if page.skipped)
        return alike(skipped, lambda page: page.skipped or "")

    @property
    def quarantined(self) -> tuple[ImageRow, ...]:
        """The images that could not be used."""
        return tuple(row for row in self.rows if row.reason is not None)

    @property
    def labelled(self) -> bool:
        """Whether any image has a label that its prediction can be held against."""
        return any(row.correct is not None for row in self.rows)

    @property
    def columns(self) -> Columns:
        """Those of its tables of images."""
        return Columns.of(self.rows)

    @property
    def explained(self) -> tuple[ImageRow, ...]:
        """The images that have a page."""
        return tuple(row for row in self.rows if row.reason is None)


def alike(things: Iterable[Thing], word: Callable[[Thing], str]) -> tuple[tuple[str, tuple[Thing, ...]], ...]:
    """Things of one word together, in the order in which the words first come."""
    groups: dict[str, list[Thing]] = {}
    for thing in things:
        groups.setdefault(word(thing), []).append(thing)
    return tuple((said, tuple(group)) for said, group in groups.items())


def range_text(scale: Scale) -> str:
    """``0.001 to 0.08``."""
    return f"{number(scale.low)} to {number(scale.high)}"
