"""Which techniques to trust on this model, and by how much that is known."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vitreport.analysis.statistics import FEWEST, Bootstrap, Scores, holm, mean_of_defined

Verdict = Literal["passes", "fails", "undecided"]
"""What a check says of a technique."""


@dataclass(frozen=True)
class Gap:
    """The mean difference of two techniques over the images both have, and its interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """A technique's or a control's place.

    Attributes:
        key: of the technique.
        control: whether it knows nothing of the model. Controls are yardsticks and have no group.
        n: images with a defined score; with none the technique is undefined here.
        mean: of its scores.
        low: of the mean's interval; none below `FEWEST` images.
        high: of the mean's interval; none below `FEWEST` images.
        group: number of its tie group, from 1, the best; none below `FEWEST` images.
        behind: how far it lies behind the leader of the first group; positive is worse, whichever way the
            metric points. None for that leader, and where the two share too few images.
        p_random: two-sided, of its difference to the random control, after Holm's correction for all rows
            that are compared with it.
        better_than_random: whether it is better and that p value is below 1 less the interval's level; None
            where there is no random control, for that control, or where the two share too few images.
        p_controls: for being better than every control; after Holm's correction for all techniques.
        ahead_of_controls: whether that p value is below 1 less the interval's level; None for controls, and
            where it can be compared with none.
        beyond: of a check that counts from a column: how far it lies above that.
        verdict: of a check; None without any score, and where the metric is no check.
    """

    key: str
    control: bool
    n: int
    mean: float | None
    low: float | None
    high: float | None
    group: int | None = None
    behind: Gap | None = None
    p_random: float | None = None
    better_than_random: bool | None = None
    p_controls: float | None = None
    ahead_of_controls: bool | None = None
    beyond: Gap | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Leaderboard:
    """Rows by their mean, best first; then those of too few images; then the undefined ones.

    Attributes:
        rows: one a technique or control; several draws of the random control are one row.
        images: for which any of them has a score.
    """

    rows: tuple[Row, ...]
    images: int

    @property
    def ranked(self) -> int:
        """How many techniques have a group."""
        return sum(row.group is not None for row in self.rows)

    @property
    def groups(self) -> tuple[tuple[Row, ...], ...]:
        """The tie groups, best first; in each the leader comes first."""
        ranked = [row for row in self.rows if row.group is not None]
        last = max((row.group or 0 for row in ranked), default=0)
        return tuple(tuple(row for row in ranked if row.group == group) for group in range(1, last + 1))


def tie_groups(
    scores: Scores, bootstrap: Bootstrap, *, higher_is_better: bool = True
) -> tuple[tuple[str, ...], ...]:
    """Groups of techniques between which nothing says which is better, best first.

    The leader of a group is the best technique by mean that is in no group yet. It takes in every technique
    left over which it does not lead for certain, that is, unless the whole interval of their paired
    difference speaks for the leader. So a technique of few or noisy scores may share a group with a leader
    while one of a better mean does not. Members other than the leader are not compared with each other.

    Techniques of fewer than `FEWEST` images are in no group. Equal means stand in the order of their keys.
    """
    sign = 1 if higher_is_better else -1
    n = np.isfinite(scores.values).sum(axis=1)
    means = dict(zip(scores.keys, sign * mean_of_defined(scores.values), strict=True))
    enough = [key for key, images in zip(scores.keys, n, strict=True) if images >= FEWEST]
    left = sorted(enough, key=lambda key: (-means[key], key))
    groups = []
    while left:
        leader, *others = left
        gaps = bootstrap.paired(scores, [(leader, other) for other in others])
        ahead = gaps.low > 0 if higher_is_better else gaps.high < 0
        groups.append((leader, *(key for key, worse in zip(others, ahead, strict=True) if not worse)))
        left = [key for key, worse in zip(others, ahead, strict=True) if worse]
    return tuple(groups)


def against_control(
    scores: Scores, control: str, keys: Sequence[str], bootstrap: Bootstrap, *, higher_is_better: bool = True
) -> dict[str, tuple[float, bool]]:
    """Each technique's p value against a control after Holm's correction, and whether it is better.

    Techniques that share fewer than `FEWEST` images with the control are left out, and do not count in the
    correction.
    """
    gaps = bootstrap.paired(scores, [(key, control) for key in keys])
    p_values = holm(gaps.p)
    ahead = gaps.mean > 0 if higher_is_better else gaps.mean < 0
    return {
        key: (float(p), bool(better and p < 1 - bootstrap.level))
        for key, p, better in zip(keys, p_values, ahead, strict=True)
        if np.isfinite(p)
    }


