"""Generic attention: relevance of tokens for each other, updated block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from vitreport.model.trace import Need
from vitreport.techniques.technique import Context, Technique, register


@register
@dataclass(frozen=True)
class GenericAttention(Technique):
    """Readout row of R, with R = I at first and R + mean over heads of (gradient * attention)+ · R a block.

    The readout's row is carried from the last block to the first. Values are not negative.

    Source:
        Chefer, Gur and Wolf 2021, Generic Attention-model Explainability, arXiv:2103.15679, equations
        5 and 6.
    """

    name = "generic_attention"
    title = "Generic attention"
    family = "gradient"
    needs = Need.ATTENTION | Need.ATTENTION_GRADIENT
    class_specific = True
    source = (
        "Chefer, Gur and Wolf, Generic Attention-model Explainability for Interpreting Bi-Modal and "
        "Encoder-Decoder Transformers, 2021, arXiv:2103.15679, equations 5 and 6"
    )
    shows = (
        "Which patches reach the readout along attention that raises the target's logit, summed over all "
        "paths through the blocks."
    )
    does_not_show = (
        "Evidence against the target: what is negative is cut off in every head. Without normalisation late "
        "blocks may outweigh early ones."
    )

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        trace = context.trace
        row = trace.readout
        for attention, gradient in zip(
            reversed(trace.attention), reversed(trace.attention_gradient), strict=True
        ):
            row = row + (row.unsqueeze(1) @ _relevance(attention, gradient)).squeeze(1)
        for _ in techniques:
            yield context.model.layout.to_grid(row - trace.readout)


def _relevance(attention: Tensor, gradient: Tensor) -> Tensor:
    """Mean over heads of what is positive in gradient * attention, head by head, so that little is kept."""
    total = (attention[:, 0] * gradient[:, 0]).clamp_(min=0)
    product = torch.empty_like(total)
    for head in range(1, attention.shape[1]):
        total += torch.mul(attention[:, head], gradient[:, head], out=product).clamp_(min=0)
    return total.div_(attention.shape[1])
