"""What the report says of a run as a whole, against the audit that it comes from."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_run import technique_record

from tests.analysis.planted_run import blob, plant
from vitreport.analysis.audit import audit
from vitreport.analysis.findings import findings
from vitreport.report.audit_reading import audit_page
from vitreport.report.chapter import AuditPage, Chapter, Section
from vitreport.report.pages import ImageRow
from vitreport.report.pdf_attachment import results
from vitreport.report.reading import image_rows, index_page
from vitreport.store import Run

BOAT, CAR, HOUSE = range(3)
MAPS = technique_record("gradient_rollout", class_specific=True)
COUNT = 90


def scores_of(index: int, confidence: float) -> list[float]:
    rest = (1 - confidence) / 2
    return [confidence if place == index else rest for place in range(3)]


def planted(root: Path) -> Run:
    """Houses are explained by their lower right corner; what was photographed at night is often wrong."""
    rng = np.random.default_rng(0)
    labels = [number % 3 for number in range(COUNT)]
    night = [number % 2 == 0 for number in range(COUNT)]
    predicted = [
        (label + 1) % 3 if dark and number % 4 == 0 else label
        for number, (label, dark) in enumerate(zip(labels, night, strict=True))
    ]
    maps = [blob(rng, 7, 7) if index == HOUSE else blob(rng, *rng.uniform(2, 5, 2)) for index in predicted]
    return plant(
        root,
        scores=[scores_of(index, 0.95 if number % 5 else 0.36) for number, index in enumerate(predicted)],
        labels=labels,
        meta=[{"light": "night" if dark else "day"} for dark in night],
        maps=[(MAPS, maps)],
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return planted(tmp_path_factory.mktemp("audit") / "run")


@pytest.fixture(scope="module")
def rows(run: Run) -> tuple[ImageRow, ...]:
    return image_rows(run)


@pytest.fixture(scope="module")
def page(run: Run, rows: tuple[ImageRow, ...]) -> AuditPage:
    found = audit_page(run, None, rows)
    assert found is not None
    return found


def chapter(page: AuditPage, path: str) -> Chapter:
    return next(one for one in page.chapters if one.path == path)


def section(page: AuditPage, path: str, name: str) -> Section:
    return next(one for one in chapter(page, path).sections if one.id == name)


def test_findings_stand_in_their_order_with_their_numbers_and_images(run: Run, page: AuditPage) -> None:
    expected = findings(audit(run))
    assert [one.sentence for one in page.findings] == [one.sentence for one in expected]
    first = page.findings[0]
    assert first.severity == "severe" and "house" in first.sentence and "lower right" in first.sentence
    assert first.chapter == "analysis/evidence.html" and first.technique == MAPS.key
    assert [row.id for row in first.images] == list(expected[0].images)
    assert [fact.term for fact in first.numbers] == list(expected[0].numbers)
    assert any("where light is night" in one.sentence.lower() for one in page.findings)


def test_every_finding_leads_to_a_chapter_that_is_there(page: AuditPage) -> None:
    paths = {one.path for one in page.chapters}
    assert {one.chapter for one in page.findings} <= paths
    assert paths == {"analysis/evidence.html", "analysis/slices.html", "analysis/review.html"}


def test_the_verdict_names_the_gravest_and_counts_the_others(page: AuditPage) -> None:
    others = len(page.grave) - 1
    assert page.verdict.startswith("The audit of the whole set finds: the evidence for house")
    assert page.verdict.endswith(f"{others} further finding{'s' if others > 1 else ''} of weight.")


def test_a_verdict_is_not_cut_inside_a_name(page: AuditPage) -> None:
    first = page.grave[0]
    words = "The evidence for St. Bernard lies in the corner (p < 0.001)."
    found = replace(first.found, headline=words, further="Of the 5 images, 4 are.")
    assert found.sentence == f"{words} Of the 5 images, 4 are."
    named = replace(page, findings=(replace(first, found=found, sentence=found.sentence), *page.findings[1:]))
    said = "The audit of the whole set finds: the evidence for St. Bernard lies in the corner (p < 0.001)."
    assert named.verdict.startswith(said)


def test_the_summary_has_the_verdict_after_the_accuracy(run: Run, page: AuditPage) -> None:
    index = index_page(run, {})
    assert index.summary[2] == page.verdict
    assert index.audit is not None and index.audit.verdict == page.verdict


def test_corners_of_the_page_are_those_of_the_screening(run: Run, page: AuditPage) -> None:
    screening = audit(run).screening
    assert screening is not None
    (corners,) = section(page, "analysis/evidence.html", "corners").tables
    assert len(corners.rows) == min(16, len(screening.tests))
    for row, test in zip(corners.rows, screening.tests, strict=False):
        assert row[1].text == test.corner
        assert row[-1].text == ("yes" if test.flagged else "no")
    flagged = [row[0].text for row in corners.rows if row[-1].text == "yes"]
    assert flagged[0] == "house"


def test_mean_maps_share_a_scale_and_are_in_even_shares(run: Run, page: AuditPage) -> None:
    tiles = section(page, "analysis/evidence.html", "by-class").tiles
    assert {tile.title for tile in tiles} == {"boat", "car", "house"}
    assert len({tile.scale for tile in tiles}) == 1
    for tile in tiles:
        assert tile.values.mean() == pytest.approx(1, abs=1e-5)
        assert tile.values.max() <= tile.scale.high * (1 + 1e-6)


def test_slices_say_what_is_flagged_and_what_is_not_tested(page: AuditPage) -> None:
    sections = {one.title: one for one in chapter(page, "analysis/slices.html").sections}
    (light,) = sections["By light"].tables
    flags = {row[0].text: row[7].text for row in light.rows}
    assert flags == {"day": "no", "night": "yes"}
    (outcome,) = sections["Correct and wrong"].tables
    assert {row[7].text for row in outcome.rows} == {"not tested"}


def test_images_for_review_say_why_and_lead_to_their_pages(run: Run, page: AuditPage) -> None:
    cases = audit(run).review.cases
    (listed,) = section(page, "analysis/review.html", "cases").tables
    assert [row[0].page for row in listed.rows] == [f"images/{case.id}.html" for case in cases]
    assert page.review == {case.id: case.words for case in cases}


def test_every_class_has_a_page_with_its_images(run: Run, page: AuditPage) -> None:
    assert {one.path for one in page.classes} == {
        "classes/0-boat.html",
        "classes/1-car.html",
        "classes/2-house.html",
    }
    house = next(one for one in page.classes if one.title == "house")
    images = next(one for one in house.sections if one.id == "images").tables[0]
    said = audit(run).outcomes
    assert len(images.rows) == int(((said.label == HOUSE) | (said.predicted == HOUSE)).sum())
    verdicts = [row[-1].text for row in images.rows]
    assert verdicts == sorted(verdicts, reverse=True)  # wrong before correct


def test_the_record_has_every_digest_and_every_file(run: Run, page: AuditPage) -> None:
    texts = [
        cell.text for part in page.record.sections for one in part.tables for row in one.rows for cell in row
    ]
    model, environment = run.manifest.model, run.manifest.environment
    for expected in (model.weights_sha256, model.canary_sha256, f"{model.parameters:,}", model.readout):
        assert expected in texts
    for name in environment:
        assert name.replace("_", " ") in texts
    assert run.manifest.run_digest in page.record.lead
    assert run.manifest.command in page.record.sections[0].words
    (download,) = page.record.downloads
    lines = download.content.decode().splitlines()
    assert len(lines) == 1 + COUNT
    assert all(image.sha256 in line for image, line in zip(run.catalogue, lines[1:], strict=True))


def test_the_python_of_every_chapter_runs_and_prints_the_numbers_of_the_page(
    run: Run, page: AuditPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.folder.root.parent)
    found = audit(run)
    printed = {}
    for one in (*page.chapters, page.record, *page.classes):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(f"{one.setup}\n{one.code}".replace('"RUN"', '"run"'), one.path, "exec"), {})
        printed[one.path] = out.getvalue()
    assert found.screening is not None
    worst = found.screening.tests[0]
    assert f"{worst.corner} {worst.share} {worst.ratio.value}" in printed["analysis/evidence.html"]
    for slice_ in found.slicing.slices:
        assert f"{slice_.by} {slice_.value} {len(slice_.images)}" in printed["analysis/slices.html"]
    for case in found.review.cases:
        assert case.id in printed["analysis/review.html"]
    assert run.manifest.run_digest in printed["analysis/record.html"]


def test_a_run_without_maps_says_that_shortcuts_could_not_be_looked_for(tmp_path: Path) -> None:
    run = plant(tmp_path / "run", scores=[scores_of(BOAT, 0.8)] * 12, labels=[BOAT] * 12)
    page = audit_page(run, None, image_rows(run))
    assert page is not None
    assert page.findings == () and page.verdict == "The audit of the whole set flags nothing grave."
    assert any("could not be looked for" in sentence for sentence in page.looked_for)


def test_a_run_without_a_usable_image_has_no_audit(tmp_path: Path) -> None:
    run = plant(tmp_path / "run", scores=[scores_of(CAR, 0.8)], quarantined=[0])
    assert audit_page(run, None, image_rows(run)) is None


def test_the_attached_results_have_the_findings_with_raw_numbers(run: Run, page: AuditPage) -> None:
    expected = findings(audit(run))
    body = json.loads(results(run, None, [one.found for one in page.findings]))
    assert [one["subject"] for one in body["findings"]] == [one.subject for one in expected]
    assert body["findings"][0]["numbers"] == dict(expected[0].numbers)
    assert body["findings"][0]["severity"] == "severe"
