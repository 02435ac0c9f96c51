from __future__ import annotations

import pytest
import timm
import torch
from tiny_model import VARIANTS, disturb, noise
from torch import Tensor, nn

from vitreport.errors import UnsupportedModelError
from vitreport.model.layout import Readout, TokenLayout, layout_of, patch_sums
from vitreport.model.load import VisionModel
from vitreport.model.probe import probe_plain

every_kind = pytest.mark.parametrize("name", VARIANTS)


@every_kind
def test_prefix_grid_patch_and_readout_are_those_of_the_architecture(
    name: str, models: dict[str, VisionModel]
) -> None:
    variant = VARIANTS[name]
    assert models[name].layout == TokenLayout(variant.prefix, variant.grid, (8, 8), variant.readout)
    assert models[name].input_size == variant.size


def _tokens_that_matter(model: VisionModel) -> list[int]:
    """Disturbs one token at a time after the last block and looks whether the logits move."""
    pixels = noise(model, 1)
    moved = []
    with torch.no_grad():
        untouched = model.module(pixels)
        for token in range(model.layout.num_tokens):

            def disturb(_module: nn.Module, _inputs: object, output: Tensor, token: int = token) -> Tensor:
                changed = output.clone()
                changed[:, token] += torch.linspace(-1, 1, output.shape[-1])
                return changed

            hook = model.module.blocks[-1].register_forward_hook(disturb)  # type: ignore[index,union-attr]
            if not torch.equal(model.module(pixels), untouched):
                moved.append(token)
            hook.remove()
    return moved


@every_kind
def test_the_readout_names_exactly_the_tokens_that_move_the_logits(
    name: str, models: dict[str, VisionModel]
) -> None:
    layout = models[name].layout
    moved = _tokens_that_matter(models[name])
    if layout.readout is Readout.ATTENTION_POOL:
        assert moved == list(range(layout.num_tokens))
    else:
        assert moved == layout.readout_weights(torch.zeros(1)).nonzero().flatten().tolist()


def test_a_distilled_model_reads_both_tokens_alike(models: dict[str, VisionModel]) -> None:
    model = models["distilled"]
    seen: list[Tensor] = []
    hook = model.module.norm.register_forward_hook(  # type: ignore[operator,union-attr]
        lambda _module, _inputs, output: seen.append(output)
    )
    with torch.no_grad():
        logits = model.module(noise(model, 2))
    hook.remove()
    heads = (model.module.head, model.module.head_dist)
    expected = sum(0.5 * head(seen[0][:, place]) for place, head in enumerate(heads))  # type: ignore[operator]
    assert torch.allclose(logits, expected, atol=1e-6)
    assert model.layout.readout_weights(logits)[:3].tolist() == [0.5, 0.5, 0]


@every_kind
def test_to_grid_has_rows_from_the_top_and_columns_from_the_left(
    name: str, models: dict[str, VisionModel]
) -> None:
    model = models[name]
    rows, cols = model.layout.grid
    height, width = model.layout.patch_size
    grid = torch.arange(model.layout.num_tokens)
    pixels = torch.zeros(1, 3, *model.input_size)
    entering: list[Tensor] = []
    hook = model.module.blocks[0].register_forward_pre_hook(  # type: ignore[index,union-attr]
        lambda _module, inputs: entering.append(inputs[0])
    )
    with torch.no_grad():
        model.module(pixels)
        for row, col in ((0, 0), (0, cols - 1), (rows - 1, 0), (rows - 2, 1)):
            lit = pixels.clone()
            lit[:, :, row * height : (row + 1) * height, col * width : (col + 1) * width] = 1
            model.module(lit)
            changed = (entering[-1] - entering[0]).abs().sum(-1)[0].nonzero().flatten().tolist()
            assert changed == [int(model.layout.to_grid(grid)[row, col])]
    hook.remove()


def test_readout_weights_sum_to_one_and_an_attention_pool_has_none() -> None:
    for readout in Readout:
        layout = TokenLayout(2, (3, 4), (8, 8), readout)
        if readout in (Readout.ATTENTION_POOL, Readout.FEATURES):
            with pytest.raises(UnsupportedModelError, match="has no fixed shares"):
                layout.readout_weights(torch.zeros(1))
        else:
            assert float(layout.readout_weights(torch.zeros(1)).sum()) == pytest.approx(1)


@pytest.mark.parametrize("read", Readout)
def test_readout_row_is_the_weighted_sum_of_rows_for_any_leading_shape(read: Readout) -> None:
    layout = TokenLayout(2, (1, 2), (8, 8), read)
    if read in (Readout.ATTENTION_POOL, Readout.FEATURES):
        readout = torch.rand(2, 4)
    else:
        readout = layout.readout_weights(torch.zeros(1)).expand(2, -1)
    for shape in ((2, 4, 4), (2, 3, 4, 4), (2, 5, 3, 4, 4)):
        matrix = torch.rand(shape)
        expected = torch.zeros(*shape[:-2], 4)
        for image in range(2):
            for token in range(4):
                expected[image] += readout[image, token] * matrix[image, ..., token, :]
        assert torch.allclose(layout.readout_row(readout, matrix), expected, atol=1e-6)


def test_a_pool_that_is_not_known_is_refused_by_name(models: dict[str, VisionModel]) -> None:
    module = models["class_token"].module
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "global_pool", "avgmax")
        with pytest.raises(UnsupportedModelError, match="'avgmax' pooling"):
            layout_of(module, (32, 32))


def test_an_attention_pool_that_pools_otherwise_is_refused(models: dict[str, VisionModel]) -> None:
    module = models["attention_pool"].module
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "global_pool", "prr")
        with pytest.raises(UnsupportedModelError, match="'prr'"):
            layout_of(module, (32, 32))


@pytest.mark.parametrize(
    "name", ["attention_pool", "patch_mean", "eva02", "dinov3", "distilled", "registers"]
)
def test_a_224_by_320_picture_has_14_rows_of_20_patches(name: str) -> None:
    variant = VARIANTS[name]
    torch.manual_seed(0)
    options = {"embed_dim": 24, **variant.options, "depth": 1, "num_heads": 2}
    module = timm.create_model(variant.architecture, img_size=(224, 320), patch_size=16, **options)
    disturb(module)
    layout = layout_of(module, (224, 320))
    assert layout == TokenLayout(variant.prefix, (14, 20), (16, 16), variant.readout)
    probe_plain(module.eval(), layout, (224, 320))  # the head reads what the layout says
    entering: list[Tensor] = []
    module.blocks[0].register_forward_pre_hook(lambda _module, inputs: entering.append(inputs[0]))
    pixels = torch.zeros(1, 3, 224, 320)
    lit = pixels.clone()
    lit[:, :, 13 * 16 :, 16 : 2 * 16] = 1
    with torch.no_grad():
        module(pixels)
        module(lit)
    moved = layout.to_grid((entering[1] - entering[0]).abs().sum(-1))[0]
    assert moved.nonzero().tolist() == [[13, 1]]


def test_patch_sums_are_sums_over_patches_and_keep_the_total() -> None:
    pixels = torch.randn(2, 6, 8)
    sums = patch_sums(pixels, (3, 2))
    assert torch.allclose(sums[:, 1, 0], pixels[:, 2:4, :4].sum((1, 2)), atol=1e-5)
    assert torch.allclose(sums.sum((1, 2)), pixels.sum((1, 2)), atol=1e-5)
    assert patch_sums(sums, (3, 2)) is sums
    assert patch_sums(pixels, (4, 3)).shape == (2, 4, 3)  # does not divide the picture
