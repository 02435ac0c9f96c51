from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from tiny_model import EVERYTHING, VARIANTS, noise, trace, vision_model
from torch import Tensor, nn

from vitreport.errors import UnsupportedModelError
from vitreport.model.anatomy import head_logits
from vitreport.model.families import attention_modules
from vitreport.model.load import VisionModel
from vitreport.model.probe import libra_gap
from vitreport.model.trace import Backward, Need

every_kind = pytest.mark.parametrize("name", VARIANTS)


def _state(module: nn.Module) -> dict[str, object]:
    """All that a trace touches."""
    return {
        "hooks": [
            (name, len(part._forward_hooks), len(part._forward_pre_hooks), len(part._backward_hooks))
            for name, part in module.named_modules()
        ],
        "fused": [part.fused_attn for part in module.modules() if hasattr(part, "fused_attn")],
        "training": [part.training for part in module.modules()],
        "forward": ["forward" in vars(part) for part in module.modules()],
        "wanting": [parameter.requires_grad for parameter in module.parameters()],
        "gradients": [parameter.grad for parameter in module.parameters()],
        "weights": [tensor.numpy().tobytes() for tensor in module.state_dict().values()],
    }


@every_kind
def test_every_block_shows_one_attention_whose_rows_sum_to_one(
    name: str, models: dict[str, VisionModel]
) -> None:
    model = models[name]
    seen = trace(model, noise(model, 2), [0, 1])
    tokens = model.layout.num_tokens
    assert len(seen.attention) == len(seen.attention_gradient) == len(model.module.blocks)  # type: ignore[arg-type]
    for attention in seen.attention:
        assert attention.shape == (2, model.heads, tokens, tokens)
        assert torch.allclose(attention.sum(-1), torch.ones(2, model.heads, tokens), atol=1e-5)
        assert not attention.requires_grad
    assert torch.allclose(seen.readout.sum(-1), torch.ones(2), atol=1e-5)
    assert seen.readout.min() >= 0


@every_kind
def test_the_traced_logits_are_those_of_the_fused_forward(name: str, models: dict[str, VisionModel]) -> None:
    model = models[name]
    assert all(attention.fused_attn for attention in attention_modules(model.module))
    with torch.no_grad():
        expected = model.module(noise(model, 3))
    assert torch.allclose(trace(model, noise(model, 3), [0, 1, 2]).logits, expected, atol=1e-5)


@contextmanager
def _bumped(module: nn.Module, block: int, entry: tuple[int, ...], step: float) -> Iterator[None]:
    """Adds `step` to one entry of a block's attention after its softmax."""

    def bump(_module: nn.Module, _inputs: object, attention: Tensor) -> Tensor:
        changed = attention.clone()
        changed[entry] += step
        return changed

    attentions = attention_modules(module)
    flags = [attention.fused_attn for attention in attentions]
    for attention in attentions:
        attention.fused_attn = False  # type: ignore[assignment]
    hook = attentions[block].attn_drop.register_forward_hook(bump)  # type: ignore[union-attr]
    yield
    hook.remove()
    for attention, flag in zip(attentions, flags, strict=True):
        attention.fused_attn = flag


@every_kind
def test_the_attention_gradient_equals_finite_differences(name: str) -> None:
    model = vision_model(name)
    model.module.double()
    pixels, targets = noise(model, 2).double(), [3, 1]
    seen = trace(model, pixels, targets)
    generator = torch.Generator().manual_seed(4)
    step = 1e-5
    for block, gradient in enumerate(seen.attention_gradient):
        for image in range(2):
            entry = (
                image,
                *(int(torch.randint(size, (1,), generator=generator)) for size in gradient.shape[1:]),
            )
            moved = []
            for sign in (1, -1):
                with _bumped(model.module, block, entry, sign * step), torch.no_grad():
                    moved.append(model.module(pixels)[image, targets[image]])
            expected = float((moved[0] - moved[1]) / (2 * step))
            assert float(gradient[entry]) == pytest.approx(expected, rel=1e-5, abs=1e-8)


