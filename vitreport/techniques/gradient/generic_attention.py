"""Generic attention: relevance of tokens for each other, updated block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

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
            relevance = (attention * gradient).clamp_(min=0).mean(1)
            row = row + (row.unsqueeze(1) @ relevance).squeeze(1)
        for _ in techniques:
            yield context.model.layout.to_grid(row - trace.readout)
