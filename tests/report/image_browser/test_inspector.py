"""Pointing at patches."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_opening import open_image
from PIL import Image
from synthetic_run import COLS, ROWS

from vitreport.store import open_run

pytestmark = pytest.mark.browser


def picture(stack: Any) -> Image.Image:
    """What the canvas of a stack shows."""
    address = stack.locator("canvas").evaluate("one => one.toDataURL()")
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGBA")


def open_inspector(page: Any) -> Any:
    page.click("#inspect")
    page.wait_for_selector("#inspector[data-ready]")
    return page.locator("#patches-from .stack")


def test_the_numbers_of_patches_come_only_when_they_are_asked_for(
    page: Any, site: str, order: list[str]
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    open_image(page, site, order[0])
    assert page.evaluate("window.vitreport_patches") is None
    numbers = page.get_attribute("#inspector", "data-patches").rpartition("/")[2]
    assert not any(url.endswith(numbers) for url in asked)
    open_inspector(page)
    assert sum(url.endswith(numbers) for url in asked) == 1


def test_pointing_at_a_patch_says_where_its_information_came_from_and_where_it_goes(
    page: Any, site: str, order: list[str]
) -> None:
    open_image(page, site, order[0])
    stack = open_inspector(page)
    box = stack.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 2.5 / COLS, box["y"] + box["height"] * 1.5 / ROWS)
    said = page.inner_text("#patches-said")
    assert said.startswith("Row 1, column 2: ")
    assert "most from row 1, column 3 (" in said  # the synthetic rollout's neighbour on the right
    assert "most to row 1, column 1, which" in said
    mark = page.locator("#patches-to .mark").bounding_box()
    other = page.locator("#patches-to .stack").bounding_box()
    assert mark["x"] - other["x"] == pytest.approx(other["width"] * 2 / COLS, abs=1)
    assert mark["width"] == pytest.approx(other["width"] / COLS, abs=1)
    drawn = picture(stack)
    assert drawn.size == (COLS, ROWS)
    clear = [place for place in np.ndindex(ROWS, COLS) if drawn.getpixel(place[::-1])[3] == 0]
    assert clear == [(1, 2)]  # the patch itself is left out
    page.get_by_text("shares", exact=True).click()
    assert picture(stack).tobytes() != drawn.tobytes()


def test_the_shares_that_are_said_are_those_of_the_store(
    page: Any, root: Path, site: str, order: list[str]
) -> None:
    run = open_run(root)
    rows = run.observations(run.technique("patch_rollout"), 0).to_pylist()
    row = next(row for row in rows if row["id"] == order[0])
    at = 1 + COLS + 2
    own = row["own"][at]
    tokens = 1 + ROWS * COLS
    token = row["values"][at * tokens] * row["scales"][0] / 255
    open_image(page, site, order[0])
    stack = open_inspector(page)
    box = stack.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 2.5 / COLS, box["y"] + box["height"] * 1.5 / ROWS)
    said = page.inner_text("#patches-said").replace("\xa0", " ")
    digits = [2 if share < 0.0995 else 1 for share in (own, token)]
    assert f"{100 * own:.{digits[0]}f} % from itself" in said
    assert f"{100 * token:.{digits[1]}f} % from the class token" in said


def test_patches_are_chosen_with_the_keyboard_and_held_by_a_click(
    page: Any, site: str, order: list[str]
) -> None:
    open_image(page, site, order[0])
    stack = open_inspector(page)
    assert stack.evaluate("one => one === document.activeElement")
    start = page.inner_text("#patches-said").partition(":")[0]
    assert start == f"Row {ROWS // 2}, column {COLS // 2}"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    moved = f"Row {ROWS // 2 - 1}, column {COLS // 2 + 1}"
    assert page.inner_text("#patches-said").startswith(moved)
    assert order[0] in page.url
    stack.click(position={"x": 3, "y": 3})
    box = stack.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert page.inner_text("#patches-said").startswith("Row 0, column 0:")
    stack.click(position={"x": 3, "y": 3})
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2)
    assert page.inner_text("#patches-said").startswith(f"Row {ROWS - 1}, column {COLS - 1}:")


def test_prefix_tokens_and_what_the_head_reads_can_be_chosen(page: Any, site: str, order: list[str]) -> None:
    open_image(page, site, order[0])
    open_inspector(page)
    page.get_by_text("class token", exact=True).click()
    assert page.inner_text("#patches-said").startswith("The class token: ")
    assert not page.locator("#patches-from .mark").is_visible()
    page.get_by_text("what the head reads", exact=True).click()
    assert page.inner_text("#patches-said").startswith("What the head reads: ")
    assert not page.locator("#patches-to").is_visible()


def test_patches_are_chosen_by_a_finger(browser: Any, root: Path, order: list[str]) -> None:
    context = browser.new_context(viewport={"width": 375, "height": 800}, has_touch=True)
    page = context.new_page()
    open_image(page, (root / "report").as_uri() + "/", order[0])
    stack = open_inspector(page)
    stack.scroll_into_view_if_needed()
    box = stack.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * (COLS - 0.5) / COLS, box["y"] + box["height"] * 0.5 / ROWS)
    page.wait_for_function(
        "document.querySelector('#patches-said').textContent.startsWith('Row 0, column 7')"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    context.close()
