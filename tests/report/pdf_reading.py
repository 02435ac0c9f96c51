"""Reads a PDF back for the tests: text, outline, links, structure."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pypdf

from vitreport.report.image_reading import neighbours
from vitreport.report.pdf import write_pdf
from vitreport.report.pdf_attachment import Results
from vitreport.report.pdf_parts import Origin, singles, volumes
from vitreport.report.pdf_sheets import SheetPress, sheet_folder
from vitreport.report.reading import index_page
from vitreport.report.scale_reading import dataset_scales
from vitreport.store import Run

HOSTILE = (
    "photos/cat 😀 家.jpg",
    "photos/\u202egpj.exe עברית العربية.jpg",
    "photos/\"quotes\" 'and' <b>tags</b> &amp; {{ 7 * 7 }}.jpg",
    "photos/" + "long" * 50 + ".jpg",
    "photos/bell\x07 line\nbreak \ue000\u00ad.jpg",
    "photos/unassigned \u0378\U000e0fff none \ufffe \U0010fffd.jpg",
)
"""File names that try a document's fonts, markup and columns."""

CHAPTERS = [
    "Findings and data",
    "What the whole set shows",
    "Method notes and limits",
    "Model and provenance",
    "Techniques",
    "Image sheets",
]


def drawn(run: Run, **given: Any) -> bytes:
    """The PDF of a run."""
    scales = dataset_scales(run)
    return write_pdf(run, index_page(run, scales), scales, **given)


def drawn_parts(run: Run, kind: str) -> list[bytes]:
    """The volumes of a run (`kind` is ``volumes``), or its documents of one image (``singles``)."""
    scales = dataset_scales(run)
    index = index_page(run, scales)
    members = neighbours(index.rows)
    origin, results = Origin.of(run, index), Results(run)
    parts = {"volumes": volumes, "singles": singles}[kind](origin, results, members)
    with sheet_folder() as folder:
        for _ in SheetPress(run.folder.root, scales, folder)(members):
            pass
        return [part.draw(folder) for part in parts]


class Document:
    """A PDF, read back."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.reader = pypdf.PdfReader(io.BytesIO(content))
        self.pages = [page.extract_text().replace("\xa0", " ") for page in self.reader.pages]
        self.text = "\n".join(self.pages)
        self.words = " ".join(self.text.split())
        self.root: Any = self.reader.trailer["/Root"]

    def outline(self) -> list[tuple[int, str, int]]:
        """Depth, label and page number of every bookmark."""

        def walk(entries: Any, depth: int) -> Iterator[tuple[int, str, int]]:
            for entry in entries:
                if isinstance(entry, list):
                    yield from walk(entry, depth + 1)
                else:
                    page = self.reader.get_destination_page_number(entry)
                    yield depth, str(entry.title), (page or 0) + 1

        return list(walk(self.reader.outline, 0))

    def links(self) -> list[tuple[int, int]]:
        """Page of every internal link, and the page that it leads to."""
        targets = self.reader.named_destinations
        found = []
        for number, page in enumerate(self.reader.pages, start=1):
            for reference in page.get("/Annots", ()):
                annotation = reference.get_object()
                if annotation["/Subtype"] == "/Link":
                    target = targets[str(annotation["/Dest"])]
                    found.append((number, (self.reader.get_destination_page_number(target) or 0) + 1))
        return found

    def elements(self) -> Iterator[Any]:
        """Every structure element."""

        def walk(element: Any) -> Iterator[Any]:
            element = element.get_object()
            if not isinstance(element, pypdf.generic.DictionaryObject) or "/S" not in element:
                return
            yield element
            for child in element.get("/K", ()):
                if not isinstance(child, int):
                    yield from walk(child)

        for child in self.root["/StructTreeRoot"]["/K"]:
            yield from walk(child)

    def figures(self) -> list[Any]:
        """Every structure element that is a picture."""
        return [element for element in self.elements() if element["/S"] == "/Figure"]

    def tags(self) -> list[str]:
        """Type of every structure element."""
        return [str(element["/S"]) for element in self.elements()]
