"""Transformer Attribution, and what else is read off the same relevance."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor

from vitreport.configurable import count
from vitreport.model.load import VisionModel
from vitreport.model.trace import Need
from vitreport.techniques.relevance.propagation import NEEDS, Relevance, reason_against, relevance
from vitreport.techniques.relevance.rules import LICENCE_NOTE
from vitreport.techniques.technique import Context, Technique, Tier, register

PAPER = "Chefer et al., Transformer Interpretability Beyond Attention Visualization, 2021, arXiv:2012.09838"
IN_FLOAT64 = (
    "The public code computes in float32, in which maps come out wrong by 7 % of their maximum in the median "
    "and by up to 140 %; here all of it is float64. The public code rescales residual connections over the "
    "whole batch; here image by image. Where the head reads patches itself, their own share in it is left "
    "out, which is the same for every class."
)


@dataclass(frozen=True)
class FromRelevance(Technique):
    """What the techniques share that read one pass of relevance."""

    family = "relevance"
    tier: ClassVar[Tier] = "standard"
    needs = Need.NOTHING
    own_needs = NEEDS
    licence_note = LICENCE_NOTE
    class_specific = True
    cost = (
        "a forward pass, a gradient and a pass of relevance in float64, about 14 plain forward passes, for "
        "all techniques that read it"
    )

    @abstractmethod
    def read(self, found: Relevance, context: Context) -> Tensor:
        """The maps of a batch."""

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        found = relevance(context)
        for technique in techniques:
            yield technique.read(found, context)

    def supports(self, model: VisionModel) -> str | None:
        """See `Explainable.supports`; relevance has rules for the layers that it knows."""
        return super().supports(model) or reason_against(model)

    def passes(self, model: VisionModel) -> float:
        """See `Explainable.passes`; the pass is shared by four."""
        return 4


@dataclass(frozen=True)
class RowOfRelevance(FromRelevance):
    """What the techniques share that multiply a matrix of relevance through the blocks."""

    start_block: int = count(0, 0, 999, "first block of the product, counted from 0")

    def read(self, found: Relevance, context: Context) -> Tensor:
        """See `FromRelevance.read`."""
        return context.model.layout.to_grid(self.rows(found)[self.start_block])

    def supports(self, model: VisionModel) -> str | None:
        """See `Explainable.supports`; the first block must be one of the model's."""
        reason = super().supports(model)
        if reason is None and self.start_block >= model.blocks:
            reason = f"start_block is {self.start_block}, but the model's last block is {model.blocks - 1}"
        return reason

    @abstractmethod
    def rows(self, found: Relevance) -> Tensor:
        """The readout's rows, by first block, ``(blocks, batch, tokens)``."""


@register
@dataclass(frozen=True)
class TransformerAttribution(RowOfRelevance):
    """The rollout of gradient times relevance of the attention, clipped at zero; values are not negative.

    Source:
        Chefer et al. 2021, Transformer Interpretability Beyond Attention Visualization, arXiv:2012.09838
        (CVPR 2021), equations 4 to 14.

    Differs:
        All of it in float64, and residual connections are rescaled image by image.
    """

    name = "transformer_attribution"
    title = "Transformer Attribution"
    source = f"{PAPER} (CVPR 2021), equations 4 to 14"
    shows = (
        "Which patches the target's score flows back to along attention that also, made a little stronger, "
        "would raise it: relevance and gradient must agree."
    )
    does_not_show = (
        "Evidence against the target: what is negative in a block is cut off. How layers share relevance is "
        "a convention, and norms and activations are passed as if they were not there."
    )
    differs = IN_FLOAT64

    def rows(self, found: Relevance) -> Tensor:
        """See `RowOfRelevance.rows`."""
        return found.weighted


@register
@dataclass(frozen=True)
class LrpRollout(RowOfRelevance):
    """The rollout of the relevance of the attention, clipped at zero; values are not negative.

    Source:
        Chefer et al. 2021, arXiv:2012.09838, a baseline of its public code.

    Differs:
        All of it in float64, and residual connections are rescaled image by image.
    """

    name = "lrp_rollout"
    title = "LRP rollout"
    source = f"{PAPER}, a baseline of its public code"
    shows = "Which patches can reach the readout along attention that relevance flows through."
    does_not_show = (
        "How strongly the target depends on that attention: without the gradient the map changes little "
        "from class to class."
    )
    differs = IN_FLOAT64

    def rows(self, found: Relevance) -> Tensor:
        """See `RowOfRelevance.rows`."""
        return found.plain


@register
@dataclass(frozen=True)
class LrpLastBlock(FromRelevance):
    """The relevance of the readout's attention in the last block, clipped at zero, mean over heads.

    Source:
        Voita et al. 2019, Analyzing Multi-Head Self-Attention, arXiv:1905.09418 ("partial LRP"), as in
        Chefer et al. 2021, arXiv:2012.09838.

    Differs:
        All of it in float64.
    """

    name = "lrp_last_block"
    title = "LRP of the last block"
    source = (
        "Voita et al., Analyzing Multi-Head Self-Attention, 2019, arXiv:1905.09418 (partial LRP), as a "
        "baseline of Chefer et al. 2021, arXiv:2012.09838"
    )
    shows = "Which tokens the readout draws the target's relevance from in the last block."
    does_not_show = (
        "Where those tokens got it: by the last block tokens are mixed, and one that is looked at may carry "
        "what stood elsewhere."
    )
    differs = IN_FLOAT64

    def read(self, found: Relevance, context: Context) -> Tensor:
        """See `FromRelevance.read`."""
        return context.model.layout.to_grid(found.last)


@register
@dataclass(frozen=True)
class LrpInput(FromRelevance):
    """Relevance carried down to the pixels, summed over the colours; any sign.

    Source:
        Bach et al. 2015, On Pixel-Wise Explanations, with the rules of Chefer et al. 2021, arXiv:2012.09838,
        and at the pixels that of Montavon et al. 2017, arXiv:1512.02479.

    Differs:
        All of it in float64, and residual connections are rescaled image by image.
    """

    name = "lrp_input"
    title = "LRP to the input"
    signed = True
    source = (
        "Bach et al., On Pixel-Wise Explanations, 2015 (PLOS ONE), with the rules of Chefer et al. 2021, "
        "arXiv:2012.09838, and at the pixels that of Montavon et al. 2017, arXiv:1512.02479"
    )
    shows = "How the target's score is shared out among the pixels, layer by layer."
    does_not_show = (
        "Class differences, mostly: these rules follow activity rather than what the class needs. What "
        "position embeddings and the class token get is left out."
    )
    differs = IN_FLOAT64

    def read(self, found: Relevance, context: Context) -> Tensor:
        """See `FromRelevance.read`."""
        return found.pixels
