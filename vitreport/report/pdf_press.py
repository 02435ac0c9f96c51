"""Draws PDFs, in any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from vitreport.engines import Receipt
from vitreport.report.pdf_sheets import SheetFolder
from vitreport.report.site_folder import SiteFolder
from vitreport.store import RunFolder


class Document(Protocol):
    """A PDF to be drawn; can be pickled."""

    @property
    def path(self) -> str:
        """Where it goes, below the run folder."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the images whose sheets it has, in order."""

    def draw(self, sheets: SheetFolder, on_page: Callable[[int], None] | None = None) -> bytes:
        """The PDF; `on_page` is told of every page that is laid out."""


@dataclass(frozen=True)
class DocumentReceipt(Receipt):
    """A receipt that also says what was drawn.

    Attributes:
        path: of the document.
        files: path below the run folder to SHA-256.
    """

    path: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DocumentPress:
    """Draws documents whose sheets are drawn.

    Attributes:
        root: the run folder.
        on_page: told of every page; only in this process.
    """

    root: Path
    sheets: SheetFolder
    on_page: Callable[[int], None] | None = None

    def __call__(self, document: Document) -> Iterator[DocumentReceipt]:
        """Yields one receipt, which counts the sheets and one for the rest."""
        site = SiteFolder(RunFolder(self.root))
        site.write_beside(document.path, document.draw(self.sheets, self.on_page))
        yield DocumentReceipt(len(document.ids) + 1, path=document.path, files=site.files)
