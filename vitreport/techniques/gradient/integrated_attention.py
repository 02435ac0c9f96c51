"""The gradient of the last block's attention, integrated over pictures, and what is built on it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from vitreport.configurable import count
from vitreport.model.load import VisionModel
from vitreport.model.trace import Forward, Need
from vitreport.techniques.technique import Context, Technique, Tier, register

_WEIGHED = (
    "Heads that read several tokens keep a row for each, multiplied and then weighted by its share; the "
    "public code does so for its mean readouts."
)
_LAST_BLOCK = "Where a model has fewer blocks than the first one asked for, its last block is used."


@dataclass(frozen=True)
class IntegratedAttention(Technique):
    """What these share: reach of each patch through the blocks, times an integrated gradient of attention.

    The gradient is d(target logit) / d(attention of the last block), the mean over `steps` pictures from
    zero (after normalisation: the mean colour) to the picture itself; it is cut at zero and averaged over
    the heads. Both factors have one row for each token that the head reads. Values are not negative.
    """

    family = "gradient"
    tier: ClassVar[Tier] = "standard"
    own_needs = Need.ATTENTION | Need.ATTENTION_GRADIENT
    class_specific = True
    cost = "20 forward passes for all techniques with an integrated attention gradient together"

    steps: int = count(20, 2, 1000, "pictures from the mean colour to the image itself, both ends included")

    @abstractmethod
    def reach(self, context: Context, tokens: Tensor) -> Tensor:
        """Rows of the blocks' product for the tokens that the head reads, ``(batch, read, tokens)``."""

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        readout = context.trace.readout
        tokens = read_tokens(readout)
        shares = readout[:, tokens].unsqueeze(-1)
        for technique in techniques:
            weights = integrated_gradient(context, technique.steps).clamp(min=0).mean(1)
            row = (shares * weights * technique.reach(context, tokens)).sum(1)
            yield context.model.layout.to_grid(row)

    def passes(self, model: VisionModel) -> float:
        """See `Explainable.passes`; three techniques share the passes."""
        return 1.1 * self.steps / 3


@register
@dataclass(frozen=True)
class TransitionAttentionMaps(IntegratedAttention):
    """Attention as a Markov chain that starts at the readout, times the integrated gradient.

    The state is the readout's row of the last block's attention, mean over heads; each earlier block adds
    the state times its own attention, down to `start_block`.

    Source:
        Yuan, Li, Xiong and Dou 2021, Explaining Information Flow Inside Vision Transformers Using Markov
        Chain, NeurIPS 2021 workshop on eXplainable AI approaches for debugging and diagnosis.

    Differs:
        Heads that read several tokens keep a row for each, as the public code does for mean readouts only.
    """

    name = "tam"
    title = "Transition attention maps"
    needs = Need.ATTENTION
    source = (
        "Yuan, Li, Xiong and Dou, Explaining Information Flow Inside Vision Transformers Using Markov Chain, "
        "NeurIPS 2021 workshop on eXplainable AI approaches for debugging and diagnosis"
    )
    shows = (
        "Patches that the readout reaches through the attention of the later blocks, as far as more "
        "attention to their place in the last block would raise the target's logit."
    )
    does_not_show = (
        "Evidence against the target: negative gradients are cut off. The target enters by the last block "
        "alone; where attention goes before it is the same for every class."
    )
    differs = _WEIGHED

    start_block: int = count(4, 0, 1000, "first block of the chain, counted from 0")

    def reach(self, context: Context, tokens: Tensor) -> Tensor:
        """See `IntegratedAttention.reach`."""
        *earlier, last = context.trace.attention
        rows = last[:, :, tokens].mean(1)
        for attention in reversed(earlier[self.start_block :]):
            rows = rows + rows @ attention.mean(1)
        return rows


