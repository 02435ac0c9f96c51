"""What scoring reads of the images that are drawn for it: pixels, masks, and their maps in the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vitreport.batches import prepared_batches
from vitreport.errors import ImageError
from vitreport.explanation import ImageRef
from vitreport.faithfulness.metric import BACKGROUND, IGNORED, Gallery
from vitreport.images.decoder import decoded_mask
from vitreport.model.trace import Trace
from vitreport.plan import Plan
from vitreport.store import RunFolder, TechniqueRecord
from vitreport.store.folder import technique_part
from vitreport.store.schema import MAPS
from vitreport.techniques.technique import Context, Technique


@dataclass(frozen=True)
class Drawn:
    """An image that is scored.

    Attributes:
        id: of the image.
        shard: in which its maps are stored.
        target: for which its maps are scored: its first explained class.
        lot: its place in the draw; metrics that score fewer images take the first.
    """

    id: str
    shard: int
    target: int
    lot: int


@dataclass(frozen=True)
class Ready:
    """Drawn images with all that scoring reads of them.

    Attributes:
        drawn: the images.
        gallery: their pixels, labels and maps.
        masks: ``(images, height, width)``; None where no masks are given.
        mask_notes: why an image has no mask, or None.
    """

    drawn: Sequence[Drawn]
    gallery: Gallery
    masks: Tensor | None
    mask_notes: Sequence[str | None]


@dataclass(frozen=True)
class SampleReader:
    """Reads images that are scored.

    Attributes:
        folder: the run folder, with the maps of every shard.
        plan: what is scored, and by what.
        scorable: the techniques that are scored.
    """

    folder: RunFolder
    plan: Plan
    scorable: Sequence[TechniqueRecord]

    def read(self, drawn: Sequence[Drawn], keys: set[str]) -> Ready:
        """Everything about drawn images; those that cannot be read any more are left out.

        Args:
            drawn: the images.
            keys: of the techniques whose maps are scored.

        Raises:
            ImageError: none of them can be read any more.
        """
        by_id = {image.id: image for image in drawn}
        refs = [
            ref for shard in self.plan.shards.values() for ref in shard if ref.id in by_id
        ]  # in id order, as the shards are
        images = [image for batch in prepared_batches(self.plan, [refs]) for image in batch]
        gone = [image for image in images if image.pixels is None]
        images = [image for image in images if image.pixels is not None]
        if not images:
            raise ImageError(
                f"none of the {len(gone)} images to be scored together can be read any more, the first is "
                f"{gone[0].ref.uri} ({gone[0].reason}); put them back, and the same command goes on"
            )
        readable = [by_id[image.ref.id] for image in images]
        gallery = Gallery(
            pixels=torch.stack([image.pixels for image in images if image.pixels is not None]),
            labels=torch.tensor([-1 if image.ref.label is None else image.ref.label for image in images]),
            image_ids=tuple(image.ref.id for image in images),
        )
        masks: Tensor | None = None
        notes: list[str | None] = [None] * len(images)
        if self.plan.masks:
            found = [self._mask(image.ref, image.view.original) for image in images if image.view]
            masks, notes = torch.stack([mask for mask, _ in found]), [note for _, note in found]
        controls = {record.key for record, _ in self.plan.controls}
        maps = self._stored(readable, keys - controls) | self._controls(gallery)
        return Ready(readable, replace(gallery, maps=maps), masks, notes)

    def _mask(self, ref: ImageRef, size: tuple[int, int]) -> tuple[Tensor, str | None]:
        """The mask of an image of (width, height) as the model sees it; or one that says nothing, and why.

        A mask of nothing but 0 and 255 marks one object: that of the image's label.
        """
        nothing = torch.full(self.plan.model.input_size, IGNORED)
        path = self.plan.masks.get(ref.id)
        if path is None:
            return nothing, "there is no mask"
        try:
            levels = decoded_mask(path)
        except ImageError as error:
            return nothing, f"the mask cannot be read: {error}"
        height, width = levels.shape
        if (width, height) != size:
            return nothing, f"the mask has {width} x {height} pixels, the picture {size[0]} x {size[1]}"
        if set(np.unique(levels).tolist()) == {BACKGROUND, IGNORED}:
            if ref.label is None:
                return nothing, "the mask has only 0 and 255, and the image no label that says what 255 marks"
            levels = np.where(levels == IGNORED, np.int32(ref.label), levels)
        return self.plan.model.preparation.mask(levels), None

    def _stored(self, drawn: Sequence[Drawn], keys: set[str]) -> dict[str, Tensor]:
        """The stored maps of images, by technique."""
        grid = self.plan.model.layout.grid
        places = {image.id: place for place, image in enumerate(drawn)}
        found: dict[str, Tensor] = {}
        for record in self.scorable:
            if record.key not in keys:
                continue
            maps = torch.full((len(drawn), *grid), torch.nan)
            for shard in sorted({image.shard for image in drawn}):
                table = self.folder.read_table(technique_part(record, shard), MAPS.names)
                for row in table.to_pylist() if len(table) else ():
                    place = places.get(row["id"])
                    if place is None or row["error"] or row["target"] not in (None, drawn[place].target):
                        continue
                    maps[place] = torch.from_numpy(np.asarray(row["map"], np.float32).reshape(grid))
            found[record.key] = maps
        return found

    def _controls(self, gallery: Gallery) -> dict[str, Tensor]:
        """Maps of the controls, which know nothing of the model and need no trace of it."""
        none = gallery.pixels.new_zeros(len(gallery.pixels), 1)
        trace = Trace(logits=none, pixels=gallery.pixels, readout=none)
        context = Context(trace, self.plan.model, gallery.image_ids, self.plan.settings.seed)
        return {
            record.key: technique.attribute(context)
            for record, technique in self.plan.controls
            if isinstance(technique, Technique)
        }
