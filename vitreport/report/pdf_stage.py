"""The last stage of a report: its PDF."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vitreport.report.site_folder import SiteFolder
from vitreport.report.site_record import Earlier, PageRecord
from vitreport.report.sources import Sources

if TYPE_CHECKING:
    from vitreport.report.run_reading import RunReading

PDF = "report.pdf"
"""The summary report, below the run folder; also its name in the record."""

TEMPLATES = ("pdf/report.html", "pdf/report.css", "css/tokens.css")
"""What it is laid out with."""


@dataclass(frozen=True)
class PdfStage:
    """What is wanted of the PDF.

    Attributes:
        images: how many images get a sheet of their own.
    """

    images: int = 60

    def is_there(self, earlier: Earlier, sources: Sources) -> bool:
        """Whether an earlier report's PDF need not be drawn again."""
        return earlier.has(PDF, self._digest(sources))

    def draw(
        self, reading: RunReading, sources: Sources, told: Callable[[str, float, int], None]
    ) -> dict[str, PageRecord]:
        """Draws it; returns the record of every PDF, by name.

        Raises:
            RenderError: it cannot be drawn.
        """
        from vitreport.report.pdf import write_pdf

        content = write_pdf(
            reading.run,
            reading.index,
            reading.scales,
            trust=reading.trust,
            image_cap=self.images,
            progress=lambda done, total: told("pdf", done, total),
        )
        site = SiteFolder(reading.run.folder.root)
        site.write_beside(PDF, content)
        return {PDF: PageRecord(self._digest(sources), site.files)}

    def _digest(self, sources: Sources) -> str:
        return sources.page(*TEMPLATES, settings=(self, os.environ.get("SOURCE_DATE_EPOCH")))
