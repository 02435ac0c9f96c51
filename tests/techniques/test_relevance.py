"""Relevance propagation: against its rules written out, and what is conserved."""

from __future__ import annotations

import copy
import dataclasses
from itertools import pairwise

import pytest
import timm
import torch
import vit_by_hand
from timm.layers import GluMlp, SwiGLU
from tiny_model import NOT_FOR, VARIANTS, context, disturb, explainable, noise, vision_model
from torch import Tensor, nn

from vitreport.model.load import VisionModel
from vitreport.model.trace import Backward
from vitreport.settings import TechniqueSpec
from vitreport.techniques.relevance import propagation
from vitreport.techniques.relevance.gamma import STABILIZER, gamma_rule
from vitreport.techniques.relevance.propagation import relevance
from vitreport.techniques.relevance.rules import EPSILON
from vitreport.techniques.technique import TECHNIQUES, Context, Technique

KINDS = [name for name in VARIANTS if name not in NOT_FOR["transformer_attribution"]]
PASSES = (
    "tam:steps=3",
    "beyond_intuition_token:steps=3",
    "beyond_intuition_head:steps=3",
    "integrated_gradients:steps=4",
    "expected_gradients:samples=4",
    "smooth_grad:samples=3",
    "occlusion_token_drop",
    "occlusion_blur",
    "rise:samples=20",
    "vit_cx",
    "attention_flow",
)
NAMES = ("transformer_attribution", "lrp_rollout", "lrp_last_block", "lrp_input")


def attribute(spec: str, known: Context) -> Tensor:
    parsed = TechniqueSpec.parse(spec)
    technique = TECHNIQUES[parsed.name].from_spec(parsed)
    assert isinstance(technique, Technique)
    return technique.attribute(dataclasses.replace(known, maps={}, shared={}))


def _quotient(given: Tensor, by: Tensor) -> Tensor:
    divisor = by + EPSILON
    divisor = torch.where(divisor == 0, EPSILON, divisor)
    return torch.where(by == 0, 0.0, given / divisor)


def _by_terms(x: Tensor, weight: Tensor, found: Tensor) -> Tensor:
    """Alpha = 1, beta = 0, term by term: ``(rows, inputs)``, ``(outputs, inputs)``, ``(rows, outputs)``."""
    terms = (x[:, None, :] * weight[None]).clamp(min=0)
    return (terms * _quotient(found, terms.sum(-1))[..., None]).sum(1)


