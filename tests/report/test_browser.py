"""The site in a real browser, from the disk."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from synthetic_run import write_run, write_scores

from vitreport.report.build import build_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]
HOSTILE = "photos/<img src=x onerror=alert(1)>.jpg"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_run(tmp_path_factory.mktemp("browser") / "run", images=130, quarantined=3, uris=(HOSTILE,))
    write_scores(root, most=20)
    build_report(root, pdf=False, processes=2)
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that fails its test on any error, failed request, or request that leaves the disk."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("requestfailed", lambda request: troubles.append(f"failed: {request.url}"))
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith(("file:", "data:")) else troubles.append(f"left: {request.url}")
        ),
    )
    yield page
    context.close()
    assert troubles == []


def open_index(page: Any, root: Path) -> None:
    page.goto((root / "report/index.html").as_uri())
    page.wait_for_selector("#tools[data-ready]")


def settle(page: Any) -> None:
    """Wait until the pictures in and near the window are there."""
    missing = (
        "[...document.images].some(image => !image.complete && image.getClientRects().length"
        " && Math.abs(image.getBoundingClientRect().top) < innerHeight + 1000)"
    )
    for _ in range(100):
        if not page.evaluate(missing):
            break
        page.wait_for_timeout(50)


def follow(page: Any, link: Any) -> None:
    """Click `link` and wait for the page it leads to; pictures near the link are there before it is left."""
    link.scroll_into_view_if_needed()
    settle(page)
    with page.expect_navigation():
        link.click()


def names(page: Any) -> list[str]:
    return page.locator("table.images tbody th").all_inner_texts()


def test_the_table_pages_through_all_images(page: Any, root: Path) -> None:
    open_index(page, root)
    assert len(names(page)) == 50
    assert page.inner_text("#count") == "1 to 50 of 130 images"
    assert page.is_disabled("#back")
    page.click("#on")
    page.click("#on")
    assert len(names(page)) == 30
    assert page.is_disabled("#on")


def test_the_focus_stays_on_the_pager_at_both_ends(page: Any, root: Path) -> None:
    open_index(page, root)
    focused = "document.activeElement.id"
    for button, other in (("#on", "back"), ("#back", "on")):
        page.focus(button)
        page.keyboard.press("Enter")
        assert page.evaluate(focused) == button[1:]
        page.keyboard.press("Enter")
        assert page.is_disabled(button)
        assert page.evaluate(focused) == other


def test_a_slash_leads_to_the_search_box_but_not_while_typing(page: Any, root: Path) -> None:
    open_index(page, root)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "find"
    assert page.input_value("#find") == ""
    page.keyboard.type("a/b")
    assert page.input_value("#find") == "a/b"
    page.focus("#show")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "show"


def test_the_script_draws_the_same_rows_as_the_page_has(page: Any, root: Path, browser: Any) -> None:
    open_index(page, root)
    drawn = page.inner_html("table.images tbody")
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto((root / "report/index.html").as_uri())
    written = plain.locator("table.images tbody")
    rows = [" | ".join(row.split()) for row in written.inner_text().splitlines()]
    assert rows == [
        " | ".join(row.split()) for row in page.locator("table.images tbody").inner_text().splitlines()
    ]
    assert drawn.count("<a ") == plain.inner_html("table.images tbody").count("<a ")
    context.close()


def test_the_table_filters(page: Any, root: Path) -> None:
    open_index(page, root)
    page.fill("#find", "PICTURE_012")
    assert names(page) == ["picture_012.jpg"]
    assert page.inner_text("#count") == "1 image"
    page.fill("#find", "picture_012 indoor")
    assert names(page) == []
    assert page.inner_text("table.images tbody") == "No image fits."
    shown = [head.is_visible() for head in page.locator("table.images thead th").all()].count(True)
    assert page.get_attribute("td.none", "colspan") == str(shown)
    page.fill("#find", "")
    page.select_option("#show", "quarantined")
    assert len(names(page)) == 3
    assert page.locator("td.reason").first.inner_text() == "the file is truncated"
    page.select_option("#show", "wrong")
    assert set(page.locator("table.images .verdict").all_inner_texts()) == {"wrong"}


def test_a_hostile_file_name_is_only_text(page: Any, root: Path) -> None:
    open_index(page, root)
    page.fill("#find", "onerror")
    assert names(page) == [HOSTILE.partition("/")[2]]
    assert page.locator("table.images tbody img").count() <= 1


def test_the_table_sorts(page: Any, root: Path) -> None:
    open_index(page, root)
    head = page.locator("th[data-sort='4']")
    for order in ("ascending", "descending"):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == order
        texts = page.locator("table.images td.number").all_inner_texts()
        shares = [float(text.split()[0]) for text in texts if text]
        assert shares == sorted(shares, reverse=order == "descending")
    page.locator("th[data-sort='1'] button").click()
    assert head.get_attribute("aria-sort") is None
    assert names(page)[1:] == sorted(names(page)[1:])


def test_switches_change_what_is_shown_and_stay(page: Any, root: Path) -> None:
    open_index(page, root)
    follow(page, page.locator("table.images tbody a").first)
    own, fixed = page.locator("img.own").first, page.locator("img.fixed").first
    assert own.is_visible() and not fixed.is_visible()
    page.get_by_text("all images", exact=True).click()
    assert fixed.is_visible() and not own.is_visible()
    page.get_by_text("bare map").click()
    assert fixed.evaluate("image => getComputedStyle(image).opacity") == "1"
    follow(page, page.locator("a[rel=next]"))
    assert page.locator("img.fixed").first.is_visible()


def test_a_picture_lies_exactly_over_its_photo(page: Any, root: Path) -> None:
    open_index(page, root)
    follow(page, page.locator("table.images tbody a").first)
    for stack in page.locator(".technique .stack").all()[:6]:
        photo, layer = stack.locator("img.photo").bounding_box(), stack.locator("img.own").bounding_box()
        assert photo == pytest.approx(layer, abs=0.5)


@pytest.mark.parametrize(("width", "columns"), [(390, 3), (1280, 5)])
def test_a_long_file_name_pushes_no_column_out_of_view(
    browser: Any, tmp_path: Path, width: int, columns: int
) -> None:
    root = write_run(tmp_path / "run", 3, uris=("photos/" + "x" * 200 + ".jpg",))
    build_report(root, pdf=False, processes=1)
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    open_index(page, root)
    heads = [head.bounding_box() for head in page.locator("table.images thead th:not(.thumb)").all()]
    shown = [box for box in heads if box is not None]
    assert len(shown) >= columns
    assert all(box["x"] + box["width"] <= width for box in shown)
    assert all(box["width"] >= 70 for box in shown)
    context.close()


def test_without_scripts_everything_is_readable(browser: Any, root: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((root / "report/index.html").as_uri())
    assert len(names(page)) == 50
    assert not page.is_visible("#tools")
    follow(page, page.get_by_text("as plain pages"))
    assert len(names(page)) == 130
    follow(page, page.locator("tbody a").first)
    page.get_by_text("all images", exact=True).click()
    assert page.locator("img.fixed").first.is_visible()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(browser: Any, root: Path, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    image = next(
        place
        for place in sorted((root / "report/images").glob("*.html"))
        if place.stem.isalnum() and "Scores of this image" in place.read_text("utf-8")
    )
    for path in (
        "report/index.html",
        "report/analysis/trust.html",
        "report/techniques/gradient_rollout.html",
        "report/techniques/attention_rollout.html",
        f"report/images/{image.name}",
    ):
        page.goto((root / path).as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_means_are_drawn_where_they_lie_between_the_ends_of_their_axis(page: Any, root: Path) -> None:
    open_index(page, root)
    table = page.locator("table.board")
    low, high = (float(text.replace("−", "-")) for text in table.locator(".ends span").all_inner_texts())
    drawn = {}
    for row in table.locator("tbody tr:has(.whisker)").all():
        room, span = row.locator(".whisker").bounding_box(), row.locator(".range").bounding_box()
        mean = float(row.locator("td.number").first.inner_text().replace("−", "-"))
        ends = [
            float(end.replace("−", "-")) for end in row.locator(".span .for").last.inner_text().split(" to ")
        ]
        place = 0.02 + 0.96 * (ends[0] - low) / (high - low)
        assert (span["x"] - room["x"]) / room["width"] == pytest.approx(place, abs=0.03)
        assert span["width"] / room["width"] == pytest.approx(
            0.96 * (ends[1] - ends[0]) / (high - low), abs=0.03
        )
        drawn[mean] = span["x"] + span["width"] / 2
    assert max(drawn) == max(drawn, key=lambda mean: drawn[mean])
    assert (
        table.locator(".whisker .dot").first.evaluate("dot => getComputedStyle(dot).strokeLinecap") == "round"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_curves_are_drawn_in_the_readers_scheme(browser: Any, root: Path, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto((root / "report/analysis/trust.html").as_uri())
    picture = page.locator("figure.curves img").first
    picture.scroll_into_view_if_needed()
    settle(page)
    shot = Image.open(io.BytesIO(picture.screenshot())).convert("RGB")
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    corner = shot.getpixel((3, 3))
    assert f"rgb({corner[0]}, {corner[1]}, {corner[2]})" == paper
    assert len(shot.getcolors(1 << 20) or ()) > 50
    context.close()


@pytest.mark.parametrize(
    ("targets", "width", "columns"), [((1, 3), 1280, 4), ((1, 3, 2), 1280, 3), ((1, 3), 390, 2)]
)
def test_the_pictures_of_a_target_stand_in_columns_of_their_own(
    targets: tuple[int, ...], width: int, columns: int, page: Any, tmp_path: Path
) -> None:
    root = write_run(tmp_path / "run", 1, quarantined=0, targets=targets)
    build_report(root, pdf=False, processes=1)
    page.set_viewport_size({"width": width, "height": 900})
    (image,) = (root / "report/images").glob("????????????????.html")
    page.goto(image.as_uri())
    lefts: dict[str, set[int]] = {}
    for figure in page.locator(".sets figure").all():
        words = figure.locator(".for").all_inner_texts()
        target = words[0].partition(",")[0] if words else ""
        lefts.setdefault(target, set()).add(round(figure.bounding_box()["x"]))
    places = sorted(set().union(*lefts.values()))
    lefts.pop("")
    assert (len(places), len(lefts)) == (columns, len(targets))
    for position, found in enumerate(lefts.values()):
        assert {places.index(left) % len(targets) for left in found} == {position}


def test_the_lens_scrolls_in_its_own_box_and_its_bars_are_true(page: Any, root: Path) -> None:
    open_index(page, root)
    follow(page, page.locator("table.images tbody a").first)
    table = page.locator("table.lens")
    for cell in table.locator("td:has(.bar)").all():
        bar, room = cell.locator("rect").bounding_box(), cell.locator("svg").bounding_box()
        share = float(cell.inner_text().split()[-2]) / 100
        assert bar["width"] / room["width"] == pytest.approx(share, abs=0.02)
    page.set_viewport_size({"width": 390, "height": 800})
    box = table.locator("xpath=..")
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box.evaluate("box => { box.scrollLeft = 1000 }")
    head = table.locator("tbody th").first.bounding_box()
    assert head["x"] == pytest.approx(box.bounding_box()["x"], abs=1)


@pytest.mark.parametrize("kind", ["value", "backbone"])
def test_the_script_draws_what_the_page_has_of_models_that_predict_no_class(
    kind: str, page: Any, browser: Any, tmp_path: Path
) -> None:
    given: dict[str, Any] = {
        "value": {"head": "regression", "classes": ("age",), "targets": (0,)},
        "backbone": {"head": "none", "classes": (), "targets": ()},
    }[kind]
    root = write_run(tmp_path / "run", 12, quarantined=0, labelled=False, **given)
    build_report(root, pdf=False, processes=1)
    open_index(page, root)
    drawn = page.locator("table.images tbody").inner_text()
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto((root / "report/index.html").as_uri())
    assert drawn.split() == plain.locator("table.images tbody").inner_text().split()
    context.close()
    assert "%" not in drawn
    assert page.locator("table.images thead th:visible").count() == {"value": 4, "backbone": 3}[kind]
    if kind == "value":
        page.get_by_role("button", name="Value").click()
        cells = page.locator("table.images td.number")
        values = [float(text.replace("−", "-")) for text in cells.all_inner_texts()]
        assert values == sorted(values)
        page.set_viewport_size({"width": 390, "height": 800})
        assert cells.first.is_visible()
