"""Equal inputs give equal bytes, whatever is different about the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from command_line import contents
from synthetic_run import write_run

from vitreport.report.build import build_report

DEMO = ["demo", "-q", "--images", "3", "--pdf-images", "1", "--score-images", "2"]
DEMO += ["-t", "raw_attention", "-t", "gradient_rollout", "--metric", "relevance_gain:steps=2"]
DEMO += ["--metric", "grid_pointing"]


def run(output: str, place: Path, **environment: str) -> None:
    place.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-m", "vitreport", *DEMO, "-o", output],
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_folder_time_zone_locale_and_hash_seed_do_not_show(tmp_path: Path) -> None:
    run("RUN", tmp_path / "here", PYTHONHASHSEED="1", TZ="Pacific/Kiritimati", LC_ALL="C.UTF-8")
    there = tmp_path / "else where" / "there"
    run(str(there / "a" / "b"), there, PYTHONHASHSEED="2", TZ="America/New_York", LC_ALL="C")
    one, other = contents(tmp_path / "here" / "RUN"), contents(there / "a" / "b")
    assert [path for path in one.keys() | other.keys() if one.get(path) != other.get(path)] == []


def test_a_date_that_is_asked_for_is_the_only_thing_that_changes(tmp_path: Path, monkeypatch) -> None:
    roots = {name: write_run(tmp_path / name) for name in ("undated", "dated", "again")}
    for name, root in roots.items():
        if name != "undated":
            monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        build_report(root, pdf=True, pdf_images=1, processes=1 if name == "dated" else 2)
    found = {name: contents(root) for name, root in roots.items()}
    assert found["dated"] == found["again"]
    changed = {path for path, sha256 in found["dated"].items() if found["undated"][path] != sha256}
    assert {"report.pdf"} <= changed <= {"report.pdf", "report.json"}
