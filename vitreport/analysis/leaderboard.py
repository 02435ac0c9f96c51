"""Which techniques to trust on this model, and by how much that is known."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vitreport.analysis.statistics import FEWEST, Bootstrap, Scores, holm, mean_of_defined

SIGNIFICANT = 0.05
"""A corrected p value below this is no chance."""
_NAMED = 3
"""Techniques that a list in a sentence names; of more it gives the number."""


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
    """

    key: str
    control: bool
    n: int
    mean: float | None
    low: float | None
    high: float | None
    group: int | None
    behind: Gap | None
    p_random: float | None
    better_than_random: bool | None


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

    def row(key: str) -> Row:
        place = places[key]
        p, better = tests.get(key, (None, None))
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
        )

    def order(row: Row) -> tuple[bool, bool, float, str]:
        return (row.n == 0, row.n < FEWEST, 0.0 if row.mean is None else -sign * row.mean, row.key)

    return Leaderboard(tuple(sorted(map(row, table.keys), key=order)), images)


def in_words(board: Leaderboard, titles: Mapping[str, str], where: str = "On this model") -> str:
    """What a leaderboard says, as a sentence or two.

    Args:
        board: the leaderboard.
        titles: of the techniques by key, as they stand in the middle of a sentence.
        where: how the sentence begins; what it holds for.
    """
    ranked = [row for row in board.rows if row.group is not None]
    if not ranked:
        return _why_unranked(board, where)
    best = ranked[0]
    tested = any(row.better_than_random is not None for row in ranked)
    trusted = [row for row in ranked if row.better_than_random or not tested]
    failed = [row for row in ranked if row.better_than_random is False]
    if not trusted and len(ranked) > 1:
        return f"{where} no technique is better than random."
    if len(ranked) == 1:
        known = "not compared with random"
        if tested:
            known = "better than random" if trusted else "no better than random"
        clauses = [f"{where} {titles[best.key]}, the only technique ranked, is {known}"]
    else:
        leaders = [row for row in trusted if row.group == min(row.group or 0 for row in trusted)]
        names, several = _listed([titles[row.key] for row in leaders])
        clauses = [f"{where} {names} {'are' if several else 'is'} the most faithful"]
        if several and best in leaders:
            two = "the gap between them is not significant"
            clauses.append(two if len(leaders) == 2 else f"none is significantly behind {titles[best.key]}")
        worse = [row for row in failed if row.p_random is not None and row.p_random < SIGNIFICANT]
        for rows, words in ((worse, "worse"), ([row for row in failed if row not in worse], "no better")):
            if rows:
                names, several = _listed([titles[row.key] for row in rows])
                clauses.append(f"{names} {'are' if several else 'is'} {words} than random")
    words = "; ".join(clauses) + "."
    rivals = [row for row in board.rows if row.control and row.behind and row.behind.low <= 0]
    if best in trusted and rivals:
        names, several = _listed([titles[row.key] for row in rivals])
        kind = "controls that know" if several else "a control that knows"
        words += (
            f" But {titles[best.key]} is not significantly ahead of {names}, {kind} nothing of the model."
        )
    return words


def _why_unranked(board: Leaderboard, where: str) -> str:
    most = max((row.n for row in board.rows if not row.control), default=0)
    if not most:
        return f"{where} no technique has a defined score, so none can be ranked."
    scored = f"{most} image{' was' if most == 1 else 's were'} scored"
    return f"{where} {scored}: too few to rank techniques, which takes at least {FEWEST}."


def _listed(names: Sequence[str]) -> tuple[str, bool]:
    """``a``, ``a and b``, ``a, b and c``, ``a, b, c and 4 more``; and whether that is a plural."""
    listed = list(names[:_NAMED])
    if len(names) > _NAMED:
        listed.append(f"{len(names) - _NAMED} more")
    return " and ".join(filter(None, (", ".join(listed[:-1]), listed[-1]))), len(names) > 1


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
