"""How long the table of a large run takes to answer a key: from the key to the frame that shows the rows.

python -m tests.benchmarks.table_filter [--images 10000]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import sync_playwright

from tests.table_site import write_table_site

TYPED = "picture_0 star site 7"
KEY = """async (text) => {
  const find = document.getElementById("find");
  const began = performance.now();
  find.value = text;
  find.dispatchEvent(new Event("input"));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - began;
}"""
SORT = """async (column) => {
  const began = performance.now();
  document.querySelector(`th[data-sort="${column}"] button`).click();
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - began;
}"""


def main(arguments: Sequence[str] | None = None, write_line: Callable[[str], None] = print) -> float:
    """Prints milliseconds a key, and returns their median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    chosen = parser.parse_args(arguments)
    with TemporaryDirectory() as folder, sync_playwright() as driver:
        index = write_table_site(Path(folder), chosen.images)
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(index.as_uri())
        page.wait_for_selector("#tools[data-ready]")
        page.focus("#find")
        shards = len((page.get_attribute("#tools", "data-shards") or "").split())
        page.wait_for_function(f"() => Object.keys(window.vitreport_images).length === {shards}")
        keys = [page.evaluate(KEY, TYPED[:length]) for length in range(1, len(TYPED) + 1)]
        sorts = [page.evaluate(SORT, column) for column in (1, 2, 4)]
        browser.close()
    middle = statistics.median(keys)
    write_line(f"{chosen.images:,} images, index.html and {shards} data scripts")
    write_line(f"a key: median {middle:.0f} ms, first {keys[0]:.0f} ms, most {max(keys):.0f} ms")
    write_line(f"the first sort by file, label, probability: {', '.join(f'{one:.0f} ms' for one in sorts)}")
    return middle


if __name__ == "__main__":
    main()
