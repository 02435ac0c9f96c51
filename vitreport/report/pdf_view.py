"""What the PDF says beyond the views that it shares with the site: verdict, capped lists, order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vitreport import __version__
from vitreport.figures.curves import LETTERS
from vitreport.report.chapter import AuditPage, Section, Table
from vitreport.report.chapter import Chapter as AuditChapter
from vitreport.report.outputs import Outputs
from vitreport.report.pages import Fact, ImageRow, IndexPage
from vitreport.report.pdf_evidence import FindingPicture
from vitreport.report.pdf_sheet import ImageSheet
from vitreport.report.trust_page import CurveLine, TrustPage
from vitreport.report.wording import count
from vitreport.store import Manifest

VERDICT_SENTENCES = 3
LIST_CAP = 20
"""Rows in the list of wrong predictions."""

SET_ASIDE_CAP = 500
"""Rows in the list of quarantined images: a reviewer wants to see what is missing."""

CURVES = "report:curves.jpeg"
"""Address of the picture of deletion and insertion curves."""

MOST_CARDS = 7
"""Metrics in the table of means."""

MOST_ROWS = 40
"""Rows of a table of the analysis: every technique has one, long lists of classes and images do not."""

MOST_TILES = 18
"""Small arrays in a picture of the analysis."""

ORDER = "Sheets stand in the order of the files' names."


@dataclass(frozen=True)
class Chapter:
    """A chapter: the address of its heading, and the heading."""

    id: str
    title: str


@dataclass(frozen=True)
class CappedList:
    """Rows of a long list, with a sentence that says how many there are and which are shown."""

    rows: tuple[ImageRow, ...]
    statement: str


@dataclass(frozen=True)
class PdfTrust:
    """What the scores say, as the document has room for it.

    Attributes:
        cards: the heads of the scorecard, as many as fit.
        note: which metrics do not fit; empty where all do.
        lines: letter and line of every curve in the picture.
        picture: address of the picture of curves; empty without one.
        alt: what it shows.
    """

    page: TrustPage
    cards: tuple[Fact, ...]
    note: str
    lines: tuple[tuple[str, CurveLine], ...]
    picture: str
    alt: str

    @classmethod
    def of(cls, page: TrustPage) -> PdfTrust:
        """From what the site says too."""
        curves = page.curves
        alts = (panel.alt for panel in curves.panels) if curves else ()
        return cls(
            page=page,
            cards=page.scorecard.heads[:MOST_CARDS],
            note=_left_out(page.scorecard.heads[MOST_CARDS:]),
            lines=tuple(zip(LETTERS, curves.lines, strict=False)) if curves else (),
            picture=CURVES if curves else "",
            alt=" ".join(alts),
        )


@dataclass(frozen=True)
class PdfSection:
    """A section of the analysis with the addresses of its pictures; empty where it has none."""

    id: str
    section: Section
    curves: str
    curves_alt: str
    tiles: str
    tiles_alt: str
    shown: str
    shown_alt: str

    @property
    def tables(self) -> tuple[Table, ...]:
        """Its tables, as long as paper has room for them."""
        return tuple(
            replace(one, rows=one.rows[:MOST_ROWS], note=_further(one)) for one in self.section.tables
        )


@dataclass(frozen=True)
class PdfAudit:
    """What the run shows as a whole, as the document has room for it.

    Attributes:
        findings: all, the most severe first.
        chapters: each with its sections; the pages of single classes are on the site only.
    """

    page: AuditPage
    chapters: tuple[tuple[AuditChapter, tuple[PdfSection, ...]], ...]

    @classmethod
    def of(cls, page: AuditPage) -> PdfAudit:
        """From what the site says too."""
        return cls(page, tuple((one, tuple(pdf_sections(one))) for one in page.chapters))

    @property
    def code(self) -> tuple[str, ...]:
        """Python that reads the numbers of all chapters back, line by line."""
        written = [chapter for chapter, _ in self.chapters if chapter.code]
        text = "\n".join((written[0].setup, *(chapter.code for chapter in written))) if written else ""
        return tuple(text.splitlines())

    @property
    def pictures(self) -> dict[str, PdfSection]:
        """Sections with a picture, by its address."""
        sections = [section for _, members in self.chapters for section in members]
        named = [(address, one) for one in sections for address in (one.curves, one.tiles, one.shown)]
        return {address: one for address, one in named if address}


def pdf_sections(chapter: AuditChapter) -> Iterator[PdfSection]:
    """The sections of a chapter with the addresses of their pictures."""
    stem = chapter.path.rpartition("/")[2].removesuffix(".html")
    for section in chapter.sections:
        figure = section.figure
        yield PdfSection(
            id=f"{stem}-{section.id}",
            section=section,
            curves=f"report:{stem}-{section.id}-curves.jpeg" if figure else "",
            curves_alt=" ".join(panel.alt for panel in figure.panels) if figure else "",
            tiles=f"report:{stem}-{section.id}-tiles.jpeg" if section.tiles else "",
            tiles_alt=" ".join(f"{tile.alt}." for tile in section.tiles[:MOST_TILES]),
            shown=f"report:{stem}-{section.id}-shown.jpeg" if section.pictures else "",
            shown_alt=" ".join(f"{one.alt}." for one in section.pictures[:MOST_TILES]),
        )


def _further(table: Table) -> str:
    """The note of a table, and where the rest of one is that is too long for paper."""
    if len(table.rows) <= MOST_ROWS:
        return table.note
    rest = f"The first {MOST_ROWS} of {count(len(table.rows), 'row')}; the HTML report has all."
    return f"{rest} {table.note}" if table.note else rest


@dataclass(frozen=True)
class PdfView:
    """The document.

    Attributes:
        order: how the sheets are ordered; empty without sheets.
        intro: what the document is about, in a sentence; empty where the verdict says it.
        verdict: at most three sentences.
        further: the findings that the verdict has no room for.
        provenance: as on the site, with what belongs together on one row.
        cap: how many images have a sheet.
        trust: what the scores say; None where the run was asked for none.
        audit: what the run shows as a whole; None where no image could be explained.
        sheet_rows: the images that have a sheet, in order.
        with_sheet: their ids.
        beside: the pictures of findings, by the finding's id.
        volumes: number of the volume that has the sheet of an image, by its id; empty without volumes.
    """

    index: IndexPage
    model: str
    weights_sha256: str
    run_digest: str
    version: str
    intro: str
    verdict: tuple[str, ...]
    further: tuple[str, ...]
    chapters: tuple[Chapter, ...]
    wrong: CappedList
    quarantined: CappedList
    provenance: tuple[Fact, ...]
    techniques: str
    cap: str
    order: str
    trust: PdfTrust | None
    audit: PdfAudit | None
    sheets: tuple[ImageSheet, ...]
    sheet_rows: tuple[ImageRow, ...]
    with_sheet: frozenset[str]
    beside: Mapping[str, FindingPicture]
    volumes: Mapping[str, int]

    @property
    def outputs(self) -> Outputs:
        """Those of the model."""
        return self.index.outputs

    @property
    def measured(self) -> str:
        """By what faithfulness was measured; empty where it was not."""
        return self.index.trust.measured if self.index.trust else ""


TRUST = Chapter("trust", "Which technique to trust")
"""Stands after the first of `CHAPTERS`, where the run was scored."""

ANALYSIS = Chapter("analysis", "What the whole set shows")
"""Stands after it, where images could be explained."""

CHAPTERS = (
    Chapter("evidence", "Findings and data"),
    Chapter("limits", "Method notes and limits"),
    Chapter("model", "Model and provenance"),
    Chapter("techniques", "Techniques"),
    Chapter("sheets", "Image sheets"),
)


def _chapters(index: IndexPage) -> tuple[Chapter, ...]:
    first, *others = CHAPTERS
    trust = (TRUST,) if index.trust else ()
    analysis = (ANALYSIS,) if index.audit else ()
    return (first, *trust, *analysis, *others)


def _left_out(heads: Sequence[Fact]) -> str:
    named = ", ".join(head.term for head in heads)
    return f"Not in this table: {named}; the attached results.json has all." if heads else ""


def pdf_view(
    manifest: Manifest,
    index: IndexPage,
    sheets: Sequence[ImageSheet],
    volumes: Mapping[str, int] | None = None,
    beside: Mapping[str, FindingPicture] | None = None,
) -> PdfView:
    """The document about `index` with these sheets; `volumes` and `beside` as in `PdfView`."""
    return PdfView(
        index=index,
        model=manifest.model.name,
        weights_sha256=manifest.model.weights_sha256,
        run_digest=manifest.run_digest,
        version=__version__,
        intro=index.summary[0] if len(index.summary) > 1 else "",
        verdict=index.summary[1:][:VERDICT_SENTENCES] or index.summary,
        further=index.summary[1 + VERDICT_SENTENCES :],
        audit=PdfAudit.of(index.audit) if index.audit else None,
        chapters=_chapters(index),
        trust=PdfTrust.of(index.trust) if index.trust else None,
        wrong=_wrong(index),
        quarantined=_quarantined(index),
        techniques=_techniques(index),
        cap=_cap(len(sheets), len(index.explained), max((volumes or {}).values(), default=0)),
        order=ORDER if sheets else "",
        provenance=_grouped(index.provenance),
        sheets=tuple(sheets),
        sheet_rows=tuple(sheet.row for sheet in sheets),
        with_sheet=frozenset(sheet.row.id for sheet in sheets),
        beside=beside or {},
        volumes=volumes or {},
    )


def _grouped(facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """Facts about one thing (``Environment: torch``, ``Environment: device``) on one row: paper is short."""
    groups: dict[str, list[str]] = {}
    for fact in facts:
        thing, colon, detail = fact.term.partition(": ")
        words = f"{detail.replace('_', ' ')} {fact.value}" if colon else fact.value
        groups.setdefault(thing, []).append(words)
    return tuple(Fact(thing, "; ".join(words)) for thing, words in groups.items())


def _wrong(index: IndexPage) -> CappedList:
    wrong = [row for row in index.explained if row.correct is False]
    wrong.sort(key=lambda row: -(row.predicted.score or 0) if row.predicted else 0)
    shown = "all are listed" if len(wrong) <= LIST_CAP else f"the {LIST_CAP} most confident are listed"
    return CappedList(
        tuple(wrong[:LIST_CAP]),
        f"{count(len(wrong), 'prediction')} of {count(len(index.explained), 'image')}; {shown}, "
        "the most confident first.",
    )


def _quarantined(index: IndexPage) -> CappedList:
    rows = index.quarantined
    if len(rows) <= SET_ASIDE_CAP:
        return CappedList(rows, "")
    return CappedList(
        rows[:SET_ASIDE_CAP],
        f"{SET_ASIDE_CAP} of {count(len(rows), 'image')} are listed; the attached results.json has all.",
    )


def _techniques(index: IndexPage) -> str:
    ran = [technique for technique in index.techniques if technique.skipped is None]
    settings = sum(setting.record.skipped is None for technique in ran for setting in technique.settings)
    sentence = f"{count(len(ran), 'technique')} ran, in {count(settings, 'setting')}."
    skipped = len(index.techniques) - len(ran)
    if skipped:
        sentence += f" {count(skipped, 'technique')} did not run on this model; each says why."
    failed = sum(technique.failures is not None for technique in ran)
    if failed:
        sentence += f" {count(failed, 'technique')} failed on some images; each says on how many."
    return sentence


def _cap(sheets: int, explained: int, volumes: int) -> str:
    if sheets == explained:
        return f"{count(explained, 'image')}, a sheet each." if explained else "No image could be explained."
    others = f"{count(volumes, 'volume')} in the folder pdf and the HTML report have" if volumes else ""
    return (
        f"{sheets:,} of {count(explained, 'image')} have a sheet; {others or 'the HTML report has'} all. "
        "They are the ones with the lowest ids; an id comes from the file's bytes alone, so nobody selected "
        "them."
    )
