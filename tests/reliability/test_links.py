"""Links, pipes and other disks in a run folder: nothing outside is touched, and nobody waits."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest
from command_line import contents
from synthetic_run import write_run

from vitreport.errors import StoreError
from vitreport.report.build import build_report
from vitreport.store import open_run
from vitreport.verification import verify

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are those of POSIX")


@pytest.mark.parametrize("name", ["report", "report/images", "report/assets", "pdf"])
def test_a_link_in_the_place_of_a_folder_is_refused_and_nothing_behind_it_is_touched(
    name: str, tmp_path: Path
) -> None:
    root = write_run(tmp_path / "run")
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "index.html").write_text("mine")
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).symlink_to(victim)
    with pytest.raises(StoreError, match=rf"run/{name} is a link out of the run .* remove the link"):
        build_report(root, pdf=False, processes=1)
    assert [(place.name, place.read_text()) for place in victim.iterdir()] == [("index.html", "mine")]
    (root / name).unlink()
    build_report(root, pdf=False, processes=1)
    assert (root / "report/index.html").is_file()


def test_a_link_in_the_place_of_what_is_drawn_moves_nobodys_files(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    victim = tmp_path / "victim"
    (victim / "report").mkdir(parents=True)
    (victim / "report" / "index.html").write_text("mine")
    (root / ".report.writing").symlink_to(victim)
    build_report(root, pdf=False, processes=1)
    assert contents(victim) == {"report/index.html": hashlib.sha256(b"mine").hexdigest()}
    assert (root / "report" / "index.html").read_text() != "mine"


def test_pipes_in_the_place_of_files_are_not_waited_for(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    build_report(root, pdf=False, processes=1)
    whole = contents(root)
    for name in ("report/index.html", ".lock"):
        (root / name).unlink(missing_ok=True)
        os.mkfifo(root / name)
    verify(root)
    (root / ".lock").unlink()
    build_report(root, pdf=False, processes=1)
    assert contents(root) == whole
    (root / "data/catalogue.parquet").unlink()
    os.mkfifo(root / "data/catalogue.parquet")
    with pytest.raises(StoreError, match=r"catalogue\.parquet is missing"):
        list(open_run(root).catalogue)
