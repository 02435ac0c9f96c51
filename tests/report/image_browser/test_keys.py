"""Keys, paper, and pages without scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from image_opening import open_image
from synthetic_run import BLOCKS

from tests import site_audit

pytestmark = pytest.mark.browser


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
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert order[1] in page.url


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


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 375)])
def test_axe_finds_nothing_wrong_in_what_scripts_open(
    scheme: str, width: int, browser: Any, root: Path, order: list[str]
) -> None:
    try:
        axe = (site_audit.node_modules() / "axe-core/axe.min.js").read_text("utf-8")
    except site_audit.MissingError as missing:
        pytest.skip(str(missing))
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        reduced_motion="reduce",
        bypass_csp=True,
    )
    page = context.new_page()
    open_image(page, (root / "report").as_uri() + "/", order[0])
    page.evaluate("source => { (0, eval)(source) }", axe)

    def violations() -> list[str]:
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        return [violation["id"] for violation in found["violations"]]

    page.click("#inspect")
    page.wait_for_selector("#inspector[data-ready]")
    assert violations() == []
    page.click("#compare")
    assert violations() == []
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    page.wait_for_selector("#help[open]")
    assert violations() == []
    context.close()
