"""What a report says of models that are no single-label classifiers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from pdf_reading import Document, drawn
from synthetic_run import CLASSES, NO_CLASS, write_run

from vitreport.report.build import build_report
from vitreport.report.image_reading import image_pages, neighbours
from vitreport.report.outputs import Outputs
from vitreport.report.pages import Columns
from vitreport.report.reading import image_rows, index_page
from vitreport.store import Run, open_run

KINDS: dict[str, dict[str, Any]] = {
    "multi-label": {"head": "sigmoid"},
    "one logit": {"head": "sigmoid", "classes": ("cat, Felis catus",), "targets": (0,)},
    "value": {"head": "regression", "classes": ("age",), "targets": (0,)},
    "values": {"head": "regression", "classes": CLASSES[:3], "targets": (1, 2)},
    "backbone": {"head": "none", "classes": (), "targets": ()},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A run of every kind; where labels are no classes, the images have none."""
    root = tmp_path_factory.mktemp("outputs")
    return {
        kind: open_run(write_run(root / kind, 4, quarantined=0, labelled=kind == "multi-label", **given))
        for kind, given in KINDS.items()
    }


@pytest.mark.parametrize(
    ("outputs", "score", "text", "predicted", "sentence"),
    [
        (("softmax", 5), 0.25, "25.0\xa0%", "cat", "The model says cat (25.0\xa0%)"),
        (("sigmoid", 5), 0.25, "25.0\xa0%", "cat", "The likeliest class is cat (25.0\xa0%)"),
        (("sigmoid", 1), 0.25, "25.0\xa0%", "not cat", "The model gives cat a probability of 25.0\xa0%"),
        (("sigmoid", 1), 0.5, "50.0\xa0%", "cat", "The model gives cat a probability of 50.0\xa0%"),
        (("regression", 1), -3.416, "−3.42", "", "The model gives cat the value −3.42"),
        (("regression", 3), 1234.5, "1,234", "cat", "The largest of 3 values is that of cat (1,234)"),
    ],
)
def test_scores_are_written_as_what_they_are(
    outputs: tuple[str, int], score: float, text: str, predicted: str, sentence: str
) -> None:
    spoken = Outputs(*outputs, judged=False)
    assert spoken.text(score) == text
    assert spoken.predicted("cat", score) == predicted
    assert spoken.sentence("cat", score) == sentence


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("multi-label", "Its likeliest class is the label on "),
        ("one logit", "The model knows one class: it gives cat 50\xa0% or more on "),
        ("value", "The model gives a value and no class"),
        ("values", "The model gives values and no classes"),
        ("backbone", "The model has no classifier: nothing is predicted"),
    ],
)
def test_the_summary_claims_no_more_than_there_is(kind: str, words: str, runs: dict[str, Run]) -> None:
    page = index_page(runs[kind], {})
    assert page.summary[1].startswith(words)
    assert page.labelled is (kind == "multi-label")
    assert not any("no labels" in sentence for sentence in page.summary)


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_card_says_what_is_explained(kind: str, runs: dict[str, Run]) -> None:
    page = index_page(runs[kind], {})
    facts = {fact.term: fact.value for fact in page.model}
    assert facts["What is explained"] == runs[kind].manifest.model.explained
    assert facts["Head"]
    assert ("Classes" in facts, "Outputs" in facts) == {
        "sigmoid": (True, False),
        "regression": (False, True),
        "none": (False, False),
    }[KINDS[kind]["head"]]


@pytest.mark.parametrize(
    ("kind", "hidden"),
    [
        ("multi-label", ""),
        ("one logit", "no-label no-said"),
        ("value", "no-predicted no-label no-said"),
        ("values", "no-label no-said"),
        ("backbone", "no-predicted no-number no-label no-said"),
    ],
)
def test_a_table_has_no_column_that_says_nothing(kind: str, hidden: str, runs: dict[str, Run]) -> None:
    assert Columns.of(image_rows(runs[kind])).hidden == hidden


def test_where_nothing_is_predicted_the_reasons_of_quarantined_images_keep_their_column(
    tmp_path: Path,
) -> None:
    run = open_run(write_run(tmp_path / "run", 2, **KINDS["backbone"]))
    columns = Columns.of(image_rows(run))
    assert columns.predicted == "Reason"
    assert "no-predicted" not in columns.hidden


