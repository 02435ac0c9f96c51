"""The one traced pass: a forward that keeps what techniques read, and a gradient of it for each target.

timm fuses attention by default, so nothing can be seen of it. Inside `traced` the modules of this one
model instance compute it openly; on exit hooks, flags and gradients are as before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vitreport.errors import UnsupportedModelError
from vitreport.model.anatomy import Anatomy
from vitreport.model.families import Projections, pool_attention, tap_projections
from vitreport.model.layout import Readout
from vitreport.model.libra import BiasTerms, libra
from vitreport.model.opening import at_rest, unfused, without_detours
from vitreport.model.trace import GRADIENTS, Backward, Forward, Need, Trace


class Tracer:
    """Runs traced passes; made by `traced`."""

    def __init__(self, module: nn.Module, anatomy: Anatomy, needs: Need, backward: Backward) -> None:
        self._module = module
        self._anatomy = anatomy
        self._needs = needs
        self._backward = backward
        self._attention: list[Tensor] = []
        self._projections: list[Projections] = []
        self._tokens: list[Tensor] = []
        self._features: list[Tensor] = []
        self._pool: list[Tensor] = []
        self._biases = BiasTerms(anatomy.layout.num_tokens)

    def forward(self, pixels: Tensor) -> Forward:
        """Runs one forward pass.

        Args:
            pixels: normalised, ``(batch, 3, height, width)``.

        Raises:
            UnsupportedModelError: not every block showed one attention of the expected shape.
        """
        for kept in (self._attention, self._projections, self._tokens, self._features, self._pool):
            kept.clear()
        if self._needs & Need.PIXEL_GRADIENT:
            pixels = pixels.detach().requires_grad_()
        with torch.set_grad_enabled(bool(self._needs & GRADIENTS)):
            logits = self._module(pixels)
        self._check(len(pixels))
        return Forward(
            logits=logits,
            pixels=pixels,
            readout=self._readout(len(pixels), logits),
            attention=tuple(self._attention),
            projections=tuple(self._projections),
            tokens=tuple(self._tokens),
            features=self._features[0] if self._features else None,
        )

    def gradient(self, forward: Forward, targets: Tensor, *, keep_graph: bool = False) -> Trace:
        """Adds the gradient of each image's target logit.

        In eval mode images do not interact, so one gradient of the summed logits is exact for each.

        Args:
            forward: what `forward` returned last.
            targets: class indices, ``(batch,)``.
            keep_graph: whether another gradient of the same forward pass follows.
        """
        needs, keep_graph = self._needs, keep_graph or bool(self._needs & Need.GRAPH)
        wanted: dict[Need, Sequence[Tensor]] = {
            Need.ATTENTION_GRADIENT: forward.attention,
            Need.TOKEN_GRADIENT: forward.tokens,
            Need.FEATURE_GRADIENT: () if forward.features is None else (forward.features,),
            Need.PIXEL_GRADIENT: (forward.pixels,),
        }
        inputs = [tensor for need, tensors in wanted.items() if needs & need for tensor in tensors]
        found: Iterator[Tensor] = iter(())
        if inputs:
            self._biases.clear(forward.logits)
            chosen = forward.logits.gather(1, targets.unsqueeze(1)).sum()
            found = iter(torch.autograd.grad(chosen, inputs, retain_graph=keep_graph))
        gradients = {
            need: tuple(next(found) for _ in tensors) if needs & need else ()
            for need, tensors in wanted.items()
        }
        return Trace(
            logits=forward.logits.detach(),
            pixels=forward.pixels.detach(),
            readout=forward.readout,
            attention=_detached(forward.attention),
            projections=forward.projections,
            tokens=_detached(forward.tokens),
            features=self._on_grid((forward.features,)),
            targets=targets,
            attention_gradient=gradients[Need.ATTENTION_GRADIENT],
            token_gradient=gradients[Need.TOKEN_GRADIENT],
            feature_gradient=self._on_grid(gradients[Need.FEATURE_GRADIENT]),
            pixel_gradient=next(iter(gradients[Need.PIXEL_GRADIENT]), None),
            biases=(self._biases.at_tokens, self._biases.elsewhere) if needs & Need.BIASES else None,
            graph=forward if needs & Need.GRAPH else None,
        )

    def hooks(self) -> Iterator[RemovableHandle]:
        """Hooks the model for what is needed; yields handles."""
        needs, anatomy = self._needs, self._anatomy
        for attention in anatomy.attentions:
            drop: nn.Module = attention.attn_drop  # type: ignore[assignment]
            yield drop.register_forward_hook(lambda _module, _inputs, output: self._keep_attention(output))
            if needs & Need.PROJECTIONS:
                yield from tap_projections(attention, self._keep_projections)
        if needs & (Need.TOKENS | Need.TOKEN_GRADIENT):
            for block in anatomy.blocks:
                yield _given(block, self._tokens, self._leaf)
            yield _gives(anatomy.blocks[-1], self._tokens, self._leaf)
        if needs & (Need.FEATURES | Need.FEATURE_GRADIENT) and anatomy.site is not None:
            tap = _given if anatomy.site.given else _gives
            yield tap(anatomy.site.module, self._features, self._leaf)
        if needs & Need.BIASES:
            yield from self._biases.watch(self._module, anatomy, lambda: self._attention)
        if anatomy.layout.readout is Readout.ATTENTION_POOL:
            pool: nn.Module = self._module.attn_pool  # type: ignore[assignment]
            yield pool.register_forward_pre_hook(
                lambda pool, inputs: self._pool.append(pool_attention(pool, inputs[0]).detach())
            )

    def _leaf(self, tensor: Tensor) -> Tensor:
        """The first tensor that is kept becomes the leaf at which the graph begins."""
        if self._needs & GRADIENTS and not tensor.requires_grad:
            tensor = tensor.detach().requires_grad_()
        return tensor

    def _keep_attention(self, attention: Tensor) -> Tensor:
        held = self._backward is Backward.LIBRA
        self._attention.append(attention.detach() if held else self._leaf(attention))
        return self._attention[-1]

    def _keep_projections(self, projections: Projections) -> None:
        self._projections.append(
            Projections(projections.queries.detach(), projections.keys.detach(), projections.values.detach())
        )

    def _on_grid(self, tensors: Sequence[Tensor | None]) -> Tensor | None:
        site, tensor = self._anatomy.site, next(iter(tensors), None)
        return (
            None
            if site is None or tensor is None
            else site.to_grid(tensor.detach(), self._anatomy.layout.grid)
        )

    def _readout(self, batch: int, like: Tensor) -> Tensor:
        layout = self._anatomy.layout
        if layout.readout is Readout.FEATURES:
            return like.new_zeros(batch, 0)
        if layout.readout is not Readout.ATTENTION_POOL:
            return layout.readout_weights(like).expand(batch, -1)
        missing = layout.num_tokens - self._pool[0].shape[1]
        return nn.functional.pad(self._pool[0], (missing, 0))

    def _check(self, batch: int) -> None:
        tokens, blocks = self._anatomy.layout.num_tokens, len(self._anatomy.attentions)
        expected = (batch, tokens, tokens)
        shapes = [(kept.shape[0], *kept.shape[2:]) for kept in self._attention]
        if len(shapes) != blocks or any(shape != expected for shape in shapes):
            raise UnsupportedModelError(
                f"{len(shapes)} of {blocks} blocks showed attention"
                + (f" of shape {tuple(self._attention[0].shape)}" if shapes else "")
                + f"; expected one (batch, heads, {tokens}, {tokens}) a block"
            )
        if self._needs & Need.PROJECTIONS and len(self._projections) != blocks:
            raise UnsupportedModelError(
                f"{len(self._projections)} of {blocks} blocks showed their queries and keys"
            )


@contextmanager
def traced(
    module: nn.Module,
    anatomy: Anatomy,
    needs: Need,
    backward: Backward = Backward.PLAIN,
    *,
    whole: bool = False,
) -> Iterator[Tracer]:
    """Opens a model for tracing and leaves it as it was found.

    Forward passes are run while it is open; gradients of them may be taken afterwards.

    Args:
        module: the model; it is put in eval mode meanwhile.
        anatomy: where its parts are.
        needs: what to capture.
        backward: which gradient to take.
        whole: whether the last block has a gradient for tokens, too, that the head does not read: it is
            zero, but those who hook the block's modules may want it.

    Raises:
        UnsupportedModelError: the model's queries and keys are needed and cannot be read.
    """
    tracer = Tracer(module, anatomy, needs, backward)
    with ExitStack() as stack:
        stack.enter_context(at_rest(module))
        stack.enter_context(unfused(anatomy.attentions))
        whole = whole or backward is Backward.LIBRA or bool(needs & Need.BIASES)
        read = None if whole else anatomy.layout.read_in_front
        stack.enter_context(without_detours(module, anatomy.attentions, read))
        if backward is Backward.LIBRA:
            stack.enter_context(libra(module))
        for handle in tracer.hooks():
            stack.callback(handle.remove)
        yield tracer


Change = Callable[[Tensor], Tensor]


def _given(module: nn.Module, kept: list[Tensor], change: Change) -> RemovableHandle:
    """Keeps what a module is given first."""

    def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        kept.append(change(inputs[0]))
        return (kept[-1], *inputs[1:])

    return module.register_forward_pre_hook(hook)


def _gives(module: nn.Module, kept: list[Tensor], change: Change) -> RemovableHandle:
    """Keeps what a module gives."""

    def hook(_module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> Any:
        first, *rest = output if isinstance(output, tuple) else (output,)
        kept.append(change(first))
        return (kept[-1], *rest) if isinstance(output, tuple) else kept[-1]

    return module.register_forward_hook(hook)


def _detached(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(tensor.detach() for tensor in tensors)
