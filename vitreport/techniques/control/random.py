"""A map of chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from vitreport.configurable import count
from vitreport.model.trace import Need
from vitreport.techniques.technique import Context, Technique, register


@register
@dataclass(frozen=True)
class Random(Technique):
    """Uniform noise in [0, 1), drawn anew for each image from the run's seed and the image's id."""

    name = "random"
    title = "Random map (control)"
    family = "control"
    needs = Need.NOTHING
    source = "A control, as in Adebayo et al., Sanity Checks for Saliency Maps, 2018, arXiv:1810.03292"
    shows = "What a map without any knowledge looks like and scores: the floor for every technique."
    does_not_show = "Anything about the model."

    draw: int = count(0, 0, 9999, "number of the draw, to have several independent ones")

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        for technique in techniques:
            maps = [technique._draw(context, image_id) for image_id in context.image_ids]
            yield torch.from_numpy(np.stack(maps)).to(context.trace.logits.device, non_blocking=True)

    def _draw(self, context: Context, image_id: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        generator = context.generator(image_id, f"random {self.draw}")
        return generator.random(context.model.layout.grid, dtype=np.float32)
