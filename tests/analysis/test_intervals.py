"""Means, ratios and shares with their intervals, against scipy and by counting."""

from __future__ import annotations

import math
from math import comb

import numpy as np
import pytest
from scipy.stats import binomtest
from scipy.stats import fisher_exact as published

from vitreport.analysis.intervals import fisher_exact, means, ratios_of_means, share
from vitreport.analysis.statistics import FEWEST, Bootstrap

FEW = Bootstrap(resamples=2000)


@pytest.mark.parametrize(("some", "n"), [(0, 1), (0, 12), (3, 7), (40, 40), (199, 400)])
def test_a_share_has_wilsons_interval(some, n):
    found = share(some, n)
    expected = binomtest(some, n).proportion_ci(method="wilson")
    assert found.value == some / n
    assert found.low == pytest.approx(expected.low, abs=1e-12)
    assert found.high == pytest.approx(expected.high, abs=1e-12)


def test_a_share_of_nothing_is_unknown():
    found = share(0, 0)
    assert math.isnan(found.value) and found.low is None and found.high is None


def test_fishers_test_is_that_of_scipy():
    rng = np.random.default_rng(3)
    for _ in range(200):
        n, rest = rng.integers(1, 40, 2).tolist()
        some, others = int(rng.integers(n + 1)), int(rng.integers(rest + 1))
        expected = published([[some, n - some], [others, rest - others]]).pvalue
        assert fisher_exact(some, n, others, rest) == pytest.approx(expected, rel=1e-6)


def test_fishers_test_counted_by_hand():
    """Three of three against none of four: one table in 35 is as far out, on one side only."""
    assert fisher_exact(3, 3, 0, 4) == pytest.approx(1 / comb(7, 3))
    assert fisher_exact(2, 4, 2, 4) == pytest.approx(1)


def test_a_ratio_is_that_of_the_means_and_its_interval_holds_it():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        above, below = rng.gamma(2, 1.5, 40), rng.gamma(2, 1, 40)
        (found,) = ratios_of_means(above[None], below[None], FEW)
        assert found.value == pytest.approx(above.mean() / below.mean())
        assert found.low is not None and found.high is not None
        assert 0 < found.low < found.value < found.high
        hits += found.low <= 1.5 <= found.high
    assert 180 <= hits <= 198


def test_a_ratio_leaves_undefined_images_out():
    above = np.array([[1.0, 3.0, np.nan, 2.0, 4.0, 2.0, 1.0]])
    below = np.array([[2.0, 1.0, np.nan, 1.0, 2.0, 1.0, 2.0]])
    (whole,) = ratios_of_means(above, below, FEW)
    assert whole.value == pytest.approx(13 / 9)
    assert whole.low is not None and whole.low < whole.value


def test_a_ratio_to_nothing_is_infinite_and_of_nothing_zero():
    ones, zeros = np.ones((1, 9)), np.zeros((1, 9))
    assert ratios_of_means(ones, zeros, FEW)[0].value == math.inf
    assert ratios_of_means(zeros, ones, FEW)[0].value == 0
    assert math.isnan(ratios_of_means(zeros, zeros, FEW)[0].value)
    assert ratios_of_means(ones, zeros, FEW)[0].low is None


def test_too_few_images_have_no_interval():
    for found in (
        means(np.ones((1, FEWEST - 1)), FEW)[0],
        ratios_of_means(np.ones((1, FEWEST - 1)), np.ones((1, FEWEST - 1)), FEW)[0],
    ):
        assert found.value == 1 and found.low is None and found.high is None
    assert means(np.ones((1, FEWEST)), FEW)[0].low == 1
