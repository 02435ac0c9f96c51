"""A small site in a real browser, from the disk and from a server."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from synthetic_run import write_run

from vitreport.report.build import build_report

CHROMIUM = shutil.which("chromium")
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
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
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
