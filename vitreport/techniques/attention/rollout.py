"""Attention rollout: attention multiplied through the blocks, with the residual connection added."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar, Self

from torch import Tensor
from torch.nn import functional

from vitreport.model.trace import Need, Trace
from vitreport.settings import Parameter
from vitreport.techniques.order import smallest
from vitreport.techniques.technique import Context, Technique, choice, number, register

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

    @classmethod
    @abstractmethod
    def matrices(cls, trace: Trace, fusion: str) -> Iterator[Tensor]:
        """The fused matrix of each block, ``(batch, tokens, tokens)``, not negative, last block first."""

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`; settings of one fusion and discard share matrices and sorting."""
        trace, layout = context.trace, context.model.layout
        maps: dict[Self, Tensor] = {}
        ordered = sorted(set(techniques), key=lambda one: (one.fusion, one.discard, one.discard_ratio))
        for (fusion, discard), group in groupby(ordered, key=lambda one: (one.fusion, one.discard)):
            members = list(group)
            rows = roll_out(
                cls.matrices(trace, fusion),
                trace.readout,
                ratios=[member.discard_ratio for member in members],
                first_column=layout.num_prefix_tokens if discard == "patches" else 0,
                keep_first=discard == "public" and cls.keep_first,
            )
            maps |= {member: layout.to_grid(row) for member, row in zip(members, rows, strict=True)}
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

    @classmethod
    def matrices(cls, trace: Trace, fusion: str) -> Iterator[Tensor]:
        """See `Rollout.matrices`."""
        return (fuse(attention, fusion) for attention in reversed(trace.attention))


def fuse(attention: Tensor, fusion: str) -> Tensor:
    """Fuses the heads of ``(batch, heads, tokens, tokens)`` into ``(batch, tokens, tokens)``."""
    if fusion == "mean":
        return attention.mean(1)
    return attention.amax(1) if fusion == "max" else attention.amin(1)


def roll_out(
    matrices: Iterator[Tensor],
    readout: Tensor,
    ratios: Sequence[float],
    *,
    first_column: int,
    keep_first: bool,
) -> list[Tensor]:
    """Carries the readout's row through row-normalised (matrix + identity), for several discard ratios.

    Args:
        matrices: fused ``(batch, tokens, tokens)``, not negative, last block first; they are written to.
        readout: shares ``(batch, tokens)``.
        ratios: shares of the smallest entries to set to zero.
        first_column: entries from this column on are counted and can be discarded.
        keep_first: whether the entry (0, 0) is never discarded.

    Returns:
        For each ratio the row ``(batch, tokens)``.
    """
    order = sorted(range(len(ratios)), key=lambda place: ratios[place])
    rows = [readout for _ in ratios]
    for matrix in matrices:
        counted = matrix[:, :, first_column:]
        first_entry = matrix[:, 0, 0].clone()
        ascending = [int(ratios[place] * counted[0].numel()) for place in order]
        for place, threshold in zip(order, smallest(counted, ascending), strict=True):
            if threshold is not None:
                _discard(counted, threshold)
                if keep_first:
                    matrix[:, 0, 0] = first_entry
            share = rows[place] / (matrix.sum(-1) + 1)
            rows[place] = share + (share.unsqueeze(1) @ matrix).squeeze(1)
    return rows


def _discard(entries: Tensor, threshold: Tensor) -> None:
    """Sets each image's entries up to its threshold to zero, in place."""
    if entries.device.type == "cpu":  # one pass an image; the comparison and product below take three
        for image, limit in zip(entries, threshold.tolist(), strict=True):
            functional.threshold(image, limit, 0.0, inplace=True)
    else:
        entries.mul_(entries > threshold.view(-1, 1, 1))
