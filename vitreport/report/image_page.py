"""What the page of an image says: view dataclasses, the same for the site and the PDF.

`vitreport.report.image_reading` fills them from a run. They hold words, numbers and raw arrays, no markup
and no pictures but the model's own view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitreport.explanation import FloatArray, PixelMap
from vitreport.figures.scale import MapState, Scale
from vitreport.report.outputs import Outputs
from vitreport.report.pages import ClassView, Fact, ImageRow, alike, range_text
from vitreport.report.trust_page import ImageScores
from vitreport.report.wording import number
from vitreport.store import TechniqueRecord


@dataclass(frozen=True)
class Photo:
    """What the model saw, as a JPEG; sizes in pixels.

    Attributes:
        change: what became of it in a published copy, or empty.
    """

    jpeg: bytes
    width: int
    height: int
    change: str = ""

    @property
    def words(self) -> str:
        """``what the model saw``, and what became of it."""
        return "what the model saw" + (f", {self.change}" if self.change else "")


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
        pixels: the map pixel by pixel; None where the run does not keep it.
    """

    record: TechniqueRecord
    title: str
    target: ClassView | None
    values: FloatArray
    state: MapState
    scale: Scale
    fixed: Scale | None
    error: str | None = None
    pixels: PixelMap | None = None

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
class LensRow:
    """What the head would say after one block: the output that is ahead, and those that are kept."""

    first: ClassView
    kept: tuple[ClassView, ...]


@dataclass(frozen=True)
class LensView:
    """What the head would say after every block; after the last one it is what the model says."""

    name: str
    title: str
    shows: str
    does_not_show: str
    outputs: Outputs
    rows: tuple[LensRow, ...]

    @property
    def final(self) -> int:
        """The output that is ahead in the end."""
        return self.rows[-1].first.index

    @property
    def emergence(self) -> str:
        """From which block on the final prediction is ahead, as a sentence; of one output, how it grew."""
        ahead = [row.first.index == self.final for row in self.rows]
        first, last = ahead.index(True), len(ahead) - 1
        stays = max((block + 1 for block, leads in enumerate(ahead) if not leads), default=0)
        name = self.rows[-1].first.short
        if self.outputs.count == 1:
            start, end = self.rows[0].kept[0].text, self.rows[-1].kept[0].text
            said = f"The {self.outputs.score} of {name} is {start} after block 0"
            return f"{said} and {end} after the last block, block {last}."
        if stays == 0:
            when = "ahead after every block"
        elif first == last:
            when = f"ahead only after the last block, block {last}"
        elif first == stays:
            when = f"ahead from block {first} on"
        elif stays == last:
            when = f"first ahead after block {first}, and again after the last block, block {last}"
        else:
            when = f"first ahead after block {first} and stays ahead from block {stays} on"
        what = "The output that is largest in the end" if self.outputs.are_values else "The final prediction"
        return f"{what}, {name}, is {when}."


@dataclass(frozen=True)
class NormsView:
    """How long the tokens are after every block.

    Attributes:
        values: norms of the patch tokens ``(blocks, rows, cols)``.
        prefix: names of the prefix tokens.
        prefix_values: their norms ``(blocks, prefix)``.
    """

    name: str
    title: str
    shows: str
    does_not_show: str
    values: FloatArray
    prefix: tuple[str, ...]
    prefix_values: FloatArray

    def prefix_text(self, block: int) -> str:
        """``class token: 12.3``, or empty without prefix tokens."""
        pairs = zip(self.prefix, self.prefix_values[block].tolist(), strict=True)
        return "; ".join(f"{name}: {number(norm)}" for name, norm in pairs)


@dataclass(frozen=True)
class PatchView:
    """Where the information in every token came from, and where it went.

    Attributes:
        prefix: names of the prefix tokens, which come before those of the patches.
        rows: of the patch grid.
        cols: of the patch grid.
        readout: share of every token in what the head reads ``(tokens,)``.
        own: the share that every token keeps of itself ``(tokens,)``.
        scales: the largest share that another token has of every token ``(tokens,)``.
        values: ``(tokens, tokens)``; off the diagonal, times its column's scale and divided by 255, the share
            that the row's token after the last block has from the column's of the input.
    """

    name: str
    title: str
    shows: str
    does_not_show: str
    prefix: tuple[str, ...]
    rows: int
    cols: int
    readout: FloatArray
    own: FloatArray
    scales: FloatArray
    values: NDArray[np.uint8]


@dataclass(frozen=True)
class Problem:
    """A technique that gave no result, and why."""

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
        beyond: the techniques that were asked for fewer images, of which this is none.
        scores: None where the image was not scored.
        previous: the page before; None on the first.
        next: the page after; None on the last.
        review: why a person should look at it; empty where nothing stands out.
    """

    row: ImageRow
    photo: Photo
    facts: tuple[Fact, ...]
    predictions: tuple[ClassView, ...]
    targets: tuple[ClassView, ...]
    sections: tuple[MapSection, ...]
    atlas: AtlasView | None
    lens: LensView | None
    norms: NormsView | None
    patches: PatchView | None
    patterns: tuple[PatternView, ...]
    skipped: tuple[Problem, ...]
    failed: tuple[Problem, ...]
    beyond: tuple[Problem, ...]
    scores: ImageScores | None
    previous: ImageRow | None
    next: ImageRow | None
    review: str = ""

    @property
    def unexplained(self) -> str:
        """Why no class was explained, in words; empty where one was or the model has none."""
        if self.targets or not self.row.outputs.count:
            return ""
        why = ", because the image has no label" if self.row.label is None else ""
        return f"No class was explained{why}; techniques that depend on a class have no result."

    @property
    def skipped_by_reason(self) -> tuple[tuple[str, tuple[Problem, ...]], ...]:
        """The techniques that this model cannot have, those with one reason together."""
        return alike(self.skipped, lambda problem: problem.reason)

    @property
    def signed(self) -> bool:
        """Whether some of its maps have a sign."""
        return any(view.record.signed for section in self.sections for view in section.maps)

    @property
    def in_pixels(self) -> bool:
        """Whether some of its maps are kept pixel by pixel."""
        return any(view.pixels is not None for section in self.sections for view in section.maps)

    @property
    def sampled(self) -> bool:
        """Whether a fixed scale of its maps comes from a sample of the run's values."""
        views = (view for section in self.sections for view in section.maps)
        return any(view.fixed is not None and view.fixed.sampled for view in views)