def ahead_of_all(
    scores: Scores,
    controls: Sequence[str],
    keys: Sequence[str],
    bootstrap: Bootstrap,
    *,
    higher_is_better: bool = True,
) -> dict[str, tuple[float, bool]]:
    """Each technique's p value for being ahead of all controls at once, and whether it is.

    Of a technique's tests against the controls the largest p value counts, which is 1 where a control has the
    better mean: all of them must be passed, so their number needs no correction. That of the techniques has
    Holm's. Controls that share fewer than `FEWEST` images with a technique are left out for it, and
    techniques that can be compared with no control.

    Source:
        Berger 1982, Multiparameter hypothesis testing and acceptance sampling, Technometrics 24(4)
        (intersection-union test).
    """
    sign = 1 if higher_is_better else -1
    largest = np.full(len(keys), np.nan)
    for control in controls:
        gaps = bootstrap.paired(scores, [(key, control) for key in keys])
        behind = np.isfinite(gaps.p) & (sign * gaps.mean <= 0)
        largest = np.fmax(largest, np.where(behind, 1.0, gaps.p))
    return {
        key: (float(p), bool(p < 1 - bootstrap.level))
        for key, p in zip(keys, holm(largest), strict=True)
        if np.isfinite(p)
    }


def leaderboard(
    scores: Scores,
    *,
    higher_is_better: bool = True,
    random: Sequence[str] = (),
    controls: Collection[str] = (),
    bootstrap: Bootstrap | None = None,
) -> Leaderboard:
    """Everything that scores say of techniques.

    Args:
        scores: of one metric, on one set of images (all, or those that the model got right, or wrong).
        higher_is_better: whether a larger score speaks for a technique.
        random: keys of the draws of the random control, which count as one: their mean for each image.
        controls: keys of the other controls.
        bootstrap: how images are drawn anew; by default 10,000 times.
    """
    bootstrap = bootstrap or Bootstrap()
    sign = 1 if higher_is_better else -1
    table = scores.scored().merged(random)
    yardsticks = {*random, *controls}
    images = table.values.shape[1]
    estimates = bootstrap.estimate(table.values)
    places = {key: place for place, key in enumerate(table.keys)}
    ranked = [key for key in table.keys if key not in yardsticks]
    among = Scores(tuple(ranked), np.reshape([table.of(key) for key in ranked], (len(ranked), images)))
    groups = tie_groups(among, bootstrap, higher_is_better=higher_is_better)
    group_of = {key: number for number, group in enumerate(groups, 1) for key in group}
    others = [key for key in table.keys if groups and key != groups[0][0]]
    gaps = bootstrap.paired(table, [(groups[0][0], key) for key in others])
    tails = np.sort(np.stack((sign * gaps.low, sign * gaps.high)), axis=0)
    behind = {
        key: Gap(float(mean), float(low), float(high))
        for key, mean, low, high in zip(others, sign * gaps.mean, *tails, strict=True)
        if np.isfinite(low)
    }
    tests: dict[str, tuple[float, bool]] = {}
    if random:
        compared = [key for key in table.keys if key not in random]
        tests = against_control(table, random[0], compared, bootstrap, higher_is_better=higher_is_better)
    known = [key for key in table.keys if key in yardsticks]
    leads = ahead_of_all(table, known, ranked, bootstrap, higher_is_better=higher_is_better)

    def row(key: str) -> Row:
        place = places[key]
        p, better = tests.get(key, (None, None))
        p_controls, ahead = leads.get(key, (None, None))
        return Row(
            key=key,
            control=key in yardsticks,
            n=int(estimates.n[place]),
            mean=_finite(estimates.mean[place]),
            low=_finite(estimates.low[place]),
            high=_finite(estimates.high[place]),
            group=group_of.get(key),
            behind=behind.get(key),
            p_random=p,
            better_than_random=better,
            p_controls=p_controls,
            ahead_of_controls=ahead,
        )

    def order(row: Row) -> tuple[bool, bool, float, str]:
        return (row.n == 0, row.n < FEWEST, 0.0 if row.mean is None else -sign * row.mean, row.key)

    return Leaderboard(tuple(sorted(map(row, table.keys), key=order)), images)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
