"""What the index and the pages of techniques say: view dataclasses, the same for the site and the PDF.

`vitreport.report.reading` fills them from a run. They hold words and numbers, no markup (images:
`image_page`).
"""

from __future__ import annotations

from dataclasses import dataclass

from vitreport.figures.scale import Scale
from vitreport.report.wording import count, number, percent
from vitreport.store import TechniqueRecord


@dataclass(frozen=True)
class Fact:
    """A term and what is to be said of it."""

    term: str
    value: str


@dataclass(frozen=True)
class ClassView:
    """A class of the model.

    Attributes:
        index: of the class, as in the logits.
        name: in full, synonyms included.
        short: its first synonym.
        probability: softmax in [0, 1], or None where it is not known.
    """

    index: int
    name: str
    short: str
    probability: float | None = None

    @property
    def percent(self) -> str:
        """``37.2 %``, or empty."""
        return "" if self.probability is None else percent(self.probability)

    @property
    def bar(self) -> str:
        """Length of a bar out of 100, as text."""
        return f"{100 * (self.probability or 0):.1f}"


@dataclass(frozen=True)
class ImageRow:
    """One image in a table of images.

    Attributes:
        id: as in the catalogue; also the name of the image's page.
        name: the file's name.
        uri: the file, as the user named it.
        predicted: None where the image is quarantined.
        correct: whether the prediction is the label; None without either.
        reason: why the image is quarantined, or None.
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
            return "There is no prediction."
        said = f"The model says {self.predicted.short} ({self.predicted.percent})"
        if self.label is None:
            return f"{said}; the image has no label."
        return f"{said}, which is right." if self.correct else f"{said}; the label is {self.label.short}."


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
class ParameterView:
    """One parameter of a technique, with the value used."""

    name: str
    value: str
    default: str
    help: str


@dataclass(frozen=True)
class Failures:
    """Where a technique, or one setting of it, gave an error instead of a result.

    Attributes:
        images: how many images have such an error.
        results: how many maps or observations are missing.
        reason: the error; of several the commonest.
        others: how many further errors there are.
    """

    images: int
    results: int
    reason: str
    others: int

    @property
    def words(self) -> str:
        """``failed on 3 images``."""
        return f"failed on {count(self.images, 'image')}"

    @property
    def cause(self) -> str:
        """``The error: …`` or ``Most often: …``."""
        return f"{'Most often' if self.others else 'The error'}: {self.reason}"


@dataclass(frozen=True)
class SettingView:
    """One setting of a technique as it stands in the run.

    Attributes:
        key: how the run refers to it.
        words: its parameters in words, or ``no parameters``.
        scale: the fixed scale of its maps over the whole run; None for observations and without maps.
        failures: what it could not do, or None.
    """

    key: str
    words: str
    record: TechniqueRecord
    parameters: tuple[ParameterView, ...]
    scale: Scale | None
    failures: Failures | None

    @property
    def outcome(self) -> str:
        """``ran``, ``failed on 3 images`` or ``did not run: …``."""
        if self.record.skipped:
            return f"did not run: {self.record.skipped}"
        return self.failures.words if self.failures else "ran"

    @property
    def scale_text(self) -> str:
        """``0.001 to 0.08``, or empty."""
        return "" if self.scale is None else range_text(self.scale)


@dataclass(frozen=True)
class TechniquePage:
    """A technique with all its settings in the run.

    Attributes:
        kind: ``map`` or ``observation``.
        skipped: why this model cannot have it, or None where at least one setting ran.
        failures: what its settings together could not do, or None.
    """

    name: str
    title: str
    family: str
    tier: str
    kind: str
    class_specific: bool
    signed: bool
    source: str
    shows: str
    does_not_show: str
    differs: str | None
    licence_note: str | None
    skipped: str | None
    failures: Failures | None
    facts: tuple[Fact, ...]
    settings: tuple[SettingView, ...]

    @property
    def parameters(self) -> tuple[ParameterView, ...]:
        """The parameters that every setting has; the values are the first setting's."""
        return self.settings[0].parameters

    @property
    def uneven(self) -> bool:
        """Whether some setting did not run, or not on every image."""
        return any(setting.outcome != "ran" for setting in self.settings)

    @property
    def sampled(self) -> bool:
        """Whether a fixed scale comes from a sample of the values."""
        return any(setting.scale is not None and setting.scale.sampled for setting in self.settings)


@dataclass(frozen=True)
class IndexPage:
    """The start of a report.

    Attributes:
        summary: the findings, a sentence each.
        rows: every image of the run, in the order of their files' names, the quarantined ones included.
        command: what reproduces the run.
    """

    title: str
    summary: tuple[str, ...]
    model: tuple[Fact, ...]
    data: tuple[Fact, ...]
    slices: tuple[Slices, ...]
    notices: tuple[str, ...]
    techniques: tuple[TechniquePage, ...]
    provenance: tuple[Fact, ...]
    command: str
    rows: tuple[ImageRow, ...]

    @property
    def quarantined(self) -> tuple[ImageRow, ...]:
        """The images that could not be used."""
        return tuple(row for row in self.rows if row.reason is not None)

    @property
    def labelled(self) -> bool:
        """Whether any image has a label that its prediction can be held against."""
        return any(row.correct is not None for row in self.rows)

    @property
    def explained(self) -> tuple[ImageRow, ...]:
        """The images that have a page."""
        return tuple(row for row in self.rows if row.reason is None)


def range_text(scale: Scale) -> str:
    """``0.001 to 0.08``."""
    return f"{number(scale.low)} to {number(scale.high)}"
