"""What the techniques share that read a Libra gradient in place of the plain one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from vitreport.model.load import VisionModel
from vitreport.model.trace import Backward, Need
from vitreport.techniques.technique import Technique, Tier

LARGEST_GAP = 1e-3
SOURCE = "Libra gradients, 2024, arXiv:2411.16760 (CVPR 2025)"


@dataclass(frozen=True)
class Libra(Technique):
    """A technique whose trace is taken with gates at rest; see `vitreport.model.libra`."""

    backward: ClassVar[Backward] = Backward.LIBRA
    tier: ClassVar[Tier] = "standard"
    differs = "The gradient is taken with attention, activations' gates and norms' deviations held constant."

    def supports(self, model: VisionModel) -> str | None:
        """See `Explainable.supports`; a Libra gradient must split the logit without a rest."""
        return super().supports(model) or reason_against(model)


def pixel_reason_against(model: VisionModel) -> str | None:
    """Why a model has no Libra gradient down to its pixels, or None where it has."""
    if any(isinstance(part, nn.GroupNorm | nn.InstanceNorm2d) for part in model.module.modules()):
        return "norms over groups of channels, before the blocks, have a gate that is not held"
    return reason_against(model)


def reason_against(model: VisionModel) -> str | None:
    """Why a model has no Libra gradient, or None where it has."""
    lacking = next((reason for need, reason in model.lacks.items() if need & Need.BIASES), None)
    if lacking is None and model.libra_gap > LARGEST_GAP:
        return (
            "a part of this model has a gate that Libra gradients do not know: their terms miss the "
            f"logit by {model.libra_gap:.0%}"
        )
    return lacking
