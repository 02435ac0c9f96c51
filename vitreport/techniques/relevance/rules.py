"""The rules by which relevance passes a layer: what a layer's inputs get of the relevance of its output.

Divisions are stabilised as in the public code (see `divide`), in forks too: near zero that is felt.

Source: Chefer et al. 2021, Transformer Interpretability Beyond Attention Visualization, arXiv:2012.09838
(CVPR 2021), section 3; the rule for pixels is that of Montavon et al. 2017, arXiv:1512.02479.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_input

EPSILON = 1e-9
LICENCE_NOTE = (
    "Public code for layer-wise relevance propagation carries the notice that the method is patented; "
    "commercial use may need a licence of the patent's holders."
)


def divide(relevance: Tensor, by: Tensor) -> Tensor:
    """Relevance over a layer's output, stabilised; shapes as given. Zero where the output is zero."""
    divisor = by + EPSILON
    divisor.masked_fill_((divisor == EPSILON).logical_or_(divisor == 0), torch.inf)
    return torch.div(relevance, divisor, out=divisor)


def fork(given: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """A tensor that goes two ways; what comes back is added.

    Args:
        given: the tensor.
        first: its relevance on one way.
        second: on the other.
    """
    return divide(first + second, given).mul_(given)  # the identity, but for the stabilised division


def positive_sum(layer: nn.Linear, given: Tensor, output: Tensor) -> Tensor:
    """Sum of the products of inputs and weights that have the same sign, stabilised, without biases.

    A product and its absolute value differ only where the signs do, so half of both sums is enough.

    Args:
        layer: the layer.
        given: its input, ``(…, inputs)``.
        output: what it made of it, ``(…, outputs)``.
    """
    total = functional.linear(given.abs(), layer.weight.abs())
    total += output
    if layer.bias is not None:
        total -= layer.bias
    return total.div_(2).add_(EPSILON)


def positive_share(layer: nn.Linear, given: Tensor, quotient: Tensor) -> Tensor:
    """What each input gets: its products that are in `positive_sum`, times relevance over that sum.

    Args:
        layer: the layer.
        given: its input, ``(…, inputs)``.
        quotient: relevance of the output over `positive_sum`, ``(…, outputs)``.
    """
    raising = quotient @ layer.weight.clamp(min=0)
    lowering = quotient @ layer.weight.clamp(max=0)
    return torch.where(given > 0, raising, lowering).mul_(given)


def linear(layer: nn.Linear, given: Tensor, output: Tensor, relevance: Tensor) -> Tensor:
    """A linear layer, with the rule alpha = 1, beta = 0.

    Args:
        layer: the layer.
        given: its input, ``(…, inputs)``.
        output: what it made of it, ``(…, outputs)``.
        relevance: of the output.

    Returns:
        Relevance of the input.
    """
    total = positive_sum(layer, given, output)
    return positive_share(layer, given, torch.div(relevance, total, out=total))


def product(relevance: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """A product of two matrices that both depend on the picture; each gets half.

    Args:
        relevance: of the product, ``(…, rows, cols)``.
        left: ``(…, rows, inner)``.
        right: ``(…, inner, cols)``.

    Returns:
        Relevance of both factors.
    """
    quotient = divide(relevance, left @ right).div_(2)
    return (quotient @ right.mT).mul_(left), (left.mT @ quotient).mul_(right)


def addition(relevance: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """A sum of two tensors, as at a residual connection.

    Each entry is split by what both add to it. Then, image by image, each part is rescaled so that together
    they have the relevance of the sum, in the proportion of their absolute totals.

    Args:
        relevance: of the sum, ``(batch, …)``.
        first: ``(batch, …)``.
        second: likewise.

    Returns:
        Relevance of both.
    """
    quotient = divide(relevance, first + second)
    parts = quotient * first, quotient.mul_(second)
    totals = [part.flatten(1).sum(1) for part in parts]
    both = totals[0].abs() + totals[1].abs()
    whole = relevance.flatten(1).sum(1)
    shape = (-1,) + (1,) * (relevance.dim() - 1)
    for part, total in zip(parts, totals, strict=True):
        part.mul_(divide(divide(total.abs(), both) * whole, total).view(shape))
    return parts


def patch_projection(layer: nn.Conv2d, pixels: Tensor, relevance: Tensor) -> Tensor:
    """The convolution that makes patches of pixels, with the rule for inputs in an interval (z^B).

    Args:
        layer: the convolution.
        pixels: ``(batch, 3, height, width)``.
        relevance: of its output, ``(batch, channels, rows, cols)``.

    Returns:
        Relevance of the pixels, summed over the colours, ``(batch, height, width)``.
    """
    low, high = (bound.view(-1, 1, 1, 1) for bound in pixels.flatten(1).aminmax(dim=1))
    weights = layer.weight, layer.weight.clamp(min=0), layer.weight.clamp(max=0)
    ends = pixels, low.expand_as(pixels), high.expand_as(pixels)
    stride, padding = layer.stride, layer.padding
    assert isinstance(padding, tuple)
    terms = [
        functional.conv2d(end, weight, None, stride, padding)
        for end, weight in zip(ends, weights, strict=True)
    ]
    quotient = relevance / (terms[0] - terms[1] - terms[2] + EPSILON)
    back: list[Tensor] = [
        end * conv2d_input(pixels.shape, weight, quotient, stride, padding)  # type: ignore[no-untyped-call]
        for end, weight in zip(ends, weights, strict=True)
    ]
    return (back[0] - back[1] - back[2]).sum(1)
