"""What the page of an image says: view dataclasses, the same for the site and the PDF.

`vitreport.report.image_reading` fills them from a run. They hold words, numbers and raw arrays, no markup
and no pictures but the model's own view.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitreport.explanation import FloatArray
from vitreport.figures.scale import MapState, Scale
from vitreport.report.pages import ClassView, Fact, ImageRow, range_text
from vitreport.report.wording import number
from vitreport.store import TechniqueRecord


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

    @property
    def unexplained(self) -> str:
        """Why no class was explained, in words; empty where one was."""
        if self.targets:
            return ""
        why = ", because the image has no label" if self.row.label is None else ""
        return f"No class was explained{why}; techniques that depend on a class have no result."

    @property
    def sampled(self) -> bool:
        """Whether a fixed scale of its maps comes from a sample of the run's values."""
        views = (view for section in self.sections for view in section.maps)
        return any(view.fixed is not None and view.fixed.sampled for view in views)
