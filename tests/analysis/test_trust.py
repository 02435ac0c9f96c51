"""What a run's scores say, read back from a store of numpy alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from synthetic_run import HIDDEN, metric_record, metrics, technique_record, write_run, write_scores

from vitreport.analysis.agreement import map_agreement, rank_agreement
from vitreport.analysis.statistics import FEWEST, Bootstrap
from vitreport.analysis.trust import Trust, trust
from vitreport.store import Run, open_run

FEW = Bootstrap(resamples=500)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return open_run(write_scores(write_run(tmp_path_factory.mktemp("trust") / "run", 40, quarantined=2)))


@pytest.fixture(scope="module")
def found(run: Run) -> Trust:
    read = trust(run, FEW)
    assert read is not None
    return read


def test_a_run_without_metrics_has_nothing_to_say(tmp_path: Path) -> None:
    assert trust(open_run(write_run(tmp_path / "run", 2))) is None


def test_every_metric_that_ran_has_the_stored_scores(run: Run, found: Trust) -> None:
    assert [one.record.key for one in found.measured] == [
        record.key for record in metrics() if record.skipped is None
    ]
    assert [record.name for record in found.skipped] == ["grid_pointing"]
    for one in found.measured:
        assert one.scores.keys == tuple(found.records)
        for key, record in found.records.items():
            stored = {
                row["id"]: row["value"]
                for row in run.scores(one.record, record).to_pylist()
                if row["value"] is not None
            }
            values = dict(zip(found.images, one.scores.of(key), strict=True))
            assert {name: value for name, value in values.items() if np.isfinite(value)} == stored


def test_the_headline_is_the_first_relevance_gain_that_ran(tmp_path: Path, found: Trust) -> None:
    assert found.headline is not None and found.headline.record.key == "relevance_gain"
    blur = metric_record("relevance_gain", short="SRG", occluder="blur")
    by = (metric_record("relevance_gain", short="SRG", skipped="it cannot"), metrics()[1], blur)
    other = trust(open_run(write_scores(write_run(tmp_path / "run", 6), by=by)), FEW)
    assert other is not None and other.headline is not None
    assert other.headline.record.key == blur.key
    none = trust(open_run(write_scores(write_run(tmp_path / "none", 6), by=by[:2])), FEW)
    assert none is not None and none.headline is None


def test_the_draws_of_the_random_control_are_one_row_and_their_mean(found: Trust) -> None:
    assert found.random == ("random", "random:draw=1", "random:draw=2")
    one = found.headline
    assert one is not None
    row = one.row("random")
    assert row is not None and row.control
    assert one.row("random:draw=1") is None
    mean = np.mean([one.scores.of(key).mean() for key in found.random])
    assert row.mean == pytest.approx(mean)


def test_controls_have_no_group_and_good_techniques_lead(found: Trust) -> None:
    one = found.headline
    assert one is not None and one.board is not None
    assert one.rows[0].key == "gradient_rollout"
    assert one.rows[0].better_than_random
    worst = one.row("signed_example")
    assert worst is not None and worst.better_than_random is False
    assert {row.key for row in one.rows if row.control} == {"random", "centre", "edges"}
    assert all(row.group is None for row in one.rows if row.control)


def test_a_check_has_verdicts_and_nothing_that_ranks(found: Trust) -> None:
    (one,) = (one for one in found.measured if one.record.name == "randomisation")
    assert one.board is None and one.correct is None
    verdicts = {row.key: row.verdict for row in one.rows}
    assert verdicts["gradient_rollout"] == verdicts["raw_attention"] == "fails"
    assert verdicts["attention_rollout"] == verdicts["signed_example"] == "passes"
    assert verdicts["attention_rollout:fusion=min"] is None
    assert all(row.group is None and row.better_than_random is None for row in one.rows)
    row = one.row("gradient_rollout")
    assert row is not None and row.beyond is not None and row.mean is not None
    assert row.beyond.mean == pytest.approx(row.mean - 0.05)
    assert one.details["emprt"]["gradient_rollout"] == 0.25
    assert np.isnan(one.details["emprt"]["attention_rollout:fusion=min"])


def test_a_metric_that_only_describes_ranks_nothing_but_has_intervals(found: Trust) -> None:
    (one,) = (one for one in found.measured if one.record.name == "concentration")
    assert one.board is None and one.correct is None
    assert all(row.group is None and row.better_than_random is None for row in one.rows)
    means = [row.mean for row in one.rows if row.mean is not None]
    assert means == sorted(means, reverse=True)
    assert all(row.low < row.mean < row.high for row in one.rows if row.mean is not None)  # type: ignore[operator]


def test_right_and_wrong_predictions_are_told_apart(run: Run, found: Trust) -> None:
    rows = {row["id"]: row for row in run.images.to_pylist()}
    right = [rows[name]["top_index"][0] == rows[name]["label"] for name in found.images]
    one = found.headline
    assert one is not None and one.correct is not None and one.wrong is not None
    assert (found.correct, found.wrong) == (sum(right), len(right) - sum(right))
    assert (one.correct.images, one.wrong.images) == (found.correct, found.wrong)
    expected = one.scores.of("raw_attention")[np.array(right)].mean()
    (row,) = (row for row in one.correct.rows if row.key == "raw_attention")
    assert row.mean == pytest.approx(expected)


def test_too_few_of_either_kind_are_not_told_apart(tmp_path: Path) -> None:
    root = write_scores(write_run(tmp_path / "run", 2 * FEWEST - 1, quarantined=0))
    found = trust(open_run(root), FEW)
    assert found is not None and found.correct is not None and found.wrong is not None
    assert min(found.correct, found.wrong) < FEWEST
    assert all(one.correct is None and one.wrong is None for one in found.measured)


@pytest.mark.parametrize("given", [{"labelled": False}, {"head": "regression"}])
def test_without_labels_or_classes_nothing_is_right_or_wrong(tmp_path: Path, given: dict[str, str]) -> None:
    root = write_run(tmp_path / "run", 12, quarantined=0, **given)  # type: ignore[arg-type]
    found = trust(open_run(write_scores(root)), FEW)
    assert found is not None and found.correct is None and found.wrong is None


def test_mean_curves_are_those_of_the_store(run: Run, found: Trust) -> None:
    one = found.headline
    assert one is not None and one.curves is not None
    assert one.curves.hidden.tolist() == HIDDEN
    rows = run.scores(one.record, run.technique("raw_attention")).to_pylist()
    most, least = one.curves.mean("raw_attention")
    assert most == pytest.approx(np.mean([row["most_first"] for row in rows], axis=0), abs=1e-6)
    assert least == pytest.approx(np.mean([row["least_first"] for row in rows], axis=0), abs=1e-6)
    draws = [
        row["most_first"]
        for key in found.random
        for row in run.scores(one.record, found.records[key]).to_pylist()
    ]
    assert one.curves.mean("random")[0] == pytest.approx(np.mean(draws, axis=0), abs=1e-6)


def test_undefined_maps_have_no_curves(found: Trust) -> None:
    one = found.headline
    assert one is not None and one.curves is not None
    assert np.isnan(one.curves.mean("attention_rollout:fusion=min")[0]).all()
    assert one.row("attention_rollout:fusion=min").n == 0  # type: ignore[union-attr]


def test_the_commonest_note_says_why_a_technique_is_undefined(found: Trust) -> None:
    (one,) = (one for one in found.measured if one.record.name == "mask_agreement")
    silent = "attention_rollout:fusion=min"
    assert set(one.notes.items()) == {((silent, name), "the mask shows <nothing>") for name in one.scored}
    assert found.why_most_missing(one, silent) == "the mask shows <nothing>"
    assert found.why_most_missing(one, "raw_attention") == ""


def test_a_technique_that_explains_fewer_images_is_undefined(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", 6)
    folder = open_run(root).folder
    manifest = folder.manifest()
    records = tuple(
        replace(record, most_images=1) if record.key == "raw_attention" else record
        for record in manifest.techniques
    )
    folder.commit_manifest(replace(manifest, techniques=records))
    found = trust(open_run(write_scores(root)), FEW)
    assert found is not None and found.headline is not None
    row = found.headline.row("raw_attention")
    assert row is not None and row.n == 0


def test_agreement_of_one_image_is_spearmans_with_ties() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.integers(0, 5, (6, 8)).astype(np.float32) for _ in range(4)]
    expected = spearmanr(np.stack([values.ravel() for values in maps], axis=1)).statistic
    assert rank_agreement(maps) == pytest.approx(expected, abs=1e-12)
    assert (np.diagonal(rank_agreement(maps)) == 1).all()


def test_constant_odd_and_empty_maps_agree_with_nothing() -> None:
    good = np.arange(6.0)
    maps = [good, -good, np.ones(6), np.array([np.nan, *good[1:]]), np.zeros(0), np.arange(4.0)]
    found = rank_agreement(maps)
    assert found[0, 1] == pytest.approx(-1, abs=1e-12)
    assert np.isnan(found[2:]).all() and np.isnan(found[:, 2:]).all()
    assert rank_agreement([]).shape == (0, 0)


def test_mean_agreement_is_that_of_the_stored_maps(run: Run, found: Trust) -> None:
    agreement = found.agreement
    one, other = "gradient_rollout", "raw_attention"
    values = []
    for image_id in found.images:
        target = found.targets[image_id]
        pair = [run.map(image_id, key, target).ravel() for key in (one, other)]
        values.append(spearmanr(*pair).statistic)
    place = agreement.keys.index(one), agreement.keys.index(other)
    assert agreement.mean[place] == pytest.approx(np.mean(values), abs=1e-12)
    assert agreement.images[place] == len(found.images)
    assert agreement.mean == pytest.approx(agreement.mean.T, abs=1e-12)
    assert {"random", "centre"} <= set(agreement.keys)
    assert "edges" not in agreement.keys


def test_agreement_counts_only_images_that_have_both_maps(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", 4, quarantined=0, failing=("raw_attention",)))
    ids = {ref.id: 1 for ref in run.catalogue[:3]}
    agreement = map_agreement(run, ids)
    failed = agreement.keys.index("raw_attention")
    assert np.isnan(agreement.mean[failed]).all()
    assert agreement.images[failed].sum() == 0
    assert agreement.images.max() == 3


def test_metrics_that_all_were_skipped_leave_no_scores(tmp_path: Path) -> None:
    by = [replace(record, skipped="the model has no classifier") for record in metrics()]
    found = trust(open_run(write_scores(write_run(tmp_path / "run", 3), by=by)), FEW)
    assert found is not None and found.measured == () and found.images == ()
    assert len(found.skipped) == len(by)


def test_a_skipped_technique_has_no_row(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", 6, classes=(), head="none", targets=())
    assert technique_record("gradient_rollout").key in [record.key for record in open_run(root).techniques]
    found = trust(open_run(write_scores(root)), FEW)
    assert found is not None and "gradient_rollout" not in found.records
