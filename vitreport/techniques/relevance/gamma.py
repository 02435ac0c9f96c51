"""The gamma rule as a gradient: layers whose backward pass favours what agrees with their output.

With every gate held, input times gradient is relevance (see `vitreport.model.libra`), and the gradient of a
linear layer is the epsilon rule. The gamma rule weighs products of an input and a weight more, by a factor
1 + gamma, where their sign is that of the output: relevance is less noisy, and what cancelled counts less.

Source: Montavon et al. 2019, Layer-Wise Relevance Propagation: An Overview, section 10.2.3; for outputs and
inputs of any sign as in Achtibat et al. 2024, AttnLRP, arXiv:2402.05602, appendix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_input

STABILIZER = 1e-6


@contextmanager
def gamma_rule(layers: Iterable[tuple[nn.Module, float]]) -> Iterator[None]:
    """Gives layers of one model instance the gamma rule for their gradient; what they compute stays.

    Args:
        layers: linear layers and convolutions, each with its gamma; 0 leaves the gradient as it is.
    """
    with ExitStack() as stack:
        for layer, gamma in layers:
            if gamma:
                stack.callback(layer.register_forward_hook(_hook(gamma)).remove)
        yield


def _hook(gamma: float) -> Callable[..., Tensor]:
    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        found: Tensor = _Gamma.apply(inputs[0], output.detach(), layer, gamma)
        return found

    return hook


class _Gamma(torch.autograd.Function):
    """The identity on a layer's output whose gradient goes to the layer's input by the gamma rule.

    With z the sum of input times weight and a that of their absolute values, products of the output's sign
    add up to (z + a) / 2 above zero and to (z - a) / 2 below.
    """

    @staticmethod
    def forward(ctx: Any, given: Tensor, output: Tensor, layer: nn.Module, gamma: float) -> Tensor:
        ctx.save_for_backward(given, output)
        ctx.layer, ctx.gamma = layer, gamma
        return output.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (given, output), layer, half = ctx.saved_tensors, ctx.layer, ctx.gamma / 2
        sign, bias = output.sign(), _bias(layer, output)
        plain, absolute = _Linear(layer, layer.weight), _Linear(layer, layer.weight.abs())
        agreeing = output - bias + sign * absolute.forward(given.abs())
        agreeing = agreeing + bias + sign * bias.abs()  # twice the sum of all terms of the output's sign
        total = output + half * agreeing
        quotient = gradients[0] * output / (total + torch.where(total < 0, -STABILIZER, STABILIZER))
        back = (1 + half) * plain.backward(quotient, given)
        back = back + half * given.sign() * absolute.backward(quotient * sign, given)
        return back, None, None, None


def _bias(layer: Any, output: Tensor) -> Tensor:
    """The layer's bias, to be added to its output."""
    bias: Tensor | None = layer.bias
    if bias is None:
        return output.new_zeros(())
    return bias.view(-1, 1, 1) if isinstance(layer, nn.Conv2d) else bias


class _Linear:
    """A layer's sum over its inputs with other weights and without bias, and its gradient."""

    def __init__(self, layer: Any, weight: Tensor) -> None:
        self._layer, self._weight = layer, weight

    def forward(self, given: Tensor) -> Tensor:
        layer = self._layer
        if not isinstance(layer, nn.Conv2d):
            return functional.linear(given, self._weight)
        return functional.conv2d(
            given, self._weight, None, layer.stride, layer.padding, layer.dilation, layer.groups
        )

    def backward(self, gradient: Tensor, given: Tensor) -> Tensor:
        layer = self._layer
        if not isinstance(layer, nn.Conv2d):
            return gradient @ self._weight
        found: Tensor = conv2d_input(  # type: ignore[no-untyped-call]
            given.shape, self._weight, gradient, layer.stride, layer.padding, layer.dilation, layer.groups
        )
        return found
