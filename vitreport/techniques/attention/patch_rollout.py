"""Rollout between all tokens: where every patch's information came from, and where it goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vitreport.configurable import count
from vitreport.model.trace import Need
from vitreport.techniques.attention.rollout import fuse
from vitreport.techniques.technique import Context, Observation, register

STEPS = 255
"""The largest value of a byte: a column's largest entry."""


@register
@dataclass(frozen=True)
class PatchRollout(Observation):
    """The whole product over the blocks of row-normalised (mean attention + identity), in bytes.

    Row i says from which tokens of the input the information in token i after the last block came, and
    sums to 1; column j says into which tokens that of token j went. What a token keeps of itself is a float;
    the rest of a column is stored as bytes and one scale, since rows of deep models hardly differ: an entry
    is off by at most 1/510 of its column's largest.

    Source:
        Abnar and Zuidema 2020, Quantifying Attention Flow in Transformers, arXiv:2005.00928, section 3.
    """

    name = "patch_rollout"
    title = "Rollout between patches"
    family = "attention"
    needs = Need.ATTENTION
    source = (
        "Abnar and Zuidema, Quantifying Attention Flow in Transformers, 2020, arXiv:2005.00928, section 3"
    )
    shows = "For every patch, which patches its information came from and which ones it went to."
    does_not_show = (
        "What the model makes of it: values, MLPs and the sign of their influence are ignored, and it is the "
        "same for every class."
    )
    cost = "the shared forward pass, and a product of two matrices a block"
    columns: ClassVar[Mapping[str, str]] = {
        "prefix": "int32",
        "rows": "int32",
        "cols": "int32",
        "readout": "list<float32>",
        "own": "list<float32>",
        "scales": "list<float32>",
        "values": "list<uint8>",
    }

    images: int = count(16, 1, 1_000_000, "keep it for the first so many images of a run")

    @property
    def most_images(self) -> int | None:
        """See `Explainable.most_images`."""
        return self.images

    def observe(self, context: Context) -> Iterator[list[dict[str, Any]]]:
        """See `Observation.observe`.

        ``values`` are ``(tokens, tokens)``, row by row, prefix tokens first; times a column's ``scales`` and
        divided by 255 they are shares, but for those on the diagonal, which are ``own``. ``readout`` is the
        share of each token in what the head reads.
        """
        layout, trace = context.model.layout, context.trace
        matrices = rollout_matrix(trace.attention).float().cpu().numpy()
        for matrix, readout in zip(matrices, trace.readout.float().cpu().numpy(), strict=True):
            if not np.isfinite(matrix).all():
                yield [{"error": "the rollout has values that are not finite"}]
                continue
            scales, values = quantised(matrix)
            yield [
                {
                    "prefix": layout.num_prefix_tokens,
                    "rows": layout.grid[0],
                    "cols": layout.grid[1],
                    "readout": readout,
                    "own": matrix.diagonal().copy(),
                    "scales": scales,
                    "values": values.ravel(),
                }
            ]


def rollout_matrix(attention: Sequence[Tensor]) -> Tensor:
    """The product over the blocks, ``(batch, tokens, tokens)``; each row sums to 1.

    Args:
        attention: of each block, the first one first, ``(batch, heads, tokens, tokens)``.
    """
    product: Tensor | None = None
    for block in attention:
        fused = fuse(block, "mean")
        fused.diagonal(dim1=-2, dim2=-1).add_(1)
        fused /= fused.sum(-1, keepdim=True)
        product = fused if product is None else fused @ product
    if product is None:
        raise ValueError("the model has no blocks")
    return product


def quantised(matrix: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Each column of ``(tokens, tokens)``, not negative: its largest entry, and bytes; 0 on the diagonal."""
    others = matrix.copy()
    np.fill_diagonal(others, 0)
    scales = others.max(0)
    steps = np.rint(others * (STEPS / np.where(scales > 0, scales, 1)))
    return scales, steps.astype(np.uint8)
