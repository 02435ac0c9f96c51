"""Tiny seeded Vision Transformers of every family that can be explained, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from types import SimpleNamespace
from typing import Any

import timm
import torch
from timm.models.vision_transformer import ParallelScalingBlock
from torch import Tensor, nn

from vitreport.explanation import ClassNames
from vitreport.model.layout import Readout, TokenLayout
from vitreport.model.load import VisionModel, as_vision_model
from vitreport.model.trace import Backward, Need, Trace
from vitreport.techniques.technique import Context, Explainable, select

CLASSES = 5
NAMES = ClassNames(("ant", "bee", "cat", "dog", "eel"), origin="the tests")


@dataclass(frozen=True)
class Variant:
    """One kind of model.

    Attributes:
        architecture: timm name whose options are shrunk.
        prefix: prefix tokens that it should have.
        readout: how its head should read the tokens.
        size: (height, width) of the input.
        options: that make it what it is.
    """

    architecture: str
    prefix: int
    readout: Readout
    size: tuple[int, int] = (32, 32)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def grid(self) -> tuple[int, int]:
        return self.size[0] // 8, self.size[1] // 8


VIT = "vit_tiny_patch16_224"
VARIANTS = {
    "class_token": Variant(VIT, 1, Readout.CLASS_TOKEN, options={"depth": 3, "num_heads": 3}),
    "non_square": Variant(VIT, 1, Readout.CLASS_TOKEN, (32, 48)),
    "distilled": Variant("deit_tiny_distilled_patch16_224", 2, Readout.CLASS_DISTILLATION_MEAN),
    "registers": Variant(VIT, 5, Readout.CLASS_TOKEN, options={"reg_tokens": 4}),
    "patch_mean": Variant(
        VIT, 0, Readout.PATCH_MEAN, (48, 32), options={"class_token": False, "global_pool": "avg"}
    ),
    "token_mean": Variant(
        VIT, 1, Readout.TOKEN_MEAN, options={"global_pool": "avg", "pool_include_prefix": True}
    ),
    "attention_pool": Variant("vit_base_patch16_siglip_224", 0, Readout.ATTENTION_POOL),
    "rotary_pool": Variant("vit_pe_core_tiny_patch16_384", 1, Readout.ATTENTION_POOL, (32, 48)),
    "beit": Variant("beit_base_patch16_224", 1, Readout.PATCH_MEAN, (32, 48)),
    "eva02": Variant("eva02_tiny_patch14_224", 1, Readout.PATCH_MEAN, (32, 48)),
    "eva02_fused": Variant("eva02_base_patch14_224", 1, Readout.PATCH_MEAN, options={"qkv_fused": True}),
    "dinov3": Variant("vit_small_patch16_dinov3", 5, Readout.PATCH_MEAN, options={"embed_dim": 32}),
    "parallel": Variant(VIT, 1, Readout.CLASS_TOKEN, options={"block_fn": ParallelScalingBlock}),
    "relative_position": Variant("vit_relpos_small_patch16_224", 0, Readout.PATCH_MEAN, (32, 48)),
}
ROTARY = ("rotary_pool", "eva02", "eva02_fused", "dinov3")


def network(name: str, seed: int = 0) -> nn.Module:
    """A new model of a kind, in eval mode; what timm starts at zero gets small noise, and the head more."""
    variant = VARIANTS[name]
    torch.manual_seed(seed)
    shrunk = {"img_size": variant.size, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    module: nn.Module = timm.create_model(
        variant.architecture, num_classes=CLASSES, **{**shrunk, **variant.options}
    )
    disturb(module)
    return module.eval()


def disturb(module: nn.Module, spread: float = 0.3) -> None:
    """Makes attention uneven and every parameter count, as in a trained model.

    Args:
        module: what is changed.
        spread: of the noise on the weights of attention and head; the more, the more a deep model's gradient
            amplifies rounding.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            is_wide = parameter.dim() > 1 and ("attn" in name or "head" in name)
            parameter.add_(torch.randn_like(parameter) * (spread if is_wide else 0.05))


def explainable(module: nn.Module, size: tuple[int, int]) -> VisionModel:
    return as_vision_model(module, name="tiny", names=lambda count: NAMES, image_size=size)


def vision_model(name: str, seed: int = 0) -> VisionModel:
    """A new model of a kind, ready to be explained."""
    return explainable(network(name, seed), VARIANTS[name].size)


QUICK = (
    "attention_flow",
    "tam:steps=3",
    "beyond_intuition_token:steps=3",
    "beyond_intuition_head:steps=3",
    "integrated_gradients:steps=4",
    "expected_gradients:samples=4",
    "smooth_grad:samples=3",
    "rise:samples=20",
)
"""Settings that make short work of what takes many passes, and what no tier has."""
WITHOUT_RULES = frozenset(
    ("rotary_pool", "beit", "eva02", "eva02_fused", "dinov3", "parallel", "relative_position")
)
NOT_FOR = dict.fromkeys(
    ("transformer_attribution", "lrp_input", "lrp_rollout", "lrp_last_block"), WITHOUT_RULES
)
"""Kinds of models that a technique has a reason against."""


def every_technique() -> list[Explainable]:
    """Each setting of the tiers, quick ones in place of those that take many passes."""
    quick = select(QUICK)
    names = {technique.name for technique in quick}
    return [technique for technique in select(["all"]) if technique.name not in names] + quick


def fits(technique: Explainable, name: str) -> bool:
    """Whether a technique is for a kind of model."""
    return name not in NOT_FOR.get(technique.name, ())


def noise(model: VisionModel, count: int, seed: int = 1) -> Tensor:
    """Pixels as after normalisation, ``(count, 3, height, width)``."""
    return torch.randn(count, 3, *model.input_size, generator=torch.Generator().manual_seed(seed))


EVERYTHING = {
    Backward.PLAIN: reduce(or_, Need) & ~Need.BIASES,
    Backward.LIBRA: reduce(or_, Need) & ~(Need.ATTENTION_GRADIENT | Need.GRAPH),
}


def trace(
    model: VisionModel,
    pixels: Tensor,
    targets: list[int],
    needs: Need | None = None,
    backward: Backward = Backward.PLAIN,
) -> Trace:
    with model.traced(EVERYTHING[backward] if needs is None else needs, backward) as tracer:
        return tracer.gradient(tracer.forward(pixels), torch.tensor(targets))


def context(
    model: VisionModel,
    pixels: Tensor,
    targets: list[int],
    ids: tuple[str, ...] | None = None,
    seed: int = 0,
    backward: Backward = Backward.PLAIN,
) -> Context:
    names = ids or tuple(f"image{number}" for number in range(len(pixels)))
    return Context(trace(model, pixels, targets, backward=backward), model, names, seed)


def context_by_hand(
    attention: list[Tensor], gradient: list[Tensor] | None, layout: TokenLayout, readout: Tensor | None = None
) -> Context:
    """A context without a network: attentions and gradients per block, ``(batch, heads, tokens, tokens)``."""
    batch = len(attention[0])
    logits = torch.zeros(batch, CLASSES)
    shares = layout.readout_weights(attention[0]).expand(batch, -1) if readout is None else readout
    seen = Trace(
        logits=logits,
        pixels=torch.zeros(batch, 3, 1, 1),
        attention=tuple(attention),
        readout=shares,
        targets=torch.zeros(batch, dtype=torch.int64),
        attention_gradient=tuple(gradient or ()),
    )
    model = SimpleNamespace(layout=layout)
    return Context(seen, model, tuple(f"image{number}" for number in range(batch)), 0)  # type: ignore[arg-type]
