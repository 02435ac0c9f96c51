"""What is said of scores, and what is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_run import CURVES, metric_record, metrics, write_run, write_scores

from vitreport.analysis.statistics import FEWEST, Bootstrap
from vitreport.analysis.trust import trust
from vitreport.report.board_view import FURTHER
from vitreport.report.reading import index_page
from vitreport.report.trust_agreement import agreement_sentences
from vitreport.report.trust_page import TrustPage
from vitreport.report.trust_reading import trust_page
from vitreport.store import Run, open_run

FEW = Bootstrap(resamples=300)


def read(root: Path) -> TrustPage:
    run = open_run(root)
    page = index_page(run, {}, trust(run, FEW)).trust
    assert page is not None
    return page


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return open_run(write_scores(write_run(tmp_path_factory.mktemp("trust") / "run", 40, quarantined=2)))


@pytest.fixture(scope="module")
def page(run: Run) -> TrustPage:
    return read(run.folder.root)


def test_a_run_without_metrics_says_nothing_of_trust(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", 4))
    page = index_page(run, {}, trust(run))
    assert page.trust is None
    assert all(technique.scores == () for technique in page.techniques)
    assert not any("faithful" in sentence for sentence in page.summary)


def test_the_headline_is_the_fourth_sentence_of_the_summary(run: Run, page: TrustPage) -> None:
    summary = index_page(run, {}, trust(run, FEW)).summary
    assert summary[3] == page.sentences[0]
    assert summary[3].startswith(
        "On this model, scored on 38 images (occluder: token drop), Gradient rollout is the most faithful: "
    )


def test_a_control_that_keeps_up_stays_within_one_sentence_of_the_summary(tmp_path: Path) -> None:
    gains = {"gradient_rollout": 0.1, "centre": 0.1, "raw_attention": 0.1, "attention_rollout": 0.1}
    run = open_run(write_scores(write_run(tmp_path / "run", 20), quality=gains))
    sentence = index_page(run, {}, trust(run, FEW)).summary[3]
    assert "no technique is shown to be ahead of every control that knows nothing of the model" in sentence
    assert "(the best of them: Centre)" in sentence and "most faithful" not in sentence
    assert ". " not in sentence


def test_right_and_wrong_predictions_have_their_sentences(page: TrustPage) -> None:
    assert page.headline is not None
    assert page.sentences[1].startswith("Where the model is right (9 images),")
    assert page.sentences[2].startswith("Where the model is wrong (29 images),")
    assert [board.images for board in page.headline.boards] == [38, 9, 29]
    assert page.headline.apart == ""


def test_too_few_of_a_kind_are_counted_and_not_told_apart(tmp_path: Path) -> None:
    page = read(write_scores(write_run(tmp_path / "run", 2 * FEWEST - 1, quarantined=0)))
    assert page.headline is not None and len(page.headline.boards) == 1
    assert f"takes at least {FEWEST} of each" in page.headline.apart
    assert len(page.sentences) == 1


def test_few_images_are_said_to_be_few(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", 12, quarantined=0)
    page = read(write_scores(root, most=3))
    said = f"3 images were scored: too few to rank techniques, which takes at least {FEWEST}."
    assert page.sentences == (f"On this model {said}",)
    assert page.headline is not None and page.headline.board is not None
    assert page.headline.board.groups == ()
    assert all("too few for an interval" in row.reason for row in page.headline.board.unranked if row.n)
    page = read(write_scores(root, most=8))
    assert "So few images tell only large differences apart." in page.notes
    assert page.notes[0].startswith("Scored: 8 images, drawn by chance from 12,")


def test_many_images_are_not_called_few(page: TrustPage) -> None:
    assert not any("So few images" in note for note in page.notes)
    assert page.notes[0].startswith("Scored: 38 images, by Relevance gain (SRG).")
    assert any("occluder token_drop, steps 4" in note for note in page.notes)


def test_another_occluder_has_its_own_sentence(tmp_path: Path) -> None:
    blur = metric_record("relevance_gain", short="SRG", columns=CURVES, occluder="blur")
    page = read(write_scores(write_run(tmp_path / "run", 8, labelled=False), by=(*metrics(), blur)))
    assert page.sentences[-1].startswith("With occluder blur, Gradient rollout")
    assert "SRG, occluder blur" in [head.term for head in page.scorecard.heads]


def test_without_the_headline_nothing_is_ranked_first(tmp_path: Path) -> None:
    head = metric_record("relevance_gain", short="SRG", skipped="there is no score to lose")
    page = read(write_scores(write_run(tmp_path / "run", 8), by=(head, *metrics()[1:])))
    assert page.headline is None and page.curves is None and page.measured == ""
    (sentence,) = page.sentences
    assert "not by the symmetric relevance gain: there is no score to lose" in sentence
    assert page.ranking and page.code.startswith("import")


def test_where_no_metric_fits_the_reason_is_given(tmp_path: Path) -> None:
    by = [replace(record, skipped="the model has no classifier") for record in metrics()]
    page = read(write_scores(write_run(tmp_path / "run", 3), by=by))
    assert page.sentences == (
        "No map could be scored, so nothing says which technique to trust: the model has no classifier.",
    )
    assert page.scorecard.heads == () and page.agreement is None and page.code == ""
    assert [metric.reason for metric in page.skipped] == ["the model has no classifier"] * len(by)


def test_intervals_lie_around_their_means_in_words_and_in_the_drawing(run: Run, page: TrustPage) -> None:
    assert page.headline is not None and page.headline.board is not None
    rows = {row.key: row for group in page.headline.board.groups for row in group.rows}
    one = trust(run, FEW)
    assert one is not None and one.headline is not None
    for key, row in rows.items():
        found = one.headline.row(key)
        assert found is not None and found.mean is not None and row.whisker is not None
        assert row.mean == f"{found.mean:.3f}".replace("-", "−")
        low, high = row.interval.replace("−", "-").split(" to ")
        assert float(low) < found.mean < float(high)
        assert float(row.whisker.low) < float(row.whisker.mean) < float(row.whisker.high)
    places = {key: float(row.whisker.mean) for key, row in rows.items() if row.whisker}
    assert max(places, key=lambda key: places[key]) == "gradient_rollout"
    assert all(0 <= place <= 100 for place in places.values())
    zero = {row.whisker.zero for row in rows.values() if row.whisker}
    assert len(zero) == 1 and places["signed_example"] < float(zero.pop())


def test_controls_stand_apart_and_undefined_techniques_come_last(page: TrustPage) -> None:
    assert page.headline is not None and page.headline.board is not None
    board = page.headline.board
    assert [row.title for row in board.controls if row.setting] == ["Random"]
    assert {row.setting for row in board.controls} == {"", "mean of 3 draws"}
    assert {row.key for row in board.controls} == {"random", "centre", "edges"}
    assert [row.page for row in board.controls if row.key == "edges"] == [""]
    (undefined,) = board.unranked
    assert (undefined.key, undefined.mean) == ("attention_rollout:fusion=min", "")
    assert undefined.reason == "its map is constant or holds values that are not numbers"


def test_the_scorecard_says_why_something_is_undefined(page: TrustPage) -> None:
    card = page.scorecard
    assert [head.term for head in card.heads] == ["SRG", "Random weights", "Completeness", "Masks", "Gini"]
    assert [head.value for head in card.heads][-1] == "describes"
    rows = {row.subject: row.cells for row in card.techniques}
    assert rows["Gradient rollout"][0].leads and not rows["Raw attention"][0].leads
    cell = rows["Raw attention"][2]
    assert cell.text == "undefined"
    assert (
        card.footnotes[cell.footnote - 1] == "its map is defined, but not what Completeness compares it with"
    )
    assert rows["Signed example"][2].footnote == 0
    silent = rows["Attention rollout (fusion min)"]
    assert card.footnotes[silent[3].footnote - 1] == "the mask shows <nothing>"
    assert {row.subject for row in card.controls} == {"Random (mean of 3 draws)", "Centre", "Edges"}


def test_the_curves_show_the_first_three_the_last_and_random(page: TrustPage) -> None:
    assert page.curves is not None
    assert [line.role for line in page.curves.lines] == [
        "first by its mean",
        "second by its mean",
        "third by its mean",
        "last by its mean",
        "random control",
    ]
    assert [line.style for line in page.curves.lines] == [1, 2, 3, 4, 0]
    first = page.curves.lines[0]
    assert float(first.least) - float(first.most) == pytest.approx(0.5 * 15 / 16, abs=0.03)
    for panel in page.curves.panels:
        assert all(line.subject in panel.alt for line in page.curves.lines)
        assert "with nothing hidden" in panel.alt and "area" in panel.alt
        assert "probability" in panel.alt and "mean over 38 images" in panel.alt
    assert page.curves.panels[0].span == page.curves.panels[1].span


def test_the_code_gives_the_mean_that_the_table_has(
    run: Run, page: TrustPage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert page.headline is not None and page.headline.board is not None
    exec(page.code.replace('"RUN"', repr(str(run.folder.root))), {})
    images, mean = capsys.readouterr().out.split()
    assert images == "38"
    assert f"{float(mean):.3f}" == page.headline.board.groups[0].rows[0].mean


def test_a_technique_page_has_its_scores_by_every_metric(run: Run) -> None:
    index = index_page(run, {}, trust(run, FEW))
    pages = {page.name: page for page in index.techniques}
    scores = pages["attention_rollout"].scores
    assert len(scores) == 5 and scores[0].metric == "Relevance gain (SRG)"
    assert [row.setting for row in scores[0].rows][:3] == ["", "fusion max", "fusion min"]
    assert all(len(score.rows) == 7 for score in scores)
    (random,) = pages["random"].scores[0].rows
    assert random.control and random.setting == "mean of 3 draws"
    assert pages["qkv"].scores == ()


def test_settings_that_are_undefined_for_one_reason_are_one_row(tmp_path: Path) -> None:
    page = read(write_scores(write_run(tmp_path / "run", 8), undefined=()))
    by_metric = {score.metric: score.rows for score in page.by_technique["attention_rollout"]}
    (row,) = by_metric["Completeness (Completeness)"]
    assert (row.setting, row.n) == ("all settings", 0)
    assert len(by_metric["Relevance gain (SRG)"]) == 7


def test_a_long_leaderboard_is_cut_for_the_start_page(page: TrustPage) -> None:
    assert page.headline is not None and page.headline.board is not None
    board = page.headline.board
    assert board.ranked <= FURTHER and board.further == 0 and board.first == board.groups
    rows = board.groups[0].rows * (FURTHER + 3)
    long = replace(board, groups=(replace(board.groups[0], rows=rows), *board.groups))
    assert sum(len(group.rows) for group in long.first) == FURTHER
    assert long.further == long.ranked - FURTHER


def test_agreement_leaves_out_controls_and_settings_of_one_technique() -> None:
    matrix = np.array(
        [[1, 0.9, 0.1, -0.5], [0.9, 1, 0.2, -0.9], [0.1, 0.2, 1, np.nan], [-0.5, -0.9, np.nan, 1]]
    )
    said = agreement_sentences(matrix, ["a", "a, max", "b", "random"], ["a", "a", "b", ""])
    assert said == ("Least alike: a and b (0.10).", "Most alike: a, max and b (0.20).")
    assert agreement_sentences(matrix, list("abcd"), ["a", "a", "a", ""]) == ()


def test_the_matrix_of_agreement_has_every_technique_with_maps(page: TrustPage) -> None:
    assert page.agreement is not None
    rows = page.agreement.rows
    assert [len(row.cells) for row in rows] == list(range(len(rows)))
    assert "Random" in [row.subject for row in rows] and "Edges" not in [row.subject for row in rows]
    assert page.agreement.images == 38
    assert all(0 <= cell.shade <= 5 for row in rows for cell in row.cells)


@pytest.mark.parametrize(
    "given", [{"head": "regression", "labelled": False}, {"head": "none", "classes": ()}]
)
def test_models_without_classes_are_spoken_of_rightly(tmp_path: Path, given: Mapping[str, Any]) -> None:
    targets: Sequence[int] = () if given["head"] == "none" else (1, 3)
    page = read(write_scores(write_run(tmp_path / "run", 8, targets=tuple(targets), **given)))
    if given["head"] == "regression":
        assert page.curves is not None and page.curves.panels[0].axis == "value"
        assert len(page.sentences) == 1
    else:
        assert "no technique has a defined score" in page.sentences[0]


def test_a_technique_asked_for_fewer_images_says_so(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", 8)
    folder = open_run(root).folder
    manifest = folder.manifest()
    records = tuple(
        replace(record, most_images=2) if record.key == "raw_attention" else record
        for record in manifest.techniques
    )
    folder.commit_manifest(replace(manifest, techniques=records))
    page = read(write_scores(root))
    assert page.headline is not None and page.headline.board is not None
    (row,) = (row for row in page.headline.board.unranked if row.key == "raw_attention")
    assert row.reason.startswith("not scored: asked for the first 2 images")


def test_a_check_says_what_passes_and_why_and_ranks_nothing(page: TrustPage) -> None:
    (metric,) = page.checking
    assert metric.boards == () and metric.apart == "" and metric.direction.startswith("A check")
    check = metric.check
    assert check is not None and check.chance
    assert check.sentence.startswith("7 of 9 technique settings pass; 2 fail: ")
    assert "lies below chance + 0.2" in check.rule and "Why <this> limit." in check.rule
    assert [row.verdict for row in check.rows] == ["fails"] * 2 + ["passes"] * 7 + [""]
    assert {row.key for row in check.controls} == {"random", "centre", "edges"}
    row = next(row for row in check.rows if row.key == "gradient_rollout")
    mean, ends = row.beyond.split(" (")
    assert float(mean) == pytest.approx(float(row.mean) - 0.05, abs=0.002)
    assert float(ends.split(" to ")[0]) < float(mean) < float(ends.split(" to ")[1].rstrip(")"))
    place = [head.term for head in page.scorecard.heads].index("Random weights")
    assert page.scorecard.heads[place].value == "a check: below chance + 0.2"
    cells = {line.subject: line.cells[place] for line in page.scorecard.techniques}
    assert (cells["Gradient rollout"].verdict, cells["Gradient rollout"].leads) == ("fails", False)
    assert not any(cell.leads for cell in cells.values())


def test_further_numbers_stand_beside_the_mean(page: TrustPage) -> None:
    details = {metric.key: metric.details for metric in page.metrics}
    assert details["relevance_gain"] is None
    emprt = details["randomisation"]
    assert emprt is not None and emprt.heads == ("rise of <entropy>",)
    assert {line.means for line in emprt.rows if line.row.n} == {("0.250",)}
    gini = details["concentration"]
    assert gini is not None and gini.heads == () and len(gini.rows) == 13


def test_a_metric_without_any_value_keeps_no_board_and_says_so(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", 8)
    masks = metric_record("mask_agreement", short="Masks", columns={"note": "string"})
    keys = [record.key for record in open_run(root).techniques]
    page = read(write_scores(root, by=(metrics()[0], masks), partial={**dict.fromkeys(keys, 0)}))
    (metric,) = page.ranking
    assert metric.boards == () and metric.details is None and metric.apart == ""
    assert metric.silent == "No technique of this run has a value by it: the mask shows <nothing>."
    assert page.headline is not None and "no technique has a defined score" in page.sentences[0]


def test_where_all_predictions_are_right_there_is_nothing_to_tell_apart(tmp_path: Path) -> None:
    run = open_run(write_scores(write_run(tmp_path / "run", 8)))
    found = trust(run, FEW)
    assert found is not None
    page = trust_page(run, replace(found, correct=7, wrong=0))
    assert page is not None and page.headline is not None
    assert page.headline.apart == (
        "The model is right on all of 7 scored images with a label, so there is no wrong one to set apart."
    )


def test_what_is_corrected_for_the_number_of_comparisons_is_said(page: TrustPage) -> None:
    (note,) = (note for note in page.notes if "Holm" in note)
    assert "Comparisons between techniques are not corrected for their number" in note
    assert "those with random maps and with the controls are" in note


def test_a_technique_that_failed_says_so(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", 8, failing=("raw_attention",))
    page = read(write_scores(root, undefined=("raw_attention",)))
    assert page.headline is not None and page.headline.board is not None
    (row,) = page.headline.board.unranked
    assert row.key == "raw_attention" and row.reason.startswith("it failed: ValueError: the technique met")
    assert "it failed: ValueError" in " ".join(page.scorecard.footnotes)


def test_scores_that_a_technique_lacks_and_others_have_are_counted(tmp_path: Path) -> None:
    page = read(write_scores(write_run(tmp_path / "run", 12), by=metrics()[:1], partial={"raw_attention": 8}))
    assert page.headline is not None and page.headline.board is not None
    rows = {row.key: row for group in page.headline.board.groups for row in group.rows}
    assert rows["raw_attention"].reason.startswith("3 images without: its map is constant")
    assert rows["gradient_rollout"].reason == ""


def test_images_that_no_technique_has_a_score_for_say_why(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", 8)
    keys = [record.key for record in open_run(root).techniques] + ["edges", "random:draw=1", "random:draw=2"]
    page = read(write_scores(root, by=(metrics()[0], metrics()[3]), partial=dict.fromkeys(keys, 5)))
    (metric,) = page.ranking
    facts = {fact.term: fact.value for fact in metric.facts}
    assert facts["Images with a score"] == "5 of 7 scored"
    assert facts["Images without one"] == "2: the mask shows <nothing>"
