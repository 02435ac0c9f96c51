from __future__ import annotations

import dataclasses

import pytest
import timm
import torch
from tiny_model import CLASSES, VARIANTS, explainable, network
from torch import Tensor, nn

from vitreport.errors import UnsupportedModelError
from vitreport.explanation import ClassNames
from vitreport.model.layout import Readout, TokenLayout
from vitreport.model.load import VisionModel, as_vision_model
from vitreport.model.probe import probe_plain
from vitreport.techniques.technique import select


def _refusal(module: nn.Module, size: tuple[int, int] = (32, 32)) -> str:
    with pytest.raises(UnsupportedModelError) as caught:
        explainable(module, size)
    return str(caught.value)


def _reason(model: VisionModel, spec: str = "attention_rollout") -> str:
    (technique,) = select([spec])
    reason = technique.supports(model)
    assert reason is not None
    return reason


def test_a_windowed_model_has_no_attention_to_read_but_a_gradient() -> None:
    options = {"img_size": 32, "patch_size": 4, "embed_dim": 12, "depths": (1, 1), "num_heads": (1, 2)}
    swin = timm.create_model("swin_tiny_patch4_window7_224", num_classes=CLASSES, window_size=4, **options)
    model = explainable(swin, (32, 32))
    assert "SwinTransformer has no plain sequence of blocks" in _reason(model)
    assert [technique.supports(model) for technique in select(["grad_cam", "saliency"])] == [None, None]
    assert (model.blocks, model.heads, model.layout.grid) == (0, 0, (4, 4))


def test_a_model_with_talking_heads_says_which_block_cannot_be_read() -> None:
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    cait = timm.create_model("cait_xxs24_224", num_classes=CLASSES, **options)
    said = _reason(explainable(cait, (32, 32)))
    assert "block 0 (LayerScaleBlock) has 0 attention modules that can be read" in said


def test_a_model_without_a_classifier_has_no_class_to_explain() -> None:
    bare = timm.create_model("vit_tiny_patch16_224", img_size=32, embed_dim=24, depth=1, num_classes=0)
    model = as_vision_model(bare, name="bare", names=lambda count: ClassNames(()), image_size=(32, 32))
    assert "no classifier" in _reason(model, "gradient_rollout")
    assert "no classifier" in _reason(model, "logit_lens")
    (rollout,) = select(["attention_rollout"])
    assert rollout.supports(model) is None


def test_a_model_that_gives_no_row_of_numbers_is_refused() -> None:
    bare = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=0, global_pool="")
    assert "for one image, not one row of logits" in _refusal(bare)


@pytest.mark.parametrize("name", ["class_token", "distilled", "registers", "token_mean", "beit"])
def test_every_wrong_readout_is_noticed(name: str, models: dict[str, VisionModel]) -> None:
    model = models[name]
    for readout in set(Readout) - {model.layout.readout, Readout.ATTENTION_POOL, Readout.FEATURES}:
        with pytest.raises(UnsupportedModelError, match=f"does not read the {readout.value}"):
            layout = dataclasses.replace(model.layout, readout=readout)
            probe_plain(model.module, layout, model.input_size)


def test_a_wrong_readout_takes_attention_away_and_says_what_the_head_reads_instead(
    models: dict[str, VisionModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models["class_token"]
    monkeypatch.setattr("vitreport.model.layout._readout", lambda module: Readout.PATCH_MEAN)
    said = _reason(explainable(model.module, model.input_size))
    assert "does not read the mean of the patch tokens" in said
    assert "it reads 1 of 17 tokens" in said


def test_a_wrong_number_of_prefix_tokens_is_noticed(models: dict[str, VisionModel]) -> None:
    model = models["class_token"]
    layout = TokenLayout(2, (4, 4), (8, 8), Readout.CLASS_TOKEN)
    with pytest.raises(UnsupportedModelError, match=r"expected one \(batch, heads, 18, 18\) a block"):
        probe_plain(model.module, layout, model.input_size)


def test_attention_that_is_no_softmax_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    module = network("class_token")

    class Doubled(nn.Dropout):
        def forward(self, attention: Tensor) -> Tensor:
            return 2 * attention

    module.blocks[1].attn.attn_drop = Doubled()  # type: ignore[index,union-attr]
    assert "the attention of block 1 is no softmax" in _reason(explainable(module, (32, 32)))


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
