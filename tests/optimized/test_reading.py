from __future__ import annotations

import pytest
import timm
import torch
from timm.models.vision_transformer import ParallelScalingBlock
from tiny_model import NAMES, VARIANTS, disturb, explainable, noise, trace
from torch import nn
from torch.nn import functional

from vitreport.errors import SettingsError
from vitreport.model.load import VisionModel, as_vision_model
from vitreport.model.trace import Need
from vitreport.optimized.reading import check, counts, lacks, penultimate, reading
from vitreport.optimized.target import Kind, Target

NAMED = sorted(VARIANTS)


@pytest.fixture
def fused_parallel() -> VisionModel:
    """Parallel blocks with one output projection for heads and units together."""

    class Fused(ParallelScalingBlock):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, fuse_out_proj=True, **kwargs)

    torch.manual_seed(0)
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 5}
    module = timm.create_model("vit_tiny_patch16_224", block_fn=Fused, **options)
    disturb(module)
    return explainable(module.eval(), (32, 32))


def patches(model: VisionModel, tokens: torch.Tensor) -> torch.Tensor:
    return tokens[:, model.layout.num_prefix_tokens :]


def check_heads(model: VisionModel) -> None:
    """Attention times values, as the tracer shows them, is what the heads give."""
    pixels = noise(model, 2)
    seen = trace(model, pixels, [0, 1], Need.ATTENTION | Need.PROJECTIONS)
    targets = [Target(Kind.HEAD, 1, 1), Target(Kind.HEAD, 1, 1, 3)]
    outputs = patches(model, (seen.attention[1] @ seen.projections[1].values)[:, 1])
    with torch.no_grad(), reading(model, targets) as read:
        found = read(pixels)
    assert torch.allclose(found.activation(targets[0]), outputs.norm(dim=-1).mean(1), atol=1e-5)
    assert torch.allclose(found.activation(targets[1]), outputs[..., 3].mean(1), atol=1e-5)
    assert torch.allclose(found.activations(Kind.HEAD, 1)[:, 1], outputs.norm(dim=-1).mean(1), atol=1e-5)


@pytest.mark.parametrize("name", NAMED)
def test_a_heads_output_is_its_attention_times_its_values(models, name):
    check_heads(models[name])


def test_the_heads_of_a_joined_projection_are_told_from_the_units(fused_parallel):
    check_heads(fused_parallel)
    block = fused_parallel.anatomy.blocks[1]
    target = Target(Kind.UNIT, 5, 1)
    kept = {}
    handle = block.mlp_act.register_forward_hook(lambda _m, _i, output: kept.update(units=output))
    pixels = noise(fused_parallel, 2)
    with torch.no_grad(), reading(fused_parallel, [target]) as read:
        found = read(pixels)
    handle.remove()
    wanted = patches(fused_parallel, kept["units"])[..., 5].mean(1)
    assert torch.equal(found.activation(target), wanted)
    assert counts(fused_parallel, Kind.UNIT, 1) == (96,)
    assert counts(fused_parallel, Kind.HEAD, 1) == (2, 12)


@pytest.mark.parametrize("name", NAMED)
def test_units_are_what_the_last_layer_of_the_mlp_makes_its_output_of(models, name):
    model = models[name]
    block = model.anatomy.blocks[1]
    last = block.mlp_out_proj if name == "parallel" else block.mlp.fc2
    target, kept = Target(Kind.UNIT, 7, 1), {}
    handle = last.register_forward_hook(lambda _m, inputs, output: kept.update(given=inputs[0], gives=output))
    with torch.no_grad(), reading(model, [target]) as read:
        found = read(noise(model, 2))
    handle.remove()
    assert torch.allclose(functional.linear(kept["given"], last.weight, last.bias), kept["gives"], atol=1e-5)
    assert torch.equal(found.activation(target), patches(model, kept["given"])[..., 7].mean(1))


