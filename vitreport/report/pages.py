"""What the pages of a report say: view dataclasses, the same for the site and the PDF.

`vitreport.report.reading` fills them from a run. They hold words, numbers and raw arrays, no markup and
no pictures but the model's own view.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitreport.explanation import FloatArray
from vitreport.figures.scale import MapState, Scale
from vitreport.report.wording import number, percent
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
class SettingView:
    """One setting of a technique as it stands in the run.

    Attributes:
        key: how the run refers to it.
        words: its parameters in words, or ``no parameters``.
        scale: the fixed scale of its maps over the whole run; None for observations and without maps.
    """

    key: str
    words: str
    record: TechniqueRecord
    parameters: tuple[ParameterView, ...]
    scale: Scale | None

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
    facts: tuple[Fact, ...]
    settings: tuple[SettingView, ...]

    @property
    def parameters(self) -> tuple[ParameterView, ...]:
        """The parameters that every setting has; the values are the first setting's."""
        return self.settings[0].parameters


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


@dataclass(frozen=True)
class Photo:
    """What the model saw, as a JPEG; sizes in pixels."""

    jpeg: bytes
    width: int
    height: int


@dataclass(frozen=True)
class MapView:
    """One map of an image.

    Attributes:
        title: what tells it from its neighbours: the parameters that differ from their defaults, in
            words, or the technique's title.
        target: the explained class; None where the technique does not depend on one.
        values: raw float32 ``(rows, cols)``; empty where it failed.
        state: whether it can be drawn.
        scale: from the map's smallest to its largest value (signed: centred on zero).
        fixed: the same for all images of the run; None where the run has none.
        error: why it failed, or None.
    """

    record: TechniqueRecord
    title: str
    target: ClassView | None
    values: FloatArray
    state: MapState
    scale: Scale
    fixed: Scale | None
    error: str | None = None

    @property
    def scale_text(self) -> str:
        """``0.001 to 0.08``."""
        return range_text(self.scale)

    @property
    def fixed_text(self) -> str:
        """``0.001 to 0.08``, or empty."""
        return "" if self.fixed is None else range_text(self.fixed)

    @property
    def peak(self) -> tuple[int, int]:
        """Row and column of the largest value, counted from 0 at the top left; of drawn maps."""
        row, column = divmod(int(self.values.argmax()), self.values.shape[1])
        return row, column

    @property
    def trouble(self) -> str:
        """Why there is no picture, in words; empty where there is one."""
        if self.state == "failed":
            return f"Failed: {self.error or 'no map was stored'}"
        if self.state == "undefined":
            return "Undefined: some values are not numbers."
        return f"Constant: every value is {number(self.scale.high)}." if self.state == "constant" else ""


@dataclass(frozen=True)
class MapFigure:
    """Maps to be looked at side by side; `title` and `note` are empty where the section says it all."""

    title: str
    note: str
    maps: tuple[MapView, ...]


@dataclass(frozen=True)
class MapSection:
    """All maps of one technique for an image."""

    name: str
    title: str
    family: str
    shows: str
    figures: tuple[MapFigure, ...]

    @property
    def is_study(self) -> bool:
        """Whether its maps make figures of their own."""
        return any(figure.title for figure in self.figures)

    @property
    def maps(self) -> tuple[MapView, ...]:
        """The maps of all figures in order, each once."""
        seen: dict[tuple[str, int | None], MapView] = {}
        for view in (view for figure in self.figures for view in figure.maps):
            seen.setdefault((view.record.key, view.target.index if view.target else None), view)
        return tuple(seen.values())


@dataclass(frozen=True)
class AtlasView:
    """Where the readout token looks, head by head.

    Attributes:
        values: attention ``(blocks, heads, rows, cols)``.
        means: over the heads ``(blocks, rows, cols)``.
        likeness: for every block after the first, the correlation of its mean with the one before.
    """

    name: str
    title: str
    shows: str
    values: FloatArray
    means: FloatArray
    likeness: tuple[float | None, ...]


@dataclass(frozen=True)
class ChannelView:
    """One channel of one head: its raw query, key and value pictures. All indices count from 0."""

    block: int
    head: int
    channel: int
    score: float
    query: FloatArray
    key: FloatArray
    value: FloatArray


@dataclass(frozen=True)
class PatternView:
    """The channels that fit a pattern best, the best first."""

    name: str
    title: str
    note: str
    technique: str
    target: ClassView | None
    channels: tuple[ChannelView, ...]


@dataclass(frozen=True)
class Problem:
    """A technique that gave no map, and why."""

    name: str
    key: str
    title: str
    reason: str


@dataclass(frozen=True)
class ImagePage:
    """All that a report shows of one image.

    Attributes:
        facts: file, sizes, crop box, label, group, further columns.
        predictions: the likeliest classes, the likeliest first.
        targets: the explained classes.
        sections: the maps, a section a technique.
        previous: the page before; None on the first.
        next: the page after; None on the last.
    """

    row: ImageRow
    photo: Photo
    facts: tuple[Fact, ...]
    predictions: tuple[ClassView, ...]
    targets: tuple[ClassView, ...]
    sections: tuple[MapSection, ...]
    atlas: AtlasView | None
    patterns: tuple[PatternView, ...]
    skipped: tuple[Problem, ...]
    failed: tuple[Problem, ...]
    previous: ImageRow | None
    next: ImageRow | None


def range_text(scale: Scale) -> str:
    """``0.001 to 0.08``."""
    return f"{number(scale.low)} to {number(scale.high)}"
