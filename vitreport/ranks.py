"""Rank correlation of maps, exact where ranks are tied; numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]


def centred_ranks(values: ArrayLike) -> Floats:
    """Ranks along the last axis, ties sharing their mean rank, less the mean of all.

    Args:
        values: ``(…, items)``.

    Returns:
        float64 of the same shape; NaN in every row that has a value which is not finite.
    """
    table = np.asarray(values, dtype=np.float64)
    ranks = rankdata(table, axis=-1) - (table.shape[-1] + 1) / 2
    return np.where(np.isfinite(table).all(-1, keepdims=True), ranks, np.nan)


def spearman(one: ArrayLike, other: ArrayLike) -> Floats:
    """Spearman's rank correlation of the rows of two tables.

    Source:
        Spearman 1904, The proof and measurement of association between two things, American Journal of
        Psychology 15(1).

    Args:
        one: ``(…, items)``.
        other: as `one`.

    Returns:
        ``(…)`` in [-1, 1], exactly 1 for equal orders; NaN where a row is constant or not finite.
    """
    first, second = centred_ranks(one), centred_ranks(other)
    size = np.sqrt((first * first).sum(-1) * (second * second).sum(-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.clip((first * second).sum(-1) / size, -1, 1)
    return found
