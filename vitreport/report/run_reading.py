"""A run with what a report reads from all of it, each read once and only when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from vitreport.analysis.trust import Trust, trust
from vitreport.figures.scale import Scale
from vitreport.report.pages import IndexPage
from vitreport.report.reading import index_page
from vitreport.report.scale_reading import dataset_scales
from vitreport.store import Run


class RunReading:
    """What the site and the PDF share."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def scales(self) -> Mapping[str, Scale]:
        """The fixed scales of the maps, by key."""
        return dataset_scales(self.run)

    @cached_property
    def trust(self) -> Trust | None:
        """What the scores say."""
        return trust(self.run)

    @cached_property
    def index(self) -> IndexPage:
        """What the start page says, and all that it leads to."""
        return index_page(self.run, self.scales, self.trust)