@dataclass(frozen=True)
class BeyondIntuition(IntegratedAttention):
    """What both forms share: rows of the product of (I + matrix) over the blocks, times the gradient."""

    start_block: int = count(3, 0, 1000, "first block of the product, counted from 0")

    def reach(self, context: Context, tokens: Tensor) -> Tensor:
        """See `IntegratedAttention.reach`."""
        readout = context.trace.readout
        rows = torch.eye(readout.shape[1], dtype=readout.dtype, device=readout.device)[tokens]
        rows = rows.expand(len(readout), -1, -1)
        blocks = len(context.trace.attention)
        for block in reversed(range(min(self.start_block, blocks - 1), blocks)):
            rows = rows + rows @ self.matrix(context, block)
        return rows

    @abstractmethod
    def matrix(self, context: Context, block: int) -> Tensor:
        """What a block adds to the identity, ``(batch, tokens, tokens)``, not negative."""


_BEYOND_INTUITION = (
    "Chen, Li, Yu, Dou and Xiong, Beyond Intuition: Rethinking Token Attributions inside Transformers, "
    "Transactions on Machine Learning Research 2023"
)


@register
@dataclass(frozen=True)
class BeyondIntuitionToken(BeyondIntuition):
    """Token-wise: the matrix is mean attention, each column times how much its token's values weigh.

    The weight of a token is the norm of its values after the block's output projection (without bias), over
    the norm of what the block is given of it.

    Source:
        Chen, Li, Yu, Dou and Xiong 2023, Beyond Intuition, Transactions on Machine Learning Research:
        the token-wise attention map.

    Differs:
        Heads that read several tokens keep a row for each, as the public code does for mean readouts only.
    """

    name = "beyond_intuition_token"
    title = "Beyond Intuition (token)"
    needs = Need.ATTENTION | Need.PROJECTIONS | Need.TOKENS
    source = f"{_BEYOND_INTUITION}: token-wise attention map"
    shows = (
        "Patches that the readout reaches through attention, each weighted by how large its values are "
        "beside the token itself, as far as more attention to them in the last block would raise the "
        "target's logit."
    )
    does_not_show = (
        "Evidence against the target: negative gradients are cut off. The direction of the values is "
        "ignored, and MLPs are left out."
    )
    differs = (
        f"{_WEIGHED} A block's LayerScale belongs to its output projection; a norm between attention and "
        f"projection, as in EVA-02, does not. {_LAST_BLOCK}"
    )

    start_block: int = count(5, 0, 1000, "first block of the product, counted from 0")

    def matrix(self, context: Context, block: int) -> Tensor:
        """See `BeyondIntuition.matrix`."""
        trace, anatomy = context.trace, context.model.anatomy
        weight = output_weight(anatomy.blocks[block], anatomy.attentions[block])
        values = trace.projections[block].values.transpose(1, 2).flatten(2)
        sizes = torch.linalg.vector_norm(values @ weight.T, dim=-1)
        given = torch.linalg.vector_norm(trace.tokens[block], dim=-1)
        weights: Tensor = sizes / given.clamp(min=torch.finfo(given.dtype).tiny)
        return trace.attention[block].mean(1) * weights.unsqueeze(1)

    def supports(self, model: VisionModel) -> str | None:
        """See `Explainable.supports`."""
        pairs = zip(model.anatomy.blocks, model.anatomy.attentions, strict=True)
        if any(_projection(attention) is None for _, attention in pairs):
            return "its blocks have no output projection of attention alone"
        return super().supports(model)


