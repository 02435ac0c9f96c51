"""What scores of a sample of images allow to be said: intervals, paired differences, corrected p values.

The image is the unit. A technique's score for an image is undefined, NaN, where its map was constant or had
no numbers, or where the image was not scored; such images are left out of what is said of that technique,
and of its difference to any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit  # scipy.stats takes half a second to import

Floats = NDArray[np.float64]

FEWEST = 5
"""Images below which a mean has no interval and no p value: resampling so few shows too little spread."""
_BLOCK = 2**20
"""Drawn images held at a time."""
_ROWS = 128
"""Rows resampled at a time."""


@dataclass(frozen=True, eq=False)
class Scores:
    """One metric's values for several techniques on the same images.

    Attributes:
        keys: of the techniques, each once.
        values: ``(techniques, images)``, float64; whatever is not finite is undefined and kept as NaN.

    Raises:
        ValueError: a key stands twice, or the shape is another.
    """

    keys: tuple[str, ...]
    values: Floats

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)
        if values.ndim != 2 or len(values) != len(self.keys):
            raise ValueError(f"scores of {len(self.keys)} techniques have the shape {values.shape}")
        if len(set(self.keys)) != len(self.keys):
            raise ValueError(f"a technique stands twice among {', '.join(sorted(self.keys))}")
        values[~np.isfinite(values)] = np.nan
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    def of(self, key: str) -> Floats:
        """One technique's values, ``(images,)``."""
        row: Floats = self.values[self.keys.index(key)]
        return row

    def scored(self) -> Scores:
        """Without the images for which no technique has a score."""
        return Scores(self.keys, self.values[:, np.isfinite(self.values).any(axis=0)])

    def merged(self, keys: Sequence[str]) -> Scores:
        """With several draws of a control as one row under the first of `keys`: each image's mean of them."""
        if not keys:
            return self
        kept = [key for key in self.keys if key not in keys]
        rows = [mean_of_defined(np.stack([self.of(key) for key in keys], axis=1))]
        return Scores((keys[0], *kept), np.stack(rows + [self.of(key) for key in kept]))


@dataclass(frozen=True, eq=False)
class Estimates:
    """Means of rows of values, and how sure they are; each array ``(rows,)``.

    Attributes:
        n: images with a value.
        mean: NaN where n is 0.
        low: of the interval; NaN where n is below `FEWEST`.
        high: of the interval; NaN where n is below `FEWEST`.
        p: two-sided, for a true mean of 0; NaN where n is below `FEWEST`.
    """

    n: NDArray[np.int64]
    mean: Floats
    low: Floats
    high: Floats
    p: Floats


