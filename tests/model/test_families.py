from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from timm.layers import AttentionPoolLatent
from tiny_model import ROTARY, VARIANTS, VIT, disturb, explainable, network, noise, trace
from torch import Tensor, nn
from torch.nn import functional

from vitreport.errors import UnsupportedModelError
from vitreport.model.families import attention_modules, pool_attention
from vitreport.model.load import VisionModel

Call = tuple[Tensor, Tensor, Tensor]


@pytest.fixture
def fused_calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Queries, keys and values that models hand to torch's fused attention, as they do so."""
    calls: list[Call] = []
    fused = functional.scaled_dot_product_attention

    def listen(queries: Tensor, keys: Tensor, values: Tensor, *others: Any, **options: Any) -> Tensor:
        calls.append((queries, keys, values))
        return fused(queries, keys, values, *others, **options)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", listen)
    return calls


@pytest.mark.parametrize("name", VARIANTS)
def test_projections_are_what_the_model_gives_to_its_fused_attention(
    name: str, models: dict[str, VisionModel], fused_calls: list[Call]
) -> None:
    model = models[name]
    pixels = noise(model, 2)
    with torch.no_grad():
        model.module(pixels)
    expected = fused_calls[: model.blocks]
    seen = trace(model, pixels, [0, 1]).projections
    assert len(seen) == model.blocks
    for shown, (queries, keys, values) in zip(seen, expected, strict=True):
        assert torch.allclose(shown.values, values, atol=1e-5)
        if name in ROTARY:  # shown before the rotation, which leaves prefix tokens and lengths alone
            prefix = model.layout.num_prefix_tokens
            for found, rotated in ((shown.queries, queries), (shown.keys, keys)):
                assert torch.allclose(found[:, :, :prefix], rotated[:, :, :prefix], atol=1e-5)
                assert torch.allclose(found.norm(dim=-1), rotated.norm(dim=-1), atol=1e-4)
                assert not torch.allclose(found, rotated, atol=1e-3)
        else:
            assert torch.allclose(shown.queries, queries, atol=1e-5)
            assert torch.allclose(shown.keys, keys, atol=1e-5)


def _expected_projections(attention: Any, tokens: Tensor) -> list[Tensor]:
    """Queries, keys and values from the weights, one head and channel at a time."""
    width = attention.head_dim if hasattr(attention, "head_dim") else tokens.shape[-1] // attention.num_heads
    found = []
    for part, letter in enumerate("qkv"):
        projection = getattr(attention, f"{letter}_proj", None)
        own_bias = getattr(attention, f"{letter}_bias", None)
        wide = attention.num_heads * width
        if projection is not None:
            weight, bias = projection.weight, projection.bias
        else:
            weight = attention.qkv.weight[part * wide : (part + 1) * wide]
            fused_bias = attention.qkv.bias
            bias = own_bias if fused_bias is None else fused_bias[part * wide : (part + 1) * wide]
        result = torch.zeros(len(tokens), attention.num_heads, tokens.shape[1], width)
        for head in range(attention.num_heads):
            for channel in range(width):
                place = head * width + channel
                offset = 0 if bias is None else bias[place]
                result[:, head, :, channel] = (tokens * weight[place]).sum(-1) + offset
        found.append(result)
    return found


@pytest.mark.parametrize("name", ["class_token", "beit", "eva02", "eva02_fused", "dinov3", "rotary_pool"])
def test_projections_equal_weights_times_tokens(name: str, models: dict[str, VisionModel]) -> None:
    model = models[name]
    entering: list[Tensor] = []
    hooks = [
        attention.register_forward_pre_hook(lambda _module, inputs: entering.append(inputs[0]))
        for attention in attention_modules(model.module)
    ]
    seen = trace(model, noise(model, 2), [0, 1]).projections
    for hook in hooks:
        hook.remove()
    for shown, attention, tokens in zip(seen, attention_modules(model.module), entering, strict=True):
        expected = _expected_projections(attention, tokens.detach())
        for found, wanted in zip((shown.queries, shown.keys, shown.values), expected, strict=True):
            assert torch.allclose(found, wanted, atol=1e-5)


