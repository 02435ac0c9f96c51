"""Slices: a planted weakness is found by name, chance is not, and every column is cut as promised."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from tests.analysis.planted_run import even_scores, image_id, plant
from vitreport.analysis.intervals import share
from vitreport.analysis.outcomes import Outcomes, outcomes
from vitreport.analysis.slices import (
    CLASS,
    CONFIDENCE,
    EMPTY,
    GROUP,
    LEAST,
    LEVEL,
    OUTCOME,
    PREDICTED,
    Slicing,
    column_slices,
    slices,
)
from vitreport.analysis.statistics import FEWEST, holm


def said(tmp_path, right: np.ndarray, **given: object) -> Outcomes:
    """Images of three classes in turn, each right or wrong as told."""
    labels = [number % 3 for number in range(len(right))]
    predicted = [label if ok else (label + 1) % 3 for label, ok in zip(labels, right, strict=True)]
    return outcomes(plant(tmp_path / "run", scores=even_scores(predicted), labels=labels, **given))  # type: ignore[arg-type]


def named(found: Slicing, by: str) -> dict[str, object]:
    return {one.value: one for one in found.slices if one.by == by}


@pytest.mark.parametrize("where", ["group", "metadata", "number"])
def test_a_planted_weakness_is_found_and_named(tmp_path, where):
    """A quarter of the images is mislabelled or darkened: right on 3 in 10 there, 9 in 10 elsewhere."""
    rng = np.random.default_rng(0)
    weak = np.arange(240) % 4 == 0
    right = rng.random(240) < np.where(weak, 0.3, 0.9)
    noise = [{"day": f"{rng.integers(2)}", "camera": f"c{number % 5}"} for number in range(240)]
    if where == "group":
        given = {"groups": ["night" if one else "day" for one in weak], "meta": noise}
        expected = (GROUP, "night")
    elif where == "metadata":
        given = {
            "meta": [
                {**row, "light": "dark" if one else "fair"} for row, one in zip(noise, weak, strict=True)
            ]
        }
        expected = ("light", "dark")
    else:
        amounts = np.where(weak, rng.uniform(0, 10, 240), rng.uniform(20, 90, 240))
        given = {"meta": [{**row, "lux": f"{lux:.3f}"} for row, lux in zip(noise, amounts, strict=True)]}
        expected = ("lux", None)
    found = slices(said(tmp_path, right, **given))
    first = found.flagged[0]
    assert first.by == expected[0] and expected[1] in (None, first.value)
    assert set(first.images.tolist()) == set(np.flatnonzero(weak).tolist())
    assert first.corrected < LEVEL and first.difference < -LEAST
    assert (first.judged, first.right) == (60, int(right[weak].sum()))
    assert first.rest.value == pytest.approx(right[~weak].mean())
    assert len(first.examples) == 6
    assert {one.by for one in found.flagged} == {expected[0]}, "nothing else is flagged"


def test_numbers_of_a_slice_are_counted(tmp_path):
    right = np.array([1, 0, 1, 1, 0, 0, 1, 1, 0, 1, 1, 1, 0, 1])
    groups = ["a"] * 6 + ["b"] * 8
    found = named(slices(said(tmp_path, right, groups=groups)), GROUP)
    one = found["a"]
    assert (one.judged, one.right) == (6, 3)
    assert one.accuracy == share(3, 6) and one.rest == share(6, 8)
    assert one.confidence == pytest.approx(0.8)
    total = comb(14, 9)
    tables = {k: comb(6, k) * comb(8, 9 - k) / total for k in range(1, 7)}
    assert one.p == pytest.approx(sum(p for p in tables.values() if p <= tables[3] * (1 + 1e-9)))
    assert one.examples == tuple(image_id(number) for number in (1, 4, 5))


def test_the_most_confident_mistakes_are_the_examples(tmp_path):
    confidence = np.linspace(0.5, 0.9, 12)[np.random.default_rng(0).permutation(12)]
    run = plant(tmp_path / "run", scores=even_scores([1] * 12, confidence), labels=[0] * 8 + [1] * 4)
    one = named(slices(outcomes(run)), CLASS)["boat"]
    order = sorted(range(8), key=lambda number: -confidence[number])
    assert one.examples == tuple(map(image_id, order[:6]))


def test_all_tests_of_the_run_are_corrected_together(tmp_path):
    rng = np.random.default_rng(1)
    meta = [{"a": str(number % 3), "b": str(number % 4)} for number in range(60)]
    found = slices(said(tmp_path, rng.random(60) < 0.7, meta=meta, groups=["x", "y"] * 30))
    p_values = [one.p for one in found.slices]
    assert np.array_equal([one.corrected for one in found.slices], holm(p_values), equal_nan=True)
    tested = {one.by for one, p in zip(found.slices, p_values, strict=True) if np.isfinite(p)}
    assert tested == {CLASS, PREDICTED, GROUP, "a", "b"}


def test_chance_is_not_flagged(tmp_path):
    flagged = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        meta = [{"a": str(rng.integers(6)), "b": f"{rng.random():.6f}"} for _ in range(150)]
        found = slices(said(tmp_path / str(seed), rng.random(150) < 0.7, meta=meta))
        flagged += bool([one for one in found.flagged if one.by in ("a", "b")])
    assert flagged <= 1


def test_a_slice_that_is_better_is_no_weakness(tmp_path):
    right = np.array([True] * 30 + [True] * 150 + [False] * 20)
    found = slices(said(tmp_path, right, groups=["good"] * 30 + ["rest"] * 170))
    assert all(one.value != "good" for one in found.flagged)


def test_outcome_and_confidence_are_described_and_not_tested(tmp_path):
    confidence = [0.4, 0.5, 0.69, 0.7, 0.9, 1.0] * 10
    right = np.array([0, 0, 1, 1, 1, 1] * 10)
    labels = [number % 3 for number in range(60)]
    predicted = [label if ok else (label + 1) % 3 for label, ok in zip(labels, right, strict=True)]
    run = plant(tmp_path / "run", scores=even_scores(predicted, confidence), labels=labels)
    found = slices(outcomes(run))
    bins = named(found, CONFIDENCE)
    assert {name: one.judged for name, one in bins.items()} == {
        "0 to 0.5": 10,
        "0.5 to 0.7": 20,
        "0.7 to 0.9": 10,
        "0.9 to 1": 20,
    }
    assert bins["0 to 0.5"].accuracy.value == 0 and bins["0.9 to 1"].accuracy.value == 1
    assert named(found, OUTCOME)["wrong"].judged == 20
    assert all(np.isnan(one.p) for one in found.slices if one.by in (CONFIDENCE, OUTCOME))


def test_a_metadata_column_may_have_any_name(tmp_path):
    right = np.array([False] * 20 + [True] * 40)
    meta = [{"outcome": "low" if number < 20 else "high"} for number in range(60)]
    found = slices(said(tmp_path, right, meta=meta))
    assert [one.value for one in found.flagged if one.metadata] == ["low"]


def test_without_labels_slices_have_no_accuracy(tmp_path):
    run = plant(tmp_path / "run", scores=even_scores([0, 1, 2] * 4), groups=["a", "b"] * 6)
    found = slices(outcomes(run))
    assert {one.by for one in found.slices} == {PREDICTED, GROUP, CONFIDENCE}
    assert all(one.judged == 0 and np.isnan(one.accuracy.value) for one in found.slices)
    assert not found.flagged


def test_a_model_without_classes_has_slices_by_group_alone(tmp_path):
    run = plant(
        tmp_path / "run", scores=[[]] * 6, head="none", classes=(), groups=["a", "b"] * 3, targets=[[]] * 6
    )
    found = slices(outcomes(run))
    assert {one.by for one in found.slices} == {GROUP}
    assert all(np.isnan(one.confidence) for one in found.slices)


def test_too_few_images_are_not_tested(tmp_path):
    count = FEWEST - 1
    right = np.array([False] * count + [True] * 30)
    found = named(slices(said(tmp_path, right, groups=["few"] * count + ["many"] * 30)), GROUP)
    assert np.isnan(found["few"].p) and np.isnan(found["many"].p)


def test_one_image_is_sliced_without_a_word(tmp_path):
    assert not slices(said(tmp_path, np.array([True]), meta=[{"a": "x"}])).flagged


def counts(values: list[str]) -> dict[str, int]:
    found, reason = column_slices(values)
    assert reason is None
    return {name: len(images) for name, images in found}


def test_a_column_of_few_values_is_sliced_by_value_numbers_in_order():
    assert counts(["10", "9", "9", "", "100"]) == {"9": 2, "10": 1, "100": 1, EMPTY: 1}
    assert list(counts(["10", "9", "9", "", "100"])) == ["9", "10", "100", EMPTY]
    assert list(counts(["b", "a", "b"])) == ["a", "b"]


def test_a_column_of_many_numbers_is_cut_into_quartiles():
    values = [str(number) for number in range(100)]
    assert counts(values) == {"0 to below 25": 25, "25 to below 50": 25, "50 to below 75": 25, "75 to 99": 25}
    assert counts([*values, ""])[EMPTY] == 1
    dates = [str(20_240_101 + number) for number in range(40)]
    assert len(counts(dates)) == 4, "long numbers keep their digits"


def test_equal_numbers_stay_together():
    values = ["0"] * 60 + [str(number) for number in range(1, 41)]
    found, _ = column_slices(values)
    assert sum(len(images) for _, images in found) == 100
    zeros = next(images for name, images in found if 0 in images)
    assert set(range(60)) <= set(zeros.tolist())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["x"] * 5, "one value"),
        ([""] * 5, "empty"),
        ([f"photo {number}" for number in range(30)], "30 different values"),
        ([str(number) for number in range(29)] + ["nan"], "not all are numbers"),
        ([str(number) for number in range(25)] + ["30"] * 400, "nearly all"),
    ],
)
def test_a_column_that_gives_no_slices_says_why(values, words):
    found, reason = column_slices(values)
    assert found == [] and reason is not None and words in reason


def test_unused_columns_are_listed(tmp_path):
    meta = [{"name": f"n{number}", "a": "x" if number % 2 else "y"} for number in range(30)]
    found = slices(said(tmp_path, np.ones(30, bool), meta=meta))
    assert list(found.unused) == ["name"] and "30 different" in found.unused["name"]
