"""A whole run's findings: what is planted is found and ranked, and nothing is flagged without evidence."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from synthetic_run import technique_record, write_run, write_scores

from tests.analysis.planted_run import CLASSES, blob, even_scores, image_id, plant
from tests.analysis.test_evolution import lens_row
from tests.analysis.test_outliers import norms_row
from vitreport.analysis.audit import audit
from vitreport.analysis.finding import (
    EMERGENCE,
    HEADS,
    KINDS,
    OUTLIERS,
    PLACE,
    REVIEW,
    SHORTCUT,
    SLICE,
    STRATEGY,
    Finding,
    Severity,
)
from vitreport.analysis.findings import findings
from vitreport.analysis.statistics import Bootstrap
from vitreport.store import Run, open_run

FEW = Bootstrap(resamples=1000)
CLASSY = technique_record("gradient_rollout", class_specific=True)
OTHER = technique_record("attention_rollout")
HOUSE = 2


def found_in(run: Run) -> tuple[Finding, ...]:
    return findings(audit(run, bootstrap=FEW))


def kinds(found: tuple[Finding, ...]) -> set[str]:
    return {one.kind for one in found}


def healthy(tmp_path, **planted: object) -> Run:
    """90 images of three classes, all right but a few, evidence anywhere; what is `planted` is added."""
    rng = np.random.default_rng(5)
    labels = [number % 3 for number in range(90)]
    given: dict[str, object] = {
        "scores": even_scores([(label + (n % 16 == 7)) % 3 for n, label in enumerate(labels)], 0.8),
        "labels": labels,
        "meta": [{"camera": f"c{rng.integers(3)}"} for _ in labels],
    }
    if "maps" not in planted:
        given["maps"] = [(CLASSY, [blob(rng, *rng.uniform(0, 7, 2)) for _ in labels])]
    return plant(tmp_path / "run", **{**given, **planted})  # type: ignore[arg-type]


def test_a_healthy_run_has_no_findings(tmp_path):
    assert found_in(healthy(tmp_path)) == ()


def test_a_planted_mark_is_the_top_finding(tmp_path):
    rng = np.random.default_rng(0)
    maps = [blob(rng, *((7, 0) if n % 3 == HOUSE else rng.uniform(0, 7, 2))) for n in range(90)]
    weak = [n % 3 == 0 and n % 2 == 0 for n in range(90)]
    predicted = [(n % 3 + one) % 3 for n, one in enumerate(weak)]
    run = healthy(
        tmp_path,
        maps=[(CLASSY, maps)],
        meta=[{"light": "dark" if one else "fair"} for one in weak],
        scores=even_scores(predicted, 0.95),
        targets=[[n % 3] for n in range(90)],
    )
    found = found_in(run)
    first = found[0]
    assert (first.kind, first.severity) == (SHORTCUT, Severity.SEVERE)
    assert first.subject == "house, lower left corner" and first.technique == CLASSY.key
    assert "house" in first.sentence and "lower left corner" in first.sentence
    assert "95\xa0% interval" in first.sentence and "30 images" in first.sentence
    assert first.numbers["images"] == 30 and first.numbers["share"] > 0.5 > first.numbers["others"]
    assert first.numbers["p corrected"] < 0.01
    assert set(first.images) <= {image_id(n) for n in range(90) if n % 3 == HOUSE} and len(first.images) == 6
    assert [one.subject for one in found if one.kind == SHORTCUT] == [first.subject], "all images follow"
    assert PLACE not in kinds(found), "the border is full because the corner is"
    dark = next(one for one in found if one.kind == SLICE and "light: dark" in one.subject)
    assert "light is dark" in dark.sentence and dark.numbers["right"] == 0
    order = [(-one.severity, KINDS.index(one.kind)) for one in found]
    assert order == sorted(order)


def test_a_preference_of_all_images_is_one_finding_where_no_class_explains_it(tmp_path):
    rng = np.random.default_rng(0)
    maps = []
    for number in range(90):
        one = blob(rng, *rng.uniform(2, 5, 2))
        one[0, 0] += 2 if number % 4 == 0 else 0
        maps.append(one)
    found = found_in(
        healthy(tmp_path, maps=[(OTHER, maps)], classes=(), head="none", scores=[[]] * 90, targets=[[]] * 90)
    )
    assert [one.subject for one in found if one.kind == SHORTCUT] == ["all images, upper left corner"]


def test_a_certain_but_thin_corner_is_a_warning(tmp_path):
    """Fifty times the other corners, yet less evidence than an even share."""
    rng = np.random.default_rng(0)
    maps = []
    for _ in range(90):
        one = np.zeros((8, 8))
        one[3:5, 3:5] = 1 + rng.random((2, 2))
        one[0, 0] = 0.1
        one[0, 7] = one[7, 0] = one[7, 7] = 0.002
        maps.append(one)
    found = found_in(healthy(tmp_path, maps=[(OTHER, maps)]))
    corner = [one for one in found if one.kind == SHORTCUT]
    assert corner and {one.severity for one in corner} == {Severity.WARNING}


def test_slices_of_the_same_images_are_one_finding_with_both_names(tmp_path):
    weak = [n % 3 == 1 for n in range(90)]
    predicted = [(n % 3 + (one and n % 2)) % 3 for n, one in enumerate(weak)]
    run = healthy(
        tmp_path,
        scores=even_scores(predicted),
        groups=["night" if one else "day" for one in weak],
        meta=[{"lamp": "on" if one else "off"} for one in weak],
    )
    (one,) = [one for one in found_in(run) if one.kind == SLICE and "night" in one.subject]
    assert one.subject == "class: car; group: night; lamp: on"
    assert "in the group night" in one.sentence and "where lamp is on" in one.sentence
    assert set(one.images) <= {image_id(n) for n in range(90) if weak[n] and n % 2}


def test_a_border_that_speaks_for_a_class_is_found(tmp_path):
    rng = np.random.default_rng(0)
    maps = [rng.random((8, 8)) for _ in range(90)]
    for number in range(1, 90, 3):
        maps[number][0] += 3
        maps[number][-1] += 3
    (one,) = [one for one in found_in(healthy(tmp_path, maps=[(CLASSY, maps)])) if one.kind == PLACE]
    assert one.subject == "car, border" and one.numbers["mass"] > 1.5 * one.numbers["size"]


def test_a_way_of_recognising_a_class_that_is_wrong_more_often_is_found(tmp_path):
    rng = np.random.default_rng(0)
    fooled = [n % 3 == 0 and n % 2 == 0 for n in range(90)]
    maps = [blob(rng, *((1.5, 6) if one else rng.normal(5, 0.5, 2))) for one in fooled]
    labels = [1 if one else n % 3 for n, one in enumerate(fooled)]
    run = healthy(
        tmp_path, maps=[(CLASSY, maps)], labels=labels, scores=even_scores([n % 3 for n in range(90)])
    )
    (one,) = [one for one in found_in(run) if one.kind == STRATEGY]
    assert one.subject.startswith("boat, ") and one.numbers["images"] == 15 and one.numbers["wrong"] == 1
    assert set(one.images) <= {image_id(n) for n in range(90) if fooled[n]}


def test_outlier_tokens_and_the_technique_that_lights_up_on_them_are_found(tmp_path):
    rng = np.random.default_rng(0)
    norms = rng.normal(10, 0.3, (90, 2, 8, 8))
    maps = [blob(rng, *rng.uniform(0, 7, 2)) for _ in range(90)]
    lit, warm = ([one.copy() for one in maps] for _ in range(2))
    for number in range(0, 90, 2):
        row, col = rng.integers(8, size=2)
        norms[number, 1, row, col] = 90
        lit[number][row, col] += 4
        warm[number][:] = 1
        warm[number][row, col] = 1.6
    run = healthy(
        tmp_path,
        maps=[(CLASSY, maps), (OTHER, lit), (technique_record("zebra"), warm)],
        observations={"token_norms": list(map(norms_row, norms))},
    )
    bright, tokens = [one for one in found_in(run) if one.kind == OUTLIERS]
    assert (bright.severity, bright.technique) == (Severity.WARNING, OTHER.key)
    assert CLASSY.key not in bright.sentence and "zebra" not in bright.sentence, (
        "certain, but no more than 1.6"
    )
    assert bright.numbers["ratio"] > 2
    assert tokens.severity is Severity.NOTE and "45 of 90 images" in tokens.sentence


def test_a_store_that_does_not_agree_with_itself_is_found(tmp_path):
    rng = np.random.default_rng(0)
    lens = rng.dirichlet(np.ones(3), (90, 4))
    final = [np.roll(one[-1], 1).tolist() for one in lens]
    found = found_in(healthy(tmp_path, scores=final, observations={"logit_lens": list(map(lens_row, lens))}))
    one = next(one for one in found if one.kind == EMERGENCE and one.subject == "last block")
    assert "does not agree with itself" in one.sentence and one.numbers["other class"] == 90


def test_confident_mistakes_are_found_and_named(tmp_path):
    labels = [number % 3 for number in range(90)]
    wrong = [number for number in range(90) if number % 5 == 0]
    predicted = [(label + (number in wrong)) % 3 for number, label in enumerate(labels)]
    found = found_in(healthy(tmp_path, scores=even_scores(predicted, 0.96)))
    one = next(one for one in found if one.kind == REVIEW)
    assert one.severity is Severity.WARNING or one.numbers["share, low"] <= 0.1
    assert one.numbers["wrong"] == 18 and one.numbers["confident"] == 90
    assert one.images == tuple(image_id(number) for number in wrong[:6])


def test_redundant_heads_are_found(tmp_path):
    row = {"blocks": 2, "heads": 2}
    flat = {name: np.float32([1, 1, 2, 2]) for name in ("entropy", "distance", "prefix_mass")}
    heads = {**row, **flat, "redundancy": np.float32([0.1, 0.2, 0.95, 0.97])}
    found = found_in(healthy(tmp_path, observations={"attention_statistics": [heads] * 90}))
    (one,) = [one for one in found if one.kind == HEADS]
    assert one.numbers["heads"] == 2 and "head 1 of block 1, head 0 of block 1" in one.sentence


@pytest.mark.parametrize(
    "given",
    [
        {"images": 1, "quarantined": 0},
        {"images": 3, "quarantined": 3},
        {"images": 12, "labelled": False},
        {"images": 12, "head": "none", "classes": (), "targets": ()},
        {"images": 12, "head": "regression"},
        {"images": 12, "head": "sigmoid"},
        {"images": 12, "head": "sigmoid", "classes": ("one",), "targets": ()},
        {"images": 12, "failing": ("gradient_rollout", "token_norms", "logit_lens")},
        {"images": 12, "untargeted": 4},
        {"images": 12, "quarantined": 11},
    ],
    ids=str,
)
def test_every_kind_of_run_can_be_audited(tmp_path, given):
    found = audit(open_run(write_run(tmp_path / "run", **given)), bootstrap=FEW)
    for one in findings(found):
        assert one.sentence.endswith(".") and "nan" not in one.sentence and "None" not in one.sentence
        assert one.kind in KINDS and all(
            np.isfinite(value) or value == np.inf for value in one.numbers.values()
        )


def test_a_run_without_any_technique_is_audited_too(tmp_path):
    found = audit(plant(tmp_path / "run", scores=even_scores([0, 1])), bootstrap=FEW)
    assert found.technique is None and found.placements == () and found.screening is None
    assert findings(found) == ()


def test_a_technique_can_be_chosen(tmp_path):
    run = open_run(write_scores(write_run(tmp_path / "run", 12)))
    assert audit(run, bootstrap=FEW).technique == run.technique("gradient_rollout")
    chosen = run.technique("attention_rollout:fusion=max")
    found = audit(run, technique=chosen, bootstrap=FEW)
    assert found.technique == chosen and found.screening is not None
    assert found.screening.technique == chosen.key
    assert audit(run, leaders=("signed_example",), bootstrap=FEW).technique == run.technique("signed_example")
    control = audit(run, technique=run.technique("random"), bootstrap=FEW)
    assert control.screening is not None and control.screening.technique == "random"
    assert "random" not in control.review.techniques
    assert "random" not in [one.technique for one in control.on_outliers]


def test_two_audits_of_a_run_are_the_same(tmp_path):
    run = healthy(tmp_path)
    assert found_in(run) == found_in(open_run(tmp_path / "run"))


def test_an_audit_needs_no_torch():
    code = "import sys, vitreport.analysis.findings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_classes_of_the_helper_have_a_synonym_that_is_not_shown():
    assert CLASSES[HOUSE] == "house, home"
