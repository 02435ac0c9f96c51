"""Rank correlation, with ties."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from vitreport.ranks import centred_ranks, spearman


def test_it_is_scipys_where_values_are_tied() -> None:
    chance = np.random.default_rng(0)
    one, other = chance.integers(0, 6, (2, 20, 30))
    expected = [spearmanr(*pair).statistic for pair in zip(one, other, strict=True)]
    assert spearman(one, other) == pytest.approx(expected, abs=1e-12)


def test_equal_orders_give_exactly_one_and_reversed_ones_minus_one() -> None:
    values = np.random.default_rng(1).normal(size=(200, 37))
    values[:, 10:20] = values[:, :10]
    assert (spearman(values, np.exp(values)) == 1).all()
    assert (spearman(values, -values) == -1).all()


def test_what_is_constant_or_no_number_has_none() -> None:
    ramp = np.arange(4.0)
    rows = np.array([ramp, np.ones(4), [0, np.nan, 1, 2], [0, np.inf, 1, 2]])
    found = spearman(rows, np.broadcast_to(ramp, rows.shape))
    assert found[0] == 1
    assert np.isnan(found[1:]).all()


def test_ranks_are_centred() -> None:
    assert centred_ranks([[3.0, 1.0, 3.0]]).tolist() == [[0.5, -1.0, 0.5]]
