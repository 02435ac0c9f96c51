"""Pictures of queries, keys and values, and a finder for the two patterns that the 2020 study describes.

One way: the query of a channel is positive nearly everywhere, and its key only on the object, so the
whole picture sends attention to the object. Two ways: query and key have their rarer sign on different
parts of the object, so that these parts attend to each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from vitreport.configurable import count
from vitreport.model.families import Projections
from vitreport.model.trace import Need
from vitreport.model.transfer import fetched
from vitreport.techniques.gradient.gradient_rollout import GradientRollout
from vitreport.techniques.order import sort_rows
from vitreport.techniques.technique import Context, Observation, register

OBJECT_SHARE = 0.2
FEWEST_PATCHES = 4
PATTERNS = ("one_way", "two_way")


@register
@dataclass(frozen=True)
class QKV(Observation):
    """For each pattern the channels that fit it best, with their raw q, k and v on the patch grid.

    Queries and keys are those before any rotary embedding. The object is taken to be the 20 % of patches
    that gradient rollout for the first target ranks highest. Blocks, heads and channels count from 0.

    Source:
        Gildenblat 2020, Exploring Explainability for Vision Transformers, for the pictures and the patterns;
        the scores that rank channels are ours.
    """

    name = "qkv"
    title = "Queries, keys and values"
    family = "attention"
    needs = Need.ATTENTION | Need.ATTENTION_GRADIENT | Need.PROJECTIONS
    class_specific = True
    source = "Gildenblat, Exploring Explainability for Vision Transformers, 2020"
    shows = (
        "Single channels at work: in the one-way pattern the whole picture sends attention to the object; in "
        "the two-way pattern parts of the object attend to each other."
    )
    does_not_show = (
        "That these channels decide the prediction. The ranking leans on gradient rollout's idea of the "
        "object, and the best of hundreds of channels always looks striking."
    )
    columns: ClassVar[Mapping[str, str]] = {
        "target": "int32",
        "pattern": "string",
        "rank": "int32",
        "block": "int32",
        "head": "int32",
        "channel": "int32",
        "score": "float32",
        "rows": "int32",
        "cols": "int32",
        "q": "list<float32>",
        "k": "list<float32>",
        "v": "list<float32>",
    }

    channels: int = count(3, 1, 64, "channels kept for each pattern")

    def observe(self, context: Context) -> Iterator[list[dict[str, Any]]]:
        """See `Observation.observe`."""
        layout, scores = context.model.layout, pattern_scores(context)
        heads, channels = scores["one_way"].shape[2:]
        kept = min(self.channels, scores["one_way"][0].numel())
        best = [scores[pattern].flatten(1).topk(kept, 1) for pattern in PATTERNS]
        values, places = (torch.cat(parts, 1) for parts in zip(*best, strict=True))
        pictures = [layout.to_grid(part) for part in _channels(context.trace.projections, places)]
        targets, *found = fetched(context.trace.targets, values, places, *pictures)
        for target, *of_image in zip(targets.tolist(), *found, strict=True):
            rows = []
            for number, (value, place, *shown) in enumerate(zip(*of_image, strict=True)):
                pattern, rank = divmod(number, kept)
                block, rest = divmod(int(place), heads * channels)
                head, channel = divmod(rest, channels)
                rows.append(
                    {
                        "target": target,
                        "pattern": PATTERNS[pattern],
                        "rank": rank,
                        "block": block,
                        "head": head,
                        "channel": channel,
                        "score": float(value),
                        "rows": layout.grid[0],
                        "cols": layout.grid[1],
                        **{name: picture.ravel() for name, picture in zip("qkv", shown, strict=True)},
                    }
                )
            yield rows


def _channels(projections: Sequence[Projections], places: Tensor) -> list[Tensor]:
    """Queries, keys and values of some channels of each image, ``(batch, places, tokens)`` each.

    Args:
        projections: of each block.
        places: of the channels, counted through blocks and heads, ``(batch, places)``.
    """
    _, heads, _, channels = projections[0].queries.shape
    block, head = places // (heads * channels), places // channels % heads
    images = torch.arange(len(places), device=places.device).unsqueeze(1)
    chosen = [
        [part[images, head, :, places % channels] for part in (shown.queries, shown.keys, shown.values)]
        for shown in projections
    ]
    found = chosen[0]
    for number, later in enumerate(chosen[1:], 1):
        here = (block == number).unsqueeze(2)
        found = [torch.where(here, new, old) for new, old in zip(later, found, strict=True)]
    return found


def pattern_scores(context: Context) -> dict[str, Tensor]:
    """How well each channel fits the two patterns.

    With O the object, ``positive`` the share of patches with a positive value, and AUC how well a channel
    ranks O above the rest: one way = positive(q) * 2 max(0, AUC(k on O) - 0.5). With M_q and M_k the
    patches of q's and of k's rarer sign, at least 4 each: two way = share of M_q in O * share of M_k in O *
    (1 - intersection over union of M_q and M_k).

    Returns:
        ``one_way`` and ``two_way``: ``(batch, blocks, heads, channels)``, both in [0, 1].
    """
    layout = context.model.layout
    relevance = context.map_of(GradientRollout()).flatten(1)
    inside = max(1, round(OBJECT_SHARE * layout.num_patches))
    member = torch.zeros_like(relevance, dtype=torch.bool)
    member.scatter_(1, relevance.topk(inside, 1).indices, True)
    counters = torch.stack([torch.ones_like(relevance), member.float()], 1).unsqueeze(1)
    one_way, two_way = [], []
    for projections in context.trace.projections:
        queries, keys = (
            projection[:, :, layout.num_prefix_tokens :]
            for projection in (projections.queries, projections.keys)
        )
        positive_q, positive_k = _positive(queries), _positive(keys)
        count_q, count_k = ((counters @ positive).unbind(2) for positive in (positive_q, positive_k))
        both = positive_q.mul_(positive_k).sum(2)
        auc = _auc(keys, member, inside)
        share_q = count_q[0] / layout.num_patches
        one_way.append(share_q * 2 * (auc - 0.5).clamp(min=0))
        two_way.append(_two_way(count_q, count_k, both, layout.num_patches, inside))
    return {"one_way": torch.stack(one_way, 1), "two_way": torch.stack(two_way, 1)}


def _positive(values: Tensor) -> Tensor:
    """1 where positive, else 0, of the same shape.

    The comparison writes floats at once, which takes half the time of comparing and casting.
    """
    return torch.gt(values, 0, out=torch.empty(values.shape, device=values.device))


Counts = tuple[Tensor, ...]


def _two_way(positive_q: Counts, positive_k: Counts, both: Tensor, patches: int, inside: int) -> Tensor:
    """Scores ``(batch, heads, channels)`` from counts of positive patches.

    Args:
        positive_q: of the query, (in all patches, in those of the object).
        positive_k: of the key, likewise.
        both: patches where query and key are positive.
        patches: of an image.
        inside: patches of the object.
    """
    flip_q, flip_k = (positive[0] > patches / 2 for positive in (positive_q, positive_k))
    size_q, size_k = (
        torch.where(flip, patches - positive[0], positive[0])
        for flip, positive in ((flip_q, positive_q), (flip_k, positive_k))
    )
    hits_q, hits_k = (
        torch.where(flip, inside - positive[1], positive[1])
        for flip, positive in ((flip_q, positive_q), (flip_k, positive_k))
    )
    shared = torch.where(flip_q, positive_k[0] - both, both)  # rarer q where k is positive
    shared = torch.where(flip_k, size_q - shared, shared)
    overlap = shared / (size_q + size_k - shared).clamp(min=1)
    enough = (size_q >= FEWEST_PATCHES) & (size_k >= FEWEST_PATCHES)
    return hits_q / size_q.clamp(min=1) * (hits_k / size_k.clamp(min=1)) * (1 - overlap) * enough


def _auc(values: Tensor, member: Tensor, members: int) -> Tensor:
    """Area under the ROC curve of `values` as a ranking of the object's patches.

    A channel that has the same value everywhere ranks nothing: 0.5. Membership is written into the lowest
    bit of each value's mantissa, so that a plain sort, without indices, gives the ranks of the members.

    Args:
        values: ``(batch, heads, patches, channels)``.
        member: ``(batch, patches)``.
        members: how many there are in each image.

    Returns:
        ``(batch, heads, channels)`` in [0, 1].
    """
    tagged = values.mT.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    bits = tagged.view(torch.int32)
    bits &= -2
    bits |= member[:, None, None].int()
    patches = tagged.shape[-1]
    positions = torch.arange(patches, device=values.device, dtype=torch.float32)
    bits = sort_rows(tagged).view(torch.int32)
    flat = (bits[..., 0] | 1) == (bits[..., -1] | 1)
    bits &= 1
    area = (bits.float() @ positions - members * (members - 1) / 2) / (members * (patches - members))
    return torch.where(flat, 0.5, area)
