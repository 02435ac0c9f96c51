"""The table of a large run in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.table_site import table_rows, write_table_site

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]
IMAGES = 10_000
LOADED = "Object.keys(window.vitreport_images || {}).length"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table_site(tmp_path_factory.mktemp("table"), IMAGES)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, index: Path) -> Iterator[Any]:
    """The start page, ready; a failing script fails its test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda said: troubles.append(said.text) if "ERR_FILE" not in said.text else None)
    page.goto(index.as_uri())
    page.wait_for_selector("#tools[data-ready]")
    yield page
    context.close()
    assert troubles == []


def shown(page: Any) -> list[str]:
    return page.locator("table.images tbody th").all_inner_texts()


def wait_for_count(page: Any, text: str) -> None:
    page.wait_for_function("text => document.getElementById('count').textContent === text", arg=text)


def test_ten_thousand_images_have_a_light_start_page(index: Path) -> None:
    assert index.stat().st_size <= 60_000


def test_a_page_of_the_table_loads_only_the_data_that_it_shows(page: Any) -> None:
    assert page.evaluate(LOADED) == 1
    assert len(shown(page)) == 50
    page.goto(page.url + "#images?page=199")
    page.reload()
    wait_for_count(page, "9,901 to 9,950 of 10,000 images")
    assert page.evaluate("Object.keys(window.vitreport_images)") == ["4"]
    assert shown(page) == [row.name for row in table_rows(IMAGES)[9900:9950]]


def test_a_search_goes_through_all_images_and_draws_a_page_of_them(page: Any) -> None:
    named = [row for row in table_rows(IMAGES) if row.verdict == "wrong" and row.label and row.predicted]
    fitting = [row for row in named if "star" in (row.label.short, row.predicted.short)]
    page.fill("#find", "STAR jpg")
    page.select_option("#show", "wrong")
    wait_for_count(page, f"1 to 50 of {len(fitting):,} images")
    assert page.evaluate(LOADED) == 5
    assert shown(page) == [row.name for row in fitting[:50]]


def test_sorting_goes_through_all_images_in_both_directions(page: Any) -> None:
    rows = table_rows(IMAGES)
    scores = sorted(row.predicted.text for row in rows if row.predicted)
    button = page.get_by_role("button", name="Probability")
    for direction, expected in (("ascending", scores[0]), ("descending", scores[-1])):
        button.click()
        page.wait_for_selector(f"th[aria-sort={direction}]")
        page.wait_for_function(
            "text => document.querySelector('tbody td.number').textContent === text", arg=expected
        )
    page.goto(page.url.split("#")[0] + "#images?sort=4&page=200")
    wait_for_count(page, "9,951 to 10,000 of 10,000 images")
    assert set(page.locator("tbody .verdict").all_inner_texts()) == {"set aside"}


def test_the_table_is_as_it_was_left_when_one_comes_back(page: Any, index: Path) -> None:
    page.get_by_role("button", name="File").click()
    page.fill("#find", "star site")
    page.click("#on")
    page.wait_for_function("() => location.hash.includes('page=2')")
    before, said = shown(page), page.inner_text("#count")
    assert said.startswith("51 to 100 of ")
    target = index.with_name("other.html")
    target.write_text("<!DOCTYPE html><title>An image</title><p>An image</p>")
    page.goto(target.as_uri())
    page.go_back()
    wait_for_count(page, said)
    assert shown(page) == before
    assert page.input_value("#find") == "star site"
    assert page.get_attribute("th.file", "aria-sort") == "ascending"


def test_an_address_that_asks_for_nonsense_shows_the_table(page: Any) -> None:
    page.goto(page.url + "#images?sort=nonsense&page=-7&show=nothing")
    wait_for_count(page, "0 images")
    page.goto(page.url.split("#")[0] + "#images?page=99999")
    wait_for_count(page, "1 to 50 of 10,000 images")
