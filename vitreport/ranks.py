"""Rank correlation of maps, exact where ranks are tied; numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def centred_ranks(values: ArrayLike) -> Floats:
    """Ranks along the last axis, ties sharing their mean rank, less the mean of all.

    Args:
        values: ``(…, items)``.

    Returns:
        float64 of the same shape; NaN in every row that has a value which is not finite.
    """
    table = np.asarray(values, dtype=np.float64)
    items = table.shape[-1]
    order = table.argsort(axis=-1)
    ordered = np.take_along_axis(table, order, axis=-1)
    new = np.ones(table.shape, dtype=bool)
    new[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    ends = np.ones(table.shape, dtype=bool)
    ends[..., :-1] = new[..., 1:]
    places = np.arange(items)
    first = np.maximum.accumulate(np.where(new, places, 0), axis=-1)
    last = np.minimum.accumulate(np.where(ends, places, items)[..., ::-1], axis=-1)[..., ::-1]
    ranks = np.empty(table.shape)
    np.put_along_axis(ranks, order, (first + last - (items - 1)) / 2, axis=-1)
    return np.where(np.isfinite(table).all(axis=-1, keepdims=True), ranks, np.nan)


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
