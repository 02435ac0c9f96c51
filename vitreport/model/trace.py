"""The one traced pass: a forward that keeps the attention, and a gradient of it for each target.

timm fuses attention by default, so nothing can be seen of it. Inside `traced` the modules of this one
model instance compute it openly; on exit hooks, flags and gradients are as before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Flag, auto

import torch
from torch import Tensor, nn

from vitreport.errors import UnsupportedModelError
from vitreport.model.families import Projections, attention_modules, pool_attention, tap_projections
from vitreport.model.layout import Readout, TokenLayout


class Need(Flag):
    """What a technique reads from the trace."""

    NOTHING = 0
    ATTENTION = auto()
    ATTENTION_GRADIENT = auto()
    PROJECTIONS = auto()


@dataclass(frozen=True)
class Forward:
    """What a forward pass showed.

    Attributes:
        logits: ``(batch, classes)``.
        attention: per block, after the softmax, ``(batch, heads, tokens, tokens)``; row i is what token i
            draws from, and sums to 1.
        projections: per block; empty unless needed.
        readout: share of each token in what the head reads, ``(batch, tokens)``.
    """

    logits: Tensor
    attention: tuple[Tensor, ...]
    projections: tuple[Projections, ...]
    readout: Tensor


@dataclass(frozen=True)
class Trace(Forward):
    """A forward pass and the gradient of one target logit an image.

    Attributes:
        targets: explained classes, ``(batch,)``.
        attention_gradient: per block d(target logit) / d(attention), ``(batch, heads, tokens, tokens)``;
            empty unless needed.
    """

    targets: Tensor
    attention_gradient: tuple[Tensor, ...]


class Tracer:
    """Runs traced passes; made by `traced`."""

    def __init__(self, module: nn.Module, layout: TokenLayout, needs: Need, blocks: int) -> None:
        self._module = module
        self._layout = layout
        self._needs = needs
        self._blocks = blocks
        self._attention: list[Tensor] = []
        self._projections: list[Projections] = []
        self._pool: list[Tensor] = []

    def forward(self, pixels: Tensor) -> Forward:
        """Runs one forward pass.

        Args:
            pixels: normalised, ``(batch, 3, height, width)``.

        Raises:
            UnsupportedModelError: not every block showed one attention of the expected shape.
        """
        for kept in (self._attention, self._projections, self._pool):
            kept.clear()
        with torch.set_grad_enabled(bool(self._needs & Need.ATTENTION_GRADIENT)):
            logits = self._module(pixels)
        self._check(len(pixels))
        return Forward(
            logits=logits,
            attention=tuple(self._attention),
            projections=tuple(self._projections),
            readout=self._readout(len(pixels), logits),
        )

    def gradient(self, forward: Forward, targets: Tensor, *, keep_graph: bool = False) -> Trace:
        """Adds the gradient of each image's target logit.

        In eval mode images do not interact, so one gradient of the summed logits is exact for each.

        Args:
            forward: what `forward` returned last.
            targets: class indices, ``(batch,)``.
            keep_graph: whether another gradient of the same forward pass follows.
        """
        gradients: tuple[Tensor, ...] = ()
        if self._needs & Need.ATTENTION_GRADIENT:
            chosen = forward.logits.gather(1, targets.unsqueeze(1)).sum()
            gradients = torch.autograd.grad(chosen, forward.attention, retain_graph=keep_graph)
        return Trace(
            logits=forward.logits.detach(),
            attention=tuple(attention.detach() for attention in forward.attention),
            projections=forward.projections,
            readout=forward.readout,
            targets=targets,
            attention_gradient=gradients,
        )

    def keep_attention(self, attention: Tensor) -> Tensor:
        """Keeps a block's attention; the first block's becomes the leaf at which the graph begins."""
        if self._needs & Need.ATTENTION_GRADIENT and not attention.requires_grad:
            attention = attention.detach().requires_grad_()
        self._attention.append(attention)
        return attention

    def keep_projections(self, projections: Projections) -> None:
        """Keeps a block's queries, keys and values."""
        self._projections.append(
            Projections(projections.queries.detach(), projections.keys.detach(), projections.values.detach())
        )

    def keep_pool(self, attention: Tensor) -> None:
        """Keeps the attention of the head's pool."""
        self._pool.append(attention.detach())

    def _readout(self, batch: int, like: Tensor) -> Tensor:
        layout = self._layout
        if layout.readout is not Readout.ATTENTION_POOL:
            return layout.readout_weights(like).expand(batch, -1)
        missing = layout.num_tokens - self._pool[0].shape[1]
        return nn.functional.pad(self._pool[0], (missing, 0))

    def _check(self, batch: int) -> None:
        tokens = self._layout.num_tokens
        expected = (batch, tokens, tokens)
        shapes = [(kept.shape[0], *kept.shape[2:]) for kept in self._attention]
        if len(shapes) != self._blocks or any(shape != expected for shape in shapes):
            raise UnsupportedModelError(
                f"{len(shapes)} of {self._blocks} blocks showed attention"
                + (f" of shape {tuple(self._attention[0].shape)}" if shapes else "")
                + f"; expected one (batch, heads, {tokens}, {tokens}) a block: this model cannot be explained"
            )
        if self._needs & Need.PROJECTIONS and len(self._projections) != self._blocks:
            raise UnsupportedModelError(
                f"{len(self._projections)} of {self._blocks} blocks showed their queries and keys"
            )


@contextmanager
def traced(module: nn.Module, layout: TokenLayout, needs: Need) -> Iterator[Tracer]:
    """Opens a model for tracing and leaves it as it was found.

    Args:
        module: the model; it is put in eval mode meanwhile.
        layout: where its tokens lie.
        needs: what to capture.

    Raises:
        UnsupportedModelError: the model's attention cannot be read.
    """
    attentions = attention_modules(module)
    tracer = Tracer(module, layout, needs, len(attentions))
    with ExitStack() as stack:
        stack.enter_context(_at_rest(module))
        stack.enter_context(_unfused(attentions))
        for attention in attentions:
            hook = attention.attn_drop.register_forward_hook(  # type: ignore[union-attr]
                lambda _module, _inputs, output: tracer.keep_attention(output)
            )
            stack.callback(hook.remove)
            if needs & Need.PROJECTIONS:
                for handle in tap_projections(attention, tracer.keep_projections):
                    stack.callback(handle.remove)
        if layout.readout is Readout.ATTENTION_POOL:
            pool: nn.Module = module.attn_pool  # type: ignore[assignment]
            handle = pool.register_forward_pre_hook(
                lambda pool, inputs: tracer.keep_pool(pool_attention(pool, inputs[0]))
            )
            stack.callback(handle.remove)
        yield tracer


@contextmanager
def _at_rest(module: nn.Module) -> Iterator[None]:
    """Eval mode, and no parameter asks for a gradient."""
    training = [part for part in module.modules() if part.training]
    wanting = [parameter for parameter in module.parameters() if parameter.requires_grad]
    module.eval()
    for parameter in wanting:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for part in training:
            part.training = True
        for parameter in wanting:
            parameter.requires_grad_(True)


@contextmanager
def _unfused(attentions: Sequence[nn.Module]) -> Iterator[None]:
    """Attention computed openly, on these instances only."""
    flags = [attention.fused_attn for attention in attentions]
    for attention in attentions:
        attention.fused_attn = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for attention, flag in zip(attentions, flags, strict=True):
            attention.fused_attn = flag
