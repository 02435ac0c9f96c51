"""``report.pdf``: the run as a document that can be filed.

PDF/A-3a and PDF/UA-1 at once, tagged, with bookmarks and its own data attached. Equal runs give equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vitreport.analysis.trust import Trust
from vitreport.errors import SettingsError
from vitreport.figures.curves import curves_jpeg
from vitreport.figures.scale import Scale
from vitreport.figures.sheet import Tile, grid_sheet, picture_sheet
from vitreport.report import pdf_attachment
from vitreport.report.image_reading import Neighbours, neighbours
from vitreport.report.pages import IndexPage
from vitreport.report.pdf_attachment import Results
from vitreport.report.pdf_engine import pdf_engine
from vitreport.report.pdf_evidence import finding_pictures
from vitreport.report.pdf_places import PDF
from vitreport.report.pdf_sheets import SheetFolder, SheetPress, sheet_folder
from vitreport.report.pdf_template import drawn, stylesheet
from vitreport.report.pdf_view import CURVES, MOST_TILES, PdfAudit, pdf_view
from vitreport.store import Manifest, Run, open_run

DEFAULT_IMAGE_CAP = 60

TILES_ACROSS = 4
"""Small arrays side by side, at least."""


@dataclass(frozen=True, eq=False)
class Summary:
    """The document about a whole run.

    Attributes:
        root: the run folder.
        ids: of the images that get a sheet, in order.
        attached: ``results.json`` of the run.
        volumes: number of the volume that has the sheet of an image, by its id; empty without volumes.
    """

    root: Path
    manifest: Manifest
    index: IndexPage
    ids: tuple[str, ...]
    attached: bytes
    volumes: Mapping[str, int] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where it goes, below the run folder."""
        return PDF

    def draw(self, sheets: SheetFolder, on_page: Callable[[int], None] | None = None) -> bytes:
        """The PDF.

        Raises:
            RenderError: it cannot be drawn.
            SettingsError: ``SOURCE_DATE_EPOCH`` is no number.
        """
        engine = pdf_engine()
        chosen = sheets.sheets(self.ids)
        audit = self.index.audit
        beside = finding_pictures(open_run(self.root), audit.grave) if audit else {}
        view = pdf_view(self.manifest, self.index, chosen, self.volumes, beside)
        pictures = sheets.pictures(chosen)
        pictures |= {one.address: one.jpeg for one in beside.values()}
        if self.index.trust is not None and self.index.trust.curves is not None:
            pictures[CURVES] = curves_jpeg(self.index.trust.curves.panels)
        if view.audit is not None:
            pictures |= _analysis_pictures(view.audit)
        content: bytes = engine.render(
            html=drawn("pdf/report.html", report=view),
            stylesheet=stylesheet(),
            pictures=pictures,
            attached=engine.AttachedFile(pdf_attachment.NAME, pdf_attachment.DESCRIPTION, self.attached),
            on_page=on_page,
        )
        return content


def write_pdf(
    run: Run,
    index: IndexPage,
    scales: Mapping[str, Scale],
    *,
    trust: Trust | None = None,
    image_cap: int = DEFAULT_IMAGE_CAP,
) -> bytes:
    """Draws the report of `run` in this process.

    Args:
        run: what `explain` stored.
        index: `reading.index_page` of the run.
        scales: `scale_reading.dataset_scales` of the run.
        trust: `vitreport.analysis.trust.trust` of the run.
        image_cap: the most images that get a sheet: the ones with the lowest ids. The document says how many
            there are.

    Returns:
        The PDF. Equal runs and caps (and an equal ``SOURCE_DATE_EPOCH``) give equal bytes.

    Raises:
        RenderError: WeasyPrint or Pango is missing, or the document cannot be drawn.
        SettingsError: `image_cap` is below zero, or ``SOURCE_DATE_EPOCH`` is no number.
        StoreError: the run cannot be read.
    """
    pdf_engine()
    members = with_sheets(index, image_cap)
    with sheet_folder() as folder:
        for _ in SheetPress(run.folder.root, scales, folder)(members):
            pass
        return summary(run, index, Results(run), trust, members).draw(folder)


def summary(
    run: Run,
    index: IndexPage,
    results: Results,
    trust: Trust | None,
    members: Sequence[Neighbours],
    volumes: Mapping[str, int] | None = None,
) -> Summary:
    """The document about `run`, with sheets of `members`; `volumes` as in `Summary`."""
    found = [one.found for one in index.audit.findings] if index.audit else ()
    attached = results.whole(trust, found)
    return Summary(
        run.folder.root,
        run.manifest,
        index,
        tuple(member.row.id for member in members),
        attached,
        volumes or {},
    )


def with_sheets(index: IndexPage, cap: int) -> list[Neighbours]:
    """The images that get a sheet in the summary, in order: those with the lowest ids.

    An id comes from the file's bytes, so these are a sample that no folder or class is ahead in.

    Raises:
        SettingsError: `cap` is below zero.
    """
    if cap < 0:
        raise SettingsError(f"the cap on image sheets is {cap}; it must be at least 0")
    members = neighbours(index.rows)
    ids = set(sorted(member.row.id for member in members)[:cap])
    return [member for member in members if member.row.id in ids]


def _analysis_pictures(audit: PdfAudit) -> dict[str, bytes]:
    """Curves and small arrays of the analysis, by their addresses."""
    found = {}
    for address, part in audit.pictures.items():
        section = part.section
        if address == part.curves and section.figure is not None:
            found[address] = curves_jpeg(section.figure.panels, section.figure.names)
        elif address == part.shown:
            some = [(one.title, one.note, one.jpeg) for one in section.pictures[:MOST_TILES]]
            found[address] = picture_sheet(some, max(TILES_ACROSS, min(len(some), 6)))
        else:
            tiles = [
                Tile(one.title, one.note, one.values, False, one.scale) for one in section.tiles[:MOST_TILES]
            ]
            found[address] = grid_sheet(tiles, max(TILES_ACROSS, min(len(tiles), 6)))
    return found
