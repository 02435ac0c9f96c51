"""One technique's maps as one array."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic_run import technique_record, write_run

from tests.analysis.planted_run import even_scores, image_id, plant
from vitreport.analysis.maps import PREFERENCE, Maps, positive_shares, preferred, read_maps
from vitreport.analysis.outcomes import NO_CLASS, outcomes
from vitreport.store import open_run

CLASSY = technique_record("gradient_rollout", class_specific=True)
PLAIN = technique_record("attention_rollout")


def read(run, record) -> Maps:
    return read_maps(run, record, outcomes(run).ids)


def test_maps_are_those_that_the_run_gives_one_by_one(tmp_path):
    run = open_run(write_run(tmp_path / "run", 9, quarantined=2))
    for record in run.techniques:
        if record.kind != "map" or record.skipped:
            continue
        maps = read(run, record)
        assert len(maps.ids) == 7 and maps.defined.all()
        for place, name in enumerate(maps.ids):
            assert np.array_equal(maps.values[place], run.map(name, record.key))
        assert set(maps.targets.tolist()) == {1 if record.class_specific else NO_CLASS}


def test_of_several_targets_the_first_is_read_whatever_its_number(tmp_path):
    rng = np.random.default_rng(0)
    given = [[(2, rng.random((4, 5))), (0, rng.random((4, 5)))], [(1, rng.random((4, 5)))]]
    run = plant(
        tmp_path / "run",
        scores=even_scores([0, 0]),
        grid=(4, 5),
        targets=[[2, 0], [1]],
        maps=[(CLASSY, given)],
    )
    maps = read(run, CLASSY)
    assert maps.targets.tolist() == [2, 1]
    assert np.array_equal(maps.values[0], np.float32(given[0][0][1]))
    assert maps.classes(outcomes(run)).tolist() == [2, 1], "of what is explained, not of what is predicted"


def test_maps_of_several_shards_stay_with_their_images(tmp_path):
    count = 600
    values = [np.full((2, 3), number, np.float32) for number in range(count)]
    run = plant(
        tmp_path / "run",
        scores=even_scores([0] * count),
        grid=(2, 3),
        maps=[(PLAIN, values)],
        quarantined=(0, 255, 256, 599),
    )
    maps = read(run, PLAIN)
    assert maps.ids == tuple(image_id(n) for n in range(count) if n not in (0, 255, 256, 599))
    assert maps.values[:, 0, 0].tolist() == [n for n in range(count) if n not in (0, 255, 256, 599)]
    assert (maps.targets == NO_CLASS).all()
    assert maps.classes(outcomes(run)).tolist() == [0] * 596


def test_what_failed_or_is_missing_is_nan(tmp_path):
    good = np.ones((2, 2))
    given = [good, "ValueError: no", None, good]
    run = plant(tmp_path / "run", scores=even_scores([0, 1, 2, 0]), grid=(2, 2), maps=[(PLAIN, given)])
    maps = read(run, PLAIN)
    assert maps.defined.tolist() == [True, False, False, True]
    assert np.isnan(maps.values[1:3]).all()


def test_a_skipped_technique_has_no_maps(tmp_path):
    run = plant(tmp_path / "run", scores=even_scores([0]), maps=[(PLAIN, [np.ones((8, 8))])])
    assert not read(run, replace(PLAIN, skipped="it does not fit")).defined.any()


def test_shares_are_the_positive_part_scaled_to_one():
    maps = np.array(
        [[[1.0, -5.0], [3.0, 0.0]], [[-1, -2], [0, 0]], [[1, np.nan], [1, 1]], [[np.inf, 1], [1, 1]]]
    )
    shares = positive_shares(maps)
    assert np.array_equal(shares[0], np.float32([[0.25, 0], [0.75, 0]]))
    assert np.isnan(shares[1:]).all()


def test_tiny_and_huge_maps_have_shares_too():
    maps = np.float32([[[1e-38, 3e-38]], [[1e38, 3e38]]])
    assert positive_shares(maps) == pytest.approx(np.array([[[0.25, 0.75]]] * 2), rel=1e-5)


def run_with(tmp_path, *records):
    return plant(
        tmp_path / "run", scores=even_scores([0]), maps=[(record, [np.ones((8, 8))]) for record in records]
    )


def test_the_order_of_preference_decides_and_class_specific_goes_first(tmp_path):
    other = technique_record("zebra", class_specific=True)
    run = run_with(tmp_path, technique_record("centre"), PLAIN, other, CLASSY)
    assert preferred(run) == CLASSY
    assert preferred(run, order=("zebra",)) == other
    assert preferred(run, order=("attention_rollout",)) in (CLASSY, other)


def test_leaders_by_score_go_before_the_order(tmp_path):
    other = technique_record("zebra", class_specific=True)
    run = run_with(tmp_path, PLAIN, other, CLASSY)
    assert preferred(run, leaders=("zebra",)) == other
    assert preferred(run, leaders=("zebra", "gradient_rollout")) == CLASSY
    assert preferred(run, leaders=("attention_rollout",)) == CLASSY, "a class needs a map of its own"


def test_without_class_specific_techniques_another_speaks_and_controls_never_do(tmp_path):
    tuned = technique_record("attention_rollout", fusion="max")
    assert preferred(run_with(tmp_path / "a", technique_record("random"), tuned, PLAIN)) == PLAIN
    assert preferred(run_with(tmp_path / "b", technique_record("random"), technique_record("centre"))) is None


def test_the_preference_names_techniques_that_exist():
    from vitreport.techniques.technique import select

    assert [one.name for one in select(list(PREFERENCE))] == list(PREFERENCE)
    assert all(one.class_specific for one in select(list(PREFERENCE)))
