"""timm's plain Vision Transformers: every name is laid out, and one of every kind runs all techniques."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
import timm
import torch
from timm.models import is_model_in_modules
from timm.models.vision_transformer_hybrid import HybridEmbed
from tiny_model import CLASSES, disturb, every_technique, explainable
from torch import Tensor, nn

from vitreport.errors import UnsupportedModelError
from vitreport.model.create import own_size
from vitreport.model.families import attention_modules
from vitreport.model.layout import Readout, TokenLayout, layout_of
from vitreport.model.load import VisionModel
from vitreport.model.trace import Backward
from vitreport.techniques.technique import Context, Observation, Technique, needs_of

FAMILIES = (
    "vision_transformer",
    "deit",
    "beit",
    "eva",
    "naflexvit",
    "vision_transformer_relpos",
    "vision_transformer_hybrid",
    "vitamin",
)
WITHOUT = {
    "vit_base_patch16_18x2_224": "has 2 attention modules",
    "vit_small_patch16_18x2_224": "has 2 attention modules",
    "vit_dlittle_patch16_reg1_gap_256": "has 0 attention modules",  # differential attention
    "vit_dpwee_patch16_reg1_gap_256": "has 0 attention modules",
    "vit_dwee_patch16_reg1_gap_256": "has 0 attention modules",
}
"""Names whose attention cannot be read, and why."""
KINDS = (
    "beit_base_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "deit_tiny_patch16_224",
    "eva02_base_patch16_clip_224",
    "eva02_enormous_patch14_clip_224",
    "eva02_tiny_patch14_224",
    "eva_giant_patch14_224",
    "eva_giant_patch14_clip_224",
    "naflexvit_base_patch16_gap",
    "naflexvit_base_patch16_parfac_gap",
    "naflexvit_base_patch16_radio_v3",
    "naflexvit_base_patch16_siglip",
    "naflexvit_so150m2_patch16_reg1_gap",
    "naflexvit_so150m2_patch16_reg1_map",
    "naflexvit_so400m_patch16_radio_v4",
    "test_vit",
    "test_vit2",
    "test_vit3",
    "test_vit_relpos",
    "vit_base_patch14_reg1_tipsv2",
    "vit_base_patch16_radio_v3",
    "vit_base_patch16_rpn_224",
    "vit_base_patch16_sapiens2",
    "vit_base_patch16_siglip_224",
    "vit_base_patch16_xp_224",
    "vit_betwixt_patch16_rope_reg4_gap_256",
    "vit_little_patch16_reg4_gap_256",
    "vit_medium_patch16_gap_256",
    "vit_mediumd_patch16_rope_reg1_gap_256",
    "vit_pe_core_gigantic_patch14_448",
    "vit_pe_core_tiny_patch16_384",
    "vit_pe_lang_gigantic_patch14_448",
    "vit_pe_spatial_tiny_patch16_512",
    "vit_pwee_patch16_reg1_gap_256",
    "vit_relpos_base_patch16_clsgap_224",
    "vit_relpos_medium_patch16_cls_224",
    "vit_relpos_small_patch16_rpn_224",
    "vit_small_patch14_reg4_dinov2",
    "vit_small_patch16_lingbot",
    "vit_small_patch16_rope_224",
    "vit_small_patch16_rope_ape_224",
    "vit_small_patch16_rope_mixed_224",
    "vit_small_patch16_rope_mixed_ape_224",
    "vit_so150m_patch16_reg4_map_256",
    "vit_so400m_patch16_radio_v4",
    "vit_srelpos_small_patch16_224",
    "vit_tiny_patch16_dinov3_qkvb",
    "vit_tiny_r_s16_p8_224",
    "vitamin_small_224",
    "vitamin_xlarge_256",
)
"""At least one name of each combination that `_kind` tells apart."""


KNOWN_REASONS = "relevance rules are (not )?known |norms over groups of channels"


def _laid_out(name: str) -> tuple[nn.Module, TokenLayout]:
    """The model on the meta device, where nothing is computed, with two blocks where it takes a depth."""
    with torch.device("meta"):
        try:
            module = timm.create_model(name, depth=2)
        except (TypeError, AssertionError):
            module = timm.create_model(name)
    return module, layout_of(module, own_size(module))


def _family(name: str) -> str:
    (family,) = [family for family in FAMILIES if is_model_in_modules(name, [family])]
    return family


def _kind(name: str, module: nn.Module, layout: TokenLayout) -> tuple[Any, ...]:
    """Family, readout, prefix tokens, position embedding, and classes of block, attention and rotation."""
    names = [part for part, _ in (*module.named_parameters(), *module.named_modules())]
    position = [
        word
        for word in ("pos_embed_x", "pos_embed", "rope", "rel_pos", "relative_position")
        if any(word in part and "attn_pool" not in part for part in names)
    ]
    parts = (module.blocks[0], attention_modules(module)[0], getattr(module, "rope", None))  # type: ignore[index]
    classes = [type(part).__name__ for part in parts]
    return _family(name), layout.readout, layout.num_prefix_tokens, *position, *classes


@pytest.mark.slow
def test_every_name_is_laid_out_or_has_a_reason_and_every_kind_is_run_below() -> None:
    families: Counter[str] = Counter()
    kinds, run = set(), set()
    for name in timm.list_models(module=list(FAMILIES)):
        module, layout = _laid_out(name)
        if name in WITHOUT:
            with pytest.raises(UnsupportedModelError, match=WITHOUT[name]):
                attention_modules(module)
            continue
        assert len(attention_modules(module)) == len(module.blocks)  # type: ignore[arg-type]
        for patches, patch, length in zip(layout.grid, layout.patch_size, own_size(module), strict=True):
            assert patches * patch <= length < (patches + 1) * patch, name
        families[_family(name)] += 1
        kinds.add(_kind(name, module, layout))
        if name in KINDS:
            run.add(_kind(name, module, layout))
    assert set(families) == set(FAMILIES)
    assert families.total() > 300
    assert run == kinds


def _small(name: str) -> tuple[nn.Module, tuple[int, int]]:
    """The model with random weights, as small as it can be made, for three by four patches."""
    height, width = _laid_out(name)[1].patch_size
    size = (3 * height, 4 * width)
    torch.manual_seed(0)
    narrow = {"embed_dim": 64, "num_heads": 2, "depth": 2}
    for options in (narrow, {**narrow, "num_kv_heads": 2}, {"depth": 2}):
        try:
            module = timm.create_model(name, num_classes=CLASSES, img_size=size, **options)
            with torch.no_grad():
                module.eval()(torch.zeros(1, 3, *size))
        except (TypeError, AssertionError, RuntimeError):
            continue
        disturb(module)
        return module, size
    raise AssertionError(f"{name} cannot be made small")


def _assert_tokens_lie_as_pixels(model: VisionModel, pixels: Tensor) -> None:
    """Noise in a patch of the picture moves that patch the most, where the blocks begin.

    Convolutions before the blocks may carry it to the next one.
    """
    rows, cols = model.layout.grid
    slack = 1 if isinstance(getattr(model.module, "patch_embed", None), HybridEmbed) else 0
    height, width = model.layout.patch_size
    entering: list[Tensor] = []
    hook = model.anatomy.blocks[0].register_forward_pre_hook(
        lambda _module, inputs: entering.append(inputs[0])
    )
    with torch.no_grad():
        model.module(pixels[:1])
        for row, col in ((0, 0), (0, cols - 1), (rows - 1, 0), (1, 2)):
            changed = pixels[:1].clone()
            cell = changed[:, :, row * height : (row + 1) * height, col * width : (col + 1) * width]
            cell += torch.randn(cell.shape)
            model.module(changed)
            moved = model.layout.to_grid((entering[-1] - entering[0]).norm(dim=-1))
            most = divmod(int(moved.argmax()), cols)
            assert abs(most[0] - row) <= slack and abs(most[1] - col) <= slack
            if not slack:
                assert int(moved.count_nonzero()) == 1
    hook.remove()


@pytest.mark.parametrize("name", KINDS)
def test_every_technique_runs_on_every_kind(name: str) -> None:
    module, size = _small(name)
    model = explainable(module, size)
    assert (model.layout.grid, model.lacks) == ((3, 4), {})
    assert model.layout.readout is not Readout.FEATURES
    pixels = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    _assert_tokens_lie_as_pixels(model, pixels)
    reasons = {technique: technique.supports(model) for technique in every_technique()}
    assert all(re.match(KNOWN_REASONS, reason) for reason in reasons.values() if reason)
    techniques = [technique for technique, reason in reasons.items() if reason is None]
    for backward in Backward:
        chosen = [technique for technique in techniques if technique.backward is backward]
        with model.traced(needs_of(chosen), backward) as tracer:
            forward = tracer.forward(pixels)
        seen = tracer.gradient(forward, torch.tensor([0, 3]))
        context = Context(seen, model, ("one", "other"), seed=0)
        for technique in chosen:
            if isinstance(technique, Technique):
                maps = technique.attribute(context)
                assert maps.shape in {(2, 3, 4), (2, *size)}, technique.key
                assert maps.isfinite().all(), technique.key
                assert maps.any() or technique.family == "attention", technique.key  # all may be discarded
            else:
                assert isinstance(technique, Observation)
                assert all(technique.observe(context)), technique.key
