"""A Vision Transformer with a class token, written out in float64: the slow oracle of the gradient family."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Run:
    """What one image's pass went through; every tensor has its gradient graph."""

    pixels: Tensor  # (3, height, width)
    tokens: list[Tensor]  # what each block is given, then what the last one gives
    normed: list[Tensor]  # at each block's first norm
    scores: list[Tensor]  # (heads, tokens, tokens), before the softmax
    attention: list[Tensor]
    terms: list[tuple[Tensor, Tensor, bool]]  # bias, the output that it is in, whether that has a row a token
    logits: Tensor


def run(module: nn.Module, pixels: Tensor, *, libra: bool = False, attn_lrp: bool = False) -> Run:
    """Computes one image, ``(3, height, width)``.

    With `libra`, gates pass no gradient. With `attn_lrp` attention does, but its products pass half of it.
    """
    p = {name: value.double() for name, value in module.state_dict().items()}
    heads = module.blocks[0].attn.num_heads  # type: ignore[index,union-attr]
    found = Run(pixels.double().clone().requires_grad_(), [], [], [], [], [], torch.zeros(0))

    def held(gate: Tensor) -> Tensor:
        return gate.detach() if libra or attn_lrp else gate

    def halved(product: Tensor) -> Tensor:
        return (product + product.detach()) / 2 if attn_lrp else product

    def affine(x: Tensor, name: str, behind: bool = False) -> Tensor:
        out = x @ p[f"{name}.weight"].T + p[f"{name}.bias"]
        found.terms.append((p[f"{name}.bias"], out, not behind))
        return out

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        spread = (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        out = centred / held(spread) * p[f"{name}.weight"] + p[f"{name}.bias"]
        found.terms.append((p[f"{name}.bias"], out, True))
        return out

    size = p["patch_embed.proj.weight"].shape[-1]
    patches = found.pixels.unfold(1, size, size).unfold(2, size, size)  # (3, rows, cols, size, size)
    patches = patches.permute(1, 2, 0, 3, 4).flatten(0, 1).flatten(1)
    x = patches @ p["patch_embed.proj.weight"].flatten(1).T + p["patch_embed.proj.bias"]
    x = torch.cat([p["cls_token"][0], x]) + p["pos_embed"][0]
    for number in range(len(module.blocks)):  # type: ignore[arg-type]
        found.tokens.append(x)
        at = f"blocks.{number}"
        normed = norm(x, f"{at}.norm1")
        found.normed.append(normed)
        q, k, v = (
            part.unflatten(-1, (heads, -1)).transpose(0, 1)
            for part in affine(normed, f"{at}.attn.qkv").chunk(3, -1)
        )
        scores = halved(q @ k.mT) / q.shape[-1] ** 0.5
        attention = scores.exp() / scores.exp().sum(-1, keepdim=True)
        attention = attention.detach() if libra else attention
        found.scores.append(scores)
        found.attention.append(attention)
        mixed = halved(attention @ v).transpose(0, 1).flatten(1)
        x = x + affine(mixed, f"{at}.attn.proj")
        hidden = affine(norm(x, f"{at}.norm2"), f"{at}.mlp.fc1")
        gate = 0.5 * (1 + torch.erf(hidden / 2**0.5))
        x = x + affine(hidden * held(gate), f"{at}.mlp.fc2")
    found.tokens.append(x)
    found.logits = affine(norm(x, "norm")[0], "head", behind=True)
    return found


def gradients(of: Tensor, with_respect_to: list[Tensor]) -> list[Tensor]:
    """d(of) / d(each), zero where there is no path."""
    found = torch.autograd.grad(of, with_respect_to, retain_graph=True, allow_unused=True)
    return [
        torch.zeros_like(one) if slope is None else slope
        for one, slope in zip(with_respect_to, found, strict=True)
    ]
