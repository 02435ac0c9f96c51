"""Models that are no plain sequence of attention blocks: maps in their right place, a reason for the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import timm
import torch
from timm.models.mvitv2 import MultiScaleVit, MultiScaleVitCfg
from tiny_model import CLASSES, every_technique, explainable, trace
from torch import Tensor, nn

from vitreport.errors import UnsupportedModelError
from vitreport.model.features import FeatureSite, find_sites, last_feature_map
from vitreport.model.layout import Readout
from vitreport.model.load import VisionModel
from vitreport.model.trace import Need
from vitreport.techniques.technique import Context, Technique, select


@dataclass(frozen=True)
class Kind:
    """An architecture, made small.

    Attributes:
        name: as timm knows it.
        size: (height, width) of the input.
        grid: of its last feature map.
        site: module at which maps are read, in words of its path.
        prefix: vectors before the patches there.
        options: that make it small.
    """

    name: str
    size: tuple[int, int]
    grid: tuple[int, int]
    site: str
    prefix: int = 0
    options: dict[str, Any] = field(default_factory=dict)


WIDTH = {"embed_dim": 24, "num_heads": 2}
STAGES = {"embed_dim": 24, "depths": (1, 1, 1, 2), "num_heads": (2, 2, 2, 2)}
KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "swin_tiny_patch4_window7_224",
            (64, 96),
            (2, 3),
            "layers.3.blocks.1.norm1",
            options={"img_size": (64, 96), "window_size": 4, **STAGES},
        ),
        Kind(
            "swinv2_tiny_window8_256",
            (64, 96),
            (2, 3),
            "layers.3.blocks.1",
            options={"img_size": (64, 96), "window_size": 4, **STAGES},
        ),
        Kind("xcit_nano_12_p16_224", (64, 96), (4, 6), "blocks.1.norm1", options={"depth": 2}),
        Kind(
            "cait_xxs24_224",
            (64, 96),
            (4, 6),
            "blocks.1.norm1",
            options={"img_size": (64, 96), "depth": 2, **WIDTH},
        ),
        Kind("pit_ti_224", (128, 192), (4, 6), "transformers.2.blocks.3.norm1", 1, {"img_size": (128, 192)}),
        Kind(
            "pit_ti_distilled_224",
            (128, 192),
            (4, 6),
            "transformers.2.blocks.3.norm1",
            2,
            {"img_size": (128, 192)},
        ),
        Kind(
            "hiera_tiny_224",
            (128, 192),
            (4, 6),
            "blocks.5.norm1",
            options={"img_size": (128, 192), "embed_dim": 24, "stages": (1, 1, 2, 2)},
        ),
        Kind("mvitv2", (128, 128), (4, 4), "stages.3.blocks.1.norm1"),
        Kind("mvitv2_cls", (128, 128), (4, 4), "stages.3.blocks.1.norm1", 1, {"use_cls_token": True}),
        Kind("levit_128s", (224, 224), (4, 4), "stages.2.blocks.3"),
        Kind("levit_conv_128s", (224, 224), (4, 4), "stages.2.blocks.3"),
        Kind("test_coatnet", (160, 160), (5, 5), "stages.3.blocks.0.norm1"),
        Kind(
            "davit_tiny",
            (128, 192),
            (4, 6),
            "stages.3.blocks.0.1",
            options={"depths": (1, 1, 1, 1), "embed_dims": (12, 12, 24, 24), "num_heads": (1, 1, 1, 1)},
        ),
        Kind(
            "vit_small_patch16_18x2_224",
            (64, 96),
            (4, 6),
            "blocks.1",
            1,
            {"img_size": (64, 96), "depth": 2, **WIDTH},
        ),
        Kind(
            "vit_dwee_patch16_reg1_gap_256",
            (64, 96),
            (4, 6),
            "blocks.1.norm1",
            1,
            {"img_size": (64, 96), "depth": 2},
        ),
        Kind(
            "samvit_base_patch16_224",
            (64, 96),
            (4, 6),
            "blocks.1.norm1",
            options={"img_size": (64, 96), "depth": 2, "global_attn_indexes": (1,), **WIDTH},
        ),
    )
}
every_kind = pytest.mark.parametrize("name", KINDS)
CAMS = ["grad_cam", "hires_cam", "layer_cam", "eigen_cam"]
PASSES = (
    "integrated_gradients:steps=4",
    "expected_gradients:samples=4",
    "smooth_grad:samples=3",
    "occlusion_blur",
    "rise:samples=20",
    "vit_cx",
)
PIXELS = ["input_x_gradient", "saliency"]


def _fresh(kind: Kind) -> nn.Module:
    torch.manual_seed(0)
    module: nn.Module
    if kind.name.startswith("mvitv2"):
        sizes = MultiScaleVitCfg(depths=(1, 1, 1, 2), embed_dim=24, num_heads=1, **kind.options)
        module = MultiScaleVit(sizes, img_size=kind.size, num_classes=CLASSES)
    else:
        module = timm.create_model(kind.name, num_classes=CLASSES, **kind.options)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("attention_biases"):  # LeViT: each patch attends to its own place
                parameter[:, 0] = 10
            if not parameter.any():  # branches that start at zero would leave a block's input as it is
                parameter.normal_(std=0.02)
    return module.eval()


@cache
def _model(name: str) -> VisionModel:
    return explainable(_fresh(KINDS[name]), KINDS[name].size)


def _pixels(model: VisionModel, count: int) -> Tensor:
    return torch.randn(count, 3, *model.input_size, generator=torch.Generator().manual_seed(1))


@every_kind
def test_the_site_is_the_last_block_and_the_grid_that_of_its_feature_map(name: str) -> None:
    model, kind = _model(name), KINDS[name]
    site = model.anatomy.site
    assert site is not None
    assert model.module.get_submodule(kind.site) is site.module
    assert (model.layout.grid, site.num_prefix_tokens) == (kind.grid, kind.prefix)
    assert (model.layout.readout, model.blocks, model.heads) == (Readout.FEATURES, 0, 0)


@every_kind
def test_gradients_and_token_cams_run_and_everything_else_has_a_reason(name: str) -> None:
    model = _model(name)
    reasons = {technique.key: technique.supports(model) for technique in every_technique()}
    running = {key for key, reason in reasons.items() if reason is None}
    assert running == {*CAMS, *PIXELS, *PASSES, "centre", "random", "edges"}
    assert all(reasons[key] for key in reasons.keys() - running)
    pixels = _pixels(model, 2)
    needs = Need.FEATURES | Need.FEATURE_GRADIENT | Need.PIXEL_GRADIENT
    seen = Context(trace(model, pixels, [0, 3], needs), model, ("one", "other"), seed=0)
    for technique in select([*CAMS, *PIXELS, *PASSES]):
        assert isinstance(technique, Technique)
        maps = technique.attribute(seen)
        assert maps.shape in {(2, *model.layout.grid), (2, *model.input_size)}
        assert maps.isfinite().all() and maps.flatten(1).any(1).all()


@every_kind
def test_features_lie_where_their_patch_lies_in_the_picture(name: str) -> None:
    """Noise in one cell of the picture after another moves the features at that place the most.

    Convolutions with a stride look half a patch aside, and attention moves all patches a little: the place is
    the centre of what moves, and that must follow the cell along both axes.
    """
    model = _model(name)
    (height, width), (rows, cols) = model.input_size, model.layout.grid
    generator = torch.Generator().manual_seed(2)
    pixels = _pixels(model, 1).repeat(rows * cols + 1, 1, 1, 1)
    down, across = torch.arange(rows).repeat_interleave(cols), torch.arange(cols).repeat(rows)
    for number, (row, col) in enumerate(zip(down.tolist(), across.tolist(), strict=True)):
        top, left = height * row // rows, width * col // cols
        cell = pixels[number + 1, :, top : height * (row + 1) // rows, left : width * (col + 1) // cols]
        cell += 2 * torch.randn(cell.shape, generator=generator)
    features = trace(model, pixels, [0] * len(pixels), Need.FEATURES).features
    assert features is not None
    moved = (features[1:] - features[0]).square().sum(-1).flatten(1)
    shares = moved / moved.sum(1, keepdim=True)
    places = torch.stack([shares @ down.float(), shares @ across.float(), down.float(), across.float()])
    found = torch.corrcoef(places)
    assert found[0, 2] > 0.9 and found[1, 3] > 0.9
    assert abs(found[0, 3]) < 0.1 and abs(found[1, 2]) < 0.1


@pytest.mark.parametrize("name", ["swinv2_tiny_window8_256", "levit_128s", "levit_conv_128s", "davit_tiny"])
def test_what_a_block_gives_is_timms_feature_map(name: str) -> None:
    model = _model(name)
    pixels = _pixels(model, 2)
    features = trace(model, pixels, [0, 1], Need.FEATURES | Need.FEATURE_GRADIENT).features
    assert features is not None
    with torch.no_grad():
        expected = last_feature_map(model.module, pixels)
    assert torch.allclose(features.permute(0, 3, 1, 2), expected, atol=1e-5)


@every_kind
def test_the_feature_gradient_is_that_of_autograd(name: str) -> None:
    model = _model(name)
    site = model.anatomy.site
    assert site is not None
    pixels = _pixels(model, 2)
    seen = trace(model, pixels, [1, 4], Need.FEATURES | Need.FEATURE_GRADIENT)
    assert seen.feature_gradient is not None and seen.features is not None
    kept: list[Tensor] = []

    def keep(_module: nn.Module, values: Any, output: Any = None) -> None:
        kept.append(values[0] if site.given else output)  # type: ignore[union-attr]

    add = site.module.register_forward_pre_hook if site.given else site.module.register_forward_hook
    handle = add(keep)
    logits = model.module(pixels.requires_grad_())
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, 1] + logits[1, 4], kept[0])
    expected = site.to_grid(gradient, model.layout.grid)
    assert torch.allclose(seen.features, site.to_grid(kept[0], model.layout.grid), atol=1e-5)
    assert float((seen.feature_gradient - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


class _Parts(nn.Module):
    """A model of one block whose parts can be chosen; pictures of 4 x 4 pixels in patches of 2."""

    def __init__(self, reads: str = "patches") -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 6, 2, 2)
        self.block = nn.Conv2d(6, 6, 1)
        self.head = nn.Linear(6, 2)
        self.reads = reads
        self.num_classes = 2
        self.num_features = 6

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.block(self.embed(pixels))
        logits: Tensor = self.head(
            features.detach().mean((2, 3)) if self.reads == "nothing" else features.mean((2, 3))
        )
        return logits

    def forward_intermediates(self, pixels: Tensor, **_: Any) -> list[Tensor]:
        if self.reads == "error":
            raise ValueError("no such layer")
        features = self.block(self.embed(pixels))
        return [features + 1 if self.reads == "elsewhere" else features]


@pytest.mark.parametrize(
    ("reads", "said"),
    [
        ("error", "timm has no feature maps of _Parts: no such layer"),
        ("elsewhere", "no block of _Parts gives its feature map patch by patch"),
        ("nothing", "the head of _Parts does not look back at the patches"),
    ],
)
def test_a_model_whose_features_cannot_be_placed_says_why(reads: str, said: str) -> None:
    model = explainable(_Parts(reads), (4, 4))
    (cam,) = select(["grad_cam"])
    assert said in str(cam.supports(model))
    (eigen,) = select(["eigen_cam"])
    assert (eigen.supports(model) is None) == (reads == "nothing")


def test_a_model_without_feature_maps_says_so() -> None:
    with pytest.raises(UnsupportedModelError, match="timm has no feature maps of Linear"):
        find_sites(nn.Linear(2, 2), torch.zeros(1, 2))


def test_channels_first_and_last_and_tokens_come_to_the_same_grid() -> None:
    wanted = torch.randn(2, 3, 4, 5)  # batch, rows, cols, channels
    tokens = torch.cat([torch.zeros(2, 1, 5), wanted.flatten(1, 2)], 1)
    part = nn.Identity()
    assert torch.equal(FeatureSite(part, False, 0).to_grid(wanted, (3, 4)), wanted)
    assert torch.equal(FeatureSite(part, False, 1).to_grid(tokens, (3, 4)), wanted)
    first = FeatureSite(part, False, 0, channels_first=True)
    assert torch.equal(first.to_grid(wanted.permute(0, 3, 1, 2), (3, 4)), wanted)
