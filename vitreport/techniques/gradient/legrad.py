"""LeGrad: the gradient of attention, block by block, for what the head would say after that block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from vitreport.model.anatomy import head_logits
from vitreport.model.trace import Need
from vitreport.techniques.technique import Context, Technique, Tier, register


@register
@dataclass(frozen=True)
class LeGrad(Technique):
    """Mean over blocks, heads and queries of the positive gradient of attention to a patch.

    The gradient of block l is that of the target's logit as the head reads it off the output of block l, and
    it goes no further back than that block's attention. Values are not negative.

    Source:
        Bousselham et al. 2024, LeGrad, arXiv:2404.03214 (ICCV 2025), equations 5 to 8.

    Differs:
        The public code stretches the map to [0, 1]; this is the map before that.
    """

    name = "legrad"
    title = "LeGrad"
    family = "gradient"
    tier: ClassVar[Tier] = "standard"
    needs = Need.ATTENTION | Need.TOKENS | Need.HEAD | Need.GRAPH
    class_specific = True
    source = "Bousselham et al., LeGrad, 2024, arXiv:2404.03214 (ICCV 2025), equations 5 to 8"
    shows = (
        "Patches to which more attention, in any block, would raise what the head then says of the target."
    )
    does_not_show = (
        "What less attention would do: negative gradients are cut off. The head was trained on the last "
        "block; on early ones it reads tokens that it does not know."
    )
    differs = "The public code stretches the map to [0, 1]; this is the map before that."
    cost = "the shared forward pass, and a gradient through one block and the head for each block"

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        graph, targets = context.trace.graph, context.trace.targets
        assert graph is not None
        total = torch.zeros_like(context.trace.readout)
        for attention, tokens in zip(graph.attention, graph.tokens[1:], strict=True):
            with torch.enable_grad():
                logits = head_logits(context.model.module, tokens)
                chosen = logits.gather(1, targets.unsqueeze(1)).sum()
            (gradient,) = torch.autograd.grad(chosen, attention, retain_graph=True)
            total = total + gradient.clamp_(min=0).mean((1, 2))
        for _ in techniques:
            yield context.model.layout.to_grid(total / len(graph.attention))
