"""Beside the findings of weight in the PDF: images that show them, with the maps that they rest on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vitreport.figures.sheet import Shown, Tile, strip
from vitreport.report.chapter import FindingView
from vitreport.report.image_page import ImagePage, MapView
from vitreport.report.image_reading import Neighbours, image_pages
from vitreport.report.pdf_sheet import COUNTED, range_digits
from vitreport.store import Run

CELLS = 6
"""Pictures beside a finding: so many photos, or half as many with a map each."""


@dataclass(frozen=True)
class FindingPicture:
    """The picture beside a finding: its address in the document, its alternative text, and the JPEG."""

    address: str
    alt: str
    jpeg: bytes


def finding_pictures(run: Run, findings: Sequence[FindingView]) -> dict[str, FindingPicture]:
    """The pictures of findings, by the finding's id; none for a finding that names no image.

    Args:
        run: the run.
        findings: those that get one.
    """
    rows = {row.id: row for one in findings for row in one.images[: _images(one)]}
    members = [Neighbours(row, None, None) for row in rows.values()]
    keys = {one.technique for one in findings if one.technique}
    pages = {page.row.id: page for page in image_pages(run, {}, members, keys=keys)}
    return {one.id: _picture(one, list(_shown(one, pages))) for one in findings if one.images}


def _images(finding: FindingView) -> int:
    return CELLS // 2 if finding.technique else CELLS


def _shown(finding: FindingView, pages: dict[str, ImagePage]) -> Iterator[tuple[ImagePage, MapView | None]]:
    for row in finding.images[: _images(finding)]:
        page = pages[row.id]
        views = (view for section in page.sections for view in section.maps)
        yield page, next((view for view in views if view.record.key == finding.technique), None)


def _picture(finding: FindingView, shown: Sequence[tuple[ImagePage, MapView | None]]) -> FindingPicture:
    images = [
        Shown(page.row.name or page.row.id, page.photo.jpeg, _tile(view) if view else None)
        for page, view in shown
    ]
    said = [f"{page.row.name}: {page.photo.words}{_said(view) if view else ''}." for page, view in shown]
    counted = [COUNTED] if any(view for _, view in shown) else []
    return FindingPicture(
        address=f"report:findings/{finding.id}.jpeg",
        alt=" ".join(("Images that show this finding.", *counted, *said)),
        jpeg=strip(images, CELLS),
    )


def _tile(view: MapView) -> Tile:
    target = view.target.short if view.target else ""
    caption = ", ".join(filter(None, (range_digits(view), target)))
    return Tile("", caption, view.values, view.record.signed, view.scale)


def _said(view: MapView) -> str:
    target = f" for {view.target.short}" if view.target else ""
    if view.state != "drawn":
        return f", and {view.record.title}{target}, which is {view.state}"
    row, column = view.peak
    return f", and {view.record.title}{target}: {view.scale_text}, largest in row {row}, column {column}"
