"""RISE: random masks, and what the logit is where they show a pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from vitreport.configurable import count, number
from vitreport.masking import every_variant, score_variants
from vitreport.model.layout import patch_means
from vitreport.model.load import VisionModel
from vitreport.model.trace import Need
from vitreport.techniques.technique import Context, Technique, Tier, register


@dataclass(frozen=True)
class RandomMasks:
    """Smooth random masks of a batch, kept as coarse grids until they are needed.

    Attributes:
        cells: 1 where a cell is shown, ``(batch, samples, cells, cells)``.
        shifts: (down, right) of the enlarged grid, as shares of a cell, ``(batch, samples, 2)``.
        size: (height, width) of the masks in pixels.
    """

    cells: Tensor
    shifts: Tensor
    size: tuple[int, int]

    def __call__(self, images: Tensor, numbers: Tensor) -> Tensor:
        """Masks in [0, 1] by places of pictures and numbers of samples, ``(masks, height, width)``."""
        cells, shifts = self.cells[images, numbers], self.shifts[images, numbers]
        side = cells.shape[-1]
        cell = [-(-length // side) for length in self.size]
        wide = nn.functional.interpolate(
            cells[:, None],
            size=[(side + 1) * length for length in cell],
            mode="bilinear",
            align_corners=False,
        )[:, 0]
        rows, cols = (
            (shifts[:, axis, None] * cell[axis]).long() + torch.arange(self.size[axis], device=cells.device)
            for axis in (0, 1)
        )
        places = torch.arange(len(cells), device=cells.device)
        return wide[places[:, None, None], rows[:, :, None], cols[:, None, :]]


@register
@dataclass(frozen=True)
class Rise(Technique):
    """Mean logit of the target over random masks that show a pixel, minus the mean over all masks; any sign.

    Hidden pixels get the mean colour of the training data, which is zero after normalisation.

    Source:
        Petsiuk et al. 2018, RISE, arXiv:1806.07421 (BMVC 2018), section 3.

    Differs:
        The mean over all masks is taken off, so that zero is a pixel that makes no difference. A pixel's sum
        is divided by how much the drawn masks show of it, not by the expected share. The score is the logit,
        not the probability. 500 masks of 8 x 8 cells instead of 4000 to 8000 of 7 x 7.
    """

    name = "rise"
    title = "RISE"
    family = "perturbation"
    tier: ClassVar[Tier] = "all"
    needs = Need.NOTHING
    class_specific = True
    signed = True
    source = "Petsiuk et al., RISE, 2018, arXiv:1806.07421 (BMVC 2018), section 3"
    shows = (
        "Regions that raise the target's logit when they are among what the model may see, whatever else it "
        "sees; below zero, regions that lower it."
    )
    does_not_show = (
        "Anything finer than a cell of the masks. It is an estimate from random draws: single spots far from "
        "the object are mostly noise, and more samples make it smoother."
    )
    differs = (
        "The mean over all masks is taken off, so that zero is a pixel that makes no difference. A pixel's "
        "sum is divided by how much the drawn masks show of it, not by the expected share. The score is the "
        "logit, not the probability. 500 masks of 8 x 8 cells instead of 4000 to 8000 of 7 x 7."
    )
    cost = "one forward pass a sample"

    samples: int = count(500, 2, 100_000, "random masks an image")
    cells: int = count(8, 2, 64, "cells of a mask along each side")
    keep: float = number(0.5, 0.01, 0.99, "probability that a cell is shown")

    def passes(self, model: VisionModel) -> float:
        """See `Explainable.passes`."""
        return self.samples

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        for technique in techniques:
            with torch.no_grad():
                masks = technique.draw(context)
                scores = technique._scores(context, masks)
                maps = technique._estimate(scores, masks, context.chunk)
            yield patch_means(maps, context.model.layout.grid)

    def draw(self, context: Context) -> RandomMasks:
        """The masks of a batch, from each image's own generator."""
        pixels, cells, shifts = context.trace.pixels, [], []
        for image_id in context.image_ids:
            generator = context.generator(image_id, "rise masks")
            cells.append(generator.random((self.samples, self.cells, self.cells)) < self.keep)
            shifts.append(generator.random((self.samples, 2)))
        return RandomMasks(
            torch.from_numpy(np.stack(cells)).to(pixels),
            torch.from_numpy(np.stack(shifts)).to(pixels.device),
            (pixels.shape[-2], pixels.shape[-1]),
        )

    def _scores(self, context: Context, masks: RandomMasks) -> Tensor:
        pixels, module = context.trace.pixels, context.model.module

        def run(images: Tensor, numbers: Tensor) -> Tensor:
            logits: Tensor = module(pixels[images] * masks(images, numbers).unsqueeze(1))
            return logits

        return score_variants(self.samples, context.chunk, context.trace.targets, run)

    def _estimate(self, scores: Tensor, masks: RandomMasks, chunk: int) -> Tensor:
        """E[score | pixel shown] - E[score] from the scores ``(batch, samples)``."""
        gains = scores - scores.mean(1, keepdim=True)
        maps = gains.new_zeros(len(gains), *masks.size)
        for image, gain in enumerate(gains):
            shown = torch.zeros_like(maps[image])
            for _, numbers in every_variant(1, self.samples, chunk, gains.device):
                some = masks(torch.full_like(numbers, image), numbers)
                maps[image] += torch.tensordot(gain[numbers], some, 1)
                shown += some.sum(0)
            maps[image] /= shown.clamp(min=torch.finfo(shown.dtype).tiny)
        return maps