def test_units_are_taken_after_the_activation(models):
    model = models["class_token"]
    block, kept = model.anatomy.blocks[0], {}
    handle = block.mlp.fc1.register_forward_hook(lambda _m, _i, output: kept.update(before=output))
    target = Target(Kind.UNIT, 7, 0)
    with torch.no_grad(), reading(model, [target]) as read:
        found = read(noise(model, 2))
    handle.remove()
    after = functional.gelu(kept["before"])
    assert torch.allclose(found.activation(target), patches(model, after)[..., 7].mean(1), atol=1e-6)


@pytest.mark.parametrize("name", NAMED)
def test_channels_are_those_of_the_residual_stream_after_the_block(models, name):
    model = models[name]
    pixels = noise(model, 2)
    stream = trace(model, pixels, [0, 1], Need.TOKENS).tokens[2]
    target = Target(Kind.CHANNEL, 4, 1)
    with torch.no_grad(), reading(model, [target]) as read:
        found = read(pixels)
    assert torch.allclose(found.activation(target), patches(model, stream)[..., 4].mean(1), atol=1e-5)


def test_rows_of_a_batch_are_read_alone(models):
    model = models["registers"]
    targets = [
        Target(Kind.CLASS, 2),
        Target(Kind.UNIT, 3, 0),
        Target(Kind.HEAD, 1, 1),
        Target(Kind.CHANNEL, 2, 1),
    ]
    with torch.no_grad(), reading(model, targets) as read:
        found = read(noise(model, 4))
    for target in targets:
        assert torch.allclose(found.activation(target, slice(1, 3)), found.activation(target)[1:3], atol=1e-7)


def test_the_model_is_left_as_it_was_found(models):
    model = models["class_token"]
    kept = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.module.modules()]
    targets = [Target(Kind.UNIT, 3, 0), Target(Kind.HEAD, 1, 1), Target(Kind.CHANNEL, 2, 1)]
    with pytest.raises(RuntimeError, match="stop"), reading(model, targets) as read:
        read(noise(model, 1))
        raise RuntimeError("stop")
    now = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.module.modules()]
    assert now == kept


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (Target(Kind.UNIT, 3, 3), "blocks are 0 to 2"),
        (Target(Kind.UNIT, 96, 0), "no unit 96 in block 0; there are 0 to 95"),
        (Target(Kind.HEAD, 3, 0), "no head 3 in block 0; there are 0 to 2"),
        (Target(Kind.HEAD, 2, 0, 8), "no channel 8 in block 0; there are 0 to 7"),
        (Target(Kind.CHANNEL, 24, 0), "no channel 24 in block 0; there are 0 to 23"),
    ],
)
def test_what_a_model_does_not_have_is_refused_with_what_it_has(models, target, words):
    with pytest.raises(SettingsError, match=words):
        check(models["class_token"], target)


@pytest.mark.parametrize(
    "target", [Target(Kind.UNIT, 95, 2), Target(Kind.HEAD, 2, 2, 7), Target(Kind.CHANNEL, 23, 2)]
)
def test_the_last_of_each_kind_is_there(models, target):
    check(models["class_token"], target)


def test_a_model_that_is_no_plain_sequence_of_blocks_has_classes_alone():
    module: nn.Module = timm.create_model(
        "swin_tiny_patch4_window7_224",
        img_size=56,
        embed_dim=24,
        depths=(1, 1),
        num_heads=(1, 2),
        num_classes=5,
    )
    model = as_vision_model(module, name="swin", names=lambda count: NAMES, image_size=(56, 56))
    assert lacks(model, Kind.CLASS) is None
    with pytest.raises(SettingsError, match="no plain sequence of blocks"):
        check(model, Target(Kind.UNIT, 0, 0))


@pytest.mark.parametrize("name", NAMED)
def test_penultimate_features_are_what_the_classifier_is_given(models, name):
    model = models[name]
    pixels = noise(model, 2)
    features = penultimate(model, pixels)
    module = model.module
    with torch.no_grad():
        logits = module(pixels)
        if name == "distilled":
            assert features.shape == (2, 24)
            return
        assert torch.allclose(module.head(features), logits, atol=1e-5)
