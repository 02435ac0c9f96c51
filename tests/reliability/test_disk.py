"""Disks that are full, read-only or in the way: one line that says so, and nothing is lost."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from command_line import contents, finish, process
from synthetic_run import write_run

from vitreport.cli import main

Mount = Callable[[str], Path]
EXPLAIN = ["--model", "embedded:honest", "-t", "raw_attention", "-t", "logit_lens", "--metric", "none"]
EXPLAIN += ["--batch-size", 4, "--device", "cpu"]


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def said(result: Result) -> str:
    """The one line on standard error, without the progress bars before it."""
    return result.stderr.strip().splitlines()[-1]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a small file system of its own, with these options; called again, with other ones."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = False

    def made(options: str) -> Path:
        nonlocal mounted
        given = f"remount,{options}" if mounted else options
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", given, "tmpfs", str(place)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"only root can mount a small disk here: {done.stderr.strip()}")
        mounted = True
        return place

    yield made
    if mounted:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's")
@pytest.mark.parametrize("size", ["8k", "24k"])
def test_explaining_goes_on_to_the_same_bytes_when_a_full_disk_has_room_again(
    size: str, mount: Mount, pictures: Path, tmp_path: Path
) -> None:
    words = ["explain", pictures, *EXPLAIN, "-o"]
    assert call(*words, tmp_path / "whole").exit_code == 0
    root = mount(f"size={size}") / "run"
    result = call(*words, root)
    assert result.exit_code == 3
    assert "No space left on device; what is finished is kept: make room and run" in said(result)
    mount("size=64m")
    result = call(*words, root)
    assert result.exit_code == 0, result.stderr
    assert contents(root) == contents(tmp_path / "whole")


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's")
def test_a_report_goes_on_to_the_same_bytes_when_a_full_disk_has_room_again(
    mount: Mount, tmp_path: Path
) -> None:
    whole = write_run(tmp_path / "whole")
    assert call("report", whole, "--pdf-images", 1).exit_code == 0
    disk = mount("size=64m")
    root = write_run(disk / "run")
    free = os.statvfs(disk)
    used = (free.f_blocks - free.f_bfree) * free.f_frsize
    for room in (40_000, 400_000):
        mount(f"size={used + room}")
        result = call("report", root, "--pdf-images", 1)
        assert result.exit_code == 3, result.stderr
        assert "No space left on device; what is finished is kept: make room and run" in said(result)
    mount("size=64m")
    result = call("report", root, "--pdf-images", 1)
    assert result.exit_code == 0, result.stderr
    assert contents(root) == contents(whole)


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's")
def test_a_site_on_a_disk_of_its_own_has_the_same_bytes(tmp_path: Path, mount: Mount) -> None:
    whole, disk = write_run(tmp_path / "whole"), mount("size=64m")
    assert call("report", whole, "--no-pdf").exit_code == 0
    root = write_run(tmp_path / "run")
    (root / "report").mkdir()
    subprocess.run(["mount", "--bind", str(disk), str(root / "report")], check=True)
    try:
        for _ in range(2):
            result = call("report", root, "--no-pdf")
            assert result.exit_code == 0, result.stderr
            assert contents(root) == contents(whole)
    finally:
        subprocess.run(["umount", str(root / "report")], check=True)


def test_a_file_that_may_not_grow_is_said_and_the_same_command_goes_on(tmp_path: Path) -> None:
    whole, root = write_run(tmp_path / "whole"), write_run(tmp_path / "run")
    assert call("report", whole, "--no-pdf").exit_code == 0
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, resource.RLIM_INFINITY))"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    code, _, err = finish(process("report", str(root), "--no-pdf", "-q", before=limit))
    assert code == 3
    assert "File too large; what is finished is kept: make room and run the same command again" in err
    assert len(err.strip().splitlines()) == 1
    result = call("report", root, "--no-pdf")
    assert result.exit_code == 0, result.stderr
    assert contents(root) == contents(whole)


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's")
def test_a_read_only_disk_is_said_in_one_line(mount: Mount, pictures: Path) -> None:
    run = write_run(mount("size=16m") / "run")
    mount("ro,size=16m")
    for words in (
        ["explain", pictures, *EXPLAIN, "-o", run.parent / "new"],
        ["demo", "-o", run.parent / "new"],
        ["report", run],
        ["maximize", "-o", run],
    ):
        result = call(*words)
        assert result.exit_code == 3, words
        (line,) = result.stderr.strip().splitlines()
        assert "cannot write to" in line
    assert call("verify", run).exit_code == 0  # reading is all that it does


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_said_in_one_line(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    result = call("explain", pictures, *EXPLAIN, "-o", tmp_path / "locked" / "run")
    assert result.exit_code == 3
    assert "cannot write to" in said(result)


@pytest.mark.parametrize("command", ["explain", "demo"])
def test_a_place_below_a_file_is_said_in_one_line(command: str, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    words = [pictures, *EXPLAIN] if command == "explain" else []
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        result = call(command, *words, "-o", place)
        assert result.exit_code == 3
        (line,) = result.stderr.strip().splitlines()
        assert "choose another -o" in line
    assert (tmp_path / "file").read_text() == "mine"


def test_a_file_in_the_place_of_the_report_is_said_in_one_line_and_kept(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    (root / "report").write_text("mine")
    result = call("report", root, "--no-pdf", "-q")
    assert result.exit_code == 3
    (line,) = result.stderr.strip().splitlines()
    assert str(root / "report") in line
    assert (root / "report").read_text() == "mine"
