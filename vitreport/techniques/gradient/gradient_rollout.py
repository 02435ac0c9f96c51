"""Gradient rollout: rollout of the attention weighted by the gradient of the target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vitreport.configurable import choice
from vitreport.model.trace import Need, Trace
from vitreport.techniques.attention.rollout import FUSIONS, Rollout, fuse
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

    fusion: str = choice(
        "mean",
        (*FUSIONS, "gradient"),
        "how the heads of a block become one matrix; gradient: attention, heads weighted by how much the "
        "target's logit would rise with them",
    )
    at: str = choice(
        "attention",
        ("attention", "scores"),
        "whether the gradient is that of the attention or of the scores before their softmax",
    )

    @property
    def mode(self) -> tuple[str, ...]:
        """See `Rollout.mode`."""
        return self.fusion, self.at

    def matrices(self, trace: Trace) -> Iterator[Tensor]:
        """See `Rollout.matrices`."""
        pairs = zip(reversed(trace.attention), reversed(trace.attention_gradient), strict=True)
        return (self._fused(*pair) for pair in pairs)

    def _fused(self, attention: Tensor, gradient: Tensor) -> Tensor:
        if self.at == "scores":
            gradient = score_gradient(attention, gradient)
        if self.fusion == "gradient":
            return by_influence(attention, gradient)
        if self.fusion != "mean":
            return fuse(attention * gradient, self.fusion).clamp_(min=0)
        total = attention[:, 0] * gradient[:, 0]  # summed up without keeping the product
        for head in range(1, attention.shape[1]):
            total.addcmul_(attention[:, head], gradient[:, head])
        return total.div_(attention.shape[1]).clamp_(min=0)


def score_gradient(attention: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of the scores before the softmax, from that of the attention; shapes as given."""
    return attention * (gradient - (attention * gradient).sum(-1, keepdim=True))


def by_influence(attention: Tensor, gradient: Tensor) -> Tensor:
    """Fuses heads by their influence: the sum of gradient * attention, clipped at zero, to a sum of 1.

    That sum is how fast the target's logit rises when the whole head is made stronger. Where no head raises
    it the matrix is zero.

    Args:
        attention: ``(batch, heads, tokens, tokens)``.
        gradient: likewise.

    Returns:
        ``(batch, tokens, tokens)``.
    """
    influence = (attention * gradient).sum((-2, -1)).clamp_(min=0)
    shares = influence / influence.sum(1, keepdim=True).clamp(min=torch.finfo(influence.dtype).tiny)
    return torch.einsum("bh,bhij->bij", shares, attention)
