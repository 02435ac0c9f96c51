"""How predictions emerge by block, counted out image by image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from synthetic_run import write_run

from tests.analysis.planted_run import CLASSES, even_scores, plant
from vitreport.analysis.evolution import evolution, rank_sum, settled_block
from vitreport.analysis.intervals import share
from vitreport.analysis.outcomes import outcomes
from vitreport.analysis.statistics import Bootstrap
from vitreport.store import open_run

FEW = Bootstrap(resamples=500)
BLOCKS = 6


def lens_row(scores: np.ndarray) -> dict[str, object]:
    """Of scores ``(blocks, classes)``: classes by their score in the end, as the observation keeps them."""
    order = np.argsort(-scores[-1], kind="stable")
    kept = np.float32(scores[:, order])
    return {
        "blocks": len(scores),
        "classes": order.tolist(),
        "logits": kept.ravel(),
        "scores": kept.ravel(),
        "first": scores.argmax(axis=1).tolist(),
    }


def planted(tmp_path, *, labelled: bool = True, failed: tuple[int, ...] = (), wrong_last: bool = False):
    """30 images; every third is wrong and settles in the last block, the others in block 2."""
    rng = np.random.default_rng(0)
    wrong = np.arange(30) % 3 == 0
    predicted = rng.integers(3, size=30)
    labels = np.where(wrong, (predicted + 1) % 3, predicted)
    lens = np.zeros((30, BLOCKS, 3))
    for number in range(30):
        for block in range(BLOCKS):
            ahead = block >= (BLOCKS - 1 if wrong[number] else 2)
            first = predicted[number] if ahead else (predicted[number] + 2) % 3
            lens[number, block] = 0.1 + 0.01 * rng.random(3)
            lens[number, block, first] += 0.4 + 0.05 * block
    lens /= lens.sum(axis=2, keepdims=True)
    final = lens[:, -1].copy()
    if wrong_last:
        final = final[:, [1, 2, 0]]
    rows = [{} if number in failed else lens_row(one) for number, one in enumerate(lens)]
    run = plant(
        tmp_path / "run",
        scores=final.tolist(),
        labels=labels.tolist() if labelled else None,
        observations={"logit_lens": rows},
    )
    return run, lens, predicted, wrong


def test_scores_and_leads_are_counted_for_correct_and_wrong_apart(tmp_path):
    run, lens, predicted, wrong = planted(tmp_path)
    found = evolution(run, outcomes(run), FEW)
    assert found is not None and set(found.by_outcome) == {"all", "correct", "wrong"}
    for name, some in (("all", wrong | True), ("correct", ~wrong), ("wrong", wrong)):
        one = found.by_outcome[name]
        numbers = np.flatnonzero(some)
        assert one.n == len(numbers)
        for block in range(BLOCKS):
            scores = [lens[n, block, predicted[n]] for n in numbers]
            assert one.score[block].value == pytest.approx(np.mean(scores), rel=1e-5)
            low, high = one.score[block].low, one.score[block].high
            assert low is not None and high is not None and low <= np.mean(scores) + 1e-9 and high >= low
            ahead = sum(lens[n, block].argmax() == predicted[n] for n in numbers)
            assert one.ahead[block] == share(int(ahead), len(numbers))
    assert found.by_outcome["correct"].settled == 2
    assert found.by_outcome["wrong"].settled == BLOCKS - 1
    assert found.settled.tolist() == [BLOCKS - 1 if one else 2 for one in wrong]
    assert found.p < 1e-5


def test_the_last_block_equals_the_stored_prediction(tmp_path):
    run, *_ = planted(tmp_path)
    found = evolution(run, outcomes(run), FEW)
    assert found is not None and found.gap < 1e-6 and found.same == 30


def test_a_run_that_does_not_agree_with_itself_is_told(tmp_path):
    run, *_ = planted(tmp_path, wrong_last=True)
    found = evolution(run, outcomes(run), FEW)
    assert found is not None and found.same == 0


def test_without_labels_there_is_one_group(tmp_path):
    run, *_ = planted(tmp_path, labelled=False)
    found = evolution(run, outcomes(run), FEW)
    assert found is not None and set(found.by_outcome) == {"all"} and np.isnan(found.p)


def test_images_that_failed_do_not_count(tmp_path):
    run, *_ = planted(tmp_path, failed=(0, 7))
    found = evolution(run, outcomes(run), FEW)
    assert found is not None and found.by_outcome["all"].n == 28 and len(found.ids) == 28


@pytest.mark.parametrize(("head", "classes"), [("regression", CLASSES), ("none", ()), ("sigmoid", ("one",))])
def test_a_model_that_tells_no_classes_has_no_evolution(tmp_path, head, classes):
    run = open_run(write_run(tmp_path / "run", 4, targets=(), head=head, classes=classes))
    assert evolution(run, outcomes(run), FEW) is None


def test_without_the_observation_there_is_none(tmp_path):
    run = plant(tmp_path / "run", scores=even_scores([0]))
    assert evolution(run, outcomes(run), FEW) is None


def test_the_synthetic_run_agrees_with_itself(tmp_path):
    run = open_run(write_run(tmp_path / "run", 12, quarantined=2))
    found = evolution(run, outcomes(run), FEW)
    assert found is not None and found.gap == 0 and found.same == 10


@pytest.mark.parametrize(
    ("ahead", "block"),
    [("011", 1), ("111", 0), ("101", 2), ("001", 2), ("110", 3), ("000", 3)],
)
def test_a_prediction_settles_where_it_stays_ahead(ahead, block):
    assert settled_block(np.array([[digit == "1" for digit in ahead]])).tolist() == [block]


def test_the_rank_sum_test_is_that_of_scipy():
    rng = np.random.default_rng(0)
    for _ in range(50):
        one, other = rng.integers(6, size=rng.integers(5, 30)), rng.integers(1, 7, size=rng.integers(5, 30))
        expected = mannwhitneyu(one, other, method="asymptotic").pvalue
        assert rank_sum(one, other) == pytest.approx(expected, rel=1e-9)
    assert rank_sum(np.ones(9, int), np.ones(9, int)) == 1
    assert np.isnan(rank_sum(np.ones(4, int), np.ones(9, int)))