@dataclass(frozen=True)
class Bootstrap:
    """Resampling of images with replacement.

    All rows of a table are resampled by the same draws, which depend on nothing but the number of images and
    these fields, so that differences of rows are paired and a row's result does not hang on its neighbours.

    Source:
        Efron 1979, Bootstrap methods: another look at the jackknife, Annals of Statistics 7(1); the
        interval: Hesterberg 2015, What Teachers Should Know About the Bootstrap, arXiv:1411.5279, expanded
        percentile interval; the +1 of a p value: Davison and Hinkley 1997, equation 4.11.

    Attributes:
        resamples: how often the images are drawn anew.
        seed: of the draws.
        level: the share of intervals that hold the true mean.
    """

    resamples: int = 10_000
    seed: int = 0
    level: float = 0.95

    def means(self, values: ArrayLike) -> Floats:
        """The mean of every row in every resample.

        Args:
            values: ``(rows, images)``, NaN where undefined.

        Returns:
            ``(rows, resamples)``; NaN where a resample has none of a row's defined images.
        """
        table = np.asarray(values, dtype=np.float64)
        rows, images = table.shape
        defined = np.isfinite(table)
        columns = np.concatenate((np.where(defined, table, 0.0), defined)).T
        means = np.full((rows, self.resamples), np.nan)
        start = 0
        for counts in self._counts(images) if defined.any() else ():
            sums = counts @ columns
            part = means[:, start : start + len(counts)]
            np.divide(sums[:, :rows].T, sums[:, rows:].T, out=part, where=sums[:, rows:].T > 0)
            start += len(counts)
        return means

    def estimate(self, values: ArrayLike) -> Estimates:
        """Means, expanded percentile intervals and p values of rows.

        The percentile interval of 95 % leaves 2.5 % of the resampled means outside at each end. That is too
        narrow for few images: resampled means spread less than those of new images, by
        ``sqrt((n - 1) / n)``, and that spread is itself an estimate. So less is left outside, as little as
        makes the interval that of Student's t where resampled means are normal.

        The p value is that of the level whose interval ends at 0. What that leaves outside is the smaller
        share of resampled means on either side of 0; a mean of exactly 0 is on both sides, and one more is
        counted on each. Where one side has none, and the values are not all equal, the p value is at most
        that of Student's t test: resamples alone show none that is small enough for Holm's correction.

        Args:
            values: ``(rows, images)``, NaN where undefined.
        """
        table = np.asarray(values, dtype=np.float64)
        parts = [self._estimate(table[start : start + _ROWS]) for start in range(0, len(table), _ROWS)]
        return _joined(parts or [self._estimate(table)])

    def paired(self, scores: Scores, pairs: Sequence[tuple[str, str]]) -> Estimates:
        """The difference, first less second, of each pair of techniques, over the images that both have."""
        parts = []
        for start in range(0, max(1, len(pairs)), _ROWS):
            some = pairs[start : start + _ROWS]
            gaps = [scores.of(one) - scores.of(other) for one, other in some]
            parts.append(self._estimate(np.reshape(gaps, (len(some), scores.values.shape[1]))))
        return _joined(parts)

    def _estimate(self, table: Floats) -> Estimates:
        n = np.isfinite(table).sum(axis=1)
        low, high, p = np.full((3, len(table)), np.nan)
        enough = n >= FEWEST
        if enough.any():
            draws = self.means(table[enough])
            low[enough], high[enough] = self._intervals(draws, n[enough])
            p[enough] = _p_values(table[enough], draws)
        return Estimates(n, mean_of_defined(table), low, high, p)

    def _intervals(self, draws: Floats, n: NDArray[np.int64]) -> Floats:
        """Lower and upper ends, ``(2, rows)``, from resampled means, ``(rows, resamples)``, of n images."""
        ends = np.empty((2, len(draws)))
        quantile = np.nanquantile if np.isnan(draws).any() else np.quantile
        for images in np.unique(n):
            tail = ndtr(stdtrit(images - 1, (1 - self.level) / 2) * np.sqrt(images / (images - 1)))
            ends[:, n == images] = quantile(draws[n == images], (tail, 1 - tail), axis=1)
        return ends

    def _counts(self, images: int) -> Iterator[Floats]:
        """How often each resample has each image, ``(some resamples, images)`` at a time."""
        generator = np.random.default_rng(self.seed)
        size = max(1, _BLOCK // images)
        for start in range(0, self.resamples, size):
            several = min(size, self.resamples - start)
            drawn = generator.integers(images, size=(several, images))
            drawn += images * np.arange(several)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=several * images)
            yield counts.reshape(several, images).astype(np.float64)


def holm(p_values: ArrayLike) -> Floats:
    """P values that hold for all of a family of tests at once, by Holm's step-down procedure.

    The smallest of m is multiplied by m, the next by m - 1, …; none falls below a smaller one's, none
    exceeds 1. NaN is a test that was not made: it stays NaN and does not count.

    Source:
        Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
        Statistics 6(2).

    Args:
        p_values: ``(tests,)``.
    """
    given = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(given.shape, np.nan)
    order = np.argsort(given, kind="stable")[: int(np.isfinite(given).sum())]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(given[order] * factors))
    return adjusted


def mean_of_defined(values: Floats) -> Floats:
    """The mean of each row's defined values, ``(rows, columns)`` to ``(rows,)``; NaN where there is none."""
    n = np.isfinite(values).sum(axis=1)
    return np.where(n, np.nansum(values, axis=1) / np.maximum(n, 1), np.nan)


def _p_values(table: Floats, draws: Floats) -> Floats:
    """See `Bootstrap.estimate`; of rows and their resampled means, ``(rows, images or resamples)``."""
    n = np.isfinite(table).sum(axis=1)
    smaller = np.minimum((draws <= 0).sum(axis=1), (draws >= 0).sum(axis=1))
    share = np.minimum(0.5, (smaller + 1) / (np.isfinite(draws).sum(axis=1) + 1))
    p_values: Floats = 2 * stdtr(n - 1, ndtri(share) / np.sqrt(n / (n - 1)))
    one_sided = (smaller == 0) & (np.nanmax(table, axis=1) > np.nanmin(table, axis=1))
    rows, n = table[one_sided], n[one_sided]
    statistic = np.nanmean(rows, axis=1) / np.nanstd(rows, axis=1, ddof=1) * np.sqrt(n)
    p_values[one_sided] = np.minimum(p_values[one_sided], 2 * stdtr(n - 1, -np.abs(statistic)))
    return p_values


def _joined(parts: Sequence[Estimates]) -> Estimates:
    names = [field.name for field in fields(Estimates)]
    return Estimates(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
