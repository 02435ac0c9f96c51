"""Gradient rollout: rollout of the attention weighted by the gradient of the target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from vitreport.model.trace import Need, Trace
from vitreport.techniques.attention.rollout import Rollout, fuse
from vitreport.techniques.technique import register


@register
@dataclass(frozen=True)
class GradientRollout(Rollout):
    """Rollout of the heads' fused d(target)/d(attention) * attention, clipped at zero.

    The gradient is that of the attention after its softmax. Values lie in [0, 1].

    Source:
        Gildenblat 2020, Exploring Explainability for Vision Transformers.

    Differs:
        The public code pairs the attention of the first block with the gradient of the last one, takes the
        gradient before the softmax, keeps both of the first image it saw, and divides columns for rows;
        here all four are mended.
    """

    name = "gradient_rollout"
    title = "Gradient rollout"
    family = "gradient"
    needs = Need.ATTENTION | Need.ATTENTION_GRADIENT
    class_specific = True
    source = "Gildenblat, Exploring Explainability for Vision Transformers, 2020"
    shows = (
        "Which patches can reach the model's readout along attention that, made a little stronger, would "
        "raise the target's logit."
    )
    does_not_show = (
        "Evidence against the target: negative influence is cut off in every block. The gradient is a "
        "local statement; removing a patch altogether may have another effect."
    )
    differs = (
        "The public code pairs attentions with the gradients of other blocks, takes the gradient before the "
        "softmax, keeps the first image's state, and divides columns for rows; here all four are mended."
    )

    keep_first = False

    @classmethod
    def matrices(cls, trace: Trace, fusion: str) -> Iterator[Tensor]:
        """See `Rollout.matrices`."""
        pairs = zip(reversed(trace.attention), reversed(trace.attention_gradient), strict=True)
        return (_fused_product(*pair, fusion).clamp_(min=0) for pair in pairs)


def _fused_product(attention: Tensor, gradient: Tensor, fusion: str) -> Tensor:
    """Fuses gradient * attention over the heads; the mean is summed up without keeping the product."""
    if fusion != "mean":
        return fuse(attention * gradient, fusion)
    total = attention[:, 0] * gradient[:, 0]
    for head in range(1, attention.shape[1]):
        total.addcmul_(attention[:, head], gradient[:, head])
    return total.div_(attention.shape[1])
