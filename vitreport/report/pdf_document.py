"""One HTML document in, one PDF/A-3a and PDF/UA-1 document out. All of WeasyPrint is behind this door."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from logging import INFO, Handler, LogRecord, getLogger
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from weasyprint import CSS, HTML, Attachment, Document
from weasyprint.text.fonts import FontConfiguration

from vitreport.report.fetcher import SCHEME, ReportFetcher, nothing_foreign
from vitreport.report.pdf_font import FACES, font_bytes
from vitreport.report.pdf_metadata import UNDATED, VARIANT, FiledMetadata, document_date

YOUNG = 20_000
"""New objects before Python looks for garbage among them, while a document is drawn."""

_FONTCONFIG = "FONTCONFIG_FILE"
_FONTCONFIG_FILE = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig><cachedir>{folder}</cachedir></fontconfig>
"""


@dataclass(frozen=True)
class AttachedFile:
    """A file that travels inside the PDF, as the data that the document is about."""

    name: str
    description: str
    content: bytes


def render(
    html: str,
    stylesheet: str,
    pictures: Mapping[str, bytes],
    attached: AttachedFile,
    on_page: Callable[[int], None] | None = None,
) -> bytes:
    """Draws a document.

    Equal arguments (and an equal ``SOURCE_DATE_EPOCH``) give equal bytes.

    Args:
        html: the whole document; it may refer to `pictures` and to nothing else.
        stylesheet: its CSS; it may name the families of `pdf_font`.
        pictures: JPEGs by the address under which the document shows them (``report:sheets/….jpeg``).
        attached: the file to embed.
        on_page: called with the number of every page that has been laid out.

    Raises:
        RenderError: the document refers to something foreign, or cannot be drawn.
        SettingsError: ``SOURCE_DATE_EPOCH`` is no number.
    """
    fonts = {f"{SCHEME}fonts/{name}": content for name, content in font_bytes().items()}
    fetcher = ReportFetcher({**fonts, **pictures})
    date = document_date()
    with _seldom_collected(), nothing_foreign(fetcher), _pages_to(on_page):
        font_config = _own_fonts_only()
        sheets = [
            CSS(string=text, base_url=SCHEME, url_fetcher=fetcher, font_config=font_config)
            for text in (FACES, stylesheet)
        ]
        source = _Source(string=html, base_url=SCHEME, url_fetcher=fetcher)
        document = source.render(stylesheets=sheets, font_config=font_config, pdf_variant=VARIANT)
        document.metadata = FiledMetadata.of(document.metadata)
        if date is not None:
            stamp = date.strftime("%Y-%m-%dT%H:%M:%SZ")
            document.metadata.created = document.metadata.modified = stamp
        attachment = Attachment(
            string=attached.content,
            name=attached.name,
            description=attached.description,
            created=date or UNDATED,
            modified=date or UNDATED,
            relationship="Data",
            url_fetcher=fetcher,
        )
        with warnings.catch_warnings():
            # WeasyPrint leaves the file of its own colour profile open.
            warnings.simplefilter("ignore", ResourceWarning)
            content: bytes = document.write_pdf(
                pdf_variant=VARIANT, attachments=[attachment], finisher=_attached_once
            )
    return content


class _Source(HTML):  # type: ignore[misc]  # WeasyPrint has no type hints
    """A document whose style sheet is all there is: it says what every tag and margin box is.

    WeasyPrint's own gives each element six pseudo-elements that no document of ours has.
    """

    def _ua_stylesheets(self, forms: bool = False) -> list[CSS]:
        return []


def _attached_once(document: Document, pdf: Any) -> None:
    """WeasyPrint names an attachment twice among the associated files of a PDF/A-3."""
    pdf.catalog["AF"][:] = dict.fromkeys(pdf.catalog["AF"])


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """While it is open, Python looks for garbage less often, and only among what was made since.

    The boxes of a document are many and live as long as it does; to look through them time and again takes
    nearly a tenth of its time. What was there before is collected first: frozen garbage is kept.
    """
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _own_fonts_only() -> FontConfiguration:
    """A font configuration that knows none of the machine's fonts and settings.

    Otherwise Pango sets single characters (emoji first) in whatever the machine has, and one run gives
    different documents on different machines. Fontconfig takes its configuration from the environment.
    """
    before = os.environ.get(_FONTCONFIG)
    with TemporaryDirectory(prefix="vitreport-") as folder:
        empty = Path(folder) / "fonts.conf"
        empty.write_text(_FONTCONFIG_FILE.format(folder=folder), encoding="utf-8")
        os.environ[_FONTCONFIG] = str(empty)
        try:
            return FontConfiguration()
        finally:
            if before is None:
                del os.environ[_FONTCONFIG]
            else:
                os.environ[_FONTCONFIG] = before


@contextmanager
def _pages_to(listener: Callable[[int], None] | None) -> Iterator[None]:
    """While it is open, tells `listener` of every page that WeasyPrint lays out."""
    if listener is None:
        yield
        return
    logger, handler = getLogger("weasyprint.progress"), _PageHandler(listener)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _PageHandler(Handler):
    """Picks the page numbers out of WeasyPrint's progress."""

    def __init__(self, listener: Callable[[int], None]) -> None:
        super().__init__(INFO)
        self._listener = listener

    def emit(self, record: LogRecord) -> None:
        if "Creating layout - Page" in str(record.msg) and isinstance(record.args, tuple):
            page = record.args[0]
            if isinstance(page, int):
                self._listener(page)
