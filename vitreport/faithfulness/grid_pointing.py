"""Localisation without masks: does a map find its class among four pictures?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from vitreport.draws import generator
from vitreport.faithfulness.metric import Case, Gallery, Metric, Row, explaining_passes, register
from vitreport.model.layout import patch_sums
from vitreport.model.load import VisionModel
from vitreport.techniques.technique import Technique

CONFIDENT = 0.5
"""A picture's least probability of its label at half size."""


@register
@dataclass(frozen=True)
class GridPointing(Metric):
    """Share, in [0, 1], of a map's positive relevance in the one cell of a 2 x 2 mosaic that shows its class.

    An image is put, at half size, into a cell drawn by chance, with three images of other labels around it,
    and its label is explained. Chance is 0.25. It counts only where the model, shown the cell alone on the
    mean colour, gives the label a probability of 0.5 or more; so do the other three. ``note`` says why there
    is no value.

    The other three come from the images that are scored together, up to 64 of them: what is beside an image,
    and whether there are three for it, hangs on which images those are.

    Source:
        Böhle et al. 2021, Convolutional Dynamic Alignment Networks, arXiv:2104.00032, section 4.2 (grid
        pointing game).

    Differs:
        The mosaic has the size of the model's input, where the paper's is as large as its pictures together.
    """

    name = "grid_pointing"
    title = "Grid pointing game"
    short = "Mosaic"
    source = (
        "Böhle et al., Convolutional Dynamic Alignment Networks for Interpretable Classifications, 2021, "
        "arXiv:2104.00032, section 4.2; the mosaic has the size of the model's input"
    )
    measures = (
        "Whether a map finds the picture of its class among four: the share of positive relevance in its "
        "cell. Chance is 0.25."
    )
    does_not_measure = (
        "Whether the map is faithful: the model may use the other pictures too. Mosaics are nothing that the "
        "model was trained on. The other three come from the images that are scored together, up to 64, so "
        "the value hangs on these too."
    )
    version: ClassVar[int] = 2
    columns: ClassVar[Mapping[str, str]] = {"cell": "int32", "note": "string"}
    tier = "core"
    needs_labels = True

    def passes(self, model: VisionModel, techniques: Sequence[Technique]) -> float:
        """See `Metric.passes`."""
        return explaining_passes(model, techniques) + 2

    def supports(self, model: VisionModel) -> str | None:
        """See `Metric.supports`."""
        return None if len(model.classes) > 1 else "the model tells no classes from each other"

    def score(self, case: Case, maps: Mapping[str, Tensor]) -> dict[str, list[Row]]:
        """See `Metric.score`."""
        if case.gallery is None:
            return {key: [_nothing(_ALONE) for _ in case.image_ids] for key in maps}
        mosaics, notes = self._mosaics(case, case.gallery)
        rows = {key: [_nothing(note) for note in notes] for key in maps}
        if not mosaics:
            return rows
        places, cells, pictures, labels = zip(*mosaics, strict=True)
        (found,) = case.explain(
            maps,
            torch.stack(pictures).to(case.pixels),
            torch.tensor(labels, device=case.pixels.device),
            image_ids=[case.image_ids[place] for place in places],
        )
        for key, values in found.items():
            share = _shares(values, case.pixels.shape[-2:])
            for number, (place, cell) in enumerate(zip(places, cells, strict=True)):
                value = float(share[number, cell])
                defined = value == value
                note = None if defined else "the map of the mosaic has no positive relevance, or none at all"
                rows[key][place] = {"value": value if defined else None, "cell": cell, "note": note}
        return rows

    def _mosaics(
        self, case: Case, gallery: Gallery
    ) -> tuple[list[tuple[int, int, Tensor, int]], list[str | None]]:
        """Place in the batch, cell, mosaic and label of each image that can be had; and why others cannot."""
        sure = gallery.once("confident", lambda: _confident(case, gallery))
        found, notes = [], []
        for place, name in enumerate(case.image_ids):
            own = gallery.image_ids.index(name)
            chance = generator(case.seed, name, "mosaic")
            cell = int(chance.integers(4))
            others: list[int] = []
            taken = {int(gallery.labels[own])}
            for other in chance.permutation(len(gallery.image_ids)).tolist():
                if len(others) < 3 and sure[other] and int(gallery.labels[other]) not in taken:
                    others.append(other)
                    taken.add(int(gallery.labels[other]))
            notes.append(_why_no_mosaic(int(gallery.labels[own]), sure[own], len(others)))
            if sure[own] and len(others) == 3:
                order = [*others[:cell], own, *others[cell:]]
                mosaic = case.pixels.new_zeros(case.pixels.shape[1:])
                for number, image in enumerate(order):
                    _put(mosaic, gallery.pixels[image], number)
                found.append((place, cell, mosaic, int(gallery.labels[own])))
        return found, notes


_ALONE = "it was scored without other images, so there is no mosaic"


def _nothing(note: str | None) -> Row:
    return {"value": None, "cell": None, "note": note}


def _why_no_mosaic(label: int, sure: bool, others: int) -> str | None:
    if label < 0:
        return "the image has no label"
    if not sure:
        return f"the model gives its label a probability below {CONFIDENT:g} at half size"
    if others < 3:
        return f"{others} of the 3 other labels that a mosaic takes are known to the model at half size"
    return None


def _confident(case: Case, gallery: Gallery) -> list[bool]:
    """Whether the model knows each labelled image at half size, alone in one cell."""
    sure = []
    for at in range(0, len(gallery.pixels), case.chunk):
        part = slice(at, at + case.chunk)
        pictures = torch.zeros_like(gallery.pixels[part])
        for number, (picture, name) in enumerate(
            zip(gallery.pixels[part], gallery.image_ids[part], strict=True)
        ):
            _put(pictures[number], picture, int(generator(case.seed, name, "mosaic").integers(4)))
        labels = gallery.labels[part]
        scores = case.model.head.scores(case.logits(pictures.to(case.pixels))).cpu()
        own = scores.gather(1, labels.clamp(min=0)[:, None]).squeeze(1)
        sure += ((own >= CONFIDENT) & (labels >= 0)).tolist()
    return sure


def _put(canvas: Tensor, picture: Tensor, cell: int) -> None:
    """Puts a picture at half size into a cell of a canvas, both ``(3, height, width)``."""
    rows, cols = _cell(cell, canvas.shape[-2:])
    size = (rows.stop - rows.start, cols.stop - cols.start)
    small = nn.functional.interpolate(picture[None], size, mode="bilinear", antialias=True)
    canvas[:, rows, cols] = small[0].to(canvas)


def _cell(cell: int, size: Sequence[int]) -> tuple[slice, slice]:
    """Rows and columns of a cell, numbered row by row."""
    height, width = size
    rows = slice(0, height // 2) if cell < 2 else slice(height // 2, height)
    cols = slice(0, width // 2) if cell % 2 == 0 else slice(width // 2, width)
    return rows, cols


def _shares(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Share of positive relevance in each cell, ``(batch, 4)``; NaN where there is none.

    A patch that lies in two cells is parted by area.
    """
    grid = (maps.shape[1], maps.shape[2])
    covers = torch.zeros(4, *size, dtype=torch.float64)
    for cell in range(4):
        covers[cell][_cell(cell, size)] = 1
    parts = patch_sums(covers, grid) / patch_sums(torch.ones_like(covers), grid)
    positive = maps.detach().cpu().double().clamp(min=0)
    return torch.einsum("brc,krc->bk", positive, parts) / positive.sum((1, 2))[:, None]