def test_queries_and_keys_are_shown_after_their_norm() -> None:
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    module = timm.create_model(VIT, num_classes=3, qk_norm=True, **sizes)
    disturb(module)
    model = explainable(module, (32, 32))
    seen = trace(model, noise(model, 1), [0])
    for shown, attention in zip(seen.projections, seen.attention, strict=True):
        scores = shown.queries @ shown.keys.transpose(-2, -1) / 12**0.5
        assert torch.allclose(scores.softmax(-1), attention, atol=1e-5)


def _pool_calls(pool: nn.Module, tokens: Tensor, calls: list[Call]) -> Tensor:
    """The attention that the pool really uses, ``(batch, heads, latents, tokens)``."""
    calls.clear()
    with torch.no_grad():
        pool(tokens)
    queries, keys, _ = calls[0]
    identity = torch.eye(keys.shape[2]).expand(*keys.shape[:2], -1, -1)
    return functional.scaled_dot_product_attention(queries, keys, identity)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"qk_norm": True, "norm_layer": nn.LayerNorm},
        {"pos_embed": "abs", "feat_size": 7},
        {"latent_len": 3, "pool_type": "avg"},
        {"latent_len": 3, "pool_type": "token"},
        {"q_proj": False},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_the_pool_attention_is_what_the_pool_really_uses(
    options: dict[str, Any], fused_calls: list[Call]
) -> None:
    torch.manual_seed(0)
    pool = AttentionPoolLatent(24, num_heads=3, **options).eval()
    with torch.no_grad():
        for parameter in pool.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.5)
    tokens = torch.randn(2, 7, 24)
    used = _pool_calls(pool, tokens, fused_calls).mean(1)
    expected = used.mean(1) if options.get("pool_type") == "avg" else used[:, 0]
    found = pool_attention(pool, tokens)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(found.sum(-1), torch.ones(2), atol=1e-5)


@pytest.mark.parametrize("name", ["attention_pool", "rotary_pool"])
def test_the_trace_reads_out_what_the_pool_attends_to(
    name: str, models: dict[str, VisionModel], fused_calls: list[Call]
) -> None:
    model = models[name]
    pixels = noise(model, 2)
    entering: list[Tensor] = []
    hook = model.module.attn_pool.register_forward_pre_hook(  # type: ignore[operator,union-attr]
        lambda _module, inputs: entering.append(inputs[0].detach())
    )
    readout = trace(model, pixels, [0, 1]).readout
    hook.remove()
    pool: nn.Module = model.module.attn_pool  # type: ignore[assignment]
    used = _pool_calls(pool, entering[0], fused_calls)
    assert torch.allclose(readout[:, -used.shape[-1] :], used.mean(1)[:, 0], atol=1e-5)
    assert readout.shape[1] == model.layout.num_tokens


def test_values_times_pool_attention_are_what_enters_the_pools_projection() -> None:
    torch.manual_seed(0)
    pool = AttentionPoolLatent(24, num_heads=1).eval()
    tokens = torch.randn(2, 7, 24)
    entering: list[Tensor] = []
    pool.proj.register_forward_pre_hook(lambda _module, inputs: entering.append(inputs[0]))
    with torch.no_grad():
        pool(tokens)
        values = pool.kv(tokens)[..., 24:]
        expected = torch.einsum("bt,btc->bc", pool_attention(pool, tokens), values)
    assert torch.allclose(entering[0][:, 0], expected, atol=1e-5)


def test_a_pool_of_another_kind_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="attention pool Linear cannot be read"):
        pool_attention(nn.Linear(2, 2), torch.zeros(1, 2, 2))


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="no plain sequence of blocks"):
        attention_modules(nn.Linear(2, 2))


def test_differential_attention_is_refused() -> None:
    module = network("class_token")
    attention = module.blocks[1].attn  # type: ignore[index,union-attr]
    attention.lambda_q1 = nn.Parameter(torch.zeros(1))  # type: ignore[union-attr]
    with pytest.raises(UnsupportedModelError, match=r"block 1 .* has 0 attention modules"):
        attention_modules(module)
