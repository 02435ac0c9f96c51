"""Which PDFs a report consists of, and that only those that changed are drawn."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from pdf_reading import HOSTILE, Document
from synthetic_run import write_run

from vitreport.cli import main
from vitreport.report.build import build_report
from vitreport.store import open_run

EVERYTHING = {"pdf_images": 2, "pdf_volumes": True, "pdf_per_image": True, "processes": 1}


@pytest.fixture(scope="module")
def told() -> list[tuple[str, float, int]]:
    return []


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, told: list[tuple[str, float, int]]) -> Path:
    """A run of four images, one of them unusable, with all its PDFs; tests must leave it as it is."""
    root = write_run(tmp_path_factory.mktemp("stage") / "run", 4, uris=HOSTILE[:2])
    build_report(root, progress=lambda *words: told.append(words), **EVERYTHING)
    return root


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(built, tmp_path / "run"))


def explained(root: Path) -> list[str]:
    return [row["id"] for row in open_run(root).images.to_pylist() if row["status"] == "explained"]


def pdfs(root: Path) -> dict[str, str]:
    places = (root / "report.pdf", *(root / "pdf").glob("*"))
    return {
        place.relative_to(root).as_posix(): hashlib.sha256(place.read_bytes()).hexdigest()
        for place in places
        if place.is_file()
    }


def test_summary_volumes_and_documents_of_one_image_are_written_and_listed(built: Path) -> None:
    singles = {f"pdf/{image_id}.pdf" for image_id in explained(built)}
    assert len(singles) == 3
    found = pdfs(built)
    assert set(found) == {"report.pdf", "pdf/volume-001.pdf", *singles}
    listed = json.loads((built / "report.json").read_text())["files"]
    assert {path: listed[path] for path in found} == found


def test_the_summary_says_in_which_volume_a_sheet_is(built: Path) -> None:
    summary = Document((built / "report.pdf").read_bytes())
    assert (
        "2 of 3 images have a sheet; 1 volume in the folder pdf and the HTML report have all."
        in summary.words
    )
    assert "volume 1" in summary.words


def test_every_sheet_and_every_page_is_counted_on_the_way(
    built: Path, told: list[tuple[str, float, int]]
) -> None:
    steps = [(done, total) for stage, done, total in told if stage == "pdf"]
    sheets, pages = 3, (2 + 1) + (3 + 1) + 3 * (1 + 1)
    assert {total for _, total in steps} == {sheets + pages}
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert steps[-1][0] == sheets + pages


def test_equal_runs_give_equal_bytes_in_any_process(built: Path, tmp_path: Path) -> None:
    again = write_run(tmp_path / "again", 4, uris=HOSTILE[:2])
    script = (
        "import sys; from pathlib import Path; from vitreport.report.build import build_report;"
        "build_report(Path(sys.argv[1]), pdf_images=2, pdf_volumes=True, pdf_per_image=True, processes=2);"
        "assert 'torch' not in sys.modules"
    )
    elsewhere = {"PYTHONHASHSEED": "7", "TZ": "Pacific/Kiritimati", "LANG": "C"}
    subprocess.run([sys.executable, "-c", script, str(again)], check=True, env={**os.environ, **elsewhere})
    assert pdfs(again) == pdfs(built)


def test_what_is_there_is_left_alone_and_what_is_lost_is_drawn_again(root: Path, built: Path) -> None:
    lost = root / "pdf" / f"{explained(root)[0]}.pdf"
    lost.unlink()
    before = {place: place.stat().st_mtime_ns for place in (root / "pdf").glob("*")}
    build_report(root, **EVERYTHING)
    assert pdfs(root) == pdfs(built)
    assert {place: place.stat().st_mtime_ns for place in before} == before


def test_nothing_is_read_where_nothing_is_lost(root: Path) -> None:
    (root / "data").rename(root / "gone")
    told: list[str] = []
    build_report(root, progress=lambda stage, done, total: told.append(stage), **EVERYTHING)
    assert told == []


def test_a_kill_while_a_document_is_drawn_leaves_no_sheet_anywhere(root: Path, tmp_path: Path) -> None:
    expected = pdfs(root)
    (root / "report.pdf").unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = (
        "import os, signal, sys; from pathlib import Path;"
        "from vitreport.report import pdf; from vitreport.report.build import build_report;"
        "pdf.Summary.draw = lambda *given: os.kill(os.getpid(), signal.SIGKILL);"
        f"build_report(Path(sys.argv[1]), **{EVERYTHING})"
    )
    ended = subprocess.run([sys.executable, "-c", code, root], env={**os.environ, "TMPDIR": str(elsewhere)})
    assert ended.returncode == -signal.SIGKILL
    assert list((root / ".report.writing").rglob("*.sheet"))
    assert not list(elsewhere.rglob("*.sheet"))
    build_report(root, **EVERYTHING)
    assert pdfs(root) == expected
    assert not list(root.rglob("*.sheet"))


def test_another_date_is_another_document(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = pdfs(root)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    build_report(root, **EVERYTHING)
    after = pdfs(root)
    assert after.keys() == before.keys()
    assert all(after[path] != sha256 for path, sha256 in before.items())


def test_parts_that_are_no_longer_asked_for_go_and_without_pdfs_all_stay(root: Path) -> None:
    before = pdfs(root)
    build_report(root, pdf=False, processes=1)
    assert pdfs(root) == before
    build_report(root, pdf_images=2, processes=1)
    assert set(pdfs(root)) == {"report.pdf"}


def test_the_command_line_says_how_many_pdfs_went_and_what_writes_them(root: Path) -> None:
    said = [
        CliRunner().invoke(main, ["report", str(root), "--pdf-images", "2"], catch_exceptions=False).output
        for _ in range(2)
    ]
    assert f"removed 4 PDFs of an earlier report from {root / 'pdf'}; --pdf-volumes and" in said[0]
    assert "removed" not in said[1]


def test_a_summary_that_has_every_sheet_has_no_volumes(root: Path) -> None:
    build_report(root, pdf_images=3, pdf_volumes=True, processes=1)
    assert set(pdfs(root)) == {"report.pdf"}
    assert "3 images, a sheet each." in Document((root / "report.pdf").read_bytes()).words
