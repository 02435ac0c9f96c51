"""What stands on a contact sheet, and beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_run import write_run

from vitreport.figures.scale import own_scale, state_of
from vitreport.report.image_page import ImagePage, MapView
from vitreport.report.image_reading import image_pages, neighbours
from vitreport.report.pages import ClassView
from vitreport.report.pdf_sheet import MOST_TILES, image_sheet
from vitreport.report.reading import index_page
from vitreport.report.scale_reading import dataset_scales
from vitreport.store import open_run


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> ImagePage:
    run = open_run(write_run(tmp_path_factory.mktemp("sheet") / "run", 3))
    scales = dataset_scales(run)
    return next(image_pages(run, scales, neighbours(index_page(run, scales).rows)))


def with_maps(page: ImagePage, *views: MapView) -> ImagePage:
    section = page.sections[0]
    return replace(page, sections=(replace(section, figures=(replace(section.figures[0], maps=views),)),))


def first_map(page: ImagePage, name: str) -> MapView:
    return next(section for section in page.sections if section.name == name).maps[0]


def test_every_map_stands_once_although_figures_share_some(page: ImagePage) -> None:
    (picture,) = image_sheet(page).pictures
    titles = [(tile.title, tile.caption) for tile in picture.tiles]
    assert len(titles) == len(set(titles)) == 14


def test_a_tile_says_setting_target_and_scale(page: ImagePage) -> None:
    (picture,) = image_sheet(page).pictures
    captions = {tile.title: tile.caption for tile in picture.tiles}
    rollouts = {tile.title for tile in picture.tiles if tile.title.startswith("Rollout")}
    assert rollouts == {
        *(f"Rollout, {word}" for word in ("mean", "min", "max")),
        *(f"Rollout, max, −{ratio}%" for ratio in (50, 80, 90, 95)),
    }
    targets = {view.short for view in page.targets}
    assert {
        tile.caption.partition(", ")[2] for tile in picture.tiles if tile.title == "Gradient rollout"
    } == targets
    assert captions["Signed example"].startswith("± ")
    assert "–" in captions["Raw attention"]


def test_words_in_brackets_leave_the_title_to_the_caption(page: ImagePage) -> None:
    view = first_map(page, "random")
    named = replace(view, record=replace(view.record, title="Random map (control)"))
    (tile,) = image_sheet(with_maps(page, named)).pictures[0].tiles
    assert tile.title == "Random map"
    assert tile.caption.endswith(", control")


def test_a_map_that_cannot_be_drawn_says_why_instead_of_a_scale(page: ImagePage) -> None:
    view = first_map(page, "random")
    values = np.full_like(view.values, 0.5)
    flat = replace(view, values=values, state=state_of(values), scale=own_scale(values, False))
    sheet = image_sheet(with_maps(page, flat))
    assert sheet.pictures[0].tiles[0].caption == "constant"
    assert "Random: constant." in sheet.pictures[0].alt


def test_the_alternative_text_tells_where_every_map_is_largest(page: ImagePage) -> None:
    view = first_map(page, "random")
    row, column = view.peak
    alt = image_sheet(with_maps(page, view)).pictures[0].alt
    assert alt.startswith(f"Contact sheet of {page.row.name}: what the model saw, and 1 map.")
    assert alt.endswith(f"Random: {view.scale_text}, largest in row {row}, column {column}.")
    assert "Rows and columns count from 0." in alt


def test_a_sheet_without_an_explained_class_says_why(page: ImagePage) -> None:
    unlabelled = replace(page, targets=(), row=replace(page.row, label=None))
    assert (
        image_sheet(unlabelled)
        .troubles[0]
        .startswith("No class was explained, because the image has no label")
    )
    assert image_sheet(page).troubles == ()


def test_the_sheet_says_where_the_prediction_emerged(page: ImagePage) -> None:
    assert page.lens is not None
    assert image_sheet(page).lens.startswith("Logit lens, blocks 0 to 3: the final prediction, ")
    assert image_sheet(replace(page, lens=None)).lens == ""


def test_many_maps_go_on_several_sheets_and_none_is_lost(page: ImagePage) -> None:
    view = first_map(page, "random")
    views = [replace(view, record=replace(view.record, key=f"random:{number}")) for number in range(60)]
    pictures = image_sheet(with_maps(page, *views)).pictures
    assert [len(picture.tiles) for picture in pictures] == [MOST_TILES, 60 - MOST_TILES]
    assert len({picture.address for picture in pictures}) == 2


def test_more_or_taller_pictures_stand_in_more_columns(page: ImagePage) -> None:
    view = first_map(page, "random")
    views = [replace(view, record=replace(view.record, key=f"random:{number}")) for number in range(14)]
    wide = replace(page, photo=replace(page.photo, width=200, height=100))
    tall = replace(page, photo=replace(page.photo, width=100, height=200))
    assert image_sheet(with_maps(wide, *views)).pictures[0].columns == 4
    assert image_sheet(with_maps(tall, *views)).pictures[0].columns == 7


def test_the_table_has_the_label_and_the_explained_classes_even_if_unlikely(page: ImagePage) -> None:
    label, target = ClassView(90, "label, first", "label"), ClassView(91, "target", "target", 0.001, "0.1 %")
    changed = replace(page, row=replace(page.row, label=label, correct=False), targets=(target,))
    lines = {line.name: line for line in image_sheet(changed).lines}
    assert lines["label"].score == "below the first 5"
    assert lines["label"].role == "label"
    assert lines["target"].role == "explained"
    assert image_sheet(changed).finding.endswith("; the label is label.")


def test_the_finding_says_whether_the_label_agrees(page: ImagePage, tmp_path: Path) -> None:
    predicted = page.row.predicted
    assert predicted is not None
    right = replace(page, row=replace(page.row, label=predicted, correct=True))
    assert image_sheet(right).finding == (
        f"The model says {predicted.short} ({predicted.text}), which is right."
    )
    unlabelled = replace(page, row=replace(page.row, label=None, correct=None))
    assert image_sheet(unlabelled).finding.endswith("; the image has no label.")
