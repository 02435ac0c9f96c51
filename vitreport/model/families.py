"""Which attention modules can be tapped, and how to read queries, keys and values from each family.

timm's families differ in how they project: one fused linear layer, the same with its bias added apart
(BEiT, EVA), one shared with the MLP (parallel blocks), or three layers. What is common to all is
``attn_drop``, through which the unfused attention passes after its softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitreport.errors import UnsupportedModelError


def attention_modules(module: nn.Module) -> tuple[nn.Module, ...]:
    """Returns the self-attention module of each block, first block first.

    Raises:
        UnsupportedModelError: a block has no attention that can be read, or more than one.
    """
    blocks = getattr(module, "blocks", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList) or len(blocks) == 0:
        raise UnsupportedModelError(
            f"{type(module).__name__} has no plain sequence of blocks; its attention cannot be read"
        )
    found = []
    for number, block in enumerate(blocks):
        taps = [part for part in block.modules() if _can_be_tapped(part)]
        if len(taps) != 1:
            raise UnsupportedModelError(
                f"block {number} ({type(block).__name__}) has {len(taps)} attention modules that can be "
                "read; exactly one is needed"
            )
        found.append(taps[0])
    return tuple(found)


def _can_be_tapped(part: nn.Module) -> bool:
    return (
        isinstance(getattr(part, "attn_drop", None), nn.Dropout)
        and isinstance(getattr(part, "num_heads", None), int)
        and isinstance(getattr(part, "fused_attn", None), bool)
        and not any(hasattr(part, name) for name in ("window_area", "lambda_q1", "lambda_init"))
    )


@dataclass(frozen=True)
class Projections:
    """Queries, keys and values of a block, ``(batch, heads, tokens, channels)``, before any rotation."""

    queries: Tensor
    keys: Tensor
    values: Tensor


Keep = Callable[[Projections], None]


def tap_projections(attention: nn.Module, keep: Keep) -> list[torch.utils.hooks.RemovableHandle]:
    """Hooks an attention module so that each forward gives its projections to `keep`."""
    heads = int(attention.num_heads)  # type: ignore[arg-type]
    norms = tuple(getattr(attention, name, None) or nn.Identity() for name in ("q_norm", "k_norm"))

    def give(queries: Tensor, keys: Tensor, values: Tensor) -> None:
        keep(Projections(norms[0](queries), norms[1](keys), values))

    def from_fused(projected: Tensor) -> None:
        split = projected.reshape(*projected.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
        give(*split.unbind(0))

    fused = getattr(attention, "qkv", None)
    joined = getattr(attention, "in_proj", None)
    if fused is None and joined is not None:  # a parallel block: the MLP's input, then q, k and v
        width = 3 * heads * int(attention.head_dim)  # type: ignore[arg-type]
        return [joined.register_forward_hook(lambda _module, _inputs, out: from_fused(out[..., -width:]))]
    if fused is not None and getattr(attention, "q_bias", None) is None:
        return [fused.register_forward_hook(lambda _module, _inputs, output: from_fused(output))]
    if fused is not None:

        def from_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            bias = torch.cat((module.q_bias, module.k_bias, module.v_bias))  # type: ignore[arg-type]
            from_fused(functional.linear(inputs[0], fused.weight, bias))

        return [attention.register_forward_pre_hook(from_input)]

    apart = [getattr(attention, name, None) for name in ("q_proj", "k_proj", "v_proj")]
    if any(part is None for part in apart):
        raise UnsupportedModelError(f"the queries and keys of {type(attention).__name__} cannot be read")
    parts: dict[str, Tensor] = {}

    def collect(name: str, output: Tensor) -> None:
        channels = int(attention.head_dim)  # type: ignore[arg-type]
        parts[name] = output.reshape(*output.shape[:2], -1, channels).transpose(1, 2)
        if len(parts) == 3:
            groups = heads // parts["k_proj"].shape[1]
            keys, values = (parts[key].repeat_interleave(groups, 1) for key in ("k_proj", "v_proj"))
            give(parts["q_proj"], keys, values)
            parts.clear()

    return [
        getattr(attention, name).register_forward_hook(
            lambda _module, _inputs, output, name=name: collect(name, output)
        )
        for name in ("q_proj", "k_proj", "v_proj")
    ]


def pool_attention(pool: nn.Module, tokens: Tensor) -> Tensor:
    """Recomputes the attention of timm's latent attention pool.

    Args:
        pool: an ``AttentionPoolLatent``.
        tokens: what it was given, ``(batch, tokens, width)``.

    Returns:
        Attention of the latent token that the head reads, mean over heads, ``(batch, tokens)``; each row
        sums to 1.

    Raises:
        UnsupportedModelError: the pool is of another kind.
    """
    if not all(hasattr(pool, name) for name in ("latent", "q", "kv", "scale", "latent_len")):
        raise UnsupportedModelError(f"the attention pool {type(pool).__name__} cannot be read")
    heads = int(pool.num_heads)  # type: ignore[arg-type]
    if pool.pos_embed is not None:
        tokens = tokens + pool.pos_embed.unsqueeze(0)  # type: ignore[operator]
    query = pool.q(pool.latent).unflatten(-1, (heads, -1)).transpose(1, 2)  # type: ignore[operator]
    keys = pool.kv(tokens).unflatten(-1, (2, heads, -1))[:, :, 0].transpose(1, 2)  # type: ignore[operator]
    query, keys = pool.q_norm(query), pool.k_norm(keys)  # type: ignore[operator]
    attention: Tensor = (query * pool.scale @ keys.transpose(-2, -1)).softmax(-1).mean(1)
    return attention[:, 0] if pool.pool == "token" else attention.mean(1)
