"""Scores in the PDF: the chapter, the title page, the attachment."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pdf_reading import CHAPTERS, Document
from synthetic_run import metric_record, metrics, write_run, write_scores

from vitreport.analysis.trust import Trust, trust
from vitreport.report.pdf import write_pdf
from vitreport.report.pdf_attachment import results
from vitreport.report.pdf_view import MOST_CARDS
from vitreport.report.reading import index_page
from vitreport.report.scale_reading import dataset_scales
from vitreport.store import Run, open_run


def drawn(run: Run, **given: Any) -> Document:
    scales, found = dataset_scales(run), trust(run)
    return Document(write_pdf(run, index_page(run, scales, found), scales, trust=found, **given))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return open_run(
        write_scores(write_run(tmp_path_factory.mktemp("scored") / "run", 40, quarantined=1, seed=2))
    )


@pytest.fixture(scope="module")
def found(run: Run) -> Trust:
    read = trust(run)
    assert read is not None
    return read


@pytest.fixture(scope="module")
def scored(run: Run) -> Document:
    return drawn(run, image_cap=1)


def test_a_run_without_metrics_reads_as_ever(document: Document) -> None:
    assert "Which technique to trust" not in document.words
    assert document.words.count("this run measured no faithfulness") == 1
    assert "This run measured no faithfulness; nothing here ranks the techniques." in document.words
    body = json.loads(document.reader.attachments["results.json"][0])
    assert "scores" not in body and "metrics" not in body


def test_the_title_page_gives_the_verdict_and_no_longer_denies_it(scored: Document) -> None:
    first = " ".join(scored.pages[0].split())
    assert (
        "On this model, scored on 39 images (occluder: token drop), Gradient rollout is the most faithful"
        in first
    )
    assert "was measured by Relevance gain (SRG) on 39 images" in first
    assert "vitreport" in first and "1 of" in first
    assert "measured no faithfulness" not in scored.words
    assert "This run measured it by Relevance gain (SRG) on 39 images" in scored.words


def test_the_verdict_has_at_most_three_sentences(run: Run, found: Trust) -> None:
    for sentence in index_page(run, {}, found).summary[:3]:
        assert len(re.findall(r"[.!?](?: |$)", sentence)) == 1


def test_a_run_whose_metrics_did_not_fit_says_that_nothing_was_measured(tmp_path: Path) -> None:
    head = metric_record("relevance_gain", short="SRG", skipped="there is no score to lose")
    root = write_scores(write_run(tmp_path / "run", 6), by=(head, metrics()[4]))
    words = drawn(open_run(root), image_cap=0).words
    assert "this run measured no faithfulness" in words
    assert "there is no score to lose" in words


def test_the_chapter_comes_after_the_findings(scored: Document) -> None:
    top = [label for depth, label, _ in scored.outline() if depth == 0]
    assert top[1:] == [CHAPTERS[0], "Which technique to trust", *CHAPTERS[1:]]
    assert "Which technique to trust" in scored.pages[0]


def test_the_chapter_has_the_board_the_curves_and_the_limits(scored: Document) -> None:
    for expected in (
        "Where the model is right (",
        "Relevance gain (SRG): all scored images",
        "Ahead of all controls",
        "Sanity checks",
        "lies below chance + 0.2",
        "Relevance gain (SRG): where the model is wrong",
        "Random, mean of 3 draws control",
        "Deletion and insertion",
        "first by its mean",
        "Scorecard",
        "undefined (1)",
        "(1) its map is defined, but not what Completeness compares it with",
        "Least alike:",
        "It does not say: what a person would point at.",
        "Mosaic): no image has a <label>.",
        "A map is no causal proof, and a good score does not make it one",
        "Attention rollout, fusion min: its map is constant",
    ):
        assert expected in scored.words, expected


def test_intervals_of_the_board_are_those_of_the_analysis(scored: Document, found: Trust) -> None:
    assert found.headline is not None
    for row in found.headline.rows:
        if row.mean is not None and row.low is not None and row.high is not None and not row.control:
            ends = f"{row.mean:.3f} {row.low:.3f} to {row.high:.3f}".replace("-", "−")
            assert ends in scored.words


def test_the_curves_are_a_tagged_picture_with_their_numbers(scored: Document) -> None:
    figure = next(one for one in scored.figures() if "with nothing hidden" in str(one["/Alt"]))
    assert "Gradient rollout: 0.90 with nothing hidden" in str(figure["/Alt"])
    assert "Least relevant first (insertion)" in str(figure["/Alt"])


def test_tables_have_header_cells_and_headings_do_not_skip(scored: Document) -> None:
    cells = [element for element in scored.elements() if element["/S"] == "/TD"]
    assert all(cell["/A"].get("/Headers") for cell in cells)
    levels = [int(tag[2]) for tag in scored.tags() if re.fullmatch(r"/H[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_more_metrics_than_fit_are_named(tmp_path: Path) -> None:
    more = [metric_record(f"further_{number}", short=f"Further {number}") for number in range(MOST_CARDS)]
    root = write_scores(write_run(tmp_path / "run", 6), by=(metrics()[0], *more))
    words = drawn(open_run(root), image_cap=0).words
    assert f"Not in this table: Further {MOST_CARDS - 1}; the attached results.json has all." in words


def test_equal_runs_give_equal_bytes(run: Run) -> None:
    assert drawn(run, image_cap=0).content == drawn(run, image_cap=0).content


def test_the_attachment_has_every_mean_with_its_interval(run: Run, found: Trust) -> None:
    content = results(run, found)
    assert content.isascii() and content == results(open_run(run.folder.root), trust(run))
    body = json.loads(content)
    assert [entry["key"] for entry in body["metrics"]] == [record.key for record in metrics()]
    by_key = {(line["metric"], line["images_of"], line["technique"]): line for line in body["scores"]}
    assert len(by_key) == len(body["scores"])
    for one in found.measured:
        parts = {"all": one.rows, "correct": one.correct, "wrong": one.wrong}
        for part, board in parts.items():
            for row in getattr(board, "rows", board) or ():
                line = by_key[one.record.key, part, row.key]
                assert (line["mean"], line["low"], line["high"]) == (row.mean, row.low, row.high)
                assert (line["n"], line["group"], line["control"]) == (row.n, row.group, row.control)
                assert (line["ahead_of_controls"], line["verdict"]) == (row.ahead_of_controls, row.verdict)
    assert by_key["relevance_gain", "all", "attention_rollout:fusion=min"]["mean"] is None
    assert by_key["relevance_gain", "correct", "raw_attention"]["n"] == found.correct
    assert by_key["randomisation", "all", "raw_attention"]["details"] == {"emprt": 0.25}
    (check,) = (entry["check"] for entry in body["metrics"] if entry["key"] == "randomisation")
    assert check == {"limit": 0.2, "above": "chance", "reason": "Why <this> limit."}


def test_hostile_titles_do_no_harm(tmp_path: Path) -> None:
    bad = "$x$ <b>é</b> \ue000 😀"
    by = [metric_record("relevance_gain", short=bad, columns=metrics()[0].columns)]
    words = drawn(open_run(write_scores(write_run(tmp_path / "run", 6), by=by)), image_cap=0).words
    assert "$x$ <b>é</b>" in words
    assert r"\ue000" in words and "\ue000" not in words
