from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from tiny_model import EVERYTHING, noise, vision_model
from torch import Tensor, nn

from vitreport.model.opening import at_rest, unfused, without_detours
from vitreport.model.trace import Backward, Need, Trace
from vitreport.model.tracer import traced


def _seen(name: str, needs: Need, monkeypatch: pytest.MonkeyPatch, *, detours: bool) -> Trace:
    model = vision_model(name)
    if detours:
        monkeypatch.setattr("vitreport.model.tracer.without_detours", lambda *_: nullcontext())
    with model.traced(needs, Backward.PLAIN) as tracer:
        forward = tracer.forward(noise(model, 3))
    trace = tracer.gradient(forward, torch.tensor([2, 0, 1]))
    monkeypatch.undo()
    return trace


@pytest.mark.parametrize("graph", [Need.GRAPH, Need.NOTHING])
@pytest.mark.parametrize("name", ["class_token", "distilled", "registers", "patch_mean"])
def test_the_direct_way_gives_the_same_values_and_gradients(
    name: str, graph: Need, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the last block only what the head reads has a gradient of its own."""
    needs = EVERYTHING[Backward.PLAIN] & ~Need.GRAPH | graph
    plain = _seen(name, needs, monkeypatch, detours=True)
    direct = _seen(name, needs, monkeypatch, detours=False)
    assert torch.equal(direct.logits, plain.logits)
    pairs = [
        *zip(direct.attention, plain.attention, strict=True),
        *zip(direct.attention_gradient, plain.attention_gradient, strict=True),
        *zip(direct.tokens, plain.tokens, strict=True),
        *zip(direct.token_gradient, plain.token_gradient, strict=True),
        (direct.features, plain.features),
        (direct.feature_gradient, plain.feature_gradient),
        (direct.pixel_gradient, plain.pixel_gradient),
    ]
    for one, other in pairs:
        assert one is not None and other is not None
        assert float((one - other).abs().max()) <= 1e-6 * float(other.abs().max())


@pytest.mark.parametrize(
    ("name", "shortened"),
    [("class_token", True), ("distilled", True), ("patch_mean", False), ("beit", False)],
)
def test_the_last_block_is_shortened_where_the_head_reads_the_front_alone(name: str, shortened: bool) -> None:
    model = vision_model(name)
    block = model.anatomy.blocks[-1]
    for needs in (Need.ATTENTION, Need.ATTENTION_GRADIENT, Need.ATTENTION_GRADIENT | Need.GRAPH):
        with model.traced(needs, Backward.PLAIN):
            assert ("forward" in vars(block)) is shortened
    with model.traced(Need.TOKEN_GRADIENT, Backward.LIBRA):
        assert "forward" not in vars(block)
    with traced(model.module, model.anatomy, Need.ATTENTION_GRADIENT, whole=True):
        assert "forward" not in vars(block)
    assert "forward" not in vars(block)


def test_a_forward_that_somebody_else_has_set_stays() -> None:
    model = vision_model("class_token")
    attention = model.anatomy.attentions[0]
    own = type(attention).forward

    def theirs(tokens: Tensor, **_: object) -> Tensor:
        result: Tensor = own(attention, tokens) * 0
        return result

    attention.forward = theirs
    with without_detours(model.module, model.anatomy.attentions):
        assert attention.forward is theirs
        assert "forward" in vars(model.anatomy.attentions[1])
    assert attention.forward is theirs
    assert "forward" not in vars(model.anatomy.attentions[1])


def test_attention_with_a_mask_is_what_timm_makes_of_it() -> None:
    model = vision_model("class_token")
    attention = model.anatomy.attentions[0]
    tokens = torch.randn(2, 5, model.width, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    with torch.no_grad(), at_rest(model.module), unfused([attention]):
        expected = attention(tokens, attn_mask=mask)
        with without_detours(model.module, [attention]):
            assert torch.equal(attention(tokens, attn_mask=mask), expected)
            assert not torch.allclose(attention(tokens), expected)


@pytest.mark.parametrize(("stride", "overridden"), [(8, True), (4, False)])
def test_only_patches_side_by_side_are_a_product(stride: int, overridden: bool) -> None:
    module = nn.Module()
    module.patch_embed = nn.Module()
    module.patch_embed.proj = nn.Conv2d(3, 6, 8, stride).requires_grad_(False)
    pixels = torch.randn(2, 3, 16, 32, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (expected,) = torch.autograd.grad(module.patch_embed.proj(pixels).square().sum(), pixels)
    with without_detours(module, ()):
        assert ("forward" in vars(module.patch_embed.proj)) is overridden
        (found,) = torch.autograd.grad(module.patch_embed.proj(pixels).square().sum(), pixels)
    assert torch.allclose(found, expected, atol=1e-5)
