"""Where the parts of a model are that techniques read."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vitreport.model.features import FeatureSite
from vitreport.model.layout import TokenLayout


@dataclass(frozen=True)
class Anatomy:
    """The parts of one model instance.

    Attributes:
        layout: how its tokens lie.
        attentions: the attention module of each block, first block first; empty where the model is no plain
            sequence of attention blocks.
        blocks: the blocks; empty likewise.
        site: where class activation maps read it, or None.
    """

    layout: TokenLayout
    attentions: tuple[nn.Module, ...] = ()
    blocks: tuple[nn.Module, ...] = ()
    site: FeatureSite | None = None


def head_logits(module: nn.Module, tokens: Tensor) -> Tensor:
    """What the model's last norm and head make of the residual stream of any block.

    Args:
        module: a timm model whose blocks are a plain sequence.
        tokens: ``(batch, tokens, width)``.

    Returns:
        ``(batch, classes)``.
    """
    logits: Tensor = module.forward_head(module.norm(tokens))  # type: ignore[operator]
    return logits
