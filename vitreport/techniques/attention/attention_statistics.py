"""What kind of attention each head has: how spread, how far, how much on prefix tokens, how like others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from vitreport.model.layout import TokenLayout
from vitreport.model.trace import Need
from vitreport.techniques.technique import Context, Observation, register

MOST_QUERIES = 64
"""Patch tokens whose attention is looked at, evenly chosen from all."""


@register
@dataclass(frozen=True)
class AttentionStatistics(Observation):
    """Four numbers for every block and head, each a mean over patch tokens as queries, 64 of them at most.

    Source:
        Dosovitskiy et al. 2020, An Image is Worth 16x16 Words, arXiv:2010.11929, appendix D.7 (attention
        distance); Clark et al. 2019, What Does BERT Look At?, arXiv:1906.04341, section 3 (entropy).
    """

    name = "attention_statistics"
    title = "Heads in numbers"
    family = "attention"
    needs = Need.ATTENTION
    source = (
        "Dosovitskiy et al., An Image is Worth 16x16 Words, 2020, arXiv:2010.11929, appendix D.7; Clark et "
        "al., What Does BERT Look At?, 2019, arXiv:1906.04341, section 3"
    )
    shows = (
        "Which heads look near and which far, which spread and which pick, how much goes to prefix tokens, "
        "and which heads of a block do the same."
    )
    does_not_show = "What a head is for, and whether the prediction would change without it."
    columns: ClassVar[Mapping[str, str]] = {
        "blocks": "int32",
        "heads": "int32",
        "entropy": "list<float32>",
        "distance": "list<float32>",
        "prefix_mass": "list<float32>",
        "redundancy": "list<float32>",
    }

    def observe(self, context: Context) -> Iterator[list[dict[str, Any]]]:
        """See `Observation.observe`; the lists are ``(blocks, heads)``, row by row.

        ``entropy`` is in nats, ``distance`` in pixels of the input with the attention on patches scaled to
        sum to 1, ``prefix_mass`` in [0, 1], ``redundancy`` the mean correlation with the other heads of the
        block in [-1, 1], NaN where there is no other.
        """
        layout = context.model.layout
        several = min(MOST_QUERIES, layout.num_patches)
        queries = torch.linspace(0, layout.num_patches - 1, several).round().long()
        queries = queries.to(context.trace.logits.device)
        distances = _distances(layout, queries)
        found = [
            _numbers(attention, queries + layout.num_prefix_tokens, distances)
            for attention in context.trace.attention
        ]
        numbers = torch.stack(found, 2).float().cpu().numpy()
        for image in numbers:
            names = ("entropy", "distance", "prefix_mass", "redundancy")
            shape = {"blocks": image.shape[1], "heads": image.shape[2]}
            yield [{**shape, **{name: one.ravel() for name, one in zip(names, image, strict=True)}}]


def _distances(layout: TokenLayout, queries: Tensor) -> Tensor:
    """Pixels from the centres of some patches to those of all, ``(queries, patches)``."""
    rows, cols = layout.grid
    row, col = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    places = torch.stack((row.ravel() * layout.patch_size[0], col.ravel() * layout.patch_size[1]), 1)
    places = places.to(queries.device, torch.float32)
    return torch.cdist(places[queries], places)


def _numbers(attention: Tensor, queries: Tensor, distances: Tensor) -> Tensor:
    """``(batch, heads, tokens, tokens)``, some of its rows, to ``(batch, 4, heads)``."""
    asked = attention.index_select(2, queries).float()
    entropy = -asked.clamp(min=1e-30).log_().mul_(asked).sum((2, 3)) / len(queries)
    patches = asked[..., -distances.shape[1] :]
    on_patches = patches.sum(-1)
    weighted = (patches * distances).sum(-1)
    distance = (weighted / on_patches.clamp(min=1e-12)).mean(2)
    return torch.stack((entropy, distance, 1 - on_patches.mean(2), _redundancy(patches.flatten(2))), 1)


def _redundancy(heads: Tensor) -> Tensor:
    """Each head's mean correlation with the others, ``(batch, heads, values)`` to ``(batch, heads)``."""
    batch, several, _ = heads.shape
    if several == 1:
        return heads.new_full((batch, 1), torch.nan)
    centred = heads - heads.mean(2, keepdim=True)
    likeness = centred @ centred.mT
    spread = likeness.diagonal(dim1=1, dim2=2).sqrt().clamp(min=1e-12)
    likeness = likeness / (spread.unsqueeze(1) * spread.unsqueeze(2))
    others: Tensor = likeness.sum(2) - likeness.diagonal(dim1=1, dim2=2)
    return others / (several - 1)
