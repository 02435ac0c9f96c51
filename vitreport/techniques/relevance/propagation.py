"""One pass of relevance from a target's logit to the pixels, on which the LRP techniques draw.

Relevance is ill-conditioned in float32 - noise of 1e-7 in the input moves its maps by a tenth - so a copy of
the model in float64 runs forward, gives the gradient of the attention, and relevance goes back through what
it recorded. Nothing of one image reaches another.

Source: Chefer et al. 2021, arXiv:2012.09838 (CVPR 2021), sections 3.1 to 3.3.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import GluMlp, Mlp, PatchEmbed, SwiGLU
from timm.models.vision_transformer import Attention, Block
from torch import Tensor, nn

from vitreport.model.anatomy import Anatomy
from vitreport.model.layout import Readout
from vitreport.model.load import VisionModel
from vitreport.model.memory import precise_batch_size
from vitreport.model.trace import Need, Trace
from vitreport.model.tracer import traced
from vitreport.techniques.relevance.rules import (
    addition,
    divide,
    fork,
    linear,
    patch_projection,
    positive_share,
    positive_sum,
    product,
)
from vitreport.techniques.technique import Context

NEEDS = Need.ATTENTION | Need.ATTENTION_GRADIENT | Need.PROJECTIONS | Need.TOKENS


@dataclass(frozen=True)
class Relevance:
    """What a pass found for one target an image, float32.

    Rows are those of the readout, in a product over blocks with the identity added to each, less the readout
    itself: entry s of the first dimension has the blocks from s to the last.

    Attributes:
        weighted: rows of mean over heads of (gradient x relevance of the attention), clipped at zero,
            ``(blocks, batch, tokens)``.
        plain: the same of the relevance alone.
        last: the readout's row of the last block's clipped relevance, mean over heads, ``(batch, tokens)``.
        pixels: ``(batch, height, width)``.
    """

    weighted: Tensor
    plain: Tensor
    last: Tensor
    pixels: Tensor


def relevance(context: Context) -> Relevance:
    """The relevance of a batch, made once for all techniques that draw on it."""
    return context.once("relevance", lambda: _propagate(context))


def _propagate(context: Context) -> Relevance:
    module, anatomy = copy.deepcopy((context.model.module, context.model.anatomy))
    module.double()
    size = min(context.chunk, precise_batch_size(context.model))
    trace = context.trace
    found = [
        _Pass(module, anatomy, pixels.double(), targets).run()
        for pixels, targets in zip(
            torch.split(trace.pixels, size), torch.split(trace.targets, size), strict=True
        )
    ]
    return Relevance(
        weighted=torch.cat([one.weighted for one in found], 1),
        plain=torch.cat([one.plain for one in found], 1),
        last=torch.cat([one.last for one in found]),
        pixels=torch.cat([one.pixels for one in found]),
    )


def reason_against(model: VisionModel) -> str | None:
    """Why relevance cannot be carried through a model, or None where it can."""
    for block, attention in zip(model.anatomy.blocks, model.anatomy.attentions, strict=True):
        if type(block) is not Block:
            return f"relevance rules are known for timm's standard block; this model has {_kind(block)}"
        if type(attention) is not Attention or attention.gate is not None:
            return f"relevance rules are known for timm's standard attention, not for {_kind(attention)}"
        if not isinstance(block.mlp, Mlp | GluMlp | SwiGLU):
            return f"relevance rules are not known for {_kind(block.mlp)}"
    pool = getattr(model.module, "attn_pool", None)
    if pool is not None and (pool.latent_len != 1 or pool.pos_embed is not None):
        return "relevance rules are known for attention pools of one latent token without positions"
    if not isinstance(getattr(model.module, "patch_embed", None), PatchEmbed):
        return "relevance rules are known for patches that one convolution makes of the pixels"
    return None


def _kind(part: nn.Module) -> str:
    """What a module is, as ``eva.EvaBlock``."""
    return f"{type(part).__module__.rpartition('.')[2]}.{type(part).__name__}"


class _Pass:
    """A chunk of images in float64: the forward pass with what it recorded, and relevance going back."""

    def __init__(self, module: nn.Module, anatomy: Anatomy, pixels: Tensor, targets: Tensor) -> None:
        self._module, self._anatomy = module, anatomy
        self._given: dict[nn.Module, Tensor] = {}
        self._gave: dict[nn.Module, Tensor] = {}
        with ExitStack() as stack:
            tracer = stack.enter_context(traced(module, anatomy, NEEDS, whole=True))
            for part in self._recorded():
                stack.callback(part.register_forward_hook(self._record).remove)
            forward = tracer.forward(pixels)
        self._trace: Trace = tracer.gradient(forward, targets)

    def _recorded(self) -> Iterator[nn.Module]:
        """Linear layers, norms and where positions are added: all at which relevance is read."""
        for part in self._module.modules():
            if isinstance(part, nn.Linear | nn.Conv2d):
                yield part
        for block in self._anatomy.blocks:
            yield block.get_submodule("norm2")
        for name in ("patch_embed", "norm_pre", "norm", "attn_pool"):
            extra = getattr(self._module, name, None)
            if isinstance(extra, nn.Module):
                yield extra

    def _record(self, part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._given[part], self._gave[part] = inputs[0].detach(), output.detach()

    @torch.no_grad()
    def run(self) -> Relevance:
        """Carries relevance from the logits to the pixels, and the readout's rows along with it."""
        trace = self._trace
        walk = Walk(trace.readout)
        found = self._of_tokens()
        for number in reversed(range(len(self._anatomy.blocks))):
            found, of_attention = self._through_block(number, found)
            walk.through(of_attention, trace.attention_gradient[number])
        return Relevance(
            weighted=(torch.stack(walk.weighted[::-1]) - trace.readout).float(),
            plain=(torch.stack(walk.plain[::-1]) - trace.readout).float(),
            last=(walk.plain[0] - trace.readout).float(),
            pixels=self._of_pixels(found).float(),
        )

    def _linear(self, layer: Any, found: Tensor) -> Tensor:
        return linear(layer, self._given[layer], self._gave[layer], found)

    def _of_tokens(self) -> Tensor:
        """Relevance of what the last block gives; norms pass it on as it is."""
        module: Any = self._module
        trace, layout = self._trace, self._anatomy.layout
        logits = nn.functional.one_hot(trace.targets, trace.logits.shape[1]).to(trace.logits)
        found = torch.zeros_like(trace.tokens[-1])
        if layout.readout is Readout.CLASS_DISTILLATION_MEAN:  # two heads on two tokens are one linear layer
            heads = module.head, module.head_dist
            sums = [positive_sum(head, self._given[head], self._gave[head]) for head in heads]
            quotient = logits / (sums[0] + sums[1])
            for place, head in enumerate(heads):
                found[:, place] = positive_share(head, self._given[head], quotient)
            return found
        pooled = self._linear(module.head, logits)
        if layout.readout is Readout.CLASS_TOKEN:
            found[:, 0] = pooled
            return found
        if layout.readout is Readout.ATTENTION_POOL:
            given = self._given[module.attn_pool]
            found[:, found.shape[1] - given.shape[1] :] = self._through_pool(module.attn_pool, pooled)
            return found
        shares = layout.readout_weights(found)[:, None]  # a mean is a linear layer
        positive = (self._gave[module.norm] * shares).clamp_(min=0)
        return positive * divide(pooled, positive.sum(1))[:, None]

    def _through_block(self, number: int, found: Tensor) -> tuple[Tensor, Tensor]:
        """From the output of a block to its input, and to its attention."""
        block: Any = self._anatomy.blocks[number]
        entered, left = self._trace.tokens[number : number + 2]
        between = self._given[block.norm2]
        kept, branch = addition(found, between, left - between)
        found = fork(between, kept, self._through_mlp(block.mlp, branch))
        kept, branch = addition(found, entered, between - entered)
        branch, of_attention = self._through_attention(number, branch)
        return fork(entered, kept, branch), of_attention

    def _through_mlp(self, mlp: Any, found: Tensor) -> Tensor:
        """Activations and norms pass relevance on; a gate and what it lets through get half each."""
        found = self._linear(mlp.fc2, found)
        if isinstance(mlp, SwiGLU):
            return self._linear(mlp.fc1_g, found / 2) + self._linear(mlp.fc1_x, found / 2)
        if isinstance(mlp, GluMlp):
            found = torch.cat([found, found], -1) / 2
        return self._linear(mlp.fc1, found)

    def _through_attention(self, number: int, found: Tensor) -> tuple[Tensor, Tensor]:
        attention: Any = self._anatomy.attentions[number]
        projections, shares = self._trace.projections[number], self._trace.attention[number]
        found = self._linear(attention.proj, found)
        found = _by_head(found, shares.shape[1])
        of_attention, of_values = product(found, shares, projections.values)
        of_queries, of_keys = product(of_attention, projections.queries, projections.keys.mT)
        joined = torch.stack((of_queries, of_keys.mT, of_values))  # (3, batch, heads, tokens, channels)
        return self._linear(attention.qkv, joined.permute(1, 3, 0, 2, 4).flatten(2)), of_attention

    def _through_pool(self, pool: Any, found: Tensor) -> Tensor:
        """An attention pool; the half of its queries ends with them, for they do not know the picture."""
        found = found[:, None]
        mixed = self._gave[pool.proj]
        if pool.mlp is not None:
            branch = self._gave[pool.mlp.fc2]
            found, branch = addition(found, mixed, branch)
            found = found + self._through_mlp(pool.mlp, branch)
        found = self._linear(pool.proj, found)
        found = _by_head(found, pool.num_heads)
        keys, values = (_by_head(part, pool.num_heads) for part in self._gave[pool.kv].chunk(2, -1))
        queries = pool.q_norm(_by_head(self._gave[pool.q], pool.num_heads))
        keys = pool.k_norm(keys)
        shares = (queries * pool.scale @ keys.mT).softmax(-1)
        of_attention, of_values = product(found, shares, values)
        _, of_keys = product(of_attention, queries, keys.mT)
        joined = torch.stack((of_keys.mT, of_values)).permute(1, 3, 0, 2, 4).flatten(2)
        return self._linear(pool.kv, joined)

    def _of_pixels(self, found: Tensor) -> Tensor:
        """From the first block's input to the pixels; the part that positions have ends with them."""
        module: Any = self._module
        patches = self._gave[module.patch_embed].flatten(1, -2)
        embedded = self._given[module.norm_pre]
        prefix = embedded.shape[1] - patches.shape[1]
        if not module.no_embed_class and prefix:  # positions are added to the prefix tokens too
            tokens = [getattr(module, name, None) for name in ("cls_token", "dist_token", "reg_token")]
            present = [token.expand(len(patches), -1, -1) for token in tokens if token is not None]
            content = torch.cat([*present, patches], 1)
        else:
            content, embedded, found = patches, embedded[:, prefix:], found[:, prefix:]
        if module.pos_embed is not None:
            found, _ = addition(found, content, embedded - content)
        found = found[:, found.shape[1] - patches.shape[1] :]
        rows, cols = self._anatomy.layout.grid
        pictures = found.mT.reshape(len(found), -1, rows, cols)
        projection = module.patch_embed.proj
        height, width = self._trace.pixels.shape[-2:]
        return patch_projection(projection, self._given[projection], pictures)[:, :height, :width]


class Walk:
    """The readout's rows, carried from the last block to the first.

    Attributes:
        weighted: after each block, in the order in which they are passed, ``(batch, tokens)``: with gradient
            times relevance, clipped at zero, mean over heads.
        plain: with the relevance alone.
    """

    def __init__(self, readout: Tensor) -> None:
        self._readout = readout
        self.weighted: list[Tensor] = []
        self.plain: list[Tensor] = []

    def through(self, of_attention: Tensor, gradient: Tensor) -> None:
        """Multiplies by the identity plus a block's matrix.

        Args:
            of_attention: relevance of the block's attention, ``(batch, heads, tokens, tokens)``.
            gradient: of the target's logit for it, likewise.
        """
        for rows, matrix in ((self.weighted, of_attention * gradient), (self.plain, of_attention)):
            row = rows[-1] if rows else self._readout
            rows.append(row + (row.unsqueeze(1) @ matrix.clamp(min=0).mean(1)).squeeze(1))


def _by_head(values: Tensor, heads: int) -> Tensor:
    """``(batch, tokens, width)`` to ``(batch, heads, tokens, channels)``."""
    return values.reshape(*values.shape[:2], heads, -1).transpose(1, 2)
