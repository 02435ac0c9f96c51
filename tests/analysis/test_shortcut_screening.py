"""The screening on the embedded models: the mark is found on the one that cheats, nothing on the other.

The scenes are drawn from seeds that served neither for training nor for choosing technique and thresholds.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

from vitreport import RunSettings, explain
from vitreport.analysis.audit import audit
from vitreport.analysis.finding import SHORTCUT, Severity
from vitreport.analysis.findings import findings
from vitreport.analysis.maps import PREFERENCE, positive_shares, read_maps
from vitreport.analysis.outcomes import outcomes
from vitreport.analysis.regions import regions
from vitreport.analysis.shortcuts import Screening, screen
from vitreport.analysis.statistics import Bootstrap
from vitreport.demo.scene import Series, make_scene
from vitreport.demo.shape import CLASSES
from vitreport.demo.training import MARKED
from vitreport.demo.watermark import stamp
from vitreport.store import Run

IMAGES = 72
SEEDS = range(240, 250)
CORNER = "lower right corner"
HOUSE = CLASSES.index(MARKED)


def draw(folder: Path, seed: int) -> Path:
    """Scenes with one object, each class as often; every third with the mark, whatever its class."""
    folder.mkdir()
    rows = []
    for number in range(IMAGES):
        label = number % len(CLASSES)
        marked = number // len(CLASSES) % 3 == 0
        pixels = make_scene((seed, number), (label,)).pixels
        Image.fromarray(stamp(pixels) if marked else pixels).save(folder / f"{number:04d}.png")
        rows.append([f"{number:04d}.png", CLASSES[label], "marked" if marked else "plain"])
    with (folder / "images.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "stamp"], *rows])
    return folder / "images.csv"


def explained(table: Path, model: str, output: Path, technique: str = PREFERENCE[0]) -> Run:
    settings = RunSettings(
        images=(str(table),), model=f"embedded:{model}", techniques=(technique,), metrics=("none",)
    )
    return explain(settings, output)


def screened(run: Run) -> Screening:
    (record,) = run.techniques
    said = outcomes(run)
    maps = read_maps(run, record, said.ids)
    shares, classes = positive_shares(maps.values), maps.classes(said)
    return screen(record.key, said.ids, shares, classes, regions(maps.values.shape[1:]), Bootstrap(200))


def test_the_seeds_serve_no_other_purpose():
    assert not set(SEEDS) & set(Series)


@pytest.mark.parametrize("technique", PREFERENCE[:2])
def test_the_top_finding_of_the_model_that_cheats_is_the_watermark(tmp_path, technique):
    table = draw(tmp_path / "scenes", SEEDS[0])
    run = explained(table, "shortcut", tmp_path / "run", technique)
    found = audit(run, bootstrap=Bootstrap(500))
    first = findings(found)[0]
    assert first.kind == SHORTCUT and first.severity is Severity.SEVERE
    assert first.subject == f"{MARKED}, {CORNER}"
    assert MARKED in first.sentence and CORNER in first.sentence
    assert first.technique == technique
    refs = {ref.id: ref for ref in run.catalogue}
    assert len(first.images) == 6
    assert all(refs[image].meta["stamp"] == "marked" for image in first.images), "examples show the mark"
    named = [one.subject for one in findings(found)]
    assert any("stamp: marked" in one for one in named), "the slice that fails is named by its column"
    honest = explained(table, "honest", tmp_path / "honest", technique)
    assert not [one for one in findings(audit(honest, bootstrap=Bootstrap(500))) if one.kind == SHORTCUT]


@pytest.mark.slow
def test_of_ten_sets_of_scenes_none_is_missed_and_at_most_one_is_flagged_falsely(tmp_path):
    missed, false = [], []
    for seed in SEEDS:
        table = draw(tmp_path / f"{seed}", seed)
        first, *others = screened(explained(table, "shortcut", tmp_path / f"{seed}-shortcut")).flagged or [
            None
        ]
        if first is None or (first.index, first.corner) != (HOUSE, CORNER):
            missed.append(seed)
        others = [test for test in others if test.corner != CORNER or test.index is not None]
        false += [(seed, "shortcut", CLASSES[test.index or 0], test.corner) for test in others]
        honest = screened(explained(table, "honest", tmp_path / f"{seed}-honest")).flagged
        false += [(seed, "honest", test.index, test.corner) for test in honest]
    assert not missed
    assert len(false) <= 1, false
