"""How a model is opened for a trace: at rest, its attention unfused, its gradient taken without detours.

All of it concerns one model instance and ends with its context. What the model computes stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from timm.models.vision_transformer import Attention, Block
from torch import Tensor, nn
from torch.nn import functional


@contextmanager
def at_rest(module: nn.Module) -> Iterator[None]:
    """Eval mode, and no parameter asks for a gradient."""
    training = [part for part in module.modules() if part.training]
    wanting = [parameter for parameter in module.parameters() if parameter.requires_grad]
    module.eval()
    for parameter in wanting:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for part in training:
            part.training = True
        for parameter in wanting:
            parameter.requires_grad_(True)


@contextmanager
def unfused(attentions: Sequence[nn.Module]) -> Iterator[None]:
    """Attention computed openly, on these instances only."""
    flags = [attention.fused_attn for attention in attentions]
    for attention in attentions:
        attention.fused_attn = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for attention, flag in zip(attentions, flags, strict=True):
            attention.fused_attn = flag


@contextmanager
def without_detours(
    module: nn.Module, attentions: Sequence[nn.Module], read: int | None = None
) -> Iterator[None]:
    """Gradients of the same values with fewer copies, where the parts are timm's plain ones.

    Queries, keys and values are laid out once for all products, and the gradient of a patch embedding is one
    matrix product, which is several times as fast on a CPU as that of a convolution.

    Args:
        module: the model.
        attentions: of each block.
        read: how many tokens at the front of what the last block gives are all that is read of it: no
            gradient comes from the others, and none is computed for them. None computes all.
    """
    changed: list[nn.Module] = []
    last = next(iter(getattr(module, "blocks", ())[-1:]), None)
    shortened = last if type(last) is Block and read is not None else None
    for attention in attentions:
        if type(attention) is Attention and getattr(attention, "gate", None) is None:
            is_last = shortened is not None and attention is shortened.attn
            _override(attention, partial(_attend, attention, read if is_last else None), changed)
    if shortened is not None:
        _override(shortened, partial(_pass, shortened, read), changed)
    convolution = getattr(getattr(module, "patch_embed", None), "proj", None)
    if type(convolution) is nn.Conv2d and _tiles(convolution):
        _override(convolution, partial(_embed, convolution), changed)
    try:
        yield
    finally:
        for part in changed:
            del part.forward


def _override(part: nn.Module, forward: Callable[..., Tensor], changed: list[nn.Module]) -> None:
    if "forward" not in vars(part):  # else somebody has put a forward of their own there
        part.forward = forward
        changed.append(part)


def _row_by_row(work: Callable[..., Tensor], read: int | None, rows: Tensor, *others: Tensor) -> Tensor:
    """What `work` makes of ``(…, tokens, values)``, token by token; with a gradient for the first `read`."""
    return work(rows, *others) if read is None else cast(Tensor, _Front.apply(work, read, rows, *others))


class _Front(torch.autograd.Function):
    """Work whose result is used for the first tokens alone, as far as gradients go."""

    @staticmethod
    def forward(
        context: Any, work: Callable[..., Tensor], read: int, rows: Tensor, *others: Tensor
    ) -> Tensor:
        """The work on all tokens, to the last bit as if nothing were spared."""
        context.save_for_backward(rows, *others)
        context.work, context.read = work, read
        return work(rows, *others)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The work on the first tokens once more, and the gradient of it."""
        rows, *others = context.saved_tensors
        with torch.enable_grad():
            given = [one.detach().requires_grad_() for one in (rows[..., : context.read, :], *others)]
            found = torch.autograd.grad(context.work(*given), given, gradient[..., : context.read, :])
        whole = torch.zeros_like(rows)
        whole[..., : context.read, :] = found[0]
        return None, None, whole, *found[1:]


def _pass(block: Any, read: int | None, tokens: Tensor, *masks: Any, **others: Any) -> Tensor:
    """timm's plain block, ``(batch, tokens, width)`` to the same."""
    if any(one is not None for one in masks) or any(others.values()):
        return cast(Tensor, type(block).forward(block, tokens, *masks, **others))
    tokens = tokens + block.drop_path1(block.ls1(block.attn(block.norm1(tokens))))
    return tokens + _row_by_row(
        lambda rows: block.drop_path2(block.ls2(block.mlp(block.norm2(rows)))), read, tokens
    )


def _attend(
    attention: Any, read: int | None, tokens: Tensor, attn_mask: Tensor | None = None, **others: Any
) -> Tensor:
    """timm's open self-attention, ``(batch, tokens, width)`` to the same."""
    if attn_mask is not None or any(others.values()):
        return cast(Tensor, type(attention).forward(attention, tokens, attn_mask=attn_mask, **others))
    queries, keys, values = _Split.apply(attention.qkv(tokens), attention.num_heads)
    queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    shares = attention.attn_drop(
        _row_by_row(lambda rows, keys: (rows @ keys.mT).softmax(-1), read, queries * attention.scale, keys)
    )
    mixed = _row_by_row(torch.matmul, read, shares, values).transpose(1, 2).flatten(2)
    return _row_by_row(lambda rows: attention.proj_drop(attention.proj(attention.norm(rows))), read, mixed)


class _Split(torch.autograd.Function):
    """Queries, keys and values ``(batch, heads, tokens, channels)`` of their joint projection.

    Each is contiguous, and their gradients are written into one of the joint projection at once.
    """

    @staticmethod
    def forward(_context: Any, joint: Tensor, heads: int) -> tuple[Tensor, ...]:
        """From ``(batch, tokens, 3 * heads * channels)``."""
        split = joint.view(*joint.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
        return tuple(part.contiguous() for part in split)

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """See `forward`."""
        batch, heads, tokens, channels = gradients[0].shape
        joint = gradients[0].new_empty(batch, tokens, 3, heads, channels)
        for place, gradient in enumerate(gradients):
            joint[:, :, place] = gradient.transpose(1, 2)
        return joint.flatten(2), None


def _tiles(convolution: nn.Conv2d) -> bool:
    """Whether each pixel is seen once at most."""
    return (
        convolution.stride == convolution.kernel_size
        and convolution.padding == (0, 0)
        and convolution.dilation == (1, 1)
        and convolution.groups == 1
    )


def _embed(convolution: nn.Conv2d, pixels: Tensor) -> Tensor:
    kernel, bias = convolution.weight, convolution.bias
    whole = all(side % patch == 0 for side, patch in zip(pixels.shape[2:], kernel.shape[2:], strict=True))
    if not whole or kernel.requires_grad:
        return nn.Conv2d.forward(convolution, pixels)
    return cast(Tensor, _Embed.apply(pixels, kernel, bias))


class _Embed(torch.autograd.Function):
    """A convolution of patches side by side, with the gradient of its input alone."""

    @staticmethod
    def forward(context: Any, pixels: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        """From ``(batch, colours, height, width)`` to ``(batch, width of a token, rows, cols)``."""
        context.save_for_backward(kernel)
        return functional.conv2d(pixels, kernel, bias, stride=kernel.shape[2:])

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """See `forward`."""
        (kernel,) = context.saved_tensors
        batch, _, rows, cols = gradient.shape
        patches = gradient.permute(0, 2, 3, 1).flatten(0, 2) @ kernel.flatten(1)
        split = patches.view(batch, rows, cols, *kernel.shape[1:]).permute(0, 3, 1, 4, 2, 5)
        return split.flatten(4, 5).flatten(2, 3), None, None
