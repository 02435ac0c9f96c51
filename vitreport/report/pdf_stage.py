"""The last stage of a report: its PDFs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vitreport.engines import LocalEngine, Resources
from vitreport.report.pdf_places import PDF, VOLUME, is_single, is_volume
from vitreport.report.site_folder import scratch
from vitreport.report.site_record import Earlier, PageRecord
from vitreport.report.sources import Sources

if TYPE_CHECKING:
    from vitreport.report.image_reading import Neighbours
    from vitreport.report.pdf_press import Document
    from vitreport.report.pdf_sheets import SheetFolder
    from vitreport.report.run_reading import RunReading

STYLES = ("pdf/report.css", "css/tokens.css")
"""What every document is laid out with."""

CHUNK = 128
"""Sheets that a process draws at a time, at most: it reads the parts of their shards once."""

ALONE = 128
"""Up to so many sheets are drawn in this process: starting others takes longer."""

Told = Callable[[str, float, int], None]
"""Called with what is under way, the units done, and the units there are."""


@dataclass(frozen=True)
class PdfStage:
    """Which PDFs are wanted beside the summary, and how long that is.

    Attributes:
        images: how many images get a sheet in the summary.
        volumes: whether all images get one in volumes, where there are more.
        per_image: whether every image gets a document of its own.
    """

    images: int = 60
    volumes: bool = False
    per_image: bool = False

    def is_there(self, earlier: Earlier, sources: Sources, explained: int) -> bool:
        """Whether an earlier report's PDFs need not be drawn again; `explained` counts the run's images."""
        volumes = -(-explained // VOLUME) if self._makes_volumes(explained) else 0
        singles = explained if self.per_image else 0
        parts = [name for name in earlier.pages if is_volume(name) or is_single(name)]
        return (
            sum(map(is_volume, parts)) == volumes
            and sum(map(is_single, parts)) == singles
            and all(earlier.has(name, self._digest(name, sources)) for name in (PDF, *parts))
        )

    def draw(
        self, reading: RunReading, sources: Sources, earlier: Earlier, processes: int, told: Told
    ) -> dict[str, PageRecord]:
        """Draws what has changed; returns the record of every PDF, by name.

        Args:
            reading: the run.
            sources: what its PDFs are drawn from.
            earlier: the report that is there.
            processes: workers at a time.
            told: what is done: every sheet when it is drawn and when its page is, and one for every document.

        Raises:
            RenderError: a PDF cannot be drawn.
            SettingsError: the cap is below zero, or ``SOURCE_DATE_EPOCH`` is no number.
            StoreError: the place cannot be written.
        """
        from vitreport.report.image_reading import neighbours
        from vitreport.report.pdf_engine import pdf_engine
        from vitreport.report.pdf_sheets import sheet_folder

        pdf_engine()  # whatever it lacks is said before any work is done
        members = neighbours(reading.index.rows)
        digests: dict[str, str] = {}
        pending: list[Document] = []
        for document in self._documents(reading, members):
            digests[document.path] = self._digest(document.path, sources)
            if not earlier.has(document.path, digests[document.path]):
                pending.append(document)
        records = {name: earlier.pages[name] for name in digests if name in earlier.pages}
        with sheet_folder(scratch(reading.run.folder.root)) as sheets:
            for path, files in self._drawn(reading, members, pending, sheets, processes, told):
                records[path] = PageRecord(digests[path], files)
        return records

    def _documents(self, reading: RunReading, members: Sequence[Neighbours]) -> Iterable[Document]:
        """All that are wanted; the summary first, since it takes longest."""
        from vitreport.report.pdf import summary, with_sheets
        from vitreport.report.pdf_attachment import Results
        from vitreport.report.pdf_parts import Origin, singles, volume_of, volumes

        results = Results(reading.run)
        origin = Origin.of(reading.run, reading.index)
        many = self._makes_volumes(len(members))
        chosen = with_sheets(reading.index, self.images)
        where = volume_of(members) if many else {}
        yield summary(reading.run, reading.index, results, reading.trust, chosen, where)
        if many:
            yield from volumes(origin, results, members)
        if self.per_image:
            yield from singles(origin, results, members)

    def _drawn(
        self,
        reading: RunReading,
        members: Sequence[Neighbours],
        documents: Sequence[Document],
        sheets: SheetFolder,
        processes: int,
        told: Told,
    ) -> Iterable[tuple[str, dict[str, str]]]:
        """Draws the sheets of `documents`, each once, then these; yields path and files of each."""
        from vitreport.report.pdf_press import DocumentPress, DocumentReceipt
        from vitreport.report.pdf_sheets import SheetPress

        root = reading.run.folder.root
        wanted = {image_id for document in documents for image_id in document.ids}
        chosen = sorted(
            (member for member in members if member.row.id in wanted), key=lambda member: member.row.shard
        )
        total = len(chosen) + sum(len(document.ids) + 1 for document in documents)
        done = 0.0
        told("pdf", done, total)
        workers = Resources(processes if len(chosen) > ALONE else 1)
        size = min(CHUNK, max(1, -(-len(chosen) // workers.processes)))
        chunks = [chosen[start : start + size] for start in range(0, len(chosen), size)]
        for receipt in LocalEngine().map(SheetPress(root, reading.scales, sheets), chunks, workers):
            done += receipt.done
            told("pdf", done, total)
        furthest = done

        def laid_out(page: int) -> None:
            nonlocal furthest  # pages are laid out again where their numbers have changed
            furthest = max(furthest, done + min(page, len(documents[0].ids)))
            told("pdf", furthest, total)

        press = DocumentPress(root, sheets, laid_out if len(documents) == 1 else None)
        for drawn in LocalEngine().map(press, documents, Resources(processes)):
            done += drawn.done
            told("pdf", done, total)
            if isinstance(drawn, DocumentReceipt):
                yield drawn.path, dict(drawn.files)

    def _makes_volumes(self, explained: int) -> bool:
        return self.volumes and explained > self.images

    def _digest(self, name: str, sources: Sources) -> str:
        date = os.environ.get("SOURCE_DATE_EPOCH")
        if name == PDF:
            return sources.page("pdf/report.html", *STYLES, settings=(self.images, self.volumes, date))
        return sources.of_images.page("pdf/part.html", *STYLES, settings=date)