@pytest.mark.parametrize("kind", ["one logit", "value"])
def test_a_label_that_is_no_class_gives_no_verdict(kind: str, tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", 4, **KINDS[kind]))
    assert {row.verdict for row in image_rows(run)} == {"", "quarantined"}
    assert not index_page(run, {}).labelled


@pytest.mark.parametrize("kind", KINDS)
def test_the_site_speaks_of_the_outputs_as_they_are(kind: str, runs: dict[str, Run]) -> None:
    run = runs[kind]
    root = run.folder.root
    build_report(root, pdf=False, processes=1)
    index = BeautifulSoup((root / "report/index.html").read_text("utf-8"), "html5lib")
    assert run.manifest.model.explained in index.get_text(" ", strip=True)
    for row in run.images.to_pylist():
        page = BeautifulSoup((root / f"report/images/{row['id']}.html").read_text("utf-8"), "html5lib")
        text = page.get_text(" ", strip=True)
        raw = json.loads((root / f"report/images/{row['id']}.json").read_text("utf-8"))
        heads = [cell.get_text() for cell in page.select("table.predictions th[scope=col]")]
        if kind == "backbone":
            assert "The model has no classifier, so nothing is predicted." in text
            assert heads == [] and "%" not in text and "Explained" not in text
        elif kind.startswith("value"):
            assert heads == ["Output", "Value"]
            assert "%" not in text and not page.select(".bar")
            assert [entry["value"] for entry in raw["predictions"]] == pytest.approx(row["top_probability"])
        else:
            assert heads == ["Class", "Probability"]
            assert f"{100 * row['top_probability'][0]:.1f}\xa0%" in text
            assert len(page.select(".predictions .bar")) == len(row["top_index"])


@pytest.mark.parametrize(
    ("kind", "heads", "cell"),
    [
        ("multi-label", ["Block", "Likeliest"], "%"),
        ("one logit", ["Block"], "%"),
        ("value", ["Block"], ""),
        ("values", ["Block", "Largest"], ""),
    ],
)
def test_the_lens_speaks_of_the_outputs_as_they_are(
    kind: str, heads: list[str], cell: str, runs: dict[str, Run]
) -> None:
    run = runs[kind]
    page = next(image_pages(run, {}, neighbours(image_rows(run))))
    assert page.lens is not None
    build_report(run.folder.root, pdf=False, processes=1)
    place = run.folder.root / f"report/images/{page.row.id}.html"
    table = BeautifulSoup(place.read_text("utf-8"), "html5lib").select_one("table.lens")
    assert table is not None
    names = [view.short for view in page.lens.rows[-1].kept]
    assert [head.get_text() for head in table.select("thead th")] == [*heads, *names]
    rows = table.select("tbody tr")
    assert [row.select("th")[0].get_text() for row in rows] == ["0", "1", "2", "3"]
    assert all(("%" in entry.get_text()) is bool(cell) for entry in table.select("td.number"))
    assert bool(table.select(".bar")) is bool(cell)
    assert [entry.get_text() for entry in rows[-1].select("td.number")] == [
        view.text for view in page.predictions[: len(names)]
    ]


def test_a_model_without_a_head_has_no_lens(runs: dict[str, Run]) -> None:
    run = runs["backbone"]
    page = next(image_pages(run, {}, neighbours(image_rows(run))))
    assert page.lens is None and page.norms is not None
    assert "logit_lens" in {problem.key for problem in page.skipped}


def test_the_index_names_a_reason_once_for_all_techniques_that_did_not_run(runs: dict[str, Run]) -> None:
    root = runs["backbone"].folder.root
    build_report(root, pdf=False, processes=1)
    index = BeautifulSoup((root / "report/index.html").read_text("utf-8"), "html5lib")
    names = {record.name for record in runs["backbone"].techniques}
    skipped = {record.name for record in runs["backbone"].techniques if record.skipped}
    links = index.select("#techniques ~ dl ul.skipped a")
    assert {str(link["href"]) for link in links} == {f"techniques/{name}.html" for name in skipped}
    assert index.get_text(" ").count("no classifier, so there is no class") == 1
    assert not index.select(".techniques strong.note")
    assert len(index.select("#techniques ~ dl dt > a")) == len(names - skipped)


def test_skipped_techniques_stand_together_under_their_reason(runs: dict[str, Run]) -> None:
    run = runs["backbone"]
    skipped = [record.key for record in run.techniques if record.skipped]
    assert 2 < len(skipped) < len(run.techniques)
    page = next(image_pages(run, {}, neighbours(image_rows(run))))
    ((reason, problems),) = page.skipped_by_reason
    assert (reason, [problem.key for problem in problems]) == (NO_CLASS, skipped)
    assert page.unexplained == ""
    root = run.folder.root
    build_report(root, pdf=False, processes=1)
    drawn = BeautifulSoup((root / f"report/images/{page.row.id}.html").read_text("utf-8"), "html5lib")
    assert len(drawn.select("ul.skipped li")) == len(skipped)
    assert drawn.get_text(" ").count("no classifier, so there is no class") == 1


@pytest.mark.parametrize("kind", ["value", "backbone"])
def test_the_pdf_speaks_of_the_outputs_as_they_are(kind: str, runs: dict[str, Run]) -> None:
    document = Document(drawn(runs[kind]))
    assert "Probability" not in document.words and "softmax" not in document.words
    assert "".join(runs[kind].manifest.model.explained.split()) in "".join(document.text.split())
    if kind == "value":
        assert "The model gives age the value" in document.words
        assert "in the unit that it was trained for" in document.words
    else:
        assert "The model has no classifier, so nothing is predicted." in document.words
        assert f"Did not run: {NO_CLASS}" in document.words
    attached = json.loads(document.reader.attachments["results.json"][0])
    assert attached["model"]["head"] == KINDS[kind]["head"]
    assert all(
        set(entry) == {"class", "name", "value"} for row in attached["images"] for entry in row["targets"]
    )
