"""The last block's attention, as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from vitreport.model.trace import Need
from vitreport.techniques.technique import Context, Technique, register


@register
@dataclass(frozen=True)
class RawAttention(Technique):
    """Readout row of the last block's attention, mean over heads; values in [0, 1], prefix tokens left out.

    Source:
        Dosovitskiy et al. 2020, An Image is Worth 16x16 Words, arXiv:2010.11929, for the attention itself.
    """

    name = "raw_attention"
    title = "Raw attention"
    family = "attention"
    needs = Need.ATTENTION
    source = "Dosovitskiy et al., An Image is Worth 16x16 Words, 2020, arXiv:2010.11929"
    shows = "Which patches the model's readout draws from in the last block, averaged over the heads."
    does_not_show = (
        "Where the information in these patches came from: by the last block each token has mixed with "
        "the others many times. It is the same for every class."
    )

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        trace, layout = context.trace, context.model.layout
        row = layout.readout_row(trace.readout, trace.attention[-1].mean(1))
        for _ in techniques:
            yield layout.to_grid(row)