@register
@dataclass(frozen=True)
class BeyondIntuitionHead(BeyondIntuition):
    """Head-wise: the matrix is attention, averaged over heads by what they mean for the target.

    The weight of a head is the mean size of the entries of its attention, transposed, times its gradient;
    the weights of a block sum to 1.

    Source:
        Chen, Li, Yu, Dou and Xiong 2023, Beyond Intuition, Transactions on Machine Learning Research:
        the head-wise attention map.

    Differs:
        Heads that read several tokens keep a row for each, as the public code does for mean readouts only.
    """

    name = "beyond_intuition_head"
    title = "Beyond Intuition (head)"
    needs = Need.ATTENTION | Need.ATTENTION_GRADIENT
    source = f"{_BEYOND_INTUITION}: head-wise attention map"
    shows = (
        "Patches that the readout reaches through the heads that matter for the target, as far as more "
        "attention to them in the last block would raise its logit."
    )
    does_not_show = (
        "Evidence against the target: negative gradients are cut off, and a head counts by the size of its "
        "influence alone. MLPs are left out."
    )
    differs = f"{_WEIGHED} {_LAST_BLOCK}"

    def matrix(self, context: Context, block: int) -> Tensor:
        """See `BeyondIntuition.matrix`."""
        attention, gradient = context.trace.attention[block], context.trace.attention_gradient[block]
        sizes = (attention.transpose(-2, -1) @ gradient).abs_().mean((-2, -1))
        total = sizes.sum(1, keepdim=True).clamp(min=torch.finfo(sizes.dtype).tiny)
        return torch.einsum("bh,bhij->bij", sizes / total, attention)


def read_tokens(readout: Tensor) -> Tensor:
    """Indices of the tokens that the head reads in any image, of shares ``(batch, tokens)``."""
    return (readout > 0).any(0).nonzero().squeeze(1)


def integrated_gradient(context: Context, steps: int) -> Tensor:
    """Mean gradient of the last block's attention over scaled pictures, made once for a batch and target.

    Args:
        context: the batch.
        steps: pictures from zero to the picture itself, in equal distances, both ends included.

    Returns:
        ``(batch, heads, read, tokens)``: the rows of the tokens that the head reads.
    """
    return context.once(f"integrated attention gradient, {steps} steps", lambda: _integrate(context, steps))


def _integrate(context: Context, steps: int) -> Tensor:
    trace, chunk = context.trace, context.chunk
    tokens = read_tokens(trace.readout)
    alphas = torch.linspace(0, 1, steps, dtype=trace.pixels.dtype, device=trace.pixels.device)
    found = []
    with context.model.traced(IntegratedAttention.own_needs) as tracer:
        for pixels, targets in zip(_parts(trace.pixels, chunk), _parts(trace.targets, chunk), strict=True):
            total = torch.zeros((), dtype=pixels.dtype, device=pixels.device)
            for group in _parts(alphas, max(1, chunk // len(pixels))):
                scaled = group.view(-1, 1, 1, 1, 1) * pixels
                slope = _slope(tracer.forward(scaled.flatten(0, 1)), targets.repeat(len(group)))[:, :, tokens]
                total = total + slope.view(*scaled.shape[:2], *slope.shape[1:]).sum(0)
            found.append(total / steps)
    return torch.cat(found)


def _parts(values: Tensor, most: int) -> Iterator[Tensor]:
    return (values[start : start + most] for start in range(0, len(values), most))


def _slope(forward: Forward, targets: Tensor) -> Tensor:
    """d(target logit) / d(attention of the last block); it goes no further back."""
    chosen = forward.logits.gather(1, targets.unsqueeze(1)).sum()
    (gradient,) = torch.autograd.grad(chosen, forward.attention[-1])
    return gradient


def output_weight(block: nn.Module, attention: nn.Module) -> Tensor:
    """What turns a block's values, heads side by side, into what it adds to its tokens: ``(width, values)``.

    Args:
        block: with a LayerScale or without.
        attention: its attention module, or the block itself where it computes attention.
    """
    projection = _projection(attention)
    assert projection is not None
    weight: Tensor = projection.weight
    scales = (getattr(getattr(block, name, None), "gamma", None) for name in ("ls1", "ls"))
    gamma = next((one for one in (*scales, getattr(block, "gamma_1", None)) if one is not None), None)
    return weight.detach() if gamma is None else gamma.detach().unsqueeze(1) * weight.detach()


def _projection(attention: nn.Module) -> nn.Linear | None:
    for name in ("proj", "attn_out_proj"):
        found = getattr(attention, name, None)
        if isinstance(found, nn.Linear):
            return found
    return None
