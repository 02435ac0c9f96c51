"""AttCAT: tokens times gradient, weighted by the readout's attention, over all blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from vitreport.model.trace import Need
from vitreport.techniques.gradient.libra import SOURCE, Libra
from vitreport.techniques.technique import Context, Technique, register


@register
@dataclass(frozen=True)
class AttCAT(Technique):
    """Sum over blocks of the readout's mean attention to a patch times the patch's token times its gradient.

    The token is what the block is given. Values have any sign.

    Source:
        Qiang et al. 2022, AttCAT, NeurIPS 2022, equation 9.

    Differs:
        The token is the one that enters a block: the patches that leave the last one have no gradient.
    """

    name = "attcat"
    title = "AttCAT"
    family = "gradient"
    needs = Need.ATTENTION | Need.TOKENS | Need.TOKEN_GRADIENT
    class_specific = True
    signed = True
    source = (
        "Qiang et al., AttCAT: Explaining Transformers via Attentive Class Activation Tokens, NeurIPS 2022"
    )
    shows = (
        "Patches whose tokens speak for the target (or, below zero, against it) where the readout attends."
    )
    does_not_show = (
        "What patches add along attention among themselves, beyond what their gradient knows of it."
    )
    differs = (
        "The token is the one that enters a block: the patches that leave the last one have no gradient."
    )

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        trace, layout = context.trace, context.model.layout
        total = torch.zeros_like(trace.readout)
        blocks = zip(trace.attention, trace.tokens[:-1], trace.token_gradient[:-1], strict=True)
        for attention, tokens, gradient in blocks:
            row = layout.readout_row(trace.readout, attention).mean(1)
            total = total + row * (tokens * gradient).sum(-1)
        for _ in techniques:
            yield layout.to_grid(total)


@register
@dataclass(frozen=True)
class LibraAttCAT(Libra, AttCAT):
    """AttCAT with a Libra gradient.

    Source:
        Libra gradients 2024, arXiv:2411.16760; Qiang et al. 2022, AttCAT, NeurIPS 2022.
    """

    name = "libra_attcat"
    title = "Libra AttCAT"
    source = f"{SOURCE}; {AttCAT.source}"
    differs = f"{Libra.differs} {AttCAT.differs}"
