"""Rows of metrics that rank nothing: those that describe, and checks that a technique passes or fails."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from vitreport.analysis.leaderboard import Gap, Row, Verdict
from vitreport.analysis.statistics import Bootstrap, Floats, Scores
from vitreport.store import Check

_ORDER: Sequence[Verdict | None] = ("fails", "undecided", "passes", None)


def described(scores: Scores, controls: Collection[str], bootstrap: Bootstrap) -> tuple[Row, ...]:
    """Rows with means and intervals, and with nothing that ranks; the largest mean first.

    Args:
        scores: of one metric; several draws of the random control are one row.
        controls: keys of what knows nothing of the model.
        bootstrap: how images are drawn anew.
    """
    found = bootstrap.estimate(scores.values)
    rows = [
        Row(
            key=key,
            control=key in controls,
            n=int(found.n[place]),
            mean=_known(found.mean[place]),
            low=_known(found.low[place]),
            high=_known(found.high[place]),
        )
        for place, key in enumerate(scores.keys)
    ]
    return tuple(sorted(rows, key=lambda row: (row.mean is None, -(row.mean or 0.0), row.key)))


def checked(
    check: Check, scores: Scores, above: Floats | None, controls: Collection[str], bootstrap: Bootstrap
) -> tuple[Row, ...]:
    """Rows with a verdict: the interval decides, not only the mean.

    A technique passes where all of the interval lies below the limit, and fails where all of it lies above.
    Anything else is undecided, too few images for an interval included; without any score there is no
    verdict. The intervals are not corrected for the number of techniques.

    Args:
        check: the limit.
        scores: of one metric; several draws of the random control are one row.
        above: what the scores are counted from, of the same shape; None counts from 0.
        controls: keys of what knows nothing of the model.
        bootstrap: how images are drawn anew.

    Returns:
        What fails first, then the undecided and what passes, each in the order of the scores: no mean below
        the limit is better than another.
    """
    rows = {row.key: row for row in described(scores, controls, bootstrap)}
    decides = scores.values if above is None else scores.values - above
    found = bootstrap.estimate(decides)
    judged = []
    for place, key in enumerate(scores.keys):
        row, low, high = rows[key], float(found.low[place]), float(found.high[place])
        verdict: Verdict | None = "undecided" if row.n else None
        if high < check.limit:
            verdict = "passes"
        elif low > check.limit:
            verdict = "fails"
        known = above is not None and np.isfinite(low)
        gap = Gap(float(found.mean[place]), low, high) if known else None
        judged.append(replace(row, verdict=verdict, beyond=gap))
    return tuple(sorted(judged, key=lambda row: _ORDER.index(row.verdict)))


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
