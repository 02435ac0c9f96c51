"""The page of an image in a real browser, from the disk and from a server: viewer, inspector and keys."""

from __future__ import annotations

import base64
import functools
import http.server
import io
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from synthetic_run import BLOCKS, COLS, ROWS, write_run

from vitreport.report.build import build_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SUB_PATH = "/some/place/"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("browser") / "run"
    root = write_run(place, images=4, quarantined=0, targets=(1, 3))
    build_report(root, pdf=False, processes=1)
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def served(root: Path) -> Iterator[str]:
    """Address of the site on a server of this machine, below a sub-path."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            inside = path.startswith(SUB_PATH)
            return super().translate_path("/" + path.removeprefix(SUB_PATH)) if inside else "/nowhere"

        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(root / "report"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}{SUB_PATH}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=["disk", "server"])
def site(request: pytest.FixtureRequest, root: Path) -> str:
    """Where the site is, with a slash at its end."""
    if request.param == "disk":
        return (root / "report").as_uri() + "/"
    return str(request.getfixturevalue("served"))


@pytest.fixture
def page(browser: Any, root: Path) -> Iterator[Any]:
    """A page that fails its test on any error, failed request, or request that leaves the site."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    troubles: list[str] = []
    allowed = ("file:", "data:", "http://127.0.0.1:")
    page.on("console", lambda message: troubles.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("requestfailed", lambda request: troubles.append(f"failed: {request.url}"))
    page.on(
        "request",
        lambda request: None if request.url.startswith(allowed) else troubles.append(f"left: {request.url}"),
    )
    yield page
    context.close()
    assert troubles == []


@pytest.fixture(scope="module")
def order(root: Path) -> list[str]:
    """Identities of the images, in the order of their pages."""
    texts = {
        place.stem: place.read_text("utf-8")
        for place in (root / "report/images").glob("????????????????.html")
    }
    (first,) = (image for image, text in texts.items() if 'rel="prev"' not in text)
    found = [first]
    while 'rel="next"' in texts[found[-1]]:
        found.append(texts[found[-1]].partition('rel="next" href="')[2].partition(".html")[0])
    return found


def open_image(page: Any, site: str, image: str) -> None:
    page.goto(f"{site}images/{image}.html")
    page.wait_for_function("[...document.images].every(one => one.loading === 'lazy' || one.complete)")


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


def test_keys_turn_pages_list_themselves_and_lead_to_the_search_box(
    page: Any, site: str, order: list[str]
) -> None:
    open_image(page, site, order[1])
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Keys").is_visible()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()
    assert order[1] in page.url
    with page.expect_navigation():
        page.keyboard.press("ArrowRight")
    assert order[2] in page.url
    with page.expect_navigation():
        page.keyboard.press("ArrowLeft")
    assert order[1] in page.url
    page.focus("#scale-own")
    page.keyboard.press("ArrowRight")
    assert page.is_checked("#scale-fixed")
    assert order[1] in page.url
    with page.expect_navigation():
        page.keyboard.press("/")
    page.wait_for_selector("#tools[data-ready]")
    assert page.evaluate("document.activeElement.id") == "find"


def test_arrows_do_not_turn_pages_where_they_scroll_a_table(page: Any, site: str, order: list[str]) -> None:
    open_image(page, site, order[1])
    page.locator(".scroll[tabindex]").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(1)
    assert order[1] in page.url


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
    from vitreport.store import open_run

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


def test_without_scripts_the_page_says_what_needs_them_and_shows_nothing_dead(
    browser: Any, root: Path, order: list[str]
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((root / f"report/images/{order[0]}.html").as_uri())
    assert "needs JavaScript" in page.inner_text("#inspector-plain")
    for selector in ("#inspect", "#inspector-room", "#compare", "#viewer"):
        assert not page.is_visible(selector)
    assert page.locator(".technique figure.map").first.is_visible()
    context.close()


def test_print_opens_what_is_closed_and_leaves_out_what_only_a_screen_has(
    page: Any, site: str, order: list[str]
) -> None:
    open_image(page, site, order[0])
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = false })")
    page.emulate_media(media="print")
    for selector in ("#controls", ".keys-button", ".enlarge", "#inspect"):
        assert not page.locator(selector).first.is_visible()
    assert all(part.is_visible() for part in page.locator("details > :not(summary)").all())
    assert page.locator(".lens tbody tr").count() == BLOCKS
