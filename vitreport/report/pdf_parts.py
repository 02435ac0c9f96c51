"""Image sheets beyond the summary: volumes of fifty images, and documents of one.

Each is a whole document that conforms by itself. Parts that are merged later would lose their tags.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vitreport import __version__
from vitreport.report import pdf_attachment
from vitreport.report.image_reading import Neighbours
from vitreport.report.outputs import Outputs
from vitreport.report.pages import Columns, ImageRow, IndexPage
from vitreport.report.pdf_attachment import Results
from vitreport.report.pdf_engine import pdf_engine
from vitreport.report.pdf_places import VOLUME, single_path, volume_path
from vitreport.report.pdf_sheet import ImageSheet
from vitreport.report.pdf_sheets import SheetFolder
from vitreport.report.pdf_template import drawn, stylesheet
from vitreport.report.pdf_view import ORDER
from vitreport.store import Run


@dataclass(frozen=True)
class Origin:
    """The run that parts are about.

    Attributes:
        measured: by what faithfulness was measured; empty where it was not.
    """

    model: str
    weights_sha256: str
    run_digest: str
    outputs: Outputs
    measured: str

    @classmethod
    def of(cls, run: Run, index: IndexPage) -> Origin:
        """That of a run."""
        model = run.manifest.model
        measured = index.trust.measured if index.trust else ""
        return cls(model.name, model.weights_sha256, run.manifest.run_digest, index.outputs, measured)


@dataclass(frozen=True)
class Part:
    """A document with the sheets of some images.

    Attributes:
        path: where it goes, below the run folder.
        heading: what it is, without the model.
        intro: which images it has, in a sentence.
        ids: of its images, in order.
        single: whether it is about one image.
        attached: its ``results.json``.
    """

    origin: Origin
    path: str
    heading: str
    intro: str
    ids: tuple[str, ...]
    single: bool
    attached: bytes

    def draw(self, sheets: SheetFolder, on_page: Callable[[int], None] | None = None) -> bytes:
        """The PDF.

        Raises:
            RenderError: it cannot be drawn.
            SettingsError: ``SOURCE_DATE_EPOCH`` is no number.
        """
        engine = pdf_engine()
        chosen = sheets.sheets(self.ids)
        content: bytes = engine.render(
            html=drawn("pdf/part.html", report=part_view(self, chosen)),
            stylesheet=stylesheet(),
            pictures=sheets.pictures(chosen),
            attached=engine.AttachedFile(pdf_attachment.NAME, pdf_attachment.DESCRIPTION, self.attached),
            on_page=on_page,
        )
        return content


@dataclass(frozen=True)
class PartView:
    """What the document of a part says; names that the summary's view has too mean the same.

    Attributes:
        title: of the document.
        heading: what it is.
        intro: which images it has.
        image: the sheet of a document about one image; else None.
    """

    title: str
    heading: str
    intro: str
    model: str
    weights_sha256: str
    run_digest: str
    version: str
    outputs: Outputs
    measured: str
    order: str
    sheets: tuple[ImageSheet, ...]
    image: ImageSheet | None
    rows: tuple[ImageRow, ...]
    with_sheet: frozenset[str]
    columns: Columns


def part_view(part: Part, sheets: Sequence[ImageSheet]) -> PartView:
    """The document of `part` with its sheets."""
    origin = part.origin
    rows = tuple(sheet.row for sheet in sheets)
    return PartView(
        title=f"{part.heading}: {origin.model}",
        heading=part.heading,
        intro=part.intro,
        model=origin.model,
        weights_sha256=origin.weights_sha256,
        run_digest=origin.run_digest,
        version=__version__,
        outputs=origin.outputs,
        measured=origin.measured,
        order="" if part.single else ORDER,
        sheets=tuple(sheets),
        image=sheets[0] if part.single else None,
        rows=rows,
        with_sheet=frozenset(part.ids),
        columns=Columns.of(rows),
    )


def volumes(origin: Origin, results: Results, members: Sequence[Neighbours]) -> list[Part]:
    """Volumes of all `members`, in their order."""
    parts = []
    starts = range(0, len(members), VOLUME)
    for number, start in enumerate(starts, start=1):
        ids = tuple(member.row.id for member in members[start : start + VOLUME])
        which = f"images {start + 1:,} to {start + len(ids):,}" if len(ids) > 1 else f"image {start + 1:,}"
        parts.append(
            Part(
                origin=origin,
                path=volume_path(number),
                heading=f"Image sheets, volume {number} of {len(starts)}",
                intro=f"Sheets of {which} of the {len(members):,} that were explained. {ORDER}",
                ids=ids,
                single=False,
                attached=results.part(ids, {"volume": number, "volumes": len(starts)}),
            )
        )
    return parts


def volume_of(members: Sequence[Neighbours]) -> Mapping[str, int]:
    """Number of the volume that has the sheet of an image, by its id."""
    return {member.row.id: position // VOLUME + 1 for position, member in enumerate(members)}


def singles(origin: Origin, results: Results, members: Sequence[Neighbours]) -> list[Part]:
    """A document for each of `members`."""
    return [
        Part(
            origin=origin,
            path=single_path(row.id),
            heading=row.name or row.id,
            intro=f"The sheet of one of {len(members):,} explained images; report.pdf is about them all.",
            ids=(row.id,),
            single=True,
            attached=results.part((row.id,), {"image": row.id}),
        )
        for row in (member.row for member in members)
    ]
