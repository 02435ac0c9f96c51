"""Attention rollout: attention multiplied through the blocks, with the residual connection added."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar, Self

import torch
from torch import Tensor

from vitreport.configurable import choice, number
from vitreport.model.trace import Need, Trace
from vitreport.settings import Parameter
from vitreport.techniques.order import smallest
from vitreport.techniques.technique import Context, Technique, register

FUSIONS = ("mean", "max", "min")
STUDY_SWEEP: tuple[Mapping[str, Parameter], ...] = tuple(
    {"fusion": "max", "discard_ratio": ratio} for ratio in (0.5, 0.8, 0.9, 0.95)
)


@dataclass(frozen=True)
class Rollout(Technique):
    """What rollouts share: one non-negative matrix a block, multiplied through with the identity added.

    The readout's row is carried from the last block to the first (a vector times a matrix a block), which
    is the same row that the product of the matrices has.
    """

    keep_first: ClassVar[bool]
    """Whether the public discard spares the entry (0, 0)."""

    fusion: str = choice("mean", FUSIONS, "how the heads of a block become one matrix")
    discard_ratio: float = number(
        0.0, 0, 1, "share of the smallest entries of each fused matrix that is set to zero", open=True
    )
    discard: str = choice(
        "patches",
        ("patches", "public"),
        "what the share is taken of: the columns of the patches, or, as in the public code, the whole matrix",
    )

    @property
    def mode(self) -> tuple[str, ...]:
        """The parameters that decide `matrices`."""
        return (self.fusion,)

    @abstractmethod
    def matrices(self, trace: Trace) -> Iterator[Tensor]:
        """The fused matrix of each block, ``(batch, tokens, tokens)``, not negative, last block first."""

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`; settings of one mode and discard share matrices and sorting.

        All walk through the blocks together, so that a block's attention is read while it is at hand.
        """
        trace, layout = context.trace, context.model.layout
        ordered = sorted(set(techniques), key=lambda one: (one.mode, one.discard, one.discard_ratio))
        groups = [list(group) for _, group in groupby(ordered, key=lambda one: (one.mode, one.discard))]
        walks = [
            Walk(
                trace.readout,
                [member.discard_ratio for member in group],
                first_column=layout.num_prefix_tokens if group[0].discard == "patches" else 0,
                keep_first=group[0].discard == "public" and cls.keep_first,
            )
            for group in groups
        ]
        for matrices in zip(*(group[0].matrices(trace) for group in groups), strict=True):
            for walk, matrix in zip(walks, matrices, strict=True):
                walk.through(matrix)
        maps = {
            member: layout.to_grid(row)
            for group, walk in zip(groups, walks, strict=True)
            for member, row in zip(group, walk.rows, strict=True)
        }
        for technique in techniques:
            yield maps[technique]


@register
@dataclass(frozen=True)
class AttentionRollout(Rollout):
    """Readout row of the product over the blocks of row-normalised (fused attention + identity).

    Values lie in [0, 1].

    Source:
        Abnar and Zuidema 2020, Quantifying Attention Flow in Transformers, arXiv:2005.00928, section 3.
        Head fusion by max or min and the discard: Gildenblat 2020, Exploring Explainability for Vision
        Transformers.

    Differs:
        The public code for Vision Transformers divides columns where it means rows, and discards in the
        first image of a batch only; here rows are normalised and each image is treated alike. Entries equal
        to the largest discarded one are discarded too.
    """

    name = "attention_rollout"
    title = "Attention rollout"
    family = "attention"
    needs = Need.ATTENTION
    source = (
        "Abnar and Zuidema, Quantifying Attention Flow in Transformers, 2020, arXiv:2005.00928, section 3; "
        "head fusion and discard: Gildenblat, Exploring Explainability for Vision Transformers, 2020"
    )
    shows = (
        "How much of each patch can reach the model's readout when attention is followed through all blocks "
        "and half of every token is assumed to pass by unchanged."
    )
    does_not_show = (
        "What the model makes of these patches: values, MLPs and the sign of their influence are ignored, "
        "and the map is the same for every class."
    )
    differs = (
        "The public code for Vision Transformers divides columns where it means rows and discards in the "
        "first image of a batch only; here rows are normalised and all images are treated alike."
    )
    tier_settings: ClassVar[tuple[Mapping[str, Parameter], ...]] = (
        {"fusion": "mean"},
        {"fusion": "max"},
        {"fusion": "min"},
        *STUDY_SWEEP,
    )

    keep_first = True

    def matrices(self, trace: Trace) -> Iterator[Tensor]:
        """See `Rollout.matrices`."""
        return (fuse(attention, self.fusion) for attention in reversed(trace.attention))


def fuse(attention: Tensor, fusion: str) -> Tensor:
    """Fuses the heads of ``(batch, heads, tokens, tokens)`` into ``(batch, tokens, tokens)``.

    The mean adds one head after the other, which on a CPU takes a third of the time of `torch.mean`.
    """
    if fusion == "mean":
        first, *others = attention.unbind(1)
        total = first.clone()
        for head in others:
            total += head
        return total.div_(attention.shape[1])
    return attention.amax(1) if fusion == "max" else attention.amin(1)


class Walk:
    """Carries the readout's row through row-normalised (matrix + identity), last block first.

    Args:
        readout: shares ``(batch, tokens)``.
        ratios: shares of the smallest entries to set to zero, in rising order; each has a row of its own.
        first_column: entries from this column on are counted and can be discarded.
        keep_first: whether the entry (0, 0) is never discarded.

    Attributes:
        rows: for each ratio the row so far, ``(batch, tokens)``.
    """

    def __init__(
        self, readout: Tensor, ratios: Sequence[float], *, first_column: int, keep_first: bool
    ) -> None:
        self.rows = [readout for _ in ratios]
        self._ratios = ratios
        self._first_column = first_column
        self._keep_first = keep_first

    def through(self, matrix: Tensor) -> None:
        """Goes through one block: fused ``(batch, tokens, tokens)``, not negative; it is written to."""
        first = self._first_column
        counted = matrix[:, :, first:]
        spared, corner = matrix[:, :, :first].clone(), matrix[:, 0, 0].clone()
        counts = [int(ratio * counted[0].numel()) for ratio in self._ratios]
        for place, threshold in enumerate(smallest(counted, counts)):
            if threshold is not None:
                _discard(matrix, threshold)
                matrix[:, :, :first] = spared
                if self._keep_first:
                    matrix[:, 0, 0] = corner
            share = self.rows[place] / (matrix.sum(-1) + 1)
            self.rows[place] = share + (share.unsqueeze(1) @ matrix).squeeze(1)


def _discard(matrix: Tensor, threshold: Tensor) -> None:
    """Sets each image's entries up to its threshold to zero, in place.

    The comparison writes floats at once, which is faster than a mask that is cast in the product.
    """
    matrix.mul_(torch.gt(matrix, threshold.view(-1, 1, 1), out=torch.empty_like(matrix)))