def _of_sum(found: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    parts = [one * _quotient(found, a + b) for one in (a, b)]
    sums = [part.sum() for part in parts]
    whole = sums[0].abs() + sums[1].abs()
    first, second = (
        part * _quotient(_quotient(total.abs(), whole) * found.sum(), total)
        for part, total in zip(parts, sums, strict=True)
    )
    return first, second


def _maps_by_hand(module: nn.Module, pixels: Tensor, target: int) -> dict[str, Tensor]:
    """The four maps of one image of a model with a class token, ``(tokens,)`` or ``(height, width)``."""
    p = {name: value.double() for name, value in module.state_dict().items()}
    run = vit_by_hand.run(module, pixels)
    slopes = vit_by_hand.gradients(run.logits[target], run.attention)
    heads = run.attention[0].shape[0]

    def normed(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        spread = (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return centred / spread * p[f"{name}.weight"] + p[f"{name}.bias"]

    def affine(x: Tensor, name: str) -> Tensor:
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    start = torch.zeros(1, len(run.logits), dtype=torch.float64)
    start[0, target] = 1
    found = torch.zeros_like(run.tokens[-1])
    found[0] = _by_terms(normed(run.tokens[-1], "norm")[:1], p["head.weight"], start)[0]
    weighted = plain = torch.eye(len(found), dtype=torch.float64)
    last = None
    for number, (x, left) in reversed(list(enumerate(pairwise(run.tokens)))):
        at = f"blocks.{number}"
        q, k, v = (
            part.unflatten(-1, (heads, -1)).transpose(0, 1)
            for part in affine(normed(x, f"{at}.norm1"), f"{at}.attn.qkv").chunk(3, -1)
        )
        attention = run.attention[number]
        mixed = (attention @ v).transpose(0, 1).flatten(1)
        between = x + affine(mixed, f"{at}.attn.proj")
        hidden = nn.functional.gelu(affine(normed(between, f"{at}.norm2"), f"{at}.mlp.fc1"))

        kept, branch = _of_sum(found, between, left - between)
        branch = _by_terms(hidden, p[f"{at}.mlp.fc2.weight"], branch)
        branch = _by_terms(normed(between, f"{at}.norm2"), p[f"{at}.mlp.fc1.weight"], branch)
        found = between * (_quotient(kept, between) + _quotient(branch, between))

        kept, branch = _of_sum(found, x, between - x)
        branch = _by_terms(mixed, p[f"{at}.attn.proj.weight"], branch)
        branch = branch.unflatten(-1, (heads, -1)).transpose(0, 1)
        terms = attention[..., None] * v[:, None]  # heads, receiving token, giving token, channel
        terms = terms * _quotient(branch, terms.sum(2))[:, :, None] / 2
        of_attention, of_values = terms.sum(3), terms.sum(1)
        terms = q[:, :, None] * k[:, None]
        terms = terms * _quotient(of_attention, terms.sum(3))[..., None] / 2
        joined = torch.cat(
            [part.transpose(0, 1).flatten(1) for part in (terms.sum(2), terms.sum(1), of_values)], -1
        )
        branch = _by_terms(normed(x, f"{at}.norm1"), p[f"{at}.attn.qkv.weight"], joined)
        found = x * (_quotient(kept, x) + _quotient(branch, x))

        last = of_attention.clamp(min=0).mean(0) if last is None else last
        weighted = weighted + weighted @ (of_attention * slopes[number]).clamp(min=0).mean(0)
        plain = plain + plain @ of_attention.clamp(min=0).mean(0)
    assert last is not None
    content = run.tokens[0] - p["pos_embed"][0]
    found, _ = _of_sum(found, content, p["pos_embed"][0])
    return {
        "transformer_attribution": weighted[0],
        "lrp_rollout": plain[0],
        "lrp_last_block": last[0],
        "lrp_input": _at_pixels(pixels.double(), p["patch_embed.proj.weight"], found[1:]),
    }


def _at_pixels(pixels: Tensor, weight: Tensor, found: Tensor) -> Tensor:
    size, columns = weight.shape[-1], pixels.shape[-1] // weight.shape[-1]
    low, high = pixels.min(), pixels.max()
    total = torch.zeros_like(pixels)
    for number, of_patch in enumerate(found):
        row, column = divmod(number, columns)
        window = (
            slice(None),
            slice(row * size, (row + 1) * size),
            slice(column * size, (column + 1) * size),
        )
        terms = pixels[window] * weight - low * weight.clamp(min=0) - high * weight.clamp(max=0)
        sums = terms.sum((1, 2, 3)) + EPSILON
        total[window] = (terms * (of_patch / sums).view(-1, 1, 1, 1)).sum(0)
    return total.sum(0)


@pytest.mark.parametrize("kind", ["class_token", "non_square"])
def test_the_maps_are_those_of_the_rules_written_out(kind: str) -> None:
    model = vision_model(kind)
    pixels, targets = noise(model, 2), [0, 3]
    known = context(model, pixels, targets)
    maps = {name: attribute(name, known) for name in NAMES}
    for image, target in enumerate(targets):
        for name, expected in _maps_by_hand(model.module, pixels[image], target).items():
            if expected.dim() == 1:
                expected = model.layout.to_grid(expected)
            found, expected = maps[name][image].double(), expected.detach()
            assert float((found - expected).abs().max()) <= 1e-6 * float(expected.abs().max()), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_gives_to_its_input_what_its_output_has(kind: str) -> None:
    model = vision_model(kind)
    assert _losses(model) < 1e-6


@pytest.mark.parametrize("layer", [GluMlp, SwiGLU])
def test_a_gated_mlp_conserves_relevance_too(layer: type[nn.Module]) -> None:
    torch.manual_seed(0)
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    module = timm.create_model("vit_tiny_patch16_224", num_classes=5, mlp_layer=layer, **options)
    disturb(module)
    model = explainable(module.eval(), (32, 32))
    assert isinstance(model.anatomy.blocks[0].mlp, layer)
    assert _losses(model) < 1e-6
    known = context(model, noise(model, 2), [1, 2])
    assert attribute("transformer_attribution", known).isfinite().all()


def _losses(model: VisionModel) -> float:
    """The largest share of an image's relevance that a block makes or loses."""
    module, anatomy = copy.deepcopy((model.module, model.anatomy))
    found = propagation._Pass(module.double(), anatomy, noise(model, 3).double(), torch.tensor([0, 3, 2]))
    worst = 0.0
    with torch.no_grad():
        here = found._of_tokens()
        for number in reversed(range(model.blocks)):
            there, _ = found._through_block(number, here)
            before, after = here.sum((1, 2)), there.sum((1, 2))
            worst = max(worst, float(((after - before) / before).abs().max()))
            here = there
    return worst


@pytest.mark.parametrize("name", [*NAMES, "cp_lrp", "attn_lrp", *PASSES])
def test_eight_images_give_what_they_give_alone_in_any_chunks(name: str) -> None:
    model = vision_model("distilled")
    pixels, targets = noise(model, 8), [0, 1, 2, 3, 4, 0, 1, 2]
    together = context(model, pixels, targets)
    expected = torch.cat([attribute(name, together.only([image])) for image in range(8)])
    for chunk in (32, 3):
        found = attribute(name, dataclasses.replace(together, chunk=chunk))
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_techniques_that_read_relevance_share_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model = vision_model("class_token")
    passes = []
    run = propagation._Pass.run
    monkeypatch.setattr(propagation._Pass, "run", lambda self: passes.append(1) or run(self))
    known = context(model, noise(model, 2), [0, 1])
    for name in NAMES:
        technique = TECHNIQUES[name]()
        assert isinstance(technique, Technique)
        technique.attribute(known)
    assert len(passes) == 1


def test_the_first_block_of_the_product_can_be_chosen() -> None:
    model = vision_model("class_token")  # of three blocks
    known = context(model, noise(model, 2), [0, 1])
    rows = relevance(known).weighted
    for start in range(3):
        maps = attribute(f"transformer_attribution:start_block={start}", known)
        assert torch.equal(maps, model.layout.to_grid(rows[start]))


@pytest.mark.parametrize("name", ["transformer_attribution", "lrp_rollout", "generic_attention"])
@pytest.mark.parametrize("kind", ["attention_pool", "patch_mean", "token_mean"])
def test_what_the_head_itself_reads_of_a_patch_is_left_out(kind: str, name: str) -> None:
    """It is the same for every class, and larger than all that comes after."""
    model = vision_model(kind)
    known = context(model, noise(model, 2), [0, 1])
    values = attribute(name, known)
    shares = model.layout.to_grid(known.trace.readout)
    assert values.abs().max() < 0.5 * shares.max() or name == "generic_attention"
    one, other = (attribute(name, context(model, noise(model, 2), [label] * 2)).flatten() for label in (0, 1))
    if name != "lrp_rollout":
        assert float(torch.corrcoef(torch.stack((one, other)))[0, 1]) < 0.99


def test_a_first_block_that_the_model_lacks_is_refused() -> None:
    model = vision_model("class_token")  # of three blocks
    for start, reason in ((2, None), (3, "start_block is 3, but the model's last block is 2")):
        assert TECHNIQUES["transformer_attribution"](start_block=start).supports(model) == reason  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", VARIANTS)
def test_cp_lrp_without_gamma_is_libra_input_x_gradient(kind: str) -> None:
    model = vision_model(kind)
    targets = [0, 3, 2]
    expected = attribute(
        "libra_input_x_gradient", context(model, noise(model, 3), targets, backward=Backward.LIBRA)
    )
    found = attribute("cp_lrp:conv_gamma=0,linear_gamma=0", context(model, noise(model, 3), targets))
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_attn_lrp_halves_what_products_pass_on() -> None:
    model = vision_model("class_token")
    pixels, targets = noise(model, 2), [1, 4]
    found = attribute("attn_lrp:conv_gamma=0,linear_gamma=0", context(model, pixels, targets))
    for image, target in enumerate(targets):
        run = vit_by_hand.run(model.module, pixels[image], attn_lrp=True)
        (slope,) = vit_by_hand.gradients(run.logits[target], [run.pixels])
        expected = (run.pixels.detach() * slope).sum(0)
        assert (found[image].double() - expected).abs().max() <= 1e-5 * expected.abs().max()
    plain = attribute("cp_lrp:conv_gamma=0,linear_gamma=0", context(model, pixels, targets))
    assert (found - plain).abs().max() > 0.1 * found.abs().max()


@pytest.mark.parametrize("gamma", [0.05, 0.25, 10.0])
def test_the_gamma_rule_is_its_sum_term_by_term(gamma: float) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(7, 5).double()
    given = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    slope = torch.randn(3, 5, dtype=torch.float64)
    with gamma_rule([(layer, gamma)]):
        output = layer(given)
    (found,) = torch.autograd.grad((output * slope).sum(), given)
    x, w, b = given.detach(), layer.weight.detach(), layer.bias.detach()
    for row in range(3):
        expected = torch.zeros(7, dtype=torch.float64)
        for to in range(5):
            value = float(output[row, to].detach())
            terms = [float(x[row, at] * w[to, at]) for at in range(7)]
            favoured = [term * (1 + gamma) if term * value > 0 else term for term in terms]
            bias = float(b[to]) * (1 + gamma if float(b[to]) * value > 0 else 1)
            total = sum(favoured) + bias
            total += STABILIZER if total >= 0 else -STABILIZER
            for at in range(7):
                share = favoured[at] * value * float(slope[row, to]) / total
                expected[at] += share / float(x[row, at])
        assert torch.allclose(found[row], expected, rtol=1e-9, atol=1e-12)


def test_the_gamma_rule_of_a_convolution_is_that_of_its_patches() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 6, 4, 4).double()
    same = nn.Linear(48, 6).double()
    same.load_state_dict({"weight": layer.weight.flatten(1), "bias": layer.bias})
    pixels = torch.randn(2, 3, 8, 12, dtype=torch.float64, requires_grad=True)
    with gamma_rule([(layer, 0.25), (same, 0.25)]):
        first = layer(pixels).flatten(2).mT
        second = same(nn.functional.unfold(pixels, 4, stride=4).mT)
    slope = torch.randn_like(first)
    assert torch.allclose(first, second)
    gradients = [torch.autograd.grad((made * slope).sum(), pixels)[0] for made in (first, second)]
    assert torch.allclose(*gradients)


def test_a_model_without_rules_has_a_reason() -> None:
    model = vision_model("eva02")
    for name in NAMES:
        reason = TECHNIQUES[name]().supports(model)
        assert reason == "relevance rules are known for timm's standard block; this model has eva.EvaBlock"
