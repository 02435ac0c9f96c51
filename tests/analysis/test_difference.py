"""Two planted runs whose every difference is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_run import technique_record

from tests.analysis.planted_run import CLASSES, blob, image_id, plant
from vitreport.analysis.difference import Difference, difference
from vitreport.analysis.statistics import Bootstrap
from vitreport.errors import StoreError
from vitreport.store import Run

BOAT, CAR, HOUSE = range(3)
STEADY = technique_record("raw_attention")
MOVED = technique_record("gradient_rollout", class_specific=True)
COUNT = 60
FEW = Bootstrap(resamples=500)
LABELS = [number % 3 for number in range(COUNT)]


def scores_of(index: int, confidence: float = 0.8) -> list[float]:
    rest = (1 - confidence) / 2
    return [confidence if place == index else rest for place in range(3)]


def planted(root: Path, predicted: list[int], corner: bool, labels: list[int | None] | None = None) -> Run:
    """A run; with `corner` houses are explained by their lower right corner, else like the others."""
    steady, moved = np.random.default_rng(1), np.random.default_rng(2)
    maps = []
    for index in predicted:
        plain = blob(moved, *moved.uniform(2, 5, 2))
        maps.append(blob(moved, 7, 7) if corner and index == HOUSE else plain)
    return plant(
        root,
        scores=[scores_of(index) for index in predicted],
        labels=labels or LABELS,
        maps=[(STEADY, [blob(steady, *steady.uniform(2, 5, 2)) for _ in predicted]), (MOVED, maps)],
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The second model calls every fourth image a house, and looks at the corner for that."""
    root = tmp_path_factory.mktemp("two")
    after = [HOUSE if number % 4 == 0 else label for number, label in enumerate(LABELS)]
    return planted(root / "a", LABELS, corner=False), planted(root / "b", after, corner=True)


@pytest.fixture(scope="module")
def found(runs: tuple[Run, Run]) -> Difference:
    return difference(*runs, FEW)


def test_accuracy_counts_what_only_one_model_gets_right(found: Difference) -> None:
    broken = sum(number % 4 == 0 and LABELS[number] != HOUSE for number in range(COUNT))
    one = found.accuracy
    assert one is not None
    assert (one.images, one.before, one.after) == (COUNT, COUNT, COUNT - broken)
    assert (one.broken, one.mended) == (broken, 0)
    assert one.p == pytest.approx(2 * 0.5**broken)


def test_changed_predictions_are_named_by_their_kind(found: Difference) -> None:
    assert len(found.changes) == 10
    assert {one.kind for one in found.changes} == {"broken"}
    assert all(one.said_after == "house" and one.said_before == one.label for one in found.changes)


def test_mended_ones_come_after_broken_ones_and_labels_are_not_needed(tmp_path: Path) -> None:
    said = [[BOAT, BOAT, CAR, BOAT], [CAR, CAR, BOAT, CAR]]
    labels: list[int | None] = [BOAT, CAR, HOUSE, None]
    runs = [planted(tmp_path / str(n), one * 3, False, labels * 3) for n, one in enumerate(said)]
    found = difference(runs[0], runs[1], FEW)
    kinds = [one.kind for one in found.changes]
    assert kinds == ["broken"] * 3 + ["mended"] * 3 + ["wrong otherwise"] * 3 + ["changed"] * 3
    assert found.accuracy is not None and found.accuracy.images == 9
    assert found.accuracy.p == 1


def test_the_watermark_is_a_new_finding_and_vanishes_the_other_way(runs: tuple[Run, Run]) -> None:
    forth, back = difference(*runs, FEW), difference(runs[1], runs[0], FEW)
    assert forth.technique == MOVED.key
    assert forth.new[0].kind == "shortcut" and forth.new[0].subject == "house, lower right corner"
    assert [one.subject for one in back.vanished] == [one.subject for one in forth.new]
    assert {one.subject for one in back.new} == {one.subject for one in forth.vanished}


def test_maps_that_moved_are_told_from_those_that_did_not(found: Difference) -> None:
    moved = {one.key: one for one in found.moved}
    assert moved[STEADY.key].likeness.value == 1 and moved[STEADY.key].images == COUNT
    assert moved[MOVED.key].images == COUNT - 10 and moved[MOVED.key].other == 10
    assert found.moved[0].key == MOVED.key and moved[MOVED.key].likeness.value < 0.9
    values = [value for *_, value in found.moved[0].farthest]
    assert values == sorted(values)


def test_equal_runs_do_not_differ(tmp_path: Path, runs: tuple[Run, Run]) -> None:
    again = planted(tmp_path / "again", LABELS, corner=False)
    found = difference(runs[0], again, FEW)
    assert found.changes == () and found.new == () and found.vanished == ()
    assert found.accuracy is not None and found.accuracy.p == 1
    assert {one.likeness.value for one in found.moved} == {1.0}
    assert all(one.sentence == other.sentence for one, other in found.kept)


def test_images_are_matched_by_their_bytes(tmp_path: Path, runs: tuple[Run, Run]) -> None:
    fewer = planted(tmp_path / "fewer", LABELS[:20], corner=False, labels=list(LABELS[:20]))
    found = difference(runs[0], fewer, FEW)
    assert (found.shared, found.only_before, found.only_after) == (20, 40, 0)
    assert found.accuracy is not None and found.accuracy.images == 20


def test_runs_without_a_common_image_are_refused(tmp_path: Path, runs: tuple[Run, Run]) -> None:
    other = plant(tmp_path / "other", scores=[scores_of(BOAT)] * 3, labels=[BOAT] * 3, quarantined=[0, 1, 2])
    with pytest.raises(StoreError, match="no explained image in common"):
        difference(runs[0], other, FEW)


def test_other_grids_and_other_classes_are_said(tmp_path: Path, runs: tuple[Run, Run]) -> None:
    rng = np.random.default_rng(0)
    coarse = plant(
        tmp_path / "coarse",
        scores=[scores_of(label) for label in LABELS],
        labels=LABELS,
        grid=(4, 4),
        maps=[(MOVED, [blob(rng, 1, 1, (4, 4)) for _ in LABELS])],
        classes=(CLASSES[0], "lorry", CLASSES[2]),
    )
    found = difference(runs[0], coarse, FEW)
    assert found.moved == ()
    assert any("8 × 8 and 4 × 4" in reason for reason in found.reasons)
    assert any("compared by name" in reason for reason in found.reasons)
    assert any("labels of the runs differ" in reason for reason in found.reasons)
    assert {one.said_after for one in found.changes} == {"lorry"}
    assert image_id(1) in {one.after for one in found.changes}


def test_a_run_without_common_techniques_speaks_by_its_own(tmp_path: Path, runs: tuple[Run, Run]) -> None:
    rng = np.random.default_rng(0)
    record = replace(technique_record("attcat", class_specific=True))
    other = plant(
        tmp_path / "other",
        scores=[scores_of(label) for label in LABELS],
        labels=LABELS,
        maps=[(record, [blob(rng, 3, 3) for _ in LABELS])],
    )
    found = difference(runs[0], other, FEW)
    assert found.technique == "" and found.moved == ()
    assert any("each speaks by its own" in reason for reason in found.reasons)
