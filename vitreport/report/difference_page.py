"""What the report of a difference says: view dataclasses, the same for the page and the PDF."""

from __future__ import annotations

from dataclasses import dataclass

from vitreport.report.chapter import Chapter
from vitreport.report.image_page import MapView, Photo


@dataclass(frozen=True)
class ChangedFinding:
    """A finding that is new, gone, or in both runs.

    Attributes:
        severity: ``severe``, ``warning`` or ``note``, in the run that has it; in the second, where both do.
        sentence: in the run that has it; in the second, where both do.
        before: the sentence in the first run, where both have it; else empty.
        images: names of files that show it.
    """

    severity: str
    sentence: str
    before: str
    images: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class MovedPicture:
    """An image whose map moved, with the maps of both runs.

    Attributes:
        name: of the file.
        said: what both models say of it.
        likeness: rank correlation of the maps, as text.
    """

    name: str
    said: str
    likeness: str
    photo: Photo
    before: MapView
    after: MapView


@dataclass(frozen=True, eq=False)
class DifferencePage:
    """What changed from one run to another.

    Attributes:
        summary: sentences, the most important first.
        new: findings that only the second run has.
        vanished: findings that only the first run has.
        kept: findings that both have.
        chapter: tables with the numbers.
        moved_title: of the technique whose maps are shown.
        moved: images whose maps moved most.
    """

    title: str
    summary: tuple[str, ...]
    new: tuple[ChangedFinding, ...]
    vanished: tuple[ChangedFinding, ...]
    kept: tuple[ChangedFinding, ...]
    chapter: Chapter
    moved_title: str
    moved: tuple[MovedPicture, ...]