def _slow_forward(
    state: dict[str, Tensor], pixels: Tensor, heads: int, depth: int
) -> tuple[Tensor, list[Tensor]]:
    """A Vision Transformer with a class token written out from its weights: logits and attentions."""

    def norm(tokens: Tensor, name: str) -> Tensor:
        centred = tokens - tokens.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(tokens: Tensor, name: str) -> Tensor:
        return tokens @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    batch = len(pixels)
    patches = pixels.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    kernel = state["patch_embed.proj.weight"].flatten(1)
    tokens = torch.cat(
        [state["cls_token"].expand(batch, -1, -1), patches @ kernel.T + state["patch_embed.proj.bias"]], 1
    )
    tokens = tokens + state["pos_embed"]
    attentions = []
    for block in range(depth):
        read = norm(tokens, f"blocks.{block}.norm1")
        width = read.shape[-1] // heads
        mixed = []
        for head in range(heads):
            query, key, value = (
                linear(read, f"blocks.{block}.attn.qkv")[..., part * read.shape[-1] :][
                    ..., head * width : (head + 1) * width
                ]
                for part in range(3)
            )
            scores = query @ key.transpose(1, 2) / width**0.5
            attention = scores.exp() / scores.exp().sum(-1, keepdim=True)
            if not attentions or len(attentions) <= block:
                attentions.append([])
            attentions[block].append(attention)
            mixed.append(attention @ value)
        tokens = tokens + linear(torch.cat(mixed, -1), f"blocks.{block}.attn.proj")
        hidden = linear(norm(tokens, f"blocks.{block}.norm2"), f"blocks.{block}.mlp.fc1")
        active = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
        tokens = tokens + linear(active, f"blocks.{block}.mlp.fc2")
    logits = linear(norm(tokens, "norm")[:, 0], "head")
    return logits, [attention for block in attentions for attention in block]


