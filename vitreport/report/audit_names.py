"""How classes, images and techniques are named, and linked, in what is said of a whole run."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vitreport.analysis.audit import Audit
from vitreport.analysis.phrases import p_value
from vitreport.report.chapter import Cell
from vitreport.report.pages import ImageRow
from vitreport.report.wording import changed
from vitreport.store import Run

LONGEST = 40
"""Characters of a class's name in the address of its page."""


def p_of(p: float) -> str:
    """A p value in a column of such: ``0.0021``, ``< 0.0001``, or ``–`` where nothing was tested."""
    if p != p:
        return "–"
    return p_value(p).removeprefix("p\xa0").removeprefix("=\xa0")


@dataclass(frozen=True)
class AuditNames:
    """Names in a run.

    Attributes:
        run: the run.
        audit: of it.
        rows: of the tables of images, by id.
    """

    run: Run
    audit: Audit
    rows: Mapping[str, ImageRow]

    def class_name(self, index: int | None) -> str:
        """A class in words; None is all images together."""
        return "all images" if index is None else self.audit.outcomes.name(index)

    def class_cell(self, index: int | None) -> Cell:
        """A class with a link to its page."""
        return Cell(self.class_name(index), "" if index is None else self.class_path(index))

    def class_path(self, index: int) -> str:
        """The page of a class: ``classes/243-bull-mastiff.html``."""
        plain = unicodedata.normalize("NFKD", self.class_name(index)).encode("ascii", "ignore").decode()
        slug = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:LONGEST].strip("-")
        return f"classes/{index}{'-' if slug else ''}{slug}.html"

    def images(self, ids: Iterable[str]) -> tuple[ImageRow, ...]:
        """The rows of some images."""
        return tuple(self.rows[one] for one in ids)

    def image_cell(self, image_id: str) -> Cell:
        """An image with a link to its page."""
        return Cell(self.rows[image_id].name, f"images/{image_id}.html")

    def technique(self, key: str) -> str:
        """A technique's title with what differs from its defaults."""
        record = next(one for one in self.run.techniques if one.key == key)
        setting = changed(record)
        return f"{record.title} ({setting})" if setting else record.title

    @property
    def code(self) -> str:
        """The first lines of Python that reads the audit back."""
        chosen = self.audit.technique
        asked = f", technique=run.technique({chosen.key!r})" if chosen else ""
        return (
            "from vitreport import open_run\n"
            "from vitreport.analysis.audit import audit\n\n"
            f'run = open_run("RUN")\nfound = audit(run{asked})\n'
        )
