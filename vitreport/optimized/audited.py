"""The audited images: their files, where they are what they were, else the views that the run keeps of them.

A view is a JPEG of what the model saw. It stands in for a file that is gone or has changed, but not for free:
on DeiT-Tiny a logit moves by a quarter of its spread over images. So what was read is counted and said.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitreport.errors import ImageError
from vitreport.images.decoder import decoded
from vitreport.images.file import open_regular
from vitreport.model.load import VisionModel
from vitreport.model.memory import automatic_batch_size
from vitreport.optimized.gates import bound_of
from vitreport.optimized.likeness import likeness
from vitreport.optimized.reading import lacks, reading
from vitreport.optimized.statistics import ImageStatistics
from vitreport.optimized.target import Kind, Target
from vitreport.store import Run
from vitreport.store.optimized import Audited

_DECODERS = min(4, os.cpu_count() or 1)
SAMPLE = 1024
"""Images that colours, spectrum and the choice of units are taken from, the first by identity."""
TOP = 8
"""Images that activate a target most, as they are kept."""


class AuditedImages:
    """The explained images of a run, as one model reads them."""

    def __init__(self, run: Run, model: VisionModel) -> None:
        self._run = run
        self._model = model
        self._batch = automatic_batch_size(model)
        statuses = run.images.select(["status"])["status"].to_pylist()
        self.count = statuses.count("explained")
        self._refs = {ref.id: ref for ref in run.catalogue}
        self._lost: set[str] = set()

    def batches(self, most: int | None = None) -> Iterator[tuple[list[str], Tensor]]:
        """Ids, and pixels in [0, 1] ``(batch, 3, height, width)``, in id order.

        Args:
            most: images to stop after; None is all.
        """
        views = (view for shard in self._run.shards for view in self._run.views(shard).items())
        chosen = islice(views, most)
        with ThreadPoolExecutor(_DECODERS) as pool:
            while some := list(islice(chosen, self._batch)):
                ids = [image_id for image_id, _ in some]
                pixels = torch.stack(list(pool.map(self._pixels, ids, [view for _, view in some])))
                yield ids, pixels.to(self._model.device)

    @property
    def from_views(self) -> int:
        """How many of the images read so far had to be taken from their views."""
        return len(self._lost)

    def _pixels(self, image_id: str, view: bytes) -> Tensor:
        ref = self._refs[image_id]
        if image_id not in self._lost:
            preparation = self._model.preparation
            inside = self._run.folder.root / ref.uri
            path = inside if inside.is_file() else Path(ref.uri)
            try:
                with open_regular(path) as file:
                    same = hashlib.file_digest(file, "sha256").hexdigest() == ref.sha256
                if same:
                    return preparation.plain(decoded(path, preparation)[0]).clamp(0, 1)
            except (ImageError, OSError):
                pass
            self._lost.add(image_id)
        return _decoded(view)

    def statistics(self) -> ImageStatistics:
        """Colours and spectrum of the first images."""
        return ImageStatistics.measured(lambda: (some.cpu() for _, some in self.batches(SAMPLE)), self._size)

    def read(self, targets: Sequence[Target]) -> list[Audited]:
        """What the images say of each target."""
        ids: list[str] = []
        parts: list[Tensor] = [torch.zeros(0, len(targets))]
        alike: list[float] = []
        with torch.no_grad(), reading(self._model, targets) as read:
            for names, pixels in self.batches():
                seen = read(self._model.preparation.normalised(pixels))
                parts.append(torch.stack([seen.activation(target) for target in targets], 1).float().cpu())
                if len(ids) < SAMPLE:
                    alike += [value for value in likeness(self._model, pixels) if value is not None]
                ids += names
        mean_likeness = sum(alike) / len(alike) if alike else None
        columns = torch.cat(parts).unbind(1)
        return [_audited(ids, self.from_views, column, mean_likeness) for column in columns]

    def common_classes(self, most: int) -> list[Target]:
        """The classes that occur most often: by label where images have one, else as predicted."""
        if not len(self._model.classes):
            return []
        rows = self._run.images.select(["label", "top_index", "status"]).to_pylist()
        rows = [row for row in rows if row["status"] == "explained"]
        classes = range(len(self._model.classes))
        labels = [row["label"] for row in rows if row["label"] in classes]
        predicted = [row["top_index"][0] for row in rows if row["top_index"]]
        counted = Counter(labels or predicted)
        order = sorted(counted, key=lambda index: (-counted[index], index))
        return [Target(Kind.CLASS, index) for index in order[:most]]

    def most_active_units(self, most: int) -> list[Target]:
        """Of some blocks, spread over the depth, the unit with the largest activation on any image.

        Of the first images alone, see `SAMPLE`.
        """
        model = self._model
        if most == 0 or self.count == 0 or lacks(model, Kind.UNIT):
            return []
        count = min(most, model.blocks)
        blocks = [round((place + 1) * model.blocks / count) - 1 for place in range(count)]
        places = [Target(Kind.UNIT, 0, block) for block in blocks]
        peaks: dict[int, Tensor] = {}
        with torch.no_grad(), reading(model, places) as read:
            for _, pixels in self.batches(SAMPLE):
                seen = read(model.preparation.normalised(pixels))
                for block in blocks:
                    peak = seen.activations(Kind.UNIT, block).amax(0)
                    peaks[block] = torch.maximum(peaks.get(block, peak), peak)
        return [Target(Kind.UNIT, int(peaks[block].argmax()), block) for block in blocks]

    @property
    def _size(self) -> tuple[int, int]:
        return self._model.input_size


def _audited(
    ids: Sequence[str], from_views: int, activations: Tensor, mean_likeness: float | None
) -> Audited:
    bound, rule = bound_of(activations)
    if bound is None:
        return Audited(0, 0, None, None, None, None, rule)
    order = activations.argsort(descending=True, stable=True)[:TOP].tolist()
    return Audited(
        images=len(ids),
        from_views=from_views,
        mean=float(activations.mean()),
        deviation=float(activations.std(correction=0)),
        most=float(activations.max()),
        bound=bound,
        rule=rule,
        top=tuple((ids[place], float(activations[place])) for place in order),
        likeness=mean_likeness,
    )


def _decoded(view: bytes) -> Tensor:
    with Image.open(io.BytesIO(view), formats=("JPEG",)) as picture:
        levels = np.asarray(picture.convert("RGB"), np.float32)
    return torch.from_numpy(levels / 255).permute(2, 0, 1)