def test_logits_attention_and_gradient_equal_a_forward_written_out_in_float64(
    models: dict[str, VisionModel],
) -> None:
    model = models["class_token"]
    pixels, targets = noise(model, 2), [4, 2]
    seen = trace(model, pixels, targets)
    state = {name: tensor.double().requires_grad_() for name, tensor in model.module.state_dict().items()}
    logits, flat = _slow_forward(state, pixels.double(), model.heads, model.blocks)
    gradients = torch.autograd.grad(logits[0, 4] + logits[1, 2], flat)
    assert torch.allclose(seen.logits.double(), logits, atol=1e-5)
    for block in range(model.blocks):
        for head in range(model.heads):
            place = block * model.heads + head
            assert torch.allclose(seen.attention[block][:, head].double(), flat[place], atol=1e-5)
            found, expected = seen.attention_gradient[block][:, head].double(), gradients[place]
            assert float((found - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


@every_kind
def test_a_batch_gives_what_its_images_give_alone(name: str, models: dict[str, VisionModel]) -> None:
    model = models[name]
    pixels, targets = noise(model, 3), [0, 4, 2]
    together = trace(model, pixels, targets)
    for image in range(3):
        alone = trace(model, pixels[image : image + 1], targets[image : image + 1])
        assert torch.allclose(together.readout[image], alone.readout[0], atol=1e-5)
        for kind in ("attention", "attention_gradient", "tokens", "token_gradient"):
            for many, one in zip(getattr(together, kind), getattr(alone, kind), strict=True):
                assert float((many[image] - one[0]).abs().max()) <= 1e-5 * float(one.abs().max())


def test_several_targets_of_one_forward_equal_a_pass_each(models: dict[str, VisionModel]) -> None:
    model = models["non_square"]
    pixels = noise(model, 2)
    with model.traced(EVERYTHING[Backward.PLAIN]) as tracer:
        forward = tracer.forward(pixels)
        found = [
            tracer.gradient(forward, torch.tensor(targets), keep_graph=targets != [2, 2])
            for targets in ([0, 1], [4, 3], [2, 2])
        ]
    for seen in found:
        again = trace(model, pixels, seen.targets.tolist())
        for one, other in zip(seen.attention_gradient, again.attention_gradient, strict=True):
            assert torch.equal(one, other)


@every_kind
def test_a_trace_leaves_the_model_as_it_was(name: str) -> None:
    model = vision_model(name)
    module = model.module
    for parameter in module.parameters():
        parameter.requires_grad_(True)
    next(iter(module.parameters())).requires_grad_(False)
    module.train()
    module.blocks[0].eval()  # type: ignore[index,operator,union-attr]
    attention_modules(module)[1].fused_attn = False  # type: ignore[assignment]
    before = _state(module)
    trace(model, noise(model, 2), [0, 1])
    assert _state(module) == before


@every_kind
def test_an_exception_inside_a_trace_leaves_the_model_as_it_was(name: str) -> None:
    model = vision_model(name)
    model.module.train()
    before = _state(model.module)
    with (
        pytest.raises(KeyboardInterrupt),
        model.traced(EVERYTHING[Backward.PLAIN]) as tracer,
    ):
        tracer.forward(noise(model, 1))
        raise KeyboardInterrupt
    assert _state(model.module) == before


def test_a_forward_that_fails_leaves_the_model_as_it_was(models: dict[str, VisionModel]) -> None:
    model = models["class_token"]
    before = _state(model.module)
    with (
        pytest.raises(AssertionError, match=r"height \(40\)"),
        model.traced(EVERYTHING[Backward.PLAIN]) as tracer,
    ):
        tracer.forward(torch.zeros(1, 3, 40, 40))
    assert _state(model.module) == before


def test_queries_that_cannot_be_read_leave_the_model_as_it_was() -> None:
    model = vision_model("class_token")
    del model.module.blocks[1].attn.qkv  # type: ignore[index,union-attr]
    before = _state(model.module)
    with pytest.raises(UnsupportedModelError, match="cannot be read"), model.traced(Need.PROJECTIONS):
        pass
    assert _state(model.module) == before


def _assert_alike(one: object, other: object) -> None:
    for kind in ("attention", "attention_gradient"):
        for left, right in zip(getattr(one, kind), getattr(other, kind), strict=True):
            assert torch.equal(left, right)
    assert torch.equal(one.logits, other.logits)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["class_token", "eva02", "attention_pool"])
def test_successive_passes_do_not_depend_on_each_other(name: str, models: dict[str, VisionModel]) -> None:
    model = models[name]
    first, second = noise(model, 2, seed=1), noise(model, 3, seed=2)
    fresh = trace(model, second, [1, 2, 3])
    with model.traced(EVERYTHING[Backward.PLAIN]) as tracer:
        tracer.gradient(tracer.forward(first), torch.tensor([0, 0]))
        again = tracer.gradient(tracer.forward(second), torch.tensor([1, 2, 3]))
    _assert_alike(again, fresh)
    assert len(again.projections) == model.blocks


@pytest.mark.parametrize("name", ["class_token", "eva02", "attention_pool"])
def test_nested_traces_do_not_disturb_each_other(name: str, models: dict[str, VisionModel]) -> None:
    model = models[name]
    left, right = noise(model, 2, seed=1), noise(model, 2, seed=2)
    expected = trace(model, left, [0, 1]), trace(model, right, [2, 3])
    before = _state(model.module)
    with model.traced(EVERYTHING[Backward.PLAIN]) as outer:
        forward = outer.forward(left)
        with model.traced(EVERYTHING[Backward.PLAIN]) as inner:
            _assert_alike(outer.gradient(outer.forward(right), torch.tensor([2, 3])), expected[1])
            _assert_alike(inner.gradient(inner.forward(right), torch.tensor([2, 3])), expected[1])
            _assert_alike(outer.gradient(forward, torch.tensor([0, 1])), expected[0])
            _assert_alike(outer.gradient(outer.forward(left), torch.tensor([0, 1])), expected[0])
        _assert_alike(outer.gradient(outer.forward(right), torch.tensor([2, 3])), expected[1])
    assert _state(model.module) == before


def test_only_what_is_needed_is_captured(models: dict[str, VisionModel]) -> None:
    model = models["class_token"]
    seen = trace(model, noise(model, 1), [0], Need.ATTENTION)
    assert seen.attention_gradient == ()
    assert seen.projections == ()
    assert not seen.logits.requires_grad


def test_a_block_that_is_skipped_is_noticed(models: dict[str, VisionModel]) -> None:
    model = models["class_token"]
    with model.traced(Need.ATTENTION) as tracer, pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.module.blocks[1], "forward", lambda tokens, **_: tokens)  # type: ignore[index,arg-type]
        with pytest.raises(UnsupportedModelError, match="2 of 3 blocks showed attention"):
            tracer.forward(noise(model, 1))


