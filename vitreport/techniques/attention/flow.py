"""Attention flow: how much can run from the readout to a patch when attention weights are pipes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_flow
from torch import Tensor

from vitreport.configurable import count
from vitreport.model.trace import Need
from vitreport.techniques.technique import Context, Technique, Tier, register

FloatMatrix = NDArray[np.float64]
Capacities = NDArray[np.int32]
_UNIT = 2**30
"""The capacity 1. What leaves the source sums to 1, so no flow comes near the end of 32 bits."""
_WIDEST = 16
"""Pipes out of a token that the first try keeps."""


@register
@dataclass(frozen=True)
class AttentionFlow(Technique):
    """Maximum flow from the readout to each input patch; a pipe's capacity is its attention.

    The pipe from token i after a block to token j before it holds the entry (i, j) of the row-normalised
    (mean attention over heads + identity). The source feeds each token after the last block with the share
    that the head reads of it. Values lie in [0, 1].

    Source:
        Abnar and Zuidema 2020, Quantifying Attention Flow in Transformers, arXiv:2005.00928, section 3.

    Differs:
        The public code divides each row of flows by its sum; this is the flow itself. A head that reads
        several tokens feeds each by its share, where the paper knows one readout token.
    """

    name = "attention_flow"
    title = "Attention flow"
    family = "attention"
    tier: ClassVar[Tier] = "all"
    opt_in = True
    needs = Need.ATTENTION
    source = (
        "Abnar and Zuidema, Quantifying Attention Flow in Transformers, 2020, arXiv:2005.00928, section 3"
    )
    shows = (
        "How much could run from the readout to each patch if attention weights were the capacities of pipes "
        "and half of every token passed by unchanged."
    )
    does_not_show = (
        "What did run: it is an upper limit. In deep models the later blocks seldom limit it, and the map is "
        "then what the first block attends to, cut at 1. Values, MLPs and the class are ignored."
    )
    differs = (
        "The public code divides each row of flows by its sum; this is the flow itself. A head that reads "
        "several tokens feeds each by its share."
    )
    cost = "the shared forward pass, and a maximum flow for each patch: seconds to minutes an image"

    images: int = count(4, 1, 1_000_000, "explain only the first so many images of a run")

    @property
    def most_images(self) -> int | None:
        """See `Explainable.most_images`."""
        return self.images

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        trace, layout = context.trace, context.model.layout
        rows = []
        for image, shares in enumerate(trace.readout.double().cpu().numpy()):
            matrices = [augmented(attention[image]) for attention in reversed(trace.attention)]
            rows.append(flows(matrices, shares, range(layout.num_prefix_tokens, layout.num_tokens)))
        patches = torch.from_numpy(np.stack(rows)).to(trace.readout)
        for _ in techniques:
            yield patches.view(-1, *layout.grid)


def augmented(attention: Tensor) -> FloatMatrix:
    """Row-normalised (mean over heads + identity), in float64, of ``(heads, tokens, tokens)``."""
    fused = attention.mean(0).double().cpu().numpy() + np.eye(attention.shape[-1])
    normalised: FloatMatrix = fused / fused.sum(1, keepdims=True)
    return normalised


def flows(matrices: Sequence[FloatMatrix], shares: NDArray[np.float64], sinks: Sequence[int]) -> FloatMatrix:
    """Maximum flows from one source to single tokens of the input, each exact to a billionth of its pipes.

    No flow is larger than what leaves the source or than what can enter the sink. Most flows reach one of
    these bounds through the widest pipes alone, which proves them largest; for the others all pipes count.

    Args:
        matrices: capacities of each block, ``(tokens, tokens)``, last block first; row: after the block.
        shares: capacity from the source to each token after the last block; the sum is 1.
        sinks: tokens of the input.

    Returns:
        ``(sinks,)``; NaN where a capacity is not finite.
    """
    if not all(np.isfinite(values).all() for values in (shares, *matrices)):
        return np.full(len(sinks), np.nan)
    source = _capacities(shares)
    first, *inner = (_capacities(matrix) for matrix in matrices)
    first[source == 0] = 0
    *inner, last = (first, *inner)
    thin = _network(source, [*inner[:1], *map(_widest, inner[1:])])
    whole = None
    found = []
    for sink in sinks:
        column = last[:, sink]
        value = _flow(thin, column)
        if value < min(source.sum(dtype=np.int64), column.sum(dtype=np.int64)):
            whole = _network(source, inner) if whole is None else whole
            value = _flow(whole, column)
        found.append(value / _UNIT)
    return np.array(found)


def _capacities(values: FloatMatrix) -> Capacities:
    return np.rint(values * _UNIT).astype(np.int32)


def _widest(matrix: Capacities) -> Capacities:
    """Keeps the widest pipes out of each token."""
    if matrix.shape[1] <= _WIDEST:
        return matrix
    edge = np.partition(matrix, -_WIDEST, axis=1)[:, -_WIDEST, None]
    return np.where(matrix >= edge, matrix, 0)


def _network(source: Capacities, inner: Sequence[Capacities]) -> csr_matrix:
    """The pipes from the source to the tokens before the last but one step, and one from each to the sink.

    Node 0 is the source; then come the tokens, level by level; the last node is the sink, whose pipes are
    the last entries, one a token, still to be filled in.
    """
    tokens = len(source)
    sink = 1 + tokens * (len(inner) + 1)
    capacities, ends, counts = [], [], []
    for level, matrix in enumerate([source[None], *inner]):
        rows, columns = matrix.nonzero()
        capacities.append(matrix[rows, columns])
        ends.append(1 + tokens * level + columns)
        counts.append(np.bincount(rows, minlength=len(matrix)))
    capacities.append(np.zeros(tokens, np.int32))
    ends.append(np.full(tokens, sink))
    counts += [np.ones(tokens, np.int64), np.zeros(1, np.int64)]
    starts = np.concatenate(([0], np.cumsum(np.concatenate(counts)))).astype(np.int32)
    pipes = (np.concatenate(capacities), np.concatenate(ends).astype(np.int32), starts)
    return csr_matrix(pipes, shape=(sink + 1, sink + 1))


def _flow(network: csr_matrix, column: Capacities) -> int:
    """The maximum flow into a sink whose pipes are `column`."""
    network.data[-len(column) :] = column
    found = maximum_flow(network, 0, network.shape[0] - 1, method="dinic")
    return int(found.flow_value)
