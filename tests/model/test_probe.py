from __future__ import annotations

import dataclasses

import pytest
import timm
import torch
from tiny_model import CLASSES, VARIANTS, explainable, network
from torch import Tensor, nn

from vitreport.errors import UnsupportedModelError
from vitreport.model.layout import Readout, TokenLayout
from vitreport.model.load import VisionModel
from vitreport.model.probe import probe


def _refusal(module: nn.Module, size: tuple[int, int] = (32, 32)) -> str:
    with pytest.raises(UnsupportedModelError) as caught:
        explainable(module, size)
    return str(caught.value)


def test_a_windowed_model_is_refused_in_plain_words() -> None:
    options = {"img_size": 32, "patch_size": 4, "embed_dim": 12, "depths": (1, 1), "num_heads": (1, 2)}
    swin = timm.create_model("swin_tiny_patch4_window7_224", num_classes=3, window_size=4, **options)
    said = _refusal(swin)
    assert "SwinTransformer" in said
    assert "no flat grid of patch tokens" in said
    assert "ViT, DeiT, BEiT, EVA and DINO" in said


def test_a_convolutional_model_is_refused() -> None:
    assert "ResNet has no flat grid of patch tokens" in _refusal(timm.create_model("test_resnet"))


def test_a_model_with_talking_heads_is_refused() -> None:
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    cait = timm.create_model("cait_xxs24_224", num_classes=3, **options)
    assert "block 0 (LayerScaleBlock) has 0 attention modules that can be read" in _refusal(cait)


def test_a_model_without_a_classifier_is_refused() -> None:
    bare = timm.create_model("vit_tiny_patch16_224", img_size=32, embed_dim=24, depth=1, num_classes=0)
    assert "no classifier (num_classes is 0)" in _refusal(bare)


@pytest.mark.parametrize("name", ["class_token", "distilled", "registers", "token_mean", "beit"])
def test_every_wrong_readout_is_noticed(name: str, models: dict[str, VisionModel]) -> None:
    model = models[name]
    for readout in set(Readout) - {model.layout.readout, Readout.ATTENTION_POOL}:
        with pytest.raises(UnsupportedModelError, match=f"does not read the {readout.value}"):
            probe(model.module, dataclasses.replace(model.layout, readout=readout), model.input_size)


def test_a_wrong_readout_is_refused_with_what_the_head_reads_instead(
    models: dict[str, VisionModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models["class_token"]
    monkeypatch.setattr("vitreport.model.layout._readout", lambda module: Readout.PATCH_MEAN)
    said = _refusal(model.module)
    assert "does not read the mean of the patch tokens" in said
    assert "it reads 1 of 17 tokens" in said


def test_a_wrong_number_of_prefix_tokens_is_noticed(models: dict[str, VisionModel]) -> None:
    model = models["class_token"]
    layout = TokenLayout(2, (4, 4), (8, 8), Readout.CLASS_TOKEN)
    with pytest.raises(UnsupportedModelError, match=r"expected one \(batch, heads, 18, 18\) a block"):
        probe(model.module, layout, model.input_size)


def test_attention_that_is_no_softmax_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = network("class_token")

    class Doubled(nn.Dropout):
        def forward(self, attention: Tensor) -> Tensor:
            return 2 * attention

    module.blocks[1].attn.attn_drop = Doubled()  # type: ignore[index,union-attr]
    assert "the attention of block 1 is no softmax" in _refusal(module)


def test_a_head_of_zeros_is_no_reason_to_refuse() -> None:
    module = network("class_token")
    with torch.no_grad():
        module.head.weight.zero_()  # type: ignore[union-attr,operator]
    assert explainable(module, (32, 32)).blocks == 3


@pytest.mark.parametrize("name", VARIANTS)
def test_the_probe_counts_blocks_and_heads(name: str, models: dict[str, VisionModel]) -> None:
    options = {"depth": 2, "num_heads": 2} | VARIANTS[name].options
    assert (models[name].blocks, models[name].heads) == (options["depth"], options["num_heads"])
    assert len(models[name].classes) == CLASSES