@every_kind
def test_the_last_tokens_are_what_the_head_reads(name: str, models: dict[str, VisionModel]) -> None:
    model = models[name]
    seen = trace(model, noise(model, 2), [0, 1])
    assert len(seen.tokens) == len(seen.token_gradient) == model.blocks + 1
    with torch.no_grad():
        assert torch.equal(head_logits(model.module, seen.tokens[-1]), seen.logits)


@every_kind
def test_gradients_of_tokens_features_and_pixels_equal_finite_differences(name: str) -> None:
    """Along one random direction each, for the whole batch."""
    model = vision_model(name)
    model.module.double()
    pixels, targets = noise(model, 2).double(), [3, 1]
    seen = trace(model, pixels, targets)
    assert seen.features is not None and seen.feature_gradient is not None and seen.pixel_gradient is not None
    site, grid = model.anatomy.site, model.layout.grid
    assert site is not None and seen.features.shape[:3] == (2, *grid)
    generator = torch.Generator().manual_seed(5)

    def check(part: nn.Module, given: bool, gradient: Tensor, patches_only: bool) -> None:
        along = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
        step = along if not patches_only else _with_prefix(along, site.num_prefix_tokens)
        values = []
        for sign in (1, -1):
            with _moved(part, given, sign * 1e-6 * step), torch.no_grad():
                logits = model.module(pixels)
            values.append(logits[[0, 1], targets].sum())
        expected = float((values[0] - values[1]) / 2e-6)
        assert float((gradient * along).sum()) == pytest.approx(expected, rel=1e-5, abs=1e-7)

    for block, gradient in zip(model.anatomy.blocks, seen.token_gradient[:-1], strict=True):
        check(block, True, gradient, patches_only=False)
    check(model.anatomy.blocks[-1], False, seen.token_gradient[-1], patches_only=False)
    check(site.module, site.given, seen.feature_gradient, patches_only=True)
    check(model.module, True, seen.pixel_gradient, patches_only=False)


def _with_prefix(patches: Tensor, prefix: int) -> Tensor:
    """``(batch, rows, cols, channels)`` as tokens, zero on those before the patches."""
    flat = patches.flatten(1, 2)
    return torch.cat([flat.new_zeros(len(flat), prefix, flat.shape[-1]), flat], 1)


@contextmanager
def _moved(part: nn.Module, given: bool, step: Tensor) -> Iterator[None]:
    """Adds `step` to what a module is given, or to what it gives."""
    if given:
        hook = part.register_forward_pre_hook(lambda _module, inputs: (inputs[0] + step, *inputs[1:]))
    else:
        hook = part.register_forward_hook(lambda _module, _inputs, output: output + step)
    try:
        yield
    finally:
        hook.remove()


@every_kind
def test_libra_splits_every_logit_without_a_rest_and_leaves_it_as_it_is(name: str) -> None:
    model = vision_model(name)
    before = _state(model.module)
    plain = trace(model, noise(model, 2), [0, 1])
    seen = trace(model, noise(model, 2), [0, 1], backward=Backward.LIBRA)
    assert torch.equal(seen.logits, plain.logits)
    assert model.libra_gap <= 1e-3
    assert _state(model.module) == before
    _assert_alike(trace(model, noise(model, 2), [0, 1]), plain)
    model.module.double()
    assert libra_gap(model.module, model.anatomy, model.input_size) <= 1e-9


def test_the_bias_terms_of_a_batch_are_those_of_its_images(models: dict[str, VisionModel]) -> None:
    model = models["beit"]
    pixels, targets = noise(model, 2), [3, 1]
    together = trace(model, pixels, targets, backward=Backward.LIBRA).biases
    assert together is not None
    for image in range(2):
        alone = trace(
            model, pixels[image : image + 1], targets[image : image + 1], backward=Backward.LIBRA
        ).biases
        assert alone is not None
        for many, one in zip(together, alone, strict=True):
            assert torch.allclose(many[image], one[0], atol=1e-6)
