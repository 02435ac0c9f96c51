"""Every technique of the gradient family against a slow oracle in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tiny_model import context, context_by_hand, noise, vision_model
from torch import Tensor
from vit_by_hand import Run, gradients, run

from vitreport.model.layout import Readout, TokenLayout
from vitreport.model.load import VisionModel
from vitreport.techniques.gradient.gradient_rollout import GradientRollout
from vitreport.techniques.gradient.token_cam import _by_squaring, _first_eigenvector
from vitreport.techniques.technique import Observation, Technique, select

TARGETS = [0, 3]


@pytest.fixture(scope="module")
def model() -> VisionModel:
    return vision_model("non_square")


def _of(spec: str) -> Technique:
    (technique,) = select([spec])
    assert isinstance(technique, Technique)
    return technique


def _patch_rows(rows: Tensor) -> Tensor:
    return rows[1:].reshape(4, 6)


def _generic_attention(seen: Run, target: int) -> Tensor:
    relevance = torch.eye(25, dtype=torch.float64)
    slopes = gradients(seen.logits[target], seen.attention)
    for attention, slope in zip(seen.attention, slopes, strict=True):
        relevance = relevance + (attention * slope).clamp(min=0).mean(0) @ relevance
    return _patch_rows(relevance[0])


def _rollout(matrices: list[Tensor]) -> Tensor:
    total = torch.eye(25, dtype=torch.float64)
    for matrix in matrices:
        mixed = matrix.clamp(min=0) + torch.eye(25, dtype=torch.float64)
        total = mixed / mixed.sum(1, keepdim=True) @ total
    return _patch_rows(total[0])


def _gradient_rollout(seen: Run, target: int, tensors: list[Tensor]) -> Tensor:
    slopes = gradients(seen.logits[target], tensors)
    return _rollout([(a * g).mean(0) for a, g in zip(seen.attention, slopes, strict=True)])


def _influence_rollout(seen: Run, target: int) -> Tensor:
    matrices = []
    for attention, slope in zip(seen.attention, gradients(seen.logits[target], seen.attention), strict=True):
        influence = [max(float((attention[h] * slope[h]).sum().detach()), 0.0) for h in range(len(attention))]
        weights = [one / sum(influence) if sum(influence) else 0.0 for one in influence]
        matrices.append(sum((w * a for w, a in zip(weights, attention, strict=True)), torch.zeros(25, 25)))
    return _rollout(matrices)


def _attention_grad_cam(seen: Run, target: int) -> Tensor:
    (slope,) = gradients(seen.logits[target], seen.attention[-1:])
    weights = slope[:, 0, 1:].mean(1)
    rows = seen.attention[-1][:, 0]
    return _patch_rows(
        sum((w * row for w, row in zip(weights, rows, strict=True)), torch.zeros(25)) / len(rows)
    )


def _cam(weigh: Callable[[Tensor], Tensor]) -> Callable[[Run, int], Tensor]:
    def oracle(seen: Run, target: int) -> Tensor:
        (slope,) = gradients(seen.logits[target], seen.normed[-1:])
        slope, features = slope[1:], seen.normed[-1][1:]
        return (weigh(slope) * features).sum(1).reshape(4, 6)

    return oracle


def _mean_over_patches(slope: Tensor) -> Tensor:
    return slope.mean(0).expand_as(slope)


def _attcat(seen: Run, target: int) -> Tensor:
    total = torch.zeros(25, dtype=torch.float64)
    slopes = gradients(seen.logits[target], seen.tokens[:-1])
    for attention, tokens, slope in zip(seen.attention, seen.tokens[:-1], slopes, strict=True):
        for token in range(25):
            total[token] += attention[:, 0, token].mean() * (tokens[token] @ slope[token])
    return _patch_rows(total)


def _input_x_gradient(seen: Run, target: int) -> Tensor:
    (slope,) = gradients(seen.logits[target], [seen.pixels])
    return (seen.pixels * slope).sum(0)


def _saliency(seen: Run, target: int) -> Tensor:
    (slope,) = gradients(seen.logits[target], [seen.pixels])
    return slope.abs().amax(0)


def _full_grad(seen: Run, target: int) -> Tensor:
    logit = seen.logits[target]
    (slope,) = gradients(logit, seen.tokens[:1])
    at_tokens = (seen.tokens[0] * slope).sum(1)
    rest = torch.zeros((), dtype=torch.float64)
    for (bias, _, has_rows), slope in zip(
        seen.terms, gradients(logit, [out for _, out, _ in seen.terms]), strict=True
    ):
        if has_rows:
            at_tokens = at_tokens + slope @ bias
        else:
            rest = rest + slope @ bias
    assert float((at_tokens.sum() + rest - logit).detach()) == pytest.approx(0, abs=1e-9)
    return _patch_rows(at_tokens)


PLAIN: dict[str, Callable[[Run, int], Tensor]] = {
    "generic_attention": _generic_attention,
    "gradient_rollout": lambda seen, target: _gradient_rollout(seen, target, seen.attention),
    "gradient_rollout:at=scores": lambda seen, target: _gradient_rollout(seen, target, seen.scores),
    "gradient_rollout:fusion=gradient": _influence_rollout,
    "attention_grad_cam": _attention_grad_cam,
    "grad_cam": _cam(_mean_over_patches),
    "hires_cam": _cam(lambda slope: slope),
    "layer_cam": _cam(lambda slope: slope.clamp(min=0)),
    "attcat": _attcat,
    "input_x_gradient": _input_x_gradient,
    "saliency": _saliency,
}
LIBRA: dict[str, Callable[[Run, int], Tensor]] = {
    "libra_input_x_gradient": _input_x_gradient,
    "libra_grad_cam": _cam(_mean_over_patches),
    "libra_attcat": _attcat,
    "libra_full_grad": _full_grad,
}


@pytest.mark.parametrize("spec", [*PLAIN, *LIBRA])
def test_a_map_equals_the_slow_one(spec: str, model: VisionModel) -> None:
    pixels, technique = noise(model, 2), _of(spec)
    found = technique.attribute(context(model, pixels, TARGETS, backward=technique.backward))
    for image, target in enumerate(TARGETS):
        seen = run(model.module, pixels[image], libra=spec in LIBRA)
        expected = (PLAIN | LIBRA)[spec](seen, target).detach()
        assert found[image].shape == expected.shape
        assert float((found[image] - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


def test_legrad_equals_the_slow_one(model: VisionModel) -> None:
    """What the head reads off the output of a block, and its gradient at that block's attention."""
    pixels = noise(model, 2)
    found = _of("legrad").attribute(context(model, pixels, TARGETS))
    state = {name: value.double() for name, value in model.module.state_dict().items()}
    for image, target in enumerate(TARGETS):
        seen = run(model.module, pixels[image])
        total = torch.zeros(25, dtype=torch.float64)
        for number, attention in enumerate(seen.attention):
            x = seen.tokens[number + 1][0]
            centred = x - x.mean()
            normed = (
                centred / (centred.square().mean() + 1e-6).sqrt() * state["norm.weight"] + state["norm.bias"]
            )
            score = normed @ state["head.weight"][target] + state["head.bias"][target]
            (slope,) = gradients(score, [attention])
            total += slope.clamp(min=0).mean((0, 1)) / len(seen.attention)
        expected = _patch_rows(total)
        assert float((found[image] - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


def test_eigen_cam_is_the_first_principal_component(model: VisionModel) -> None:
    pixels = noise(model, 2)
    found = _of("eigen_cam").attribute(context(model, pixels, TARGETS))
    for image in range(2):
        rows = run(model.module, pixels[image]).normed[-1][1:].detach().numpy()
        rows = rows - rows.mean(0)
        along = rows @ np.linalg.svd(rows)[2][0]
        along = along * np.sign(along[np.abs(along).argmax()])
        assert np.abs(found[image].numpy().ravel() - along).max() <= 1e-4 * np.abs(along).max()
        assert found[image].flatten()[found[image].abs().argmax()] > 0


def test_the_first_eigenvector_is_the_same_by_products_alone() -> None:
    """As a GPU finds it: also where the second eigenvalue is nearly as large, and where there is nothing."""
    basis = torch.linalg.qr(torch.randn(40, 40, dtype=torch.float64, generator=torch.manual_seed(5))).Q
    values = [torch.linspace(0, 1, 40), torch.linspace(0, 1, 40)[torch.randperm(40)], torch.zeros(40)]
    values[0][-2] = 0.9999
    matrices = torch.stack([basis * (1e9 * one.double()) @ basis.mT for one in values])
    found, vectors = _by_squaring(matrices)
    expected, known = _first_eigenvector(matrices)
    assert torch.allclose(found, expected, rtol=1e-12, atol=0)
    assert float((vectors * known).sum(1)[:2].abs().sub(1).abs().max()) <= 1e-12
    assert float(vectors[2].abs().max()) == 0


def test_the_logit_lens_ends_at_the_model_s_own_logits(model: VisionModel) -> None:
    (lens,) = select(["logit_lens:classes=3"])
    assert isinstance(lens, Observation)
    known = context(model, noise(model, 2), TARGETS)
    for image, (row,) in enumerate(lens.observe(known)):
        logits = known.trace.logits[image]
        order = logits.argsort(descending=True)[:3]
        assert row["classes"] == order.tolist()
        shape = (row["blocks"], 3)
        assert np.array_equal(row["logits"].reshape(shape)[-1], logits[order].numpy())
        assert row["scores"].reshape(shape)[-1] == pytest.approx(logits.softmax(0)[order].numpy())
        assert row["first"][-1] == int(logits.argmax()) and len(row["first"]) == row["blocks"]
        early = run(model.module, noise(model, 2)[image]).tokens[1][0]
        centred = early - early.mean()
        state = {name: value.double() for name, value in model.module.state_dict().items()}
        normed = centred / (centred.square().mean() + 1e-6).sqrt() * state["norm.weight"] + state["norm.bias"]
        expected = state["head.weight"] @ normed + state["head.bias"]
        assert row["logits"].reshape(shape)[0] == pytest.approx(expected[order].detach().numpy(), abs=1e-4)


def test_token_norms_are_lengths_in_the_residual_stream(model: VisionModel) -> None:
    (norms,) = select(["token_norms"])
    assert isinstance(norms, Observation)
    for image, (row,) in enumerate(norms.observe(context(model, noise(model, 2), TARGETS))):
        seen = run(model.module, noise(model, 2)[image])
        for block, tokens in enumerate(seen.tokens[1:]):
            expected = tokens.detach().norm(dim=1).numpy()
            assert row["values"].reshape(row["blocks"], -1)[block] == pytest.approx(expected[1:], rel=1e-4)
            assert row["prefix_values"].reshape(row["blocks"], -1)[block] == pytest.approx(
                expected[:1], rel=1e-4
            )


def test_heads_that_raise_nothing_leave_a_rollout_without_attention() -> None:
    """With no influence every block is the identity, and the class token draws from no patch."""
    layout = TokenLayout(1, (1, 2), (8, 8), Readout.CLASS_TOKEN)
    attention = [torch.full((1, 2, 3, 3), 1 / 3)]
    known = context_by_hand(attention, [-torch.ones(1, 2, 3, 3)], layout)
    assert not GradientRollout(fusion="gradient").attribute(known).any()
