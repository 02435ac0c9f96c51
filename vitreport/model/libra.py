"""Libra gradients: a backward pass in which gates stand still, so that it splits the output among the inputs.

With the gates held at what the forward pass made of them, every block is affine in its tokens: attention
weighs values by fixed shares, an activation multiplies by a fixed factor, a norm divides by a fixed
deviation, and a product of two branches gives half to each. The output is then the sum of input times
gradient and of bias times gradient (completeness).

Source: Libra gradients, arXiv:2411.16760 (CVPR 2025).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from timm.layers import GluMlp, SwiGLU, activations
from timm.models.vitamin import GeGluMlp
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vitreport.model.anatomy import Anatomy

ACTIVATIONS = (
    nn.GELU,
    nn.SiLU,
    nn.ReLU,
    nn.ReLU6,
    nn.Hardswish,
    nn.Mish,
    activations.GELU,
    activations.GELUTanh,
    activations.QuickGELU,
    activations.Swish,
)
"""Activations that are x times a gate."""


@contextmanager
def libra(module: nn.Module, *, hold_pool: bool = True) -> Iterator[None]:
    """Lets gradients of one model instance pass by its gates; what it computes stays as it is.

    The blocks' detached attention is the caller's part. Forward hooks do the rest, on this instance only.

    Args:
        module: the model.
        hold_pool: whether the attention of an attention pool is held too.
    """
    with ExitStack() as stack:
        for part in module.modules():
            hook = _hook_of(part)
            if hook is not None:
                stack.callback(part.register_forward_hook(hook).remove)
            if isinstance(part, GluMlp | SwiGLU | GeGluMlp):
                stack.callback(part.drop1.register_forward_hook(_halve).remove)
        pool = getattr(module, "attn_pool", None)
        if hold_pool and isinstance(getattr(pool, "k_norm", None), nn.Module):
            stack.callback(pool.k_norm.register_forward_hook(_hold).remove)  # type: ignore[union-attr]
        yield


class BiasTerms:
    """Adds up bias times gradient while a backward pass runs, so that no layer's output need be kept.

    Attributes:
        at_tokens: ``(batch, tokens)`` so far.
        elsewhere: ``(batch,)`` so far: behind the pooling there are no tokens.
    """

    def __init__(self, num_tokens: int) -> None:
        self._num_tokens = num_tokens
        self.at_tokens = torch.zeros(0)
        self.elsewhere = torch.zeros(0)

    def clear(self, like: Tensor) -> None:
        """Starts anew, for a batch like ``(batch, …)``."""
        self.at_tokens = like.new_zeros(len(like), self._num_tokens)
        self.elsewhere = like.new_zeros(len(like))

    def watch(
        self, module: nn.Module, anatomy: Anatomy, attention: Callable[[], Sequence[Tensor]]
    ) -> Iterator[RemovableHandle]:
        """Hooks every affine layer from the first block on; yields handles.

        Args:
            module: the model.
            anatomy: where its blocks are.
            attention: gives the attention of each block that has run in this pass.
        """
        running = False

        def run(state: bool) -> Callable[..., None]:
            def hook(*_: Any) -> None:
                nonlocal running
                running = state

            return hook

        def after(bias: Tensor, at_tokens: bool) -> Callable[..., None]:
            def hook(_part: nn.Module, _inputs: Any, output: Tensor) -> None:
                if running and output.requires_grad:
                    output.register_hook(lambda gradient: self._add(gradient * bias, at_tokens))  # type: ignore[no-untyped-call]

            return hook

        yield anatomy.blocks[0].register_forward_pre_hook(run(True))
        for name, part in module.named_modules():
            at_tokens = name == "norm" or name.startswith("blocks.")
            bias = part._parameters.get("bias")
            if bias is not None:
                yield part.register_forward_hook(after(bias, at_tokens))
            bias = part._parameters.get("mlp_bias")
            if bias is not None:  # a parallel block adds it apart
                activation: nn.Module = part.mlp_act
                yield activation.register_forward_pre_hook(_of_input(after(bias, True)))
        for number, part in enumerate(anatomy.attentions):
            if part._parameters.get("v_bias") is not None and part._parameters.get("q_bias") is not None:
                mixed = part.norm if isinstance(getattr(part, "norm", None), nn.Module) else part.proj
                yield mixed.register_forward_pre_hook(  # type: ignore[union-attr]
                    _of_input(self._after_values(part.v_bias, lambda number=number: attention()[number]))  # type: ignore[arg-type,misc]
                )
        yield module.register_forward_hook(run(False))

    def _after_values(self, bias: Tensor, attention: Callable[[], Tensor]) -> Callable[..., None]:
        """A value bias that is added apart (BEiT, EVA) goes where attention takes the values."""

        def hook(_part: nn.Module, _inputs: Any, mixed: Tensor) -> None:
            shares = attention()
            heads = shares.shape[1]

            def add(gradient: Tensor) -> None:
                pulled = (gradient * bias).reshape(*gradient.shape[:2], heads, -1).sum(-1)
                self.at_tokens += torch.einsum("bhij,bih->bj", shares, pulled)

            if mixed.requires_grad:
                mixed.register_hook(add)  # type: ignore[no-untyped-call]

        return hook

    def _add(self, product: Tensor, at_tokens: bool) -> None:
        if at_tokens:
            self.at_tokens += product.sum(-1)
        else:
            self.elsewhere += product.flatten(1).sum(1)


def _hook_of(part: nn.Module) -> Callable[..., Tensor] | None:
    kind = type(part).__name__
    if isinstance(part, nn.LayerNorm) or kind.startswith(("RmsNorm", "RMSNorm")):
        return _standing_picture_norm if "2d" in kind else _standing_norm
    return _standing_gate if isinstance(part, ACTIVATIONS) else None


def _of_input(hook: Callable[..., None]) -> Callable[..., None]:
    """A forward hook on an output as a pre-hook on the first input."""
    return lambda part, inputs: hook(part, inputs, inputs[0])


def _sloped(output: Tensor, path: Tensor) -> Tensor:
    """The value of `output` with the gradient of `path`."""
    return output.detach() + (path - path.detach())


def _standing_norm(part: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return _sloped(output, _held_norm(part, inputs[0]))


def _standing_picture_norm(part: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """The same over the channels of ``(batch, channels, rows, cols)``."""
    return _sloped(output, _held_norm(part, inputs[0].movedim(1, -1)).movedim(-1, 1))


def _held_norm(part: Any, given: Tensor) -> Tensor:
    """A norm over the last dimension whose deviation is held; its bias is left out."""
    centred = given - given.mean(-1, keepdim=True) if isinstance(part, nn.LayerNorm) else given
    scaled = centred * (centred.detach().square().mean(-1, keepdim=True) + part.eps).rsqrt()
    weighted: Tensor = scaled if part.weight is None else scaled * part.weight
    return weighted


def _standing_gate(_part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    given = inputs[0].detach()
    gate = torch.where(given == 0, torch.full_like(given, 0.5), output.detach() / given)
    return _sloped(output, inputs[0] * gate)


def _halve(_part: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return _sloped(output, output / 2)


def _hold(_part: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.detach()
