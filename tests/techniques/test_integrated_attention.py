"""Transition attention maps and Beyond Intuition against loops in float64, entry by entry."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from tiny_model import CLASSES, context, network, noise, vision_model
from torch import Tensor, nn
from vit_by_hand import Run, gradients
from vit_by_hand import run as by_hand

from vitreport.model.load import VisionModel
from vitreport.model.trace import Forward
from vitreport.model.tracer import Tracer
from vitreport.techniques.gradient.integrated_attention import (
    BeyondIntuitionHead,
    BeyondIntuitionToken,
    IntegratedAttention,
    TransitionAttentionMaps,
    output_weight,
)
from vitreport.techniques.technique import Context, select

TARGETS = [0, 3]
SPECS = ("tam", "beyond_intuition_token", "beyond_intuition_head")
Oracle = Callable[[nn.Module, Tensor, int, int, int], np.ndarray]


@pytest.fixture(scope="module")
def model() -> VisionModel:
    return vision_model("class_token")


def _of(spec: str) -> IntegratedAttention:
    (technique,) = select([spec])
    assert isinstance(technique, IntegratedAttention)
    return technique


def _weights(module: nn.Module, pixels: Tensor, target: int, steps: int) -> np.ndarray:
    """The integrated gradient, cut and averaged, ``(tokens, tokens)``."""
    total = 0.0
    for step in range(steps):
        seen = by_hand(module, pixels.double() * (step / (steps - 1)))
        total = total + gradients(seen.logits[target], seen.attention[-1:])[0].numpy() / steps
    return np.maximum(total, 0).mean(0)


def _attention(seen: Run) -> list[np.ndarray]:
    return [block.detach().numpy() for block in seen.attention]


def _tam(module: nn.Module, pixels: Tensor, target: int, steps: int, start: int) -> np.ndarray:
    blocks = [block.mean(0) for block in _attention(by_hand(module, pixels))]
    state = blocks[-1][0].copy()
    for block in blocks[start:-1][::-1]:
        following = state.copy()
        for token in range(len(state)):
            following[token] += sum(state[other] * block[other, token] for other in range(len(state)))
        state = following
    return (state * _weights(module, pixels, target, steps)[0])[1:]


def _product(matrices: Sequence[np.ndarray]) -> np.ndarray:
    """All blocks in their order, the whole matrix."""
    total = np.eye(len(matrices[0]))
    for matrix in matrices:
        total = total + matrix @ total
    return total


def _head(module: nn.Module, pixels: Tensor, target: int, steps: int, start: int) -> np.ndarray:
    seen = by_hand(module, pixels)
    slopes = [slope.numpy() for slope in gradients(seen.logits[target], seen.attention)]
    matrices = []
    for block, slope in zip(_attention(seen), slopes, strict=True):
        sizes = [np.abs(one.T @ other).mean() for one, other in zip(block, slope, strict=True)]
        shares = [size / sum(sizes) for size in sizes]
        matrices.append(sum(share * one for share, one in zip(shares, block, strict=True)))
    return (_product(matrices[start:]) * _weights(module, pixels, target, steps))[0, 1:]


def _token(module: nn.Module, pixels: Tensor, target: int, steps: int, start: int) -> np.ndarray:
    seen = by_hand(module, pixels)
    state = {name: value.double().numpy() for name, value in module.state_dict().items()}
    matrices = []
    for number, block in enumerate(_attention(seen)):
        at, matrix = f"blocks.{number}.attn", block.mean(0).copy()
        width = seen.tokens[0].shape[-1]
        weight, bias = state[f"{at}.qkv.weight"][-width:], state[f"{at}.qkv.bias"][-width:]
        for token in range(matrix.shape[1]):
            value = weight @ seen.normed[number][token].detach().numpy() + bias
            added = np.linalg.norm(state[f"{at}.proj.weight"] @ value)
            matrix[:, token] *= added / np.linalg.norm(seen.tokens[number][token].detach().numpy())
        matrices.append(matrix)
    return (_product(matrices[start:]) * _weights(module, pixels, target, steps))[0, 1:]


ORACLES = [
    (TransitionAttentionMaps, _tam),
    (BeyondIntuitionHead, _head),
    (BeyondIntuitionToken, _token),
]


@pytest.mark.parametrize("start", [0, 1, 2])
@pytest.mark.parametrize(("kind", "oracle"), ORACLES)
def test_maps_equal_the_loops(kind: type, oracle: Oracle, start: int, model: VisionModel) -> None:
    technique = kind(steps=4, start_block=start)
    pixels = noise(model, 2)
    found = technique.attribute(context(model, pixels, TARGETS)).flatten(1).numpy()
    for image, target in enumerate(TARGETS):
        slow = oracle(model.module, pixels[image], target, 4, start)
        assert slow.max() > 0
        assert np.abs(found[image] - slow).max() <= 1e-4 * slow.max()


def test_parameters_have_the_public_defaults() -> None:
    assert [_of(spec).parameters for spec in SPECS] == [
        {"steps": 20, "start_block": 4},
        {"steps": 20, "start_block": 5},
        {"steps": 20, "start_block": 3},
    ]


@pytest.mark.parametrize("spec", SPECS)
def test_a_model_with_fewer_blocks_uses_its_last_one(spec: str, model: VisionModel) -> None:
    known = context(model, noise(model, 2), TARGETS)
    last = f"{spec}:start_block=2,steps=3"
    assert torch.equal(_of(f"{spec}:steps=3").attribute(known), _of(last).attribute(known))
    assert _of(last).attribute(known).amax((1, 2)).min() > 0


@pytest.mark.parametrize("name", ["distilled", "patch_mean", "token_mean", "attention_pool"])
@pytest.mark.parametrize("spec", SPECS)
def test_heads_that_read_several_tokens_weigh_a_row_for_each(spec: str, name: str) -> None:
    model = vision_model(name)
    known = context(model, noise(model, 2), TARGETS)
    technique = _of(f"{spec}:start_block=0,steps=3")
    tokens = torch.arange(model.layout.num_tokens)
    slopes = []
    for alpha in (0, 0.5, 1):
        scaled = context(model, known.trace.pixels * alpha, TARGETS)
        slopes.append(scaled.trace.attention_gradient[-1])
    weights = (sum(slopes) / 3).clamp(min=0).mean(1)
    whole = weights * technique.reach(known, tokens)
    expected = torch.einsum("bi,bij->bj", known.trace.readout, whole)
    found = technique.attribute(known)
    error = (found - model.layout.to_grid(expected)).abs().max()
    assert error <= 1e-5 * expected.max()


@pytest.mark.parametrize("spec", SPECS)
def test_a_batch_of_eight_gives_what_eight_singles_give(spec: str, model: VisionModel) -> None:
    pixels, targets = noise(model, 8), [number % CLASSES for number in range(8)]
    technique = _of(f"{spec}:steps=5")
    together = technique.attribute(context(model, pixels, targets))
    for image, target in enumerate(targets):
        alone = technique.attribute(context(model, pixels[image : image + 1], [target]))[0]
        assert (together[image] - alone).abs().max() <= 1e-5 * alone.max()


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that went through the model."""
    sizes: list[int] = []
    forward = Tracer.forward

    def counted(tracer: Tracer, pixels: Tensor) -> Forward:
        sizes.append(len(pixels))
        return forward(tracer, pixels)

    monkeypatch.setattr(Tracer, "forward", counted)
    return sizes


