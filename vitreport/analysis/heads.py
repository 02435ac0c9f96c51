"""What heads do over the whole run: how far they look, how sharply, and which do the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vitreport.analysis.intervals import Interval, means
from vitreport.analysis.observations import array_of, observation, sound_parts
from vitreport.analysis.statistics import Bootstrap, Floats, mean_of_defined
from vitreport.ranks import spearman
from vitreport.store import Run

OBSERVATION = "attention_statistics"
ENTROPY, DISTANCE, PREFIX, REDUNDANCY = "entropy", "distance", "prefix_mass", "redundancy"
QUANTITIES = (ENTROPY, DISTANCE, PREFIX, REDUNDANCY)


@dataclass(frozen=True)
class Head:
    """One head and one of its numbers.

    Attributes:
        block: from 0.
        head: from 0.
        value: mean over the images.
    """

    block: int
    head: int
    value: float


@dataclass(frozen=True, eq=False)
class HeadAtlas:
    """Means over the images of what each head's attention is like.

    Attributes:
        n: images.
        heads: by quantity, ``(blocks, heads)``: ``entropy`` in nats, ``distance`` in pixels, ``prefix_mass``
            in [0, 1], ``redundancy`` in [-1, 1]; NaN where it is undefined for every image.
        blocks: by quantity, the mean over the heads of each block.
        growth: Spearman's rank correlation of a block's mean distance with its number, mean over the
            images, in [-1, 1]: 1 where every block looks farther than the one before, in every image.
    """

    n: int
    heads: Mapping[str, Floats]
    blocks: Mapping[str, tuple[Interval, ...]]
    growth: Interval

    def most_redundant(self, most: int = 10) -> tuple[Head, ...]:
        """Heads that attend most like the other heads of their block, the most redundant first."""
        values = self.heads[REDUNDANCY]
        heads = [
            Head(block, head, float(value))
            for (block, head), value in np.ndenumerate(values)
            if value == value
        ]
        return tuple(sorted(heads, key=lambda head: (-head.value, head.block, head.head))[:most])


def head_atlas(run: Run, bootstrap: Bootstrap) -> HeadAtlas | None:
    """Reads what heads attend to.

    Source:
        mean attention distance by block: Dosovitskiy et al. 2020, An Image is Worth 16x16 Words,
        arXiv:2010.11929, figure 7.

    Returns:
        None where the run has no statistics of attention.
    """
    record = observation(run, OBSERVATION)
    if record is None:
        return None
    n = 0
    sums: dict[str, Floats] = {}
    counts: dict[str, Floats] = {}
    by_block: dict[str, list[Floats]] = {name: [] for name in QUANTITIES}
    for table in sound_parts(run, record):
        shape = tuple(table[name][0].as_py() for name in ("blocks", "heads"))
        n += len(table)
        for name in QUANTITIES:
            values = array_of(table, name, shape)
            defined = np.isfinite(values)
            sums[name] = sums.get(name, np.zeros(shape)) + np.where(defined, values, 0).sum(axis=0)
            counts[name] = counts.get(name, np.zeros(shape)) + defined.sum(axis=0)
            by_block[name].append(mean_of_defined(values.reshape(-1, shape[1])).reshape(-1, shape[0]))
    if not n:
        return None
    heads = {
        name: np.where(counts[name] > 0, sums[name] / np.maximum(counts[name], 1), np.nan)
        for name in QUANTITIES
    }
    tables = {name: np.concatenate(parts) for name, parts in by_block.items()}
    distance = tables[DISTANCE]
    rising = spearman(distance, np.broadcast_to(np.arange(distance.shape[1]), distance.shape))
    *found, growth = means(np.vstack([*(tables[name].T for name in QUANTITIES), rising]), bootstrap)
    size = distance.shape[1]
    blocks = {name: tuple(found[place * size :][:size]) for place, name in enumerate(QUANTITIES)}
    return HeadAtlas(n, heads, blocks, growth)
