"""Intervals and p values: on draws whose truth is known, and against loops written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t, ttest_1samp

from vitreport.analysis.statistics import FEWEST, Bootstrap, Scores, holm

NAN = np.nan
QUICK = Bootstrap(resamples=2000)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def scores(**rows: object) -> Scores:
    return Scores(tuple(rows), np.array(list(rows.values()), dtype=float))


def holding(estimates: object, truth: float) -> float:
    return float(np.mean((estimates.low <= truth) & (truth <= estimates.high)))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "images", "least"),
    [
        ("normal", 5, 0.91),
        ("normal", 16, 0.93),
        ("normal", 64, 0.93),
        ("skewed", 16, 0.91),  # 92 % of them; Student's t interval has 91 %
        ("skewed", 64, 0.93),
    ],
)
def test_intervals_hold_the_true_mean_in_93_to_97_percent(kind: str, images: int, least: float) -> None:
    generator = np.random.default_rng(2)
    draw = {"normal": generator.standard_normal, "skewed": generator.standard_exponential}[kind]
    values, truth = draw((4000, images)) + 3, {"normal": 3, "skewed": 4}[kind]
    assert least <= holding(QUICK.estimate(values), truth) <= 0.97


def test_percentile_intervals_that_are_not_expanded_would_be_too_narrow() -> None:
    values = normal(4000, 16)
    ends = np.quantile(QUICK.means(values), (0.025, 0.975), axis=1)
    assert np.mean((ends[0] <= 0) & (ends[1] >= 0)) < 0.93


def test_rows_of_different_numbers_of_images_have_each_its_own_tails() -> None:
    values = normal(2, 40, seed=8)
    values[1, 12:] = NAN
    found, means = Bootstrap().estimate(values), Bootstrap().means(values)
    for row, n in ((0, 40), (1, 12)):
        tail = norm.cdf(t.ppf(0.025, n - 1) * (n / (n - 1)) ** 0.5)
        ends = np.quantile(means[row], (tail, 1 - tail))
        np.testing.assert_allclose([found.low[row], found.high[row]], ends)


def test_few_images_give_about_the_interval_and_the_p_value_of_student() -> None:
    for n in (8, 16, 64):
        values = normal(n, seed=n)
        values += 0.5 * values.std(ddof=1) - values.mean()
        found, student = Bootstrap().estimate([values]), ttest_1samp(values, 0)
        expected = student.confidence_interval(0.95)
        np.testing.assert_allclose([found.low[0], found.high[0]], expected, atol=0.06 * np.ptp(expected))
        assert found.p[0] == pytest.approx(student.pvalue, rel=0.35)


def test_intervals_of_equal_techniques_differences_hold_0_in_93_to_97_percent() -> None:
    common, own = normal(1, 64, seed=1), normal(4000, 64, seed=2)
    values = 5 * common + own
    table = Scores(tuple(map(str, range(4000))), values)
    pairs = [(str(number), str(number + 1)) for number in range(0, 4000, 2)]
    assert 0.93 <= holding(QUICK.paired(table, pairs), 0) <= 0.97


def test_p_values_of_a_true_null_are_uniform() -> None:
    p = QUICK.estimate(normal(4000, 64, seed=3)).p
    assert [float(np.mean(p < level)) for level in (0.05, 0.25, 0.5, 0.75)] == pytest.approx(
        [0.05, 0.25, 0.5, 0.75], abs=0.025
    )


@pytest.mark.parametrize("images", [6, 20, 64])
def test_a_p_value_is_below_5_percent_where_the_interval_leaves_0_out(images: int) -> None:
    values = normal(500, images, seed=4) + 2 / images**0.5
    values[:9, 0] = NAN
    found = Bootstrap(resamples=9999).estimate(values)
    out = (found.low > 0) | (found.high < 0)
    assert 0.2 < out.mean() < 0.8
    assert np.mean(out == (found.p < 0.05)) > 0.99


@pytest.mark.parametrize("level", [0.5, 0.8, 0.99])
def test_an_interval_of_the_level_of_a_p_value_ends_at_0(level: float) -> None:
    values = normal(16, seed=11)
    low = Bootstrap(40_000, level=level).estimate([values]).low[0]
    assert Bootstrap(40_000).estimate([values - low]).p[0] == pytest.approx(1 - level, rel=0.03)


def test_means_agree_with_a_loop_over_resamples() -> None:
    values = normal(3, 30, seed=5)
    values[1, ::4] = NAN
    values[2, 3:] = NAN
    drawn = np.random.default_rng(7).integers(30, size=(50, 30))
    with np.errstate(invalid="ignore"):
        slow = [
            [row[picks][~np.isnan(row[picks])].sum() / (~np.isnan(row[picks])).sum() for picks in drawn]
            for row in values
        ]
    assert np.isnan(slow[2]).any() and not np.isnan(slow[1]).any()
    np.testing.assert_allclose(Bootstrap(resamples=50, seed=7).means(values), slow, atol=1e-12)


def test_intervals_and_p_values_agree_with_a_loop_over_other_draws() -> None:
    values = normal(40, seed=6)
    values += 0.25 - values.mean()
    generator = np.random.default_rng(99)
    means = np.array([values[generator.integers(40, size=40)].mean() for _ in range(10_000)])
    found = Bootstrap().estimate([values])
    assert found.mean[0] == pytest.approx(values.mean())
    expanded = (40 / 39) ** 0.5
    tail = norm.cdf(t.ppf(0.025, 39) * expanded)
    np.testing.assert_allclose(
        [found.low[0], found.high[0]], np.quantile(means, [tail, 1 - tail]), atol=0.015
    )
    assert found.p[0] == pytest.approx(2 * t.cdf(norm.ppf(np.mean(means <= 0)) / expanded, 39), abs=0.01)
    assert 0.02 < found.p[0] < 0.2


def test_a_narrower_level_gives_a_narrower_interval() -> None:
    values = normal(1, 64)
    wide, narrow = QUICK.estimate(values), Bootstrap(2000, level=0.5).estimate(values)
    assert (narrow.high - narrow.low)[0] == pytest.approx(0.344 * (wide.high - wide.low)[0], rel=0.1)


def test_all_rows_are_resampled_by_the_same_draws() -> None:
    one, other = normal(2, 64)
    means = QUICK.means([one, other, one - other])
    np.testing.assert_allclose(means[0] - means[1], means[2], atol=1e-12)


def test_pairing_finds_a_small_steady_gap_in_images_that_differ_much() -> None:
    image = 10 * normal(64)
    table = scores(a=image + 0.1 + 0.01 * normal(64, seed=1), b=image)
    alone, gap = QUICK.estimate(table.values), QUICK.paired(table, [("a", "b"), ("b", "a")])
    assert alone.low[0] < alone.high[1]
    assert gap.low[0] > 0.09
    np.testing.assert_allclose([gap.low[1], gap.high[1]], [-gap.high[0], -gap.low[0]], atol=1e-12)


def test_a_difference_is_taken_over_the_images_that_both_have() -> None:
    a, b = np.arange(12.0), np.arange(12.0) - 1
    a[:3], b[9:] = NAN, NAN
    gap = QUICK.paired(scores(a=a, b=b), [("a", "b")])
    assert gap.n[0] == 6
    np.testing.assert_allclose([gap.mean[0], gap.low[0], gap.high[0]], 1)


def test_a_technique_against_itself_has_the_p_value_1() -> None:
    gap = QUICK.paired(scores(a=normal(20)), [("a", "a")])
    assert (gap.low[0], gap.high[0], gap.p[0]) == (0, 0, 1)


def test_a_p_value_beyond_what_resamples_show_is_that_of_student() -> None:
    values = normal(3, 16, seed=12) + np.array([[3.0], [-3.0], [0.0]])
    values[0, 3] = NAN
    found = Bootstrap(resamples=999).estimate(values).p
    far = [ttest_1samp(row, 0, nan_policy="omit").pvalue for row in values[:2]]
    np.testing.assert_allclose(found[:2], far)
    assert max(far) < 1e-5 < 0.01 < found[2]


def test_values_that_are_all_equal_have_the_p_value_of_the_plus_one() -> None:
    expected = 2 * t.cdf(norm.ppf(1 / 200) / (10 / 9) ** 0.5, 9)
    found = Bootstrap(resamples=199).estimate([np.full(10, 0.1), np.full(10, -7.0)])
    np.testing.assert_allclose(found.p, expected)
    assert found.p[0] > 0.01


def test_undefined_scores_are_left_out() -> None:
    found = QUICK.estimate([[NAN] * 8, [1, 2, 3, NAN, NAN, NAN, NAN, NAN], [1, 2, 3, 4, 5, NAN, NAN, NAN]])
    assert found.n.tolist() == [0, 3, FEWEST]
    np.testing.assert_equal(found.mean, [NAN, 2, 3])
    assert np.isnan(found.low).tolist() == np.isnan(found.p).tolist() == [True, True, False]
    assert 1 <= found.low[2] < 3 < found.high[2] <= 5


def test_one_image_has_a_mean_and_no_interval() -> None:
    found = QUICK.estimate([[0.7]])
    assert (found.n[0], found.mean[0]) == (1, 0.7)
    assert np.isnan([found.low[0], found.high[0], found.p[0]]).all()


def test_no_rows_no_pairs_and_no_images_give_empty_estimates() -> None:
    assert len(QUICK.estimate(np.empty((0, 5))).mean) == 0
    assert len(QUICK.paired(scores(a=[1.0, 2.0]), []).mean) == 0
    assert QUICK.estimate(np.empty((2, 0))).n.tolist() == [0, 0]


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    values = normal(3, 64)
    low = [Bootstrap(500, seed=seed).estimate(values).low for seed in (4, 4, 5)]
    assert (low[0] == low[1]).all()
    assert (low[0] != low[2]).all()


def test_a_row_does_not_hang_on_its_neighbours_or_their_number() -> None:
    values = normal(300, 20)
    values[::7, 3] = NAN
    together = QUICK.estimate(values)
    for row in (0, 5, 299):
        alone = QUICK.estimate(values[[row]])
        np.testing.assert_allclose(alone.low, together.low[row], atol=1e-12)
        np.testing.assert_allclose(alone.p, together.p[row], atol=2 / 2001)
    np.testing.assert_allclose(QUICK.estimate(values[::-1]).high[::-1], together.high, atol=1e-12)


def test_many_images_are_drawn_in_blocks_with_the_right_spread() -> None:
    values = normal(1, 50_000)
    assert np.isfinite(Bootstrap(resamples=50).means(values)).all()
    found = Bootstrap(resamples=100).estimate(values)
    assert (found.high - found.low)[0] == pytest.approx(2 * 1.96 / np.sqrt(50_000), rel=0.3)


def test_holm_agrees_with_values_computed_by_hand() -> None:
    # Sorted: 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1 = 0.02, 0.03, 0.06, 0.04, the last raised to 0.06.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, 0.02, 0.7]), [1, 0.06, 1])
    np.testing.assert_allclose(holm([0.02, 0.02]), [0.04, 0.04])


def test_holm_does_not_count_tests_that_were_not_made() -> None:
    np.testing.assert_allclose(holm([NAN, 0.01, NAN, 0.04]), [NAN, 0.02, NAN, 0.04])
    assert np.isnan(holm([NAN])).all() and len(holm([])) == 0


def test_several_draws_are_merged_into_their_mean_for_each_image() -> None:
    table = scores(a=[1, 2, 3], r1=[1, NAN, NAN], r2=[3, 4, NAN]).merged(["r1", "r2"])
    assert sorted(table.keys) == ["a", "r1"]
    np.testing.assert_equal(table.of("r1"), [2, 4, NAN])
    np.testing.assert_equal(table.of("a"), [1, 2, 3])


def test_infinite_scores_are_undefined_and_unscored_images_can_be_dropped() -> None:
    table = scores(a=[1, np.inf, NAN], b=[NAN, 2, -np.inf])
    np.testing.assert_equal(table.values, [[1, NAN, NAN], [NAN, 2, NAN]])
    np.testing.assert_equal(table.scored().values, [[1, NAN], [NAN, 2]])


def test_a_table_of_another_shape_or_with_a_key_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="scores of 1 techniques have the shape"):
        Scores(("a",), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="stands twice among a, a"):
        Scores(("a", "a"), np.zeros((2, 3)))
