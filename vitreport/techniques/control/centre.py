"""A map of the middle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from vitreport.configurable import number
from vitreport.model.trace import Need
from vitreport.techniques.technique import Context, Technique, register


@register
@dataclass(frozen=True)
class Centre(Technique):
    """A Gaussian around the middle of the picture, 1 at its peak; the same for every image."""

    name = "centre"
    title = "Centred Gaussian (control)"
    family = "control"
    needs = Need.NOTHING
    source = "A control: photographers put what matters into the middle of the picture"
    shows = "How far one gets by pointing at the middle: what a technique adds lies above it."
    does_not_show = "Anything about the model."

    sigma: float = number(0.25, 0.01, 10, "standard deviation, as a share of the picture's sides")

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        rows, cols = context.model.layout.grid
        logits = context.trace.logits
        y, x = (
            ((torch.arange(side, device=logits.device, dtype=torch.float32) + 0.5) / side - 0.5).square()
            for side in (rows, cols)
        )
        for technique in techniques:
            one = torch.exp(-(y[:, None] + x[None, :]) / (2 * technique.sigma**2))
            yield one.expand(len(logits), rows, cols)
