"""A folder of hostile and broken files goes through a whole run: what becomes of each, and what it costs."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import bad_images
import pytest
from bad_images import EXPLAINED, Case
from pdf_reading import Document

from vitreport.images.file import printable
from vitreport.store import Run, open_run

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="its pipes, devices and limits are those of Linux"
)

MEGABYTES = 2048
"""No process of the run may hold more at once."""


@dataclass(frozen=True)
class Outcome:
    """What became of the folder: its files, the exit code, the finished run, and the largest process."""

    folder: Path
    cases: list[Case]
    code: int
    run: Run
    megabytes: int
    said: str

    def row_of(self, name: bytes) -> dict[str, object]:
        uri = printable(self.folder / os.fsdecode(name))
        return next(row for row in self.run.images.to_pylist() if row["uri"] == uri)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    root = tmp_path_factory.mktemp("bad")
    folder = root / "hostile images"
    made = bad_images.write(folder)
    words = ["run", str(folder), "-o", str(root / "run"), "--model", "embedded:honest", "--device", "cpu"]
    words += ["--technique", "raw_attention", "--metric", "none"]
    code = (
        "import resource, sys\nfrom vitreport.cli import main\n"
        "try:\n    main(sys.argv[1:], prog_name='vitreport')\n"
        "finally:\n"
        "    from vitreport.images.decoder import _pool\n    _pool.close()\n"
        "    own = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
        "    print('LARGEST', max(int(own.split()[1]), children) // 1024)\n"
    )
    # its own peak is read from /proc: the one that getrusage gives begins with what this process holds
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=560,
        cwd=root,
    )
    largest = re.search(r"LARGEST (\d+)", done.stdout)
    assert largest is not None, done.stderr
    said = done.stdout + done.stderr
    return Outcome(folder, made, done.returncode, open_run(root / "run"), int(largest[1]), said)


def test_the_corpus_has_well_over_forty_files() -> None:
    names = [case.name for case in bad_images.cases()]
    assert len(names) >= 120
    assert len(set(names)) == len(names)


def test_the_run_finishes_and_says_that_some_images_could_not_be_used(outcome: Outcome) -> None:
    assert outcome.code == 1, outcome.said
    assert "Traceback" not in outcome.said


def test_every_file_is_explained_or_quarantined_with_the_expected_reason(outcome: Outcome) -> None:
    wrong = []
    for case in outcome.cases:
        if case.name == b"back":
            continue
        reason = outcome.row_of(case.name)["reason"]
        if case.reason == EXPLAINED and reason is not None:
            wrong.append((case.name, reason))
        if case.reason and not re.search(case.reason, str(reason)):
            wrong.append((case.name, reason))
    assert not wrong


def test_every_file_of_the_folder_is_in_the_run_once(outcome: Outcome) -> None:
    rows = outcome.run.images.to_pylist()
    assert len({row["uri"] for row in rows}) == len(rows)
    loop = b"back"  # a folder with links to itself and to the folder it is in, which hold nothing new
    assert len(rows) == len({case.name for case in outcome.cases} - {loop})
    assert all((row["reason"] is None) == (row["status"] == "explained") for row in rows)


def test_no_process_holds_more_memory_than_the_stated_bound(outcome: Outcome) -> None:
    assert outcome.megabytes < MEGABYTES


def test_nothing_of_the_files_was_run(outcome: Outcome) -> None:
    assert not list(outcome.folder.parent.rglob("canary"))
    assert sorted(path.name for path in outcome.folder.parent.iterdir()) == ["hostile images", "run"]


def test_the_site_lists_every_quarantined_file_with_its_reason(outcome: Outcome) -> None:
    report = outcome.run.folder.root / "report"
    text = html.unescape((report / "index.html").read_text())
    listed = text + "".join(path.read_text() for path in report.rglob("*.js*"))
    for row in outcome.run.images.to_pylist():
        if row["reason"]:
            assert str(row["reason"]) in listed
            name = str(row["uri"]).rsplit("/", 1)[1]
            assert name in listed or json.dumps(name)[1:-1] in listed, name


def test_the_pdf_lists_every_quarantined_file_with_its_reason(outcome: Outcome) -> None:
    words = "".join(Document((outcome.run.folder.root / "report.pdf").read_bytes()).text.split())
    for row in outcome.run.images.to_pylist():
        if row["reason"]:
            assert "".join(str(row["reason"]).split()) in words
            name = str(row["uri"]).rsplit("/", 1)[1]
            if name.isascii():
                assert "".join(name.split()) in words, name
