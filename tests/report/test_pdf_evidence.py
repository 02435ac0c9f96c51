"""Pictures beside the findings of weight."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from pdf_reading import Document, drawn
from PIL import Image
from test_audit_reading import planted

from vitreport.figures.sheet import WIDTH
from vitreport.report.chapter import AuditPage
from vitreport.report.pdf_evidence import CELLS, finding_pictures
from vitreport.report.reading import index_page
from vitreport.store import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return planted(tmp_path_factory.mktemp("findings") / "run")


@pytest.fixture(scope="module")
def audit(run: Run) -> AuditPage:
    page = index_page(run, {}).audit
    assert page is not None
    return page


def test_a_finding_about_maps_has_three_images_with_their_maps(run: Run, audit: AuditPage) -> None:
    finding = next(one for one in audit.findings if one.technique and len(one.images) > CELLS // 2)
    picture = finding_pictures(run, [finding])[finding.id]
    title = next(record.title for record in run.techniques if record.key == finding.technique)
    assert picture.alt.count(title) == CELLS // 2
    assert picture.alt.count("largest in row") == CELLS // 2
    for number, row in enumerate(finding.images):
        assert (row.name in picture.alt) == (number < CELLS // 2)
    with Image.open(io.BytesIO(picture.jpeg)) as opened:
        assert opened.format == "JPEG" and opened.width == WIDTH and opened.height < WIDTH / 4


def test_a_finding_without_a_technique_has_its_photos_alone(run: Run, audit: AuditPage) -> None:
    finding = replace(next(one for one in audit.findings if one.images), technique="")
    picture = finding_pictures(run, [finding])[finding.id]
    assert "largest" not in picture.alt
    assert picture.alt.count("what the model saw") == min(len(finding.images), CELLS)


def test_a_finding_that_names_no_image_has_no_picture(run: Run, audit: AuditPage) -> None:
    assert finding_pictures(run, [replace(audit.findings[0], images=())]) == {}


def test_the_document_shows_one_at_every_finding_of_weight(run: Run, audit: AuditPage) -> None:
    document = Document(drawn(run, image_cap=0))
    shown = [str(one["/Alt"]) for one in document.figures()]
    beside = [text for text in shown if text.startswith("Images that show this finding")]
    assert len(beside) == sum(bool(one.images) for one in audit.grave) > 0
