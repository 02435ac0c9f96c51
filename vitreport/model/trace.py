"""What a traced pass shows: what techniques may need, and a forward pass with a gradient of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import Enum, Flag, auto
from typing import Any

import torch
from torch import Tensor

from vitreport.model.families import Projections


class Need(Flag):
    """What a technique reads: of the trace, and for ``HEAD`` the model's head on tokens of any block."""

    NOTHING = 0
    ATTENTION = auto()
    ATTENTION_GRADIENT = auto()
    PROJECTIONS = auto()
    TOKENS = auto()
    TOKEN_GRADIENT = auto()
    FEATURES = auto()
    FEATURE_GRADIENT = auto()
    PIXEL_GRADIENT = auto()
    BIASES = auto()
    HEAD = auto()
    GRAPH = auto()


READS_BLOCKS = (
    Need.ATTENTION
    | Need.ATTENTION_GRADIENT
    | Need.PROJECTIONS
    | Need.TOKENS
    | Need.TOKEN_GRADIENT
    | Need.BIASES
)
"""Needs that only a plain sequence of attention blocks can meet."""
GRADIENTS = (
    Need.ATTENTION_GRADIENT
    | Need.TOKEN_GRADIENT
    | Need.FEATURE_GRADIENT
    | Need.PIXEL_GRADIENT
    | Need.BIASES
    | Need.GRAPH
)


class Backward(Enum):
    """Which gradient a trace has."""

    PLAIN = "plain"
    LIBRA = "Libra"


@dataclass(frozen=True)
class Forward:
    """What a forward pass showed, with its graph where gradients are needed; what is not needed is empty.

    Attributes:
        logits: ``(batch, classes)``.
        pixels: what the model was given, normalised, ``(batch, 3, height, width)``.
        readout: share of each token in what the head reads, ``(batch, tokens)``; of a model that is no plain
            sequence of blocks ``(batch, 0)``.
        attention: per block, after the softmax, ``(batch, heads, tokens, tokens)``; row i is what token i
            draws from, and sums to 1.
        projections: per block.
        tokens: the residual stream: what each block is given, then what the last one gives,
            ``(batch, tokens, width)``.
        features: the patches at the first norm of the last block, ``(batch, rows, cols, channels)``; with
            its graph, as the model has it: ``(batch, …, channels)``.
    """

    logits: Tensor
    pixels: Tensor
    readout: Tensor
    attention: tuple[Tensor, ...] = ()
    projections: tuple[Projections, ...] = ()
    tokens: tuple[Tensor, ...] = ()
    features: Tensor | None = None


@dataclass(frozen=True)
class Trace(Forward):
    """A forward pass without its graph, and the gradient of one target logit an image.

    Attributes:
        targets: explained classes, ``(batch,)``.
        attention_gradient: per block d(target logit) / d(attention), ``(batch, heads, tokens, tokens)``.
        token_gradient: d(target logit) / d(tokens), one for each of ``tokens``.
        feature_gradient: d(target logit) / d(features).
        pixel_gradient: d(target logit) / d(pixels).
        biases: what all biases add to the target logit: at each token, ``(batch, tokens)``, and where they
            belong to no token, ``(batch,)``.
        graph: the forward pass with its graph, for techniques that take gradients of their own.
    """

    targets: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    attention_gradient: tuple[Tensor, ...] = ()
    token_gradient: tuple[Tensor, ...] = ()
    feature_gradient: Tensor | None = None
    pixel_gradient: Tensor | None = None
    biases: tuple[Tensor, Tensor] | None = None
    graph: Forward | None = None

    def only(self, places: Sequence[int]) -> Trace:
        """The trace of some images of the batch, without the graph."""
        return Trace(**{part.name: _rows(getattr(self, part.name), places) for part in fields(self)})


def _rows(values: Any, places: Sequence[int]) -> Any:
    """The rows of some images in whatever a trace has."""
    if isinstance(values, Tensor):
        return values[places[0] : places[0] + 1] if len(places) == 1 else values[list(places)]
    if isinstance(values, tuple):
        return tuple(_rows(value, places) for value in values)
    if isinstance(values, Projections):
        return Projections(*(_rows(part, places) for part in (values.queries, values.keys, values.values)))
    return None
