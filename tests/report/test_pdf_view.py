"""The verdict, the capped lists and what they say of themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_run import write_run

import vitreport.report.pdf_view
from vitreport.report.image_reading import neighbours
from vitreport.report.pages import Fact, IndexPage
from vitreport.report.pdf import with_sheets
from vitreport.report.pdf_template import shortened
from vitreport.report.pdf_view import LIST_CAP, VERDICT_SENTENCES, pdf_view
from vitreport.report.reading import index_page
from vitreport.store import Run, open_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return open_run(write_run(tmp_path_factory.mktemp("view") / "run", 60, quarantined=25))


@pytest.fixture(scope="module")
def index(run: Run) -> IndexPage:
    return index_page(run, {})


def test_the_verdict_has_three_sentences_and_the_rest_follows(run: Run, index: IndexPage) -> None:
    sentences = tuple("abcde")
    view = pdf_view(run.manifest, replace(index, summary=sentences), ())
    assert view.verdict == sentences[1 : 1 + VERDICT_SENTENCES]
    assert (view.intro, *view.verdict, *view.further) == sentences
    alone = pdf_view(run.manifest, replace(index, summary=("only",)), ())
    assert (alone.intro, alone.verdict, alone.further) == ("", ("only",), ())


def test_wrong_predictions_come_most_confident_first_and_say_how_many_there_are(
    run: Run, index: IndexPage
) -> None:
    wrong = pdf_view(run.manifest, index, ()).wrong
    all_wrong = [row for row in index.rows if row.correct is False]
    assert len(all_wrong) > LIST_CAP == len(wrong.rows)
    confidences = [row.predicted.score or 0 for row in wrong.rows if row.predicted]
    assert confidences == sorted(confidences, reverse=True)
    assert wrong.statement.startswith(
        f"{len(all_wrong)} predictions of 35 images; the {LIST_CAP} most confident"
    )


def test_all_quarantined_images_are_listed(run: Run, index: IndexPage) -> None:
    quarantined = pdf_view(run.manifest, index, ()).quarantined
    assert len(quarantined.rows) == 25
    assert quarantined.statement == ""


def test_a_long_list_of_quarantined_images_is_capped_and_the_attachment_is_named(
    run: Run, index: IndexPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vitreport.report.pdf_view, "SET_ASIDE_CAP", 20)
    quarantined = pdf_view(run.manifest, index, ()).quarantined
    assert len(quarantined.rows) == 20
    assert quarantined.statement == "20 of 25 images are listed; the attached results.json has all."


def test_provenance_puts_what_belongs_together_on_one_row(run: Run, index: IndexPage) -> None:
    facts = (
        Fact("Run digest", "0"),
        Fact("Environment: torch", "2"),
        Fact("Environment: cuda_device", "x: y"),
    )
    view = pdf_view(run.manifest, replace(index, provenance=facts), ())
    assert view.provenance == (Fact("Run digest", "0"), Fact("Environment", "torch 2; cuda device x: y"))


def test_a_capped_choice_takes_the_lowest_ids_in_the_order_given(index: IndexPage) -> None:
    members = neighbours(index.rows)
    chosen = [member.row for member in with_sheets(index, 10)]
    assert sorted(row.id for row in chosen) == sorted(member.row.id for member in members)[:10]
    assert [row.uri for row in chosen] == sorted(row.uri for row in chosen)
    assert len(with_sheets(index, 1000)) == len(members)


def test_a_long_name_loses_its_middle() -> None:
    assert shortened("short.jpg", 20) == "short.jpg"
    assert shortened("a" * 30 + "b" * 30, 21) == "a" * 10 + "…" + "b" * 10
    assert len(shortened("x" * 100, 40)) <= 40


def test_failed_techniques_are_counted_before_their_list(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", 2, quarantined=0, failing=("qkv", "random")))
    said = pdf_view(run.manifest, index_page(run, {}), ()).techniques
    assert said.endswith("2 techniques failed on some images; each says on how many.")


def test_nothing_is_said_of_the_order_of_no_sheets(run: Run, index: IndexPage) -> None:
    assert pdf_view(run.manifest, index, ()).order == ""


def test_counts_have_a_singular(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", 1, quarantined=0))
    view = pdf_view(run.manifest, index_page(run, {}), ())
    assert view.cap.startswith("0 of 1 image")
