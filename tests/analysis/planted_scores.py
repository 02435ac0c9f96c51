"""Scores whose order is planted."""

from __future__ import annotations

import numpy as np

from vitreport.analysis.leaderboard import Leaderboard, leaderboard
from vitreport.analysis.statistics import Bootstrap, Scores

NAN = np.nan
QUICK = Bootstrap(resamples=2000)
IMAGES = 40


def noise(seed: int, size: float = 0.05) -> np.ndarray:
    """Of mean exactly 0, so that what is planted is what is found."""
    values = np.random.default_rng(seed).normal(size=IMAGES)
    return size * (values - values.mean())


def table(**rows: object) -> Scores:
    return Scores(tuple(rows), np.array(list(rows.values()), dtype=float))


IMAGE = noise(0, 1)


def planted(**means: float) -> Scores:
    return table(**{key: IMAGE + mean + noise(seed) for seed, (key, mean) in enumerate(means.items(), 1)})


def board_of(scores: Scores, **options: object) -> Leaderboard:
    return leaderboard(scores, bootstrap=QUICK, **options)  # type: ignore[arg-type]


EXAMPLE = planted(raw=0.001, gradient=0.499, random=0, libra=0.5, mean=0.3)
