"""Grad-CAM with attention heads for channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from vitreport.model.trace import Need
from vitreport.techniques.technique import Context, Technique, register


@register
@dataclass(frozen=True)
class AttentionGradCAM(Technique):
    """Mean over heads of the last block's readout row of attention, each weighted by its mean gradient.

    Values have any sign.

    Source:
        Selvaraju et al. 2017, Grad-CAM, arXiv:1610.02391, on attention as in Chefer, Gur and Wolf 2021,
        arXiv:2012.09838, section 4.

    Differs:
        The public code clips the map at zero and stretches it to [0, 1]; this is the map before that.
    """

    name = "attention_grad_cam"
    title = "Attention Grad-CAM"
    family = "gradient"
    needs = Need.ATTENTION | Need.ATTENTION_GRADIENT
    class_specific = True
    signed = True
    source = (
        "Selvaraju et al., Grad-CAM, 2017, arXiv:1610.02391; on attention: Chefer, Gur and Wolf, Transformer "
        "Interpretability Beyond Attention Visualization, 2021, arXiv:2012.09838, section 4"
    )
    shows = (
        "Where those heads of the last block look whose attention to the patches raises the target's logit."
    )
    does_not_show = (
        "Anything of the blocks before the last. Where all heads' mean gradients are negative the map points "
        "away from what the heads look at."
    )
    differs = "The public code clips the map at zero and stretches it to [0, 1]; this is the map before that."

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        trace, layout = context.trace, context.model.layout
        rows, gradients = (
            layout.to_grid(layout.readout_row(trace.readout, last[-1]))
            for last in (trace.attention, trace.attention_gradient)
        )
        weights = gradients.mean((-2, -1), keepdim=True)
        for _ in techniques:
            yield (weights * rows).mean(1)
