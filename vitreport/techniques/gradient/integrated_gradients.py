"""Integrated gradients: the gradient along a path from a picture without content to the picture."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from vitreport.configurable import count
from vitreport.masking import every_variant
from vitreport.model.load import VisionModel
from vitreport.model.trace import Need
from vitreport.techniques.technique import Context, Technique, Tier, register

GRADIENT_PASSES = 3
"""Plain forward passes that a forward pass with its gradient costs."""


@dataclass(frozen=True)
class Path:
    """Points on straight lines to each picture of a batch.

    Attributes:
        starts: colour of the flat picture that each point's line begins at, ``(batch, points, 3)``.
        reached: share of the line that lies behind each point, ``(batch, points)``.
        weights: of each point in the sum, ``(points,)``.
    """

    starts: Tensor
    reached: Tensor
    weights: Tensor


def sum_of_gradients(
    context: Context, variants: int, make: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
) -> Tensor:
    """Sums the gradients of the target's logit at variants of each picture.

    Args:
        context: the batch.
        variants: of each picture.
        make: gives variants and what to multiply their gradients by, ``(chunk, 3, height, width)`` each, from
            the places of their pictures in the batch and their numbers, ``(chunk,)`` each.

    Returns:
        ``(batch, 3, height, width)``.
    """
    targets = context.trace.targets
    total = torch.zeros_like(context.trace.pixels)
    for images, numbers in every_variant(len(targets), variants, context.chunk, targets.device):
        points, factors = make(images, numbers)
        with torch.enable_grad():
            points.requires_grad_()
            chosen = context.model.module(points).gather(1, targets[images].unsqueeze(1)).sum()
        (gradient,) = torch.autograd.grad(chosen, points)
        gradient *= factors
        for image in range(int(images[0]), int(images[-1]) + 1):
            total[image] += gradient[images == image].sum(0)
    return total


@dataclass(frozen=True)
class PathGradients(Technique):
    """What the maps share: the gradient along a path times the way, summed over the colours; any sign."""

    family = "gradient"
    tier: ClassVar[Tier] = "all"
    needs = Need.NOTHING
    class_specific = True
    signed = True

    @abstractmethod
    def path(self, context: Context) -> Path:
        """The points at which the gradient is taken."""

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        for technique in techniques:
            yield _along(technique.path(context), context)

    @torch.no_grad()
    def claimed_sum(self, context: Context) -> Tensor:
        """See `Technique.claimed_sum`: the logit, less the mean logit of where the paths begin."""
        pixels, targets = context.trace.pixels, context.trace.targets
        starts = [torch.unique(colours, dim=0) for colours in self.path(context).starts]
        begun = [
            torch.cat(
                [
                    context.model.module(part[..., None, None].expand(-1, -1, *pixels.shape[-2:]))[:, target]
                    for part in torch.split(colours, context.chunk)
                ]
            ).mean()
            for colours, target in zip(starts, targets, strict=True)
        ]
        return context.trace.logits.gather(1, targets.unsqueeze(1)).squeeze(1) - torch.stack(begun)


def _along(path: Path, context: Context) -> Tensor:
    pixels = context.trace.pixels

    def make(images: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        starts = path.starts[images, numbers][..., None, None]
        reached = path.reached[images, numbers].view(-1, 1, 1, 1)
        way = pixels[images] - starts
        return starts + reached * way, path.weights[numbers].view(-1, 1, 1, 1) * way

    return sum_of_gradients(context, len(path.weights), make).sum(1)


@register
@dataclass(frozen=True)
class IntegratedGradients(PathGradients):
    """Mean gradient on the way from the mean colour to the picture, times the picture; any sign.

    The mean colour is zero after normalisation. The mean is a Gauss-Legendre quadrature; with enough steps a
    map sums to the logit of the picture minus that of the mean colour.

    Source:
        Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks, arXiv:1703.01365, equation 1.

    Differs:
        The path begins at zero after normalisation, where the paper takes black.
    """

    name = "integrated_gradients"
    title = "Integrated gradients"
    source = (
        "Sundararajan et al., Axiomatic Attribution for Deep Networks, 2017, arXiv:1703.01365, equation 1"
    )
    shows = (
        "How the target's logit, beyond that of a flat picture of the mean colour, is shared out among the "
        "pixels."
    )
    does_not_show = (
        "Pixels that have the mean colour: they count as nothing. Half-faded pictures on the way are ones "
        "that the model may never have seen, and with few steps the shares do not add up."
    )
    differs = "The path begins at zero after normalisation, the mean colour, where the paper takes black."
    cost = "one forward pass and gradient a step"

    steps: int = count(50, 2, 1000, "points on the way, by Gauss-Legendre quadrature")

    def passes(self, model: VisionModel) -> float:
        """See `Explainable.passes`."""
        return GRADIENT_PASSES * self.steps

    def path(self, context: Context) -> Path:
        """See `PathGradients.path`."""
        pixels = context.trace.pixels
        nodes, weights = np.polynomial.legendre.leggauss(self.steps)
        return Path(
            pixels.new_zeros(len(pixels), self.steps, 3),
            torch.from_numpy((1 + nodes) / 2).to(pixels).expand(len(pixels), -1),
            torch.from_numpy(weights / 2).to(pixels),
        )


@register
@dataclass(frozen=True)
class ExpectedGradients(PathGradients):
    """Integrated gradients from many flat pictures of random colours, one random point on each way; any sign.

    Source:
        Erion et al. 2019, Learning Explainable Models Using Attribution Priors, arXiv:1906.10670
        (Nature Machine Intelligence 2021).

    Differs:
        The paper's paths begin at other images of the data. That would let a map depend on which images are
        in a run, so they begin at flat pictures of one random colour, drawn for each image from a normal
        distribution with the mean and the spread of the training data's colours.
    """

    name = "expected_gradients"
    title = "Expected gradients"
    source = "Erion et al., Learning Explainable Models Using Attribution Priors, 2019, arXiv:1906.10670"
    shows = (
        "How the target's logit, beyond the mean logit of flat pictures of many colours, is shared out among "
        "the pixels. No single colour counts as nothing."
    )
    does_not_show = (
        "Anything certain about a single pixel: the map is an estimate from random draws, and more samples "
        "make it calmer. Half-faded pictures on the way are ones that the model may never have seen."
    )
    differs = (
        "The paper's paths begin at other images of the data. That would let a map depend on which images "
        "are in a run, so they begin at flat pictures of one random colour, drawn for each image from a "
        "normal distribution with the mean and the spread of the training data's colours."
    )
    cost = "one forward pass and gradient a sample"

    samples: int = count(50, 1, 10_000, "random colours, and points on the way from them")

    def passes(self, model: VisionModel) -> float:
        """See `Explainable.passes`."""
        return GRADIENT_PASSES * self.samples

    def path(self, context: Context) -> Path:
        """See `PathGradients.path`."""
        pixels, starts, reached = context.trace.pixels, [], []
        for image_id in context.image_ids:
            generator = context.generator(image_id, "expected_gradients path")
            starts.append(generator.standard_normal((self.samples, 3)))
            reached.append(generator.random(self.samples))
        return Path(
            torch.from_numpy(np.stack(starts)).to(pixels),
            torch.from_numpy(np.stack(reached)).to(pixels),
            pixels.new_full((self.samples,), 1 / self.samples),
        )
