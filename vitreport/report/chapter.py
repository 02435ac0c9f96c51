"""What the analysis of a whole run says: view dataclasses, the same for the site and the PDF.

`audit_reading` and its neighbours fill them from an audit. They hold words, numbers and small arrays, no
markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vitreport.analysis.finding import Finding
from vitreport.explanation import FloatArray
from vitreport.figures.curves import Panel
from vitreport.figures.scale import Scale
from vitreport.report.pages import Fact, ImageRow
from vitreport.report.wording import count


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what it says.
        page: the page of the site that it leads to, as a path below the site; empty without one.
    """

    text: str
    page: str = ""


@dataclass(frozen=True)
class Head:
    """The heading of a column, and whether its cells are numbers."""

    text: str
    number: bool = True


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row names the row.

    Attributes:
        label: what it shows, for those who cannot see it.
        note: what is left out, or how to read it; or empty.
    """

    label: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, eq=False)
class GridTile:
    """A small array to be drawn in colours.

    Attributes:
        title: what the caption calls it.
        note: what else the caption says.
        values: ``(rows, cols)``.
        scale: the values of the first and the last colour.
        alt: what it shows, with the numbers that matter.
    """

    title: str
    note: str
    values: FloatArray
    scale: Scale
    alt: str


@dataclass(frozen=True, eq=False)
class LineFigure:
    """Panels of curves over the blocks of the model, and what the curves are called, in their order."""

    panels: tuple[Panel, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ShownPicture:
    """A picture that is shown as it is, with its caption; sizes in pixels."""

    title: str
    note: str
    jpeg: bytes
    width: int
    height: int
    alt: str


@dataclass(frozen=True, eq=False)
class Section:
    """A part of a chapter.

    Attributes:
        id: of its heading, for links.
        words: paragraphs.
        figure: curves; None without.
        tiles: small arrays, side by side.
        tiles_note: how to read them.
        images: the images that it rests on.
        pictures: shown as they are, all of one size.
    """

    id: str
    title: str
    words: tuple[str, ...] = ()
    figure: LineFigure | None = None
    tiles: tuple[GridTile, ...] = ()
    tiles_note: str = ""
    tables: tuple[Table, ...] = ()
    images: tuple[ImageRow, ...] = ()
    pictures: tuple[ShownPicture, ...] = ()


@dataclass(frozen=True)
class Download:
    """A file of the site: its path below it, what it is, and its content."""

    path: str
    text: str
    content: bytes


@dataclass(frozen=True, eq=False)
class Chapter:
    """A page of the site, and a chapter of the PDF.

    Attributes:
        path: of the page, below the site.
        kicker: what kind of page it is.
        lead: what it says, in a sentence.
        code: Python that reads its numbers back from the store, after `setup`; empty where there are none.
        setup: the first lines of that, the same for every chapter.
        downloads: files that go with it.
    """

    path: str
    kicker: str
    title: str
    lead: str
    sections: tuple[Section, ...]
    code: str = ""
    setup: str = ""
    downloads: tuple[Download, ...] = ()


@dataclass(frozen=True, eq=False)
class FindingView:
    """A finding with its evidence.

    Attributes:
        id: for links to it.
        severity: ``severe``, ``warning`` or ``note``.
        sentence: what was found, with its uncertainty.
        numbers: what the sentence rests on.
        images: that show it, the clearest first.
        technique: key of the one whose maps show it; empty where it rests on none.
        chapter: path of the page with the evidence.
        chapter_title: of that page.
        found: the finding itself.
    """

    id: str
    severity: str
    sentence: str
    numbers: tuple[Fact, ...]
    images: tuple[ImageRow, ...]
    technique: str
    chapter: str
    chapter_title: str
    found: Finding


@dataclass(frozen=True, eq=False)
class AuditPage:
    """All that the run shows as a whole.

    Attributes:
        findings: the most severe first.
        looked_for: what was tested, whether it was found or not; sentences.
        chapters: the evidence.
        classes: a page for every class of the run, the most images first.
        review: why an image is listed for human review, by its id.
        record: the page with all that is on record of the run.
    """

    findings: tuple[FindingView, ...]
    looked_for: tuple[str, ...]
    chapters: tuple[Chapter, ...]
    classes: tuple[Chapter, ...]
    review: dict[str, str]
    record: Chapter

    @property
    def grave(self) -> tuple[FindingView, ...]:
        """The findings that are more than notes."""
        return tuple(one for one in self.findings if one.severity != "note")

    @property
    def verdict(self) -> str:
        """How many findings there are, in a sentence, with the first."""
        grave = self.grave
        if not grave:
            notes = len(self.findings)
            return "The audit of the whole set flags nothing grave" + (
                f"; it makes {count(notes, 'note')}." if notes else "."
            )
        others = len(grave) - 1
        more = f" {count(others, 'further finding')} of weight." if others else ""
        first = grave[0].found.headline.removesuffix(".")
        return f"The audit of the whole set finds: {first[0].lower()}{first[1:]}.{more}"


def table(label: str, heads: Sequence[str], rows: Iterable[Sequence[str | Cell]], note: str = "") -> Table:
    """A table from plain texts; headings that begin with ``#`` stand over numbers."""
    return Table(
        label,
        tuple(Head(text.removeprefix("#"), text.startswith("#")) for text in heads),
        tuple(tuple(Cell(cell) if isinstance(cell, str) else cell for cell in row) for row in rows),
        note,
    )
