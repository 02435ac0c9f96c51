"""The site as axe-core and Lighthouse see it.

Performance, and the pages that are left out here for their time: `python -m tests.site_audit RUN`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import site_audit
from tests.synthetic_run import write_run, write_scores
from vitreport.report.build import build_report

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.browser
PAGES = 5
SMALL_PHOTOS = "--skip-audits=image-size-responsive"
"""The made-up photos have 128 x 96 pixels, which is too few for a phone."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small site, where the tools are there to look at it."""
    try:
        site_audit.chromium()
        site_audit.node_modules()
    except site_audit.MissingError as missing:
        pytest.skip(str(missing))
    root = write_scores(write_run(tmp_path_factory.mktemp("audit") / "run", 40))
    build_report(root, pdf=False, processes=1)
    return root / "report"


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with site_audit.served(site) as address:
        yield address


@pytest.fixture(scope="module")
def browser(site: Path) -> Iterator[Any]:
    with site_audit.browser() as opened:
        yield opened


def test_every_kind_of_page_is_audited(site: Path) -> None:
    pages = site_audit.pages_of(site)
    assert len(pages) == PAGES
    assert {page.partition("/")[0] for page in pages} == {
        "index.html",
        "images",
        "techniques",
        "classes",
        "analysis",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong(scheme: str, site: Path, address: str, browser: Any) -> None:
    wrong = {page: site_audit.axe(browser, address + page, scheme) for page in site_audit.pages_of(site)}
    assert not any(wrong.values()), wrong


@pytest.mark.parametrize("place", range(3))
def test_lighthouse_gives_full_marks_for_all_that_does_not_depend_on_the_machine(
    place: int, site: Path, address: str
) -> None:
    page = site_audit.pages_of(site)[place]
    options = (*site_audit.BRISK, SMALL_PHOTOS)
    marks = site_audit.lighthouse(address + page, 1, site_audit.STEADY, options)
    assert marks.failed == ()
    assert marks.scores == dict.fromkeys(site_audit.STEADY, 100)


def test_axe_would_find_something_wrong(site: Path, browser: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text("<!DOCTYPE html><html><body><img src='a.png'></body></html>")
    with site_audit.served(tmp_path) as address:
        wrong = " ".join(site_audit.axe(browser, address + "bad.html", "light"))
    assert "image-alt" in wrong and "html-has-lang" in wrong
