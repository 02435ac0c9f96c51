"""Image sheets on their way into PDFs: each is drawn once, into a folder, so that no process holds all."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from vitreport.engines import Receipt
from vitreport.figures.scale import Scale
from vitreport.figures.sheet import contact_sheet
from vitreport.report.image_reading import Neighbours, image_pages
from vitreport.report.pdf_sheet import ImageSheet, image_sheet
from vitreport.report.site_folder import refusal
from vitreport.store import open_run


@dataclass(frozen=True)
class SheetFolder:
    """Drawn sheets, for all processes of one report; `root` is a folder that nobody else writes to."""

    root: Path

    def put(self, sheet: ImageSheet, pictures: Sequence[bytes]) -> None:
        """Keeps a sheet and its contact sheets, in their order.

        Raises:
            StoreError: there is no room for them.
        """
        try:
            for number, picture in enumerate(pictures):
                (self.root / f"{sheet.row.id}-{number}.jpeg").write_bytes(picture)
            (self.root / f"{sheet.row.id}.sheet").write_bytes(pickle.dumps(sheet.drawn))
        except OSError as error:
            raise refusal(self.root, error) from error

    def sheets(self, ids: Iterable[str]) -> list[ImageSheet]:
        """The sheets of these images."""
        return [pickle.loads((self.root / f"{image_id}.sheet").read_bytes()) for image_id in ids]

    def pictures(self, sheets: Iterable[ImageSheet]) -> dict[str, bytes]:
        """The contact sheets of `sheets`, by the addresses under which documents show them."""
        return {
            picture.address: (self.root / f"{sheet.row.id}-{number}.jpeg").read_bytes()
            for sheet in sheets
            for number, picture in enumerate(sheet.pictures)
        }


@contextmanager
def sheet_folder(inside: Path | None = None) -> Iterator[SheetFolder]:
    """A folder for sheets that is gone afterwards; it lies `inside` one, or where temporary files do."""
    with TemporaryDirectory(prefix="vitreport-sheets-", dir=inside) as folder:
        yield SheetFolder(Path(folder))


@dataclass(frozen=True)
class SheetPress:
    """Draws the sheets of some images.

    Attributes:
        root: the run folder.
        scales: `scale_reading.dataset_scales` of the run.
        folder: where the sheets go.
    """

    root: Path
    scales: Mapping[str, Scale]
    folder: SheetFolder

    def __call__(self, members: Sequence[Neighbours]) -> Iterator[Receipt]:
        """Yields one receipt a sheet."""
        run = open_run(self.root)
        shown = {one.key for one in run.techniques if one.kind == "map" or one.name == "logit_lens"}
        for page in image_pages(run, self.scales, members, keys=shown):
            sheet = image_sheet(page)
            pictures = [
                contact_sheet(page.photo.jpeg, picture.tiles, picture.columns) for picture in sheet.pictures
            ]
            self.folder.put(sheet, pictures)
            yield Receipt(1)
