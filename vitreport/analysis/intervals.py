"""Numbers with their intervals: means, ratios of means, and shares of a count."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, ndtri

from vitreport.analysis.statistics import Bootstrap, Estimates, Floats, mean_of_defined

_TIE = 1e-7
"""Relative difference up to which two probabilities count as equal, as in R's ``fisher.test``."""


@dataclass(frozen=True)
class Interval:
    """A number and how sure it is.

    Attributes:
        value: the estimate; NaN where there is nothing to estimate it from.
        low: of the interval; None where there are too few images for one.
        high: of the interval; None where there are too few images for one.
    """

    value: float
    low: float | None = None
    high: float | None = None


def shifted(found: Estimates, row: int, by: float = 0.0) -> Interval:
    """One of several estimates, with `by` added."""
    mean, low, high = (float(values[row]) + by for values in (found.mean, found.low, found.high))
    return Interval(mean, _known(low), _known(high))


def means(values: ArrayLike, bootstrap: Bootstrap) -> tuple[Interval, ...]:
    """The mean of each row and its bootstrap interval.

    Args:
        values: ``(rows, images)``; NaN where undefined.
        bootstrap: how images are drawn anew.
    """
    found = bootstrap.estimate(values)
    return tuple(shifted(found, row) for row in range(len(found.n)))


def ratios_of_means(above: ArrayLike, below: ArrayLike, bootstrap: Bootstrap) -> tuple[Interval, ...]:
    """The mean of each row of `above` over that of the same row of `below`, and its interval.

    The interval is the bootstrap's for the logarithm of the ratio, whose change with each image is taken to
    be linear (the delta method); so both ends are positive.

    Args:
        above: ``(rows, images)``, 0 or more; NaN where undefined.
        below: as `above`, undefined for the same images.
        bootstrap: how images are drawn anew.

    Returns:
        Infinite or NaN where the mean below is 0; without an interval where either mean is 0 or there are
        fewer than `FEWEST` images.
    """
    one, other = np.asarray(above, np.float64), np.asarray(below, np.float64)
    top, bottom = mean_of_defined(one), mean_of_defined(other)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = top / bottom
        logarithm = np.log(ratio)
        usual = np.isfinite(logarithm)
        rows = logarithm[:, None] + one / top[:, None] - other / bottom[:, None]
    ends = np.full((2, len(one)), np.nan)
    if usual.any():
        found = bootstrap.estimate(rows[usual])
        ends[:, usual] = np.exp(found.low), np.exp(found.high)
    return tuple(
        Interval(float(value), _known(low), _known(high))
        for value, low, high in zip(ratio, *ends, strict=True)
    )


def share(some: int, n: int, level: float = 0.95) -> Interval:
    """A share of a count, with Wilson's interval.

    Source:
        Wilson 1927, Probable inference, the law of succession, and statistical inference, Journal of the
        American Statistical Association 22(158).

    Args:
        some: how many of `n` have it.
        n: how many there are.
        level: the share of intervals that hold the true share.

    Returns:
        In [0, 1]; NaN without an interval where `n` is 0.
    """
    if n == 0:
        return Interval(math.nan)
    z = float(ndtri((1 + level) / 2))
    middle = (some + z * z / 2) / (n + z * z)
    reach = z / (n + z * z) * math.sqrt(some * (n - some) / n + z * z / 4)
    low = 0.0 if some == 0 else max(0.0, middle - reach)
    return Interval(some / n, low, 1.0 if some == n else min(1.0, middle + reach))


def fisher_exact(some: int, n: int, others: int, rest: int) -> float:
    """P value of two shares being the same, by Fisher's exact test, two-sided.

    The probability, given the counts at the margins, of a table that is no likelier than this one.

    Source:
        Fisher 1935, The logic of inductive inference, Journal of the Royal Statistical Society 98(1).

    Args:
        some: how many of the first `n` have it.
        n: size of the first group.
        others: how many of the other `rest` have it.
        rest: size of the other group.
    """
    total = some + others
    possible = np.arange(max(0, total - rest), min(n, total) + 1)
    logs = _log_choose(n, possible) + _log_choose(rest, total - possible) - _log_choose(n + rest, total)
    here = logs[some - possible[0]]
    return float(min(1.0, np.exp(logs[logs <= here + _TIE]).sum()))


def _log_choose(n: int, k: NDArray[np.int64] | int) -> Floats:
    logs: Floats = gammaln(n + 1) - gammaln(np.asarray(k) + 1.0) - gammaln(n - np.asarray(k) + 1.0)
    return logs


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