def test_all_of_them_share_one_integrated_gradient(model: VisionModel, forwards: list[int]) -> None:
    known = context(model, noise(model, 2), TARGETS)
    forwards.clear()
    for spec in SPECS:
        _of(spec).attribute(known)
    assert forwards == [32, 8]


@pytest.mark.parametrize(("chunk", "expected"), [(1, [1] * 15), (2, [2] * 7 + [1]), (6, [6, 6, 3])])
def test_passes_are_no_larger_than_the_chunk(
    chunk: int, expected: list[int], model: VisionModel, forwards: list[int]
) -> None:
    known: Context = dataclasses.replace(context(model, noise(model, 3), [0, 1, 2]), chunk=chunk)
    whole = _of("tam:steps=5").attribute(dataclasses.replace(known, chunk=99, shared={}))
    forwards.clear()
    found = _of("tam:steps=5").attribute(known)
    assert forwards == expected
    assert torch.allclose(found, whole, rtol=1e-4, atol=1e-6 * float(whole.max()))


def test_layer_scale_belongs_to_the_output_projection() -> None:
    for name, scale in (
        ("beit", "gamma_1"),
        ("dinov3", "gamma_1"),
        ("class_token", None),
        ("parallel", None),
    ):
        block = network(name).blocks[0]  # type: ignore[index]
        attention = getattr(block, "attn", block)
        projection = getattr(attention, "proj", None) or attention.attn_out_proj
        gamma = getattr(block, scale) if scale else torch.ones(projection.weight.shape[0])
        tokens = torch.randn(3, projection.weight.shape[1])
        wanted = gamma * nn.functional.linear(tokens, projection.weight)
        assert torch.allclose(tokens @ output_weight(block, attention).T, wanted, atol=1e-6)


def test_a_block_that_projects_attention_and_mlp_together_is_refused(model: VisionModel) -> None:
    block = vision_model("parallel")
    for part in block.anatomy.attentions:
        part.attn_out_proj = None
    assert "output projection" in str(BeyondIntuitionToken().supports(block))
    assert TransitionAttentionMaps().supports(block) is None
    assert BeyondIntuitionToken().supports(model) is None
