"""Checks: the interval decides, and nothing wins."""

from __future__ import annotations

import numpy as np

from vitreport.analysis.statistics import Bootstrap, Scores
from vitreport.analysis.unranked import checked, described
from vitreport.store import Check

QUICK = Bootstrap(resamples=1000)
CHECK = Check(0.9, "Why.")


def around(mean: float, spread: float, seed: int, images: int = 30) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=images)
    return mean + spread * (values - values.mean()) / values.std()


def test_the_whole_interval_lies_on_one_side_or_the_images_do_not_decide() -> None:
    rows = {
        "below": around(0.8, 0.05, 1),
        "opposed": around(-0.8, 0.05, 2),
        "near": around(0.88, 0.2, 3),
        "above": around(0.95, 0.05, 4),
        "always": np.ones(30),
        "few": np.r_[np.zeros(4), np.full(26, np.nan)],
        "none": np.full(30, np.nan),
    }
    found = checked(CHECK, Scores(tuple(rows), np.stack(list(rows.values()))), None, ["always"], QUICK)
    assert [(row.key, row.verdict) for row in found] == [
        ("above", "fails"),
        ("always", "fails"),
        ("near", "undecided"),
        ("few", "undecided"),
        ("below", "passes"),
        ("opposed", "passes"),
        ("none", None),
    ]
    assert all(row.group is None and row.better_than_random is None and row.behind is None for row in found)
    assert [row.key for row in found if row.control] == ["always"]
    assert all(row.beyond is None for row in found)


def test_what_is_counted_from_chance_is_judged_by_the_paired_difference() -> None:
    chance = around(0.3, 0.2, 1)
    rows = {"alike": chance + around(0.02, 0.03, 2), "more": chance + around(0.3, 0.03, 3)}
    scores = Scores(tuple(rows), np.stack(list(rows.values())))
    above = np.stack([chance, chance])
    more, alike = checked(Check(0.05, "Why.", above="chance"), scores, above, [], QUICK)
    assert (more.key, more.verdict, alike.verdict) == ("more", "fails", "passes")
    assert alike.beyond is not None and abs(alike.beyond.mean - 0.02) < 1e-9
    assert alike.low is not None and alike.high is not None and alike.high > 0.05 + 0.3
    assert -0.01 < alike.beyond.low < 0.02 < alike.beyond.high < 0.05


def test_what_describes_has_no_verdict() -> None:
    rows = described(Scores(("a", "b"), np.stack([around(0.1, 0.1, 1), around(0.5, 0.1, 2)])), ["a"], QUICK)
    assert [(row.key, row.verdict, row.control) for row in rows] == [("b", None, False), ("a", None, True)]
