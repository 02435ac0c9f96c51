"""Tie groups and the leaderboard on planted scores."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_rel

from tests.analysis.planted_scores import EXAMPLE, IMAGE, IMAGES, NAN, QUICK, board_of, noise, planted, table
from vitreport.analysis.leaderboard import Leaderboard, Row, ahead_of_all, leaderboard, tie_groups
from vitreport.analysis.statistics import Bootstrap, Scores


def by_key(board: Leaderboard) -> dict[str, Row]:
    return {row.key: row for row in board.rows}


def test_tie_groups_are_those_that_were_planted() -> None:
    found = tie_groups(planted(d=0.1, a=0.51, c=0.3, b=0.5, e=0.099), QUICK)
    assert found == (("a", "b"), ("c",), ("d", "e"))


def test_tie_groups_turn_round_where_lower_is_better() -> None:
    found = tie_groups(planted(d=0.1, a=0.51, c=0.3, b=0.5, e=0.099), QUICK, higher_is_better=False)
    assert found == (("e", "d"), ("c",), ("b", "a"))


def test_a_noisy_technique_ties_with_a_leader_that_beats_a_better_mean() -> None:
    scores = table(a=IMAGE + 0.5, b=IMAGE + 0.4 + noise(1), c=IMAGE + 0.3 + noise(2, 3))
    assert tie_groups(scores, QUICK) == (("a", "c"), ("b",))


def test_a_leader_by_mean_alone_is_not_put_above_one_that_beats_it_where_both_have_scores() -> None:
    low = IMAGE + 0.1
    low[IMAGE < 0] = NAN
    assert np.nanmean(low) > np.mean(IMAGE + 0.2)
    assert tie_groups(table(low=low, high=IMAGE + 0.2), QUICK) == (("low", "high"),)


def test_techniques_with_few_scores_or_none_have_no_group() -> None:
    few = np.full(IMAGES, NAN)
    few[:4] = 9
    assert tie_groups(table(few=few, none=np.full(IMAGES, NAN), a=IMAGE), QUICK) == (("a",),)
    assert tie_groups(table(none=np.full(IMAGES, NAN)), QUICK) == ()


def test_techniques_that_share_too_few_images_are_not_ranked_against_each_other() -> None:
    first, last = IMAGE * 0.01 + 5, IMAGE * 0.01
    first[20:], last[:17] = NAN, NAN
    assert tie_groups(table(first=first, last=last), QUICK) == (("first", "last"),)
    first[20:22] = 5
    assert tie_groups(table(first=first, last=last), QUICK) == (("first",), ("last",))


def test_a_leaderboard_has_the_planted_order_groups_and_verdicts() -> None:
    board = board_of(EXAMPLE, random=["random"])
    assert [(row.key, row.group, row.better_than_random, row.control) for row in board.rows] == [
        ("libra", 1, True, False),
        ("gradient", 1, True, False),
        ("mean", 2, True, False),
        ("raw", 3, False, False),
        ("random", None, None, True),
    ]
    assert board.images == IMAGES
    assert [[row.key for row in group] for group in board.groups] == [
        ["libra", "gradient"],
        ["mean"],
        ["raw"],
    ]
    best, mean = by_key(board)["libra"], by_key(board)["mean"]
    assert best.n == IMAGES and best.mean == pytest.approx(0.5)
    assert best.low is not None and best.high is not None and best.low < 0.5 < best.high
    assert best.behind is None
    assert mean.behind is not None and mean.behind.mean == pytest.approx(0.2)
    assert 0.15 < mean.behind.low < 0.2 < mean.behind.high < 0.25


def test_a_leaderboard_turns_round_where_lower_is_better() -> None:
    board = board_of(Scores(EXAMPLE.keys, -EXAMPLE.values), random=["random"], higher_is_better=False)
    for row, mirrored in zip(board_of(EXAMPLE, random=["random"]).rows, board.rows, strict=True):
        assert (row.key, row.group, row.better_than_random) == (
            mirrored.key,
            mirrored.group,
            mirrored.better_than_random,
        )
        assert mirrored.mean == pytest.approx(-(row.mean or 0))
        if row.behind is not None:
            assert mirrored.behind is not None
            assert mirrored.behind.low == pytest.approx(row.behind.low)
            assert mirrored.behind.high == pytest.approx(row.behind.high)


def test_worse_than_random_is_not_better_however_small_the_p_value() -> None:
    row = by_key(board_of(planted(raw=-0.5, random=0), random=["random"]))["raw"]
    assert row.p_random is not None and row.p_random < 0.01
    assert row.better_than_random is False


def test_p_values_against_random_are_corrected_for_all_that_are_compared() -> None:
    alone = by_key(board_of(planted(libra=0.5, random=0), random=["random"]))["libra"]
    family = by_key(board_of(EXAMPLE, random=["random"]))["libra"]
    pairs = [("libra", planted(libra=0.5, random=0), alone, 1), ("libra", EXAMPLE, family, 4)]
    for key, scores, row, tests in pairs:
        student = ttest_rel(scores.of(key), scores.of("random")).pvalue
        assert row.p_random == pytest.approx(tests * student, rel=1e-6)


def test_a_borderline_technique_is_lost_among_many() -> None:
    nothing = {f"n{seed}": noise(seed, 1) for seed in range(3, 13)}
    rows = {"edge": noise(1, 1) + 0.36, "random": np.zeros(IMAGES)}
    alone = by_key(board_of(table(**rows), random=["random"]))["edge"]
    among = by_key(board_of(table(**rows, **nothing), random=["random"]))["edge"]
    assert alone.better_than_random is True
    assert among.better_than_random is False


def test_several_random_draws_count_as_their_mean() -> None:
    draws = {f"r{seed}": 0.3 * seed + noise(seed) for seed in range(3)}
    board = board_of(table(a=0.6 + noise(8), b=0.301 + noise(9), **draws), random=["r0", "r1", "r2"])
    assert [(row.key, row.control) for row in board.rows] == [("a", False), ("b", False), ("r0", True)]
    assert by_key(board)["r0"].mean == pytest.approx(0.3)
    assert [row.better_than_random for row in board.rows] == [True, False, None]


def test_without_a_random_control_nothing_is_said_of_it() -> None:
    board = board_of(planted(a=0.5, b=0.1))
    assert {row.p_random for row in board.rows} == {row.better_than_random for row in board.rows} == {None}


def test_controls_have_no_group_even_where_they_are_best() -> None:
    board = board_of(planted(centre=0.9, raw=0.5, random=0), random=["random"], controls=["centre", "absent"])
    rows = by_key(board)
    assert [row.key for row in board.rows] == ["centre", "raw", "random"]
    assert (rows["centre"].group, rows["raw"].group, rows["centre"].better_than_random) == (None, 1, True)
    assert rows["centre"].behind is not None and rows["centre"].behind.high < 0


def test_undefined_techniques_and_those_of_few_images_come_last() -> None:
    few = np.full(IMAGES, NAN)
    few[:3] = 9
    scores = table(none=np.full(IMAGES, NAN), few=few, a=IMAGE, random=IMAGE - 1)
    board = board_of(scores, random=["random"])
    assert [(row.key, row.n, row.group) for row in board.rows] == [
        ("a", IMAGES, 1),
        ("random", IMAGES, None),
        ("few", 3, None),
        ("none", 0, None),
    ]
    rows = by_key(board)
    assert (rows["few"].mean, rows["few"].low, rows["few"].p_random) == (9, None, None)
    assert (rows["none"].mean, rows["none"].low, rows["none"].better_than_random) == (None, None, None)
    assert rows["a"].p_random is not None and rows["a"].p_random < 0.002  # one test, not three


def test_images_that_were_not_scored_change_nothing() -> None:
    unscored = np.full((len(EXAMPLE.keys), 3000), NAN)
    wide = Scores(EXAMPLE.keys, np.concatenate((unscored, EXAMPLE.values), axis=1))
    assert board_of(wide, random=["random"]) == board_of(EXAMPLE, random=["random"])


def test_a_leaderboard_is_the_same_by_seed_and_by_order_of_techniques() -> None:
    board = board_of(EXAMPLE, random=["random"])
    assert board_of(EXAMPLE, random=["random"]) == board
    turned = board_of(Scores(EXAMPLE.keys[::-1], EXAMPLE.values[::-1]), random=["random"])
    for row, other in zip(board.rows, turned.rows, strict=True):
        assert (row.key, row.group, row.p_random) == (other.key, other.group, other.p_random)
        assert (row.mean, row.low, row.high) == pytest.approx((other.mean, other.low, other.high), abs=1e-12)
    assert leaderboard(EXAMPLE, bootstrap=Bootstrap(2000, seed=1)).rows[0].low != board.rows[0].low


def test_equal_techniques_stand_in_the_order_of_their_keys() -> None:
    for keys in (("a", "b", "c"), ("c", "a", "b")):
        equal = Scores(keys, np.stack([IMAGE] * 3))
        assert tie_groups(equal, QUICK) == (("a", "b", "c"),)
        board = board_of(equal)
        assert [(row.key, row.group) for row in board.rows] == [("a", 1), ("b", 1), ("c", 1)]


def test_a_technique_is_ahead_of_the_controls_where_it_beats_the_best_of_them() -> None:
    scores = planted(libra=0.5, raw=0.3, mean=0.301, edges=0.3, centre=0.1, random=0)
    rows = by_key(board_of(scores, random=["random"], controls=["centre", "edges"]))
    assert {key: row.ahead_of_controls for key, row in rows.items()} == {
        "libra": True,
        "raw": False,
        "mean": False,
        "edges": None,
        "centre": None,
        "random": None,
    }
    assert rows["raw"].better_than_random is True
    mirrored = Scores(scores.keys, -scores.values)
    turned = board_of(mirrored, random=["random"], controls=["centre", "edges"], higher_is_better=False)
    assert {row.key: row.ahead_of_controls for row in turned.rows} == {
        key: row.ahead_of_controls for key, row in rows.items()
    }


def test_the_p_value_against_all_controls_is_the_largest_corrected_for_the_techniques() -> None:
    scores = planted(libra=0.05, raw=0.4, edges=0.02, centre=0)
    found = ahead_of_all(scores, ["edges", "centre"], ["libra", "raw"], QUICK)
    largest = {
        key: max(QUICK.paired(scores, [(key, control)]).p[0] for control in ("edges", "centre"))
        for key in ("libra", "raw")
    }
    assert largest["raw"] < largest["libra"]
    assert found["libra"][0] == pytest.approx(largest["libra"])
    assert found["raw"][0] == pytest.approx(2 * largest["raw"])
    behind = ahead_of_all(planted(raw=0, edges=0.5), ["edges"], ["raw"], QUICK)
    assert behind == {"raw": (1.0, False)}


def test_a_control_of_few_images_is_left_out_and_none_says_nothing() -> None:
    few = np.full(IMAGES, NAN)
    few[:3] = 9
    scores = table(a=IMAGE + 0.5, edges=IMAGE + noise(1), few=few)
    assert ahead_of_all(scores, ["edges", "few"], ["a"], QUICK)["a"][1] is True
    assert ahead_of_all(scores, ["few"], ["a"], QUICK) == {}


def test_what_is_no_better_than_the_best_control_is_rarely_called_so() -> None:
    rng = np.random.default_rng(7)
    false = 0
    for _ in range(200):
        keys = ("a", "b", "edges", "centre")
        scores = Scores(keys, rng.normal(size=(4, 20)) + np.array([[0.5], [0.5], [0.5], [0.0]]))
        found = ahead_of_all(scores, ["edges", "centre"], ["a", "b"], Bootstrap(resamples=300))
        false += any(ahead for _, ahead in found.values())
    assert false <= 10  # 5 % of 200, for both techniques together
