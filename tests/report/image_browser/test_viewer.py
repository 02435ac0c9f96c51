"""One map enlarged, or two compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from image_opening import open_image
from synthetic_run import COLS, ROWS, write_run

from vitreport.report.build import build_report

pytestmark = pytest.mark.browser


def left_edge(page: Any) -> str:
    return str(page.evaluate("document.querySelector('.cover').style.clipPath"))


def test_two_maps_are_compared_with_a_divider(page: Any, site: str, order: list[str]) -> None:
    open_image(page, site, order[0])
    page.click("#compare")
    assert page.locator("#viewer").is_visible()
    assert page.inner_text("#viewer-title") == "Compare"
    assert page.locator("#canvas .pane").count() == 2
    page.fill("#divide", "25")
    assert left_edge(page) == "inset(0px 0px 0px 25%)"
    room, line = page.locator("#canvas").bounding_box(), page.locator("#canvas .line").bounding_box()
    middle = line["x"] + line["width"] / 2
    assert middle == pytest.approx(room["x"] + room["width"] / 4, abs=1)
    page.mouse.move(middle, room["y"] + 50)
    page.mouse.down()
    page.mouse.move(room["x"] + 0.75 * room["width"], room["y"] + 60, steps=3)
    page.mouse.up()
    assert page.input_value("#divide") == "75"
    page.focus("#divide")
    page.keyboard.press("ArrowRight")
    assert left_edge(page) == "inset(0px 0px 0px 76%)"


def test_what_is_compared_can_be_chosen_techniques_targets_and_the_photo(
    page: Any, site: str, order: list[str]
) -> None:
    open_image(page, site, order[0])
    page.click("#compare")
    choices = page.locator("#left option").all_inner_texts()
    assert choices[0] == "the photo"
    targets = [choice for choice in choices if choice.startswith("Gradient rollout, for ")]
    assert len(targets) == 2
    for select, target in zip(("#left", "#right"), targets, strict=True):
        page.select_option(select, label=target)
    sources = page.eval_on_selector_all("#canvas .layer.own", "all => all.map(one => one.src)")
    assert len(set(sources)) == 2
    assert all(source in page.content() for source in sources)
    page.select_option("#right", label="the photo")
    assert page.locator("#canvas .cover .plain").is_visible()
    assert page.locator("#canvas .layer.own").count() == 1
    page.select_option("#right", label="nothing")
    assert page.inner_text("#viewer-title") == "Enlarged"
    assert page.is_disabled("#divide")


def test_opacity_and_scale_are_set_in_the_viewer(page: Any, site: str, order: list[str]) -> None:
    open_image(page, site, order[0])
    page.click("#compare")
    layer = page.locator("#canvas .layer.own").first
    page.fill("#opacity", "30")
    assert layer.evaluate("one => getComputedStyle(one).opacity") == "0.3"
    assert page.inner_text("#opacity-said") == "30\xa0%"
    page.locator("#viewer-switches").get_by_text("all images").click()
    assert not layer.is_visible()
    fixed = page.locator("#canvas .layer.fixed").first
    assert fixed.is_visible()
    assert fixed.evaluate("one => getComputedStyle(one).opacity") == "0.3"
    assert page.is_checked("#scale-fixed")
    assert page.locator("#left-caption .ramp.fixed").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()
    assert page.locator("#maps ~ .technique img.fixed, .technique img.fixed").first.is_visible()


def test_maps_are_shown_in_pixels_where_they_are_kept(page: Any, tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", 1, quarantined=0, in_pixels=("signed_example",))
    build_report(root, pdf=False, processes=1)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    (place,) = (root / "report/images").glob("????????????????.html")
    open_image(page, (root / "report").as_uri() + "/", place.stem)
    page.locator("figure.in-pixels").first.scroll_into_view_if_needed()
    fine = page.locator("figure.in-pixels").first.locator(".layer.pixels")
    coarse = page.locator("figure.in-pixels").first.locator(".layer.own")
    assert coarse.is_visible() and not fine.is_visible()
    assert not [url for url in asked if url.endswith(".webp")], "nothing is loaded before it is shown"
    for scale in ("this image", "all images"):
        page.locator("#controls").get_by_text(scale, exact=True).click()
        page.locator("#controls").get_by_text("in pixels").click()
        assert fine.is_visible() and not page.locator("figure.in-pixels .layer.own:visible").count()
        assert page.locator("figure.in-pixels .ramp:visible").count() == 2
        assert page.locator(".note.pixels").is_visible()
        assert page.locator("figure.map:not(.in-pixels) .layer:visible").count()
        page.wait_for_function("document.querySelector('.layer.pixels').naturalWidth > 100")
        page.locator("#controls").get_by_text("smooth").click()
        assert not fine.is_visible()
    page.locator("figure.in-pixels .enlarge").first.click()
    page.locator("#viewer-switches").get_by_text("in pixels").click()
    assert page.locator("#canvas .layer.pixels").is_visible()
    assert page.locator("#left-caption .ramp.pixels").is_visible()
    assert not page.locator(
        "#canvas .layer.own, #canvas .layer.fixed, #left-caption .ramp.fixed"
    ).first.is_visible()


def test_a_map_is_enlarged_and_zoomed_by_mouse_and_keyboard(page: Any, site: str, order: list[str]) -> None:
    open_image(page, site, order[0])
    button = page.locator(".technique .enlarge").first
    small = button.bounding_box()
    button.focus()
    page.keyboard.press("Enter")
    stage = page.locator("#stage").bounding_box()
    assert stage["width"] > 2.5 * small["width"]
    assert stage["width"] / stage["height"] == pytest.approx(COLS / ROWS, rel=0.02)
    assert page.locator("#canvas .pane").count() == 1
    page.keyboard.press("+")
    assert page.inner_text("#zoom-said") == "1.5 ×"
    page.fill("#zoom", "400")
    width = page.locator("#canvas").bounding_box()["width"]
    assert width == pytest.approx(4 * page.locator("#stage").evaluate("one => one.clientWidth"), abs=8)
    before = page.locator("#stage").evaluate("one => one.scrollLeft")
    assert before > 0
    x, y = stage["x"] + 200, stage["y"] + 200
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 100, y, steps=3)
    page.mouse.up()
    assert page.locator("#stage").evaluate("one => one.scrollLeft") == pytest.approx(before + 100, abs=2)
    page.keyboard.press("Escape")
    page.wait_for_selector("#viewer", state="hidden")
    assert page.evaluate("document.activeElement.className") == "enlarge"


@pytest.mark.parametrize("width", [360, 390])
def test_the_viewer_fits_a_phone(browser: Any, root: Path, order: list[str], width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 740})
    page = context.new_page()
    open_image(page, (root / "report").as_uri() + "/", order[0])
    page.click("#compare")
    viewer = page.locator("#viewer")
    box = viewer.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width
    assert viewer.evaluate("one => one.scrollWidth <= one.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
