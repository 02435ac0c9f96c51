"""Images for human review: each reason planted, and the order as promised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic_run import technique_record, techniques

from tests.analysis.planted_run import even_scores, image_id, plant
from vitreport.analysis.agreement import rank_agreement
from vitreport.analysis.outcomes import Outcomes, outcomes
from vitreport.analysis.review import DISAGREEMENT, UNDECIDED, WRONG, RankAgreement, compared, review


def test_agreement_is_the_mean_over_all_pairs_of_techniques():
    rng = np.random.default_rng(0)
    maps = rng.integers(0, 9, (5, 700, 4, 6)).astype(np.float32)
    maps[2, 3] = 1
    maps[:3, 5] = np.nan
    maps[:4, 7] = 2
    found = RankAgreement(700, 24)
    for number, one in enumerate(maps):
        found.add(f"t{number}", one)
    means = found.mean()
    for image in (0, 3, 5, 7, 511, 512, 699):
        table = rank_agreement(maps[:, image])
        pairs = table[np.triu_indices(5, 1)]
        expected = np.nanmean(pairs) if np.isfinite(pairs).any() else np.nan
        assert means[image] == pytest.approx(expected, abs=1e-5, nan_ok=True), image
    assert np.isnan(means[7]) and found.techniques == ["t0", "t1", "t2", "t3", "t4"]


def test_one_technique_agrees_with_nobody():
    found = RankAgreement(2, 4)
    found.add("only", np.arange(8, dtype=np.float32).reshape(2, 2, 2))
    assert np.isnan(found.mean()).all()
    assert np.isnan(RankAgreement(2, 4).mean()).all()


def test_opposite_maps_disagree_and_equal_ones_agree():
    found = RankAgreement(2, 6)
    one = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    found.add("one", one)
    found.add("other", np.stack((one[0], -one[1])))
    assert found.mean() == pytest.approx([1, -1])


def test_one_setting_of_each_technique_is_compared_and_no_control():
    assert [record.key for record in compared(techniques())] == [
        "raw_attention",
        "attention_rollout",
        "gradient_rollout",
        "signed_example",
    ]
    tuned = technique_record("attention_rollout", fusion="max")
    skipped = replace(technique_record("raw_attention"), skipped="no")
    assert compared((tuned, skipped)) == (tuned,)


def said(tmp_path, scores: list[list[float]], labels: list[int | None]) -> Outcomes:
    return outcomes(plant(tmp_path / "run", scores=scores, labels=labels))


def test_every_reason_is_found_and_the_gravest_comes_first(tmp_path):
    scores = [
        [0.95, 0.03, 0.02],
        [0.99, 0.01, 0.0],
        [0.48, 0.46, 0.06],
        [0.97, 0.02, 0.01],
        [0.80, 0.15, 0.05],
        [0.45, 0.40, 0.15],
        [0.96, 0.02, 0.02],
        [0.90, 0.05, 0.05],
    ]
    labels = [1, 2, 0, 0, 1, None, 1, 1]
    agreement = np.array([0.5, 0.52, 0.48, 0.51, 0.49, 0.5, -0.4, 0.53])
    found = review(said(tmp_path, scores, labels), agreement, ("a", "b"))
    assert [(case.id, case.reasons) for case in found.cases] == [
        (image_id(6), (WRONG, DISAGREEMENT)),
        (image_id(1), (WRONG,)),
        (image_id(0), (WRONG,)),
        (image_id(7), (WRONG,)),
        (image_id(2), (UNDECIDED,)),
        (image_id(5), (UNDECIDED,)),
    ]
    first = found.cases[0]
    assert first.words == (
        "The model says boat with 0.96, the label is car; "
        "the techniques’ maps agree by −0.40, those of other images by 0.50."
    )
    assert found.cases[4].words == "The second class is 0.02 behind."
    middle, spread = 0.5, 1.4826 * np.median(np.abs(agreement - 0.5))
    assert found.below == pytest.approx(middle - 2 * spread)
    assert found.techniques == ("a", "b")


def test_a_calm_run_has_no_cases(tmp_path):
    found = review(said(tmp_path, even_scores([0, 1, 2]), [0, 1, 2]), np.full(3, 0.7))
    assert found.cases == () and np.isnan(found.below)


def test_without_labels_or_agreement_there_may_still_be_undecided_images(tmp_path):
    found = review(said(tmp_path, [[0.4, 0.35, 0.25], [1.0, 0, 0]], [None, None]), np.full(2, np.nan))
    assert [case.reasons for case in found.cases] == [(UNDECIDED,)]
    assert np.isnan(found.cases[0].agreement)


def test_a_model_without_classes_is_reviewed_by_agreement_alone(tmp_path):
    run = plant(tmp_path / "run", scores=[[]] * 9, head="none", classes=(), targets=[[]] * 9)
    agreement = np.array([0.5, 0.51, 0.49, 0.5, 0.52, 0.48, 0.5, 0.51, -0.9])
    found = review(outcomes(run), agreement)
    assert [(case.id, case.reasons) for case in found.cases] == [(image_id(8), (DISAGREEMENT,))]


def test_the_order_does_not_hang_on_chance(tmp_path):
    outcome = said(tmp_path, [[0.5, 0.45, 0.05]] * 6, [0] * 6)
    assert [case.id for case in review(outcome, np.full(6, 0.5)).cases] == list(map(image_id, range(6)))
