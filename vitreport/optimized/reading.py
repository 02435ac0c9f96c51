"""Reading activations of a model while it runs: logits, MLP units, attention heads and channels.

Where a block keeps them: its MLP's units are what the MLP's last linear layer is given, so after the
activation, a gate and a norm where there are any; the heads' outputs are what the attention's output
projection is given, head after head; the channels are what the block gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vitreport.errors import SettingsError
from vitreport.model.load import VisionModel
from vitreport.optimized.target import Kind, Target

Keep = Callable[[Tensor], None]
Site = tuple[nn.Module, slice]
"""A module, and which channels of what it is given are meant."""


class Reading:
    """Activations of one forward pass.

    Attributes:
        logits: ``(batch, outputs)``.
    """

    def __init__(self, model: VisionModel, logits: Tensor, kept: dict[tuple[Kind, int], Tensor]) -> None:
        self.logits = logits
        self._model = model
        self._kept = kept

    def activation(self, target: Target, rows: slice = slice(None)) -> Tensor:
        """The activation of a target in some rows of the batch, ``(rows,)``."""
        if target.kind is Kind.CLASS:
            return self.logits[rows, target.index]
        assert target.block is not None
        patches = self._patches(target.kind, target.block)[rows]
        if target.kind is Kind.HEAD:
            head = self._apart(patches, target.block)[:, :, target.index]
            return _lengths(head).mean(1) if target.part is None else head[..., target.part].mean(1)
        return patches[..., target.index].mean(1)

    def activations(self, kind: Kind, block: int) -> Tensor:
        """All units, heads or channels of a block, averaged over the patch tokens, ``(batch, count)``."""
        patches = self._patches(kind, block)
        return (_lengths(self._apart(patches, block)) if kind is Kind.HEAD else patches).mean(1)

    def _apart(self, patches: Tensor, block: int) -> Tensor:
        """Splits ``(batch, patches, width)`` into heads, ``(batch, patches, heads, channels)``."""
        heads = int(self._model.anatomy.attentions[block].num_heads)  # type: ignore[arg-type]
        return patches.reshape(*patches.shape[:-1], heads, -1)

    def _patches(self, kind: Kind, block: int) -> Tensor:
        return self._kept[kind, block][:, self._model.layout.num_prefix_tokens :]


def _lengths(vectors: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return lengths


class Reader:
    """Runs forward passes that keep activations; made by `reading`."""

    def __init__(self, model: VisionModel) -> None:
        self._model = model
        self._kept: dict[tuple[Kind, int], Tensor] = {}

    def __call__(self, pixels: Tensor) -> Reading:
        """Runs one forward pass.

        Args:
            pixels: normalised, ``(batch, 3, height, width)``.
        """
        self._kept.clear()
        logits = self._model.module(pixels)
        return Reading(self._model, logits, dict(self._kept))

    def hook(self, kind: Kind, block: int) -> RemovableHandle:
        """Keeps the activations of one kind in one block from now on."""

        def keep(values: Tensor) -> None:
            self._kept[kind, block] = values

        if kind is Kind.CHANNEL:
            return self._model.anatomy.blocks[block].register_forward_hook(
                lambda _module, _inputs, output: keep(output[0] if isinstance(output, tuple) else output)
            )
        module, channels = _site(self._model, kind, block)
        return module.register_forward_pre_hook(lambda _module, inputs: keep(inputs[0][..., channels]))


@contextmanager
def reading(model: VisionModel, targets: Sequence[Target]) -> Iterator[Reader]:
    """Opens a model for reading targets and leaves it as it was found.

    Args:
        model: what is read; it stays in eval mode.
        targets: what is to be kept of each pass; a target of a kind and block opens all of that kind there.
    """
    reader = Reader(model)
    places = {(target.kind, target.block) for target in targets if target.block is not None}
    with ExitStack() as stack:
        for kind, block in sorted(places, key=str):
            stack.callback(reader.hook(kind, block).remove)
        yield reader


def lacks(model: VisionModel, kind: Kind) -> str | None:
    """Why a model has no targets of a kind, or None."""
    if kind is Kind.CLASS:
        return None if len(model.classes) else "the model has no classifier"
    if not model.blocks:
        return f"the model is no plain sequence of blocks, so it has no {kind.value} with a number"
    if kind is not Kind.CHANNEL and any(_site_of(block, kind) is None for block in _owners(model, kind)):
        return f"the {kind.value}s of its blocks ({type(model.anatomy.blocks[0]).__name__}) cannot be read"
    return None


def check(model: VisionModel, target: Target) -> None:
    """Makes sure that a model has a target.

    Raises:
        SettingsError: it has not; the message says what it has.
    """
    if target.kind is Kind.CLASS:
        return  # looked up in the model's classes when it was read
    reason = lacks(model, target.kind)
    if reason:
        raise SettingsError(f"target '{target.key}': {reason}")
    assert target.block is not None
    if target.block >= model.blocks:
        raise SettingsError(
            f"target '{target.key}': the model has no block {target.block}; "
            f"blocks are 0 to {model.blocks - 1}"
        )
    most = counts(model, target.kind, target.block)
    for name, number, count in (
        (target.kind.value, target.index, most[0]),
        ("channel", target.part or 0, most[-1]),
    ):
        if number >= count:
            raise SettingsError(
                f"target '{target.key}': there is no {name} {number} in block {target.block}; "
                f"there are 0 to {count - 1}"
            )


def counts(model: VisionModel, kind: Kind, block: int) -> tuple[int, ...]:
    """How many units, heads or channels a block has; of heads also the channels of each."""
    if kind is Kind.CHANNEL:
        return (model.width,)
    module, channels = _site(model, kind, block)
    width = len(range(int(module.in_features))[channels])  # type: ignore[arg-type]
    if kind is Kind.UNIT:
        return (width,)
    heads = int(model.anatomy.attentions[block].num_heads)  # type: ignore[arg-type]
    return heads, width // heads


def penultimate(model: VisionModel, pixels: Tensor) -> Tensor:
    """What the classifier is given, ``(batch, width)``: the pooled features before its last layer."""
    module: Any = model.module
    with torch.no_grad():
        features: Tensor = module.forward_head(module.forward_features(pixels), pre_logits=True)
    return features.flatten(1)


def _owners(model: VisionModel, kind: Kind) -> tuple[nn.Module, ...]:
    return model.anatomy.blocks if kind is Kind.UNIT else model.anatomy.attentions


def _site(model: VisionModel, kind: Kind, block: int) -> Site:
    site = _site_of(_owners(model, kind)[block], kind)
    assert site is not None, "a target is checked before it is read"
    return site


def _site_of(owner: nn.Module, kind: Kind) -> Site | None:
    """The linear layer that is given a block's units, or an attention's head outputs."""
    joined = getattr(owner, "out_proj", None)
    if isinstance(joined, nn.Linear) and hasattr(owner, "mlp_act"):  # a parallel block: heads, then units
        split = int(owner.num_heads) * int(owner.head_dim)  # type: ignore[arg-type]
        return joined, slice(split, None) if kind is Kind.UNIT else slice(0, split)
    if kind is Kind.UNIT:
        candidates = (getattr(getattr(owner, "mlp", None), "fc2", None), getattr(owner, "mlp_out_proj", None))
    else:
        candidates = (getattr(owner, "proj", None), getattr(owner, "attn_out_proj", None))
    found = next((part for part in candidates if isinstance(part, nn.Linear)), None)
    return None if found is None else (found, slice(None))
