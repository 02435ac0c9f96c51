"""``report.pdf``: the run as a document that can be filed.

PDF/A-3a and PDF/UA-1 at once, tagged, with bookmarks and its own data attached. Equal runs give equal bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from markupsafe import Markup

from vitreport.analysis.trust import Trust
from vitreport.errors import RenderError, SettingsError
from vitreport.figures.curves import curves_jpeg
from vitreport.figures.scale import Scale
from vitreport.figures.sheet import Tile, contact_sheet, grid_sheet, picture_sheet
from vitreport.report import pdf_attachment
from vitreport.report.image_reading import Neighbours, image_pages, neighbours
from vitreport.report.pages import IndexPage
from vitreport.report.pdf_font import printable
from vitreport.report.pdf_sheet import ImageSheet, image_sheet
from vitreport.report.pdf_view import CURVES, MOST_TILES, PdfAudit, PdfView, pdf_view
from vitreport.report.template_files import environment, template_text
from vitreport.store import Run

DEFAULT_IMAGE_CAP = 60

TILES_ACROSS = 4
"""Small arrays side by side, at least."""

Progress = Callable[[int, int], None]
"""Called with the steps done and the steps there are: two for every sheet, and one to finish."""


def write_pdf(
    run: Run,
    index: IndexPage,
    scales: Mapping[str, Scale],
    *,
    trust: Trust | None = None,
    image_cap: int = DEFAULT_IMAGE_CAP,
    progress: Progress | None = None,
) -> bytes:
    """Draws the report of `run`.

    Args:
        run: what `explain` stored.
        index: `reading.index_page` of the run.
        scales: `scale_reading.dataset_scales` of the run.
        trust: `vitreport.analysis.trust.trust` of the run.
        image_cap: the most images that get a sheet: the ones with the lowest ids. The document says how many
            there are.
        progress: told of every step.

    Returns:
        The PDF. Equal runs and caps (and an equal ``SOURCE_DATE_EPOCH``) give equal bytes.

    Raises:
        RenderError: WeasyPrint or Pango is missing, or the document cannot be drawn.
        SettingsError: `image_cap` is below zero, or ``SOURCE_DATE_EPOCH`` is no number.
        StoreError: the run cannot be read.
    """
    if image_cap < 0:
        raise SettingsError(f"the cap on image sheets is {image_cap}; it must be at least 0")
    engine = pdf_engine()
    members = _chosen(neighbours(index.rows), image_cap) if index.explained else []
    steps = _Steps(progress, len(members))
    sheets: list[ImageSheet] = []
    pictures: dict[str, bytes] = {}
    for page in image_pages(run, scales, members):
        sheet = image_sheet(page)
        sheets.append(sheet)
        for picture in sheet.pictures:
            pictures[picture.address] = contact_sheet(page.photo.jpeg, picture.tiles, picture.columns)
        steps.drawn(len(sheets))
    if index.trust is not None and index.trust.curves is not None:
        pictures[CURVES] = curves_jpeg(index.trust.curves.panels)
    view = pdf_view(run.manifest, index, sheets)
    if view.audit is not None:
        pictures |= _analysis_pictures(view.audit)
    attached = engine.AttachedFile(
        pdf_attachment.NAME,
        pdf_attachment.DESCRIPTION,
        pdf_attachment.results(
            run, trust, [one.found for one in index.audit.findings] if index.audit else ()
        ),
    )
    content: bytes = engine.render(
        html=document_html(view),
        stylesheet=stylesheet(),
        pictures=pictures,
        attached=attached,
        on_page=steps.set_page,
    )
    steps.finished()
    return content


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


def document_html(view: PdfView) -> str:
    """The document as HTML; whatever its fonts cannot show is written as codes."""
    return drawn("pdf/report.html", report=view)


def drawn(template: str, **values: object) -> str:
    """A template filled; whatever the document's fonts cannot show is written as codes."""
    drawing = environment().overlay(finalize=_finalize)
    drawing.filters["shortened"] = shortened
    drawing.filters["anchor"] = _anchor
    return drawing.get_template(template).render(**values)


def stylesheet() -> str:
    """The tokens without their dark scheme, which paper does not have, and the rules of the document."""
    return template_text("css/tokens.css").partition("@media")[0] + template_text("pdf/report.css")


def shortened(text: str, length: int) -> str:
    """`text` with its middle left out where it is longer than `length`."""
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"


def _anchor(path: str) -> str:
    """The id of the section that is a page of the site: ``analysis/heads.html`` is ``analysis-heads``."""
    return path.removesuffix(".html").replace("/", "-")


def _finalize(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _chosen(members: Sequence[Neighbours], cap: int) -> list[Neighbours]:
    """The members with the lowest ids, in the order given.

    An id comes from the file's bytes, so these are a sample that no folder or class is ahead in.
    """
    ids = set(sorted(member.row.id for member in members)[:cap])
    return [member for member in members if member.row.id in ids]


def pdf_engine() -> ModuleType:
    """The part that needs WeasyPrint, imported only where a PDF is wanted.

    Raises:
        RenderError: WeasyPrint, or a library that it loads, is missing.
    """
    try:
        with warnings.catch_warnings():
            # A machine without fonts is no trouble: the document brings its own.
            warnings.filterwarnings("ignore", message=".*FontConfig")
            from vitreport.report import pdf_document
    except ImportError as error:
        raise RenderError(
            f"the PDF needs WeasyPrint, which cannot be imported ({error}); install it with "
            "'pip install weasyprint', or use --no-pdf to render the HTML report only"
        ) from error
    except OSError as error:
        raise RenderError(
            f"WeasyPrint is installed, but Pango or another library that it loads is missing ({error}); "
            "install Pango 1.44 or newer (Debian: libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0), "
            "or use --no-pdf to render the HTML report only"
        ) from error
    return pdf_document


class _Steps:
    """Counts what is done; laying out a page takes about as long as drawing its sheet."""

    def __init__(self, progress: Progress | None, sheets: int) -> None:
        self._progress = progress or (lambda done, total: None)
        self._sheets = sheets
        self._pages = 0

    def drawn(self, sheets: int) -> None:
        self._progress(sheets, 2 * self._sheets + 1)

    def set_page(self, page: int) -> None:
        if self._pages < min(page, self._sheets):
            self._pages += 1
            self._progress(self._sheets + self._pages, 2 * self._sheets + 1)

    def finished(self) -> None:
        self._progress(2 * self._sheets + 1, 2 * self._sheets + 1)
