"""SmoothGrad: the gradient of the picture, averaged over noisy copies of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from vitreport.configurable import count, number
from vitreport.model.load import VisionModel
from vitreport.model.trace import Need
from vitreport.techniques.gradient.integrated_gradients import GRADIENT_PASSES, sum_of_gradients
from vitreport.techniques.technique import Context, Technique, Tier, register


@register
@dataclass(frozen=True)
class SmoothGrad(Technique):
    """Largest absolute value over the colours of the mean gradient over noisy copies; not negative.

    Source:
        Smilkov et al. 2017, SmoothGrad, arXiv:1706.03825; colours as in `saliency`.
    """

    name = "smooth_grad"
    title = "SmoothGrad"
    family = "gradient"
    tier: ClassVar[Tier] = "all"
    needs = Need.NOTHING
    class_specific = True
    source = "Smilkov et al., SmoothGrad: removing noise by adding noise, 2017, arXiv:1706.03825"
    shows = (
        "Where a small change of the picture would move the target's logit the most, up or down, and would "
        "still do so if the picture were a little different."
    )
    does_not_show = "Whether what is there speaks for the target or against it."
    cost = "one forward pass and gradient a sample"

    samples: int = count(25, 1, 1000, "noisy copies of the picture")
    noise: float = number(
        0.15, 0, 2, "standard deviation of the noise, as a share of the picture's value range"
    )

    def passes(self, model: VisionModel) -> float:
        """See `Explainable.passes`."""
        return GRADIENT_PASSES * self.samples

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        for technique in techniques:
            yield technique._mean(context).abs().amax(1)

    def _mean(self, context: Context) -> Tensor:
        pixels = context.trace.pixels
        spread = self.noise * (pixels.amax((1, 2, 3)) - pixels.amin((1, 2, 3)))
        generators = [context.generator(image_id, "smooth_grad noise") for image_id in context.image_ids]

        def make(images: Tensor, _numbers: Tensor) -> tuple[Tensor, Tensor]:
            drawn = np.stack(
                [generators[image].standard_normal(pixels.shape[1:], np.float32) for image in images.tolist()]
            )
            noise = torch.from_numpy(drawn).to(pixels) * spread[images].view(-1, 1, 1, 1)
            return pixels[images] + noise, torch.full_like(noise, 1 / self.samples)

        return sum_of_gradients(context, self.samples, make)
