"""Audits the site of a run: Lighthouse on a phone, and axe-core in light and dark.

python -m tests.site_audit RUN [PAGE…] [--rounds 5]

Without pages it takes the start page and one page each of an image, a technique, a class and the analysis.
Needs npm, which fetches Lighthouse and axe-core into the user's cache, and Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PACKAGES = ("lighthouse@12", "axe-core@4")
SUB_PATH = "/some/sub-path/"
KINDS = ("images/" + "?" * 16 + ".html", "techniques/*.html", "classes/*.html", "analysis/index.html")
CATEGORIES = ("performance", "accessibility", "best-practices", "seo")
STEADY = CATEGORIES[1:]
"""The categories that do not depend on how busy the machine is."""
BRISK = ("--throttling-method=provided", "--disable-full-page-screenshot")
"""Options that spare the waiting where performance does not count."""
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


class MissingError(Exception):
    """A tool is not there; says which."""


@dataclass(frozen=True)
class Marks:
    """What Lighthouse says of a page.

    Attributes:
        scores: by category, 0 to 100.
        paint: largest contentful paint in seconds, as simulated for a phone.
        failed: what costs points, apart from performance.
    """

    scores: dict[str, int]
    paint: float
    failed: tuple[str, ...]


def pages_of(site: Path) -> list[str]:
    """The start page and the first page of every kind that the site has."""
    found = (next(iter(sorted(site.glob(kind))), None) for kind in KINDS)
    return ["index.html", *(place.relative_to(site).as_posix() for place in found if place)]


def chromium() -> str:
    """Chromium's program.

    Raises:
        MissingError: there is none.
    """
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        raise MissingError("there is no Chromium on this machine")
    return found


def node_modules() -> Path:
    """Where Lighthouse and axe-core are; npm fetches them the first time.

    Raises:
        MissingError: npm is not there, or fetches nothing.
    """
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vitreport-tests" / "site-audit"
    )
    modules = cache / "node_modules"
    if not all((modules / name.partition("@")[0]).is_dir() for name in PACKAGES):
        npm = shutil.which("npm")
        if npm is None:
            raise MissingError("there is no npm on this machine")
        cache.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(cache)]
        try:
            subprocess.run([*command, *PACKAGES], capture_output=True, check=True, timeout=300)
        except (subprocess.SubprocessError, OSError) as error:
            raise MissingError(f"npm could not fetch Lighthouse and axe-core ({error})") from error
    return modules


class _Quiet(SimpleHTTPRequestHandler):
    """Serves a folder below `SUB_PATH`, and nothing else."""

    def translate_path(self, path: str) -> str:
        inside = path.startswith(SUB_PATH)
        return super().translate_path("/" + path[len(SUB_PATH) :] if inside else "/nothing")

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def served(site: Path) -> Iterator[str]:
    """Serves a site under a sub-path of this machine; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{SUB_PATH}"
    finally:
        server.shutdown()
        server.server_close()


def lighthouse(
    address: str, rounds: int = 5, categories: Sequence[str] = CATEGORIES, options: Sequence[str] = ()
) -> Marks:
    """The marks of a page on a phone: of several rounds the one with the middle performance.

    Args:
        address: of the page.
        rounds: how often it is looked at.
        categories: what counts.
        options: further ones of Lighthouse's command.

    Raises:
        MissingError: a tool is not there.
        RuntimeError: no round has a result.
    """
    bodies = [body for _ in range(rounds) if (body := _round(address, categories, options))]
    if not bodies:
        raise RuntimeError(f"Lighthouse has no result for {address}")
    bodies.sort(key=lambda body: body["categories"].get("performance", {"score": 0})["score"] or 0)
    body = bodies[len(bodies) // 2]
    audits = body["audits"]
    failed = [
        f"{category}: {audits[one['id']]['title']}"
        for category in categories
        if category != "performance"
        for one in body["categories"][category]["auditRefs"]
        if one["weight"] and audits[one["id"]].get("score") not in (None, 1)
    ]
    scores = {name: round(100 * (body["categories"][name]["score"] or 0)) for name in categories}
    paint = audits.get("largest-contentful-paint", {}).get("numericValue", 0) / 1000
    return Marks(scores, paint, tuple(failed))


def _round(address: str, categories: Sequence[str], options: Sequence[str]) -> dict[str, Any] | None:
    program = node_modules() / "lighthouse" / "cli" / "index.js"
    with TemporaryDirectory() as folder:
        command = [
            *(
                "node",
                str(program),
                address,
                "--quiet",
                "--output=json",
                f"--output-path={folder}/marks.json",
            ),
            f"--only-categories={','.join(categories)}",
            *options,
            f"--chrome-flags={FLAGS} --user-data-dir={folder}/profile",
        ]
        environment = {**os.environ, "CHROME_PATH": chromium()}
        subprocess.run(command, env=environment, capture_output=True, timeout=180)
        try:
            body: dict[str, Any] = json.loads(Path(folder, "marks.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
    return None if body.get("runtimeError") else body


def axe(browser: Any, address: str, scheme: str) -> list[str]:
    """What axe-core finds wrong on a page in a colour scheme, ``light`` or ``dark``."""
    context = browser.new_context(color_scheme=scheme)
    try:
        page = context.new_page()
        page.goto(address, wait_until="load")
        page.evaluate((node_modules() / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
        found = page.evaluate("async () => (await axe.run()).violations")
    finally:
        context.close()
    return [f"{one['id']}: {one['help']} ({one['nodes'][0]['html'][:120]})" for one in found]


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium, driven."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium(), args=FLAGS.split())
        yield opened
        opened.close()


def main(arguments: Sequence[str] | None = None, write_line: Callable[[str], None] = print) -> int:
    """Prints a line a page; 1 where a mark is under 100 (performance: 98) or axe finds something."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("pages", nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args(arguments)
    site = chosen.run / "report"
    good = True
    paints = []
    with served(site) as address, browser() as opened:
        for page in chosen.pages or pages_of(site):
            marks = lighthouse(address + page, chosen.rounds)
            wrong = [
                f"{scheme}: {one}"
                for scheme in ("light", "dark")
                for one in axe(opened, address + page, scheme)
            ]
            paints.append(marks.paint)
            scores = " / ".join(str(marks.scores[name]) for name in CATEGORIES)
            write_line(
                f"{page}: {scores}, largest paint after {marks.paint:.2f} s, {len(wrong)} axe violations"
            )
            for line in (*marks.failed, *wrong):
                write_line(f"    {line}")
            least = {name: 98 if name == "performance" else 100 for name in CATEGORIES}
            good = good and not wrong and all(marks.scores[name] >= least[name] for name in CATEGORIES)
    write_line(
        "performance / accessibility / best practices / SEO, on a phone, the middle of "
        f"{chosen.rounds} rounds; axe-core in light and dark; "
        f"median largest paint {statistics.median(paints):.2f} s"
    )
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MissingError as missing:
        sys.exit(f"site_audit: {missing}")
