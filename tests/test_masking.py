"""Masks, occluders, and passes on a part of the tokens against attention that is masked by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from tiny_model import CLASSES, VARIANTS, disturb, explainable, noise, vision_model
from torch import Tensor, nn

from vitreport.masking import (
    black,
    blurred,
    every_variant,
    hide,
    mean_colour,
    score_variants,
    to_pixels,
    token_drop,
    why_no_token_drop,
)
from vitreport.model.load import VisionModel

FURTHER: dict[str, tuple[str, dict[str, Any]]] = {
    "rotary_mixed": ("vit_small_patch16_rope_mixed_224", {}),
    "relative_position_class_token": ("vit_relpos_base_patch16_cls_224", {}),
    "relative_position_shared": ("vit_srelpos_small_patch16_224", {}),
    "relative_position_table": ("vit_relpos_small_patch16_224", {"rel_pos_type": "bias"}),
    "beit_shared": (
        "beit_base_patch16_224",
        {"use_shared_rel_pos_bias": True, "use_rel_pos_bias": False},
    ),
    "any_size": ("naflexvit_base_patch16_gap", {}),
}
"""Further kinds of positions that token drop has to follow."""
KINDS = (*VARIANTS, *FURTHER)


def _model(name: str) -> VisionModel:
    """A model of its own, which a test may change."""
    if name in VARIANTS:
        return vision_model(name)
    architecture, options = FURTHER[name]
    torch.manual_seed(0)
    shrunk = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    module = timm.create_model(architecture, num_classes=CLASSES, **{**shrunk, **options})
    disturb(module)
    return explainable(module.eval(), (32, 32))


@contextmanager
def _nobody_looks_at(model: VisionModel, token: int) -> Iterator[None]:
    """Every attention gives a token no weight, as if its scores were minus infinity."""

    def mask(_drop: nn.Module, _inputs: Any, attention: Tensor) -> Tensor:
        rest = attention.clone()
        rest[..., token] = 0
        return rest / rest.sum(-1, keepdim=True)

    handles = []
    for attention in model.anatomy.attentions:
        attention.fused_attn = False  # type: ignore[assignment]
        handles.append(attention.attn_drop.register_forward_hook(mask))  # type: ignore[union-attr]
    yield
    for handle in handles:
        handle.remove()


def _without(model: VisionModel, pixels: Tensor, patch: int) -> Tensor:
    """Logits without a patch: nobody looks at it, and the head never sees it."""
    token = model.layout.num_prefix_tokens + patch
    module: Any = model.module
    with _nobody_looks_at(model, token):
        tokens = module.forward_features(pixels)
    tokens = tokens["patches"] if isinstance(tokens, dict) else tokens
    left = torch.cat((tokens[:, :token], tokens[:, token + 1 :]), 1)
    logits: Tensor = module.forward_head(left)
    return logits


@pytest.mark.parametrize("name", KINDS)
def test_dropping_no_token_gives_the_plain_logits(name: str) -> None:
    model = _model(name)
    pixels = noise(model, 2)
    every = torch.arange(model.layout.num_patches).expand(2, -1)
    with torch.no_grad(), token_drop(model) as run:
        assert why_no_token_drop(model) is None
        assert torch.allclose(run(pixels, every), model.module(pixels), atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_dropping_a_token_gives_what_masking_it_everywhere_gives(name: str) -> None:
    model = _model(name)
    pixels = noise(model, 3)
    last = model.layout.num_patches - 1
    dropped = [0, last, last // 2]
    kept = torch.tensor([[patch for patch in range(last + 1) if patch != gone] for gone in dropped])
    with torch.no_grad():
        plain = model.module(pixels)
        with token_drop(model) as run:
            found = run(pixels, kept)
        for image, gone in enumerate(dropped):
            expected = _without(model, pixels[image : image + 1], gone)[0]
            assert torch.allclose(found[image], expected, atol=1e-5)
            assert float((found[image] - plain[image]).abs().max()) > 1e-3


@pytest.mark.parametrize("name", KINDS)
def test_the_order_in_which_kept_tokens_are_named_does_not_matter(name: str) -> None:
    model = _model(name)
    pixels = noise(model, 1)
    with torch.no_grad(), token_drop(model) as run:
        one, other = (run(pixels, torch.tensor([kept])) for kept in ([1, 5, 6, 3], [6, 3, 1, 5]))
    assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_a_model_is_left_as_it_was_found(name: str) -> None:
    model = _model(name)
    pixels = noise(model, 1)

    def state() -> list[Any]:
        return [
            (
                sorted(vars(part)),
                id(vars(part).get("patch_drop")),
                list(part._modules),
                part._forward_pre_hooks.copy(),
            )
            for part in model.module.modules()
        ]

    before = state()
    with torch.no_grad():
        plain = model.module(pixels)
        with pytest.raises((RuntimeError, IndexError)), token_drop(model) as run:
            assert state() != before
            run(pixels, torch.tensor([[99]]))
        assert state() == before
        assert torch.equal(model.module(pixels), plain)


def test_inside_a_pass_without_kept_tokens_is_plain() -> None:
    model = _model("eva02")
    pixels = noise(model, 1)
    with torch.no_grad():
        plain = model.module(pixels)
        with token_drop(model) as run:
            run(pixels, torch.tensor([[0, 1]]))
            assert torch.equal(model.module(pixels), plain)


def test_a_model_without_flat_tokens_has_a_reason() -> None:
    model = SimpleNamespace(module=nn.Linear(2, 2), blocks=0)
    assert "Linear is no plain sequence" in str(why_no_token_drop(model))  # type: ignore[arg-type]


def test_an_unknown_kind_of_model_has_a_reason() -> None:
    model = SimpleNamespace(module=nn.Linear(2, 2), blocks=2)
    assert "not known how Linear" in str(why_no_token_drop(model))  # type: ignore[arg-type]


def test_rotary_positions_that_cannot_be_gathered_are_a_reason() -> None:
    module = timm.create_model(
        "naflexvit_base_patch16_gap",
        num_classes=CLASSES,
        img_size=32,
        patch_size=8,
        embed_dim=24,
        depth=2,
        num_heads=2,
        rope_type="axial",
    )
    assert "rotary positions of NaFlexVit" in str(why_no_token_drop(explainable(module, (32, 32))))


@pytest.mark.parametrize(("grid", "size"), [((2, 3), (8, 12)), ((3, 2), (10, 7)), ((4, 4), (4, 4))])
def test_a_pixel_has_the_value_of_its_patch(grid: tuple[int, int], size: tuple[int, int]) -> None:
    patches = torch.arange(2 * grid[0] * grid[1]).view(2, *grid)
    found = to_pixels(patches, size)
    assert found.shape == (2, *size)
    for y in range(size[0]):
        for x in range(size[1]):
            row, col = math.floor(y * grid[0] / size[0]), math.floor(x * grid[1] / size[1])
            assert torch.equal(found[:, y, x], patches[:, row, col])


def test_only_hidden_patches_are_filled() -> None:
    pixels, filling = torch.zeros(1, 3, 4, 6), torch.ones(1, 3, 4, 6)
    hidden = torch.tensor([[[False, True, False], [False, False, False]]])
    found = hide(pixels, hidden, filling)
    assert found.sum() == 3 * 4
    assert bool((found[0, :, :2, 2:4] == 1).all())


def test_a_blurred_pixel_is_the_gaussian_mean_around_it() -> None:
    pixels = torch.randn(1, 3, 9, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = blurred(pixels, 0.2)
    spread = 0.2 * 9
    for channel, y, x in ((0, 4, 6), (1, 0, 0), (2, 8, 3)):
        total = weight = 0.0
        for down in range(-6, 7):
            for right in range(-6, 7):
                share = math.exp(-(down**2 + right**2) / (2 * spread**2))
                value = pixels[0, channel, min(max(y + down, 0), 8), min(max(x + right, 0), 11)]
                total, weight = total + share * float(value), weight + share
        assert float(found[0, channel, y, x]) == pytest.approx(total / weight)


def test_occluders_are_what_their_names_say(models: dict[str, VisionModel]) -> None:
    model = models["class_token"]
    pixels = noise(model, 2)
    mean, std = (torch.tensor(model.preparation.config[name]).view(3, 1, 1) for name in ("mean", "std"))
    assert torch.allclose(black(pixels, model) * std + mean, torch.zeros(1), atol=1e-6)
    assert torch.allclose(mean_colour(pixels) * std + mean, mean.expand(2, 3, 32, 32))
    assert (
        black(pixels, model).shape == mean_colour(pixels).shape == blurred(pixels, 0.1).shape == pixels.shape
    )
    flat = torch.full_like(pixels, 0.7)
    assert torch.allclose(blurred(flat, 0.3), flat, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 4, 7, 100])
def test_every_variant_is_looked_at_once_and_in_place(chunk: int) -> None:
    sizes = []

    def run(images: Tensor, numbers: Tensor) -> Tensor:
        sizes.append(len(images))
        return torch.stack((images * 100 + numbers, -images), 1).float()

    found = score_variants(5, chunk, torch.tensor([0, 1, 0]), run)
    assert found.tolist() == [[0, 1, 2, 3, 4], [-1] * 5, [200, 201, 202, 203, 204]]
    assert max(sizes) <= chunk
    assert sum(len(images) for images, _ in every_variant(3, 5, chunk, torch.device("cpu"))) == 15
