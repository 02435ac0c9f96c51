from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from synthetic_run import write_run

from vitreport import api
from vitreport.errors import StoreError
from vitreport.settings import RunSettings
from vitreport.store import RunFolder
from vitreport.store.lock import LOCK, check_idle, locked
from vitreport.verification import verify

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the lock is that of POSIX")

HOLDER = """
import sys
from pathlib import Path
from vitreport.store.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


class Holder:
    """Another process that holds the lock of a folder until it is released or killed."""

    def __init__(self, root: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "held\n"

    def release(self) -> None:
        self.process.communicate(timeout=60)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=60)


def test_a_second_process_is_refused_with_the_first_ones_number_host_and_time(tmp_path: Path) -> None:
    holder = Holder(tmp_path / "run")
    said = rf"is in use by process {holder.process.pid} on '.+' since 20..-..-.. ..:..:.. UTC; wait until"
    for attempt in (lambda: locked(tmp_path / "run").__enter__(), lambda: check_idle(tmp_path / "run")):
        with pytest.raises(StoreError, match=said):
            attempt()
    holder.release()
    with locked(tmp_path / "run"):
        pass
    check_idle(tmp_path / "run")


def test_every_command_that_writes_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    other = write_run(tmp_path / "other", seed=1)
    before = {place: place.stat().st_mtime_ns for place in run.rglob("*")}
    holder = Holder(run)
    attempts = {
        "explain": lambda: api.explain(RunSettings(images=("photos",)), run),
        "report": lambda: api.build_report(run),
        "maximize": lambda: api.maximize(run, ["class:1"]),
        "verify": lambda: verify(run),
    }
    for name, attempt in attempts.items():
        with pytest.raises(StoreError, match=f"is in use by process {holder.process.pid}"):
            attempt()
            pytest.fail(name)
    holder.release()
    assert {place: place.stat().st_mtime_ns for place in run.rglob("*")} == before
    holder = Holder(tmp_path / "difference")
    with pytest.raises(StoreError, match="is in use by"):
        api.build_difference(run, other, tmp_path / "difference")
    holder.release()


def test_a_killed_process_leaves_a_lock_that_holds_nobody_up(tmp_path: Path) -> None:
    holder = Holder(tmp_path / "run")
    holder.kill()
    assert (tmp_path / "run" / LOCK).is_file()
    check_idle(tmp_path / "run")
    with locked(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / LOCK).read_text())["process"] == os.getpid()


@pytest.mark.parametrize("process", ["mine", "of somebody else", "dead", "nonsense"])
def test_what_a_stale_lock_says_does_not_matter(process: str, tmp_path: Path) -> None:
    number = {"mine": os.getpid(), "of somebody else": 1, "dead": 2**22 + 1}.get(process)
    text = json.dumps({"process": number, "host": "elsewhere", "since": "2020-01-01 00:00:00 UTC"})
    (tmp_path / LOCK).write_text("{" if number is None else text)
    check_idle(tmp_path)
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_says_nothing_is_still_a_lock(tmp_path: Path) -> None:
    holder = Holder(tmp_path)
    (tmp_path / LOCK).write_text('{"process": "\\u001b[31m"}')
    with (
        pytest.raises(StoreError, match="is in use by another process; wait until that is done"),
        locked(tmp_path),
    ):
        pass
    holder.release()


def test_the_lock_goes_with_the_folder_that_was_made_for_it(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK).is_file()
        with locked(tmp_path / "a" / "b"):  # what holds it may hold it again
            pass
        assert (tmp_path / "a" / "b" / LOCK).is_file()
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "kept"):
        (tmp_path / "kept" / "file").write_text("kept")
    assert [place.name for place in (tmp_path / "kept").iterdir()] == ["file"]


def test_another_thread_of_this_process_is_refused_too(tmp_path: Path) -> None:
    said: list[str] = []

    def attempt() -> None:
        try:
            with locked(tmp_path):
                said.append("held twice")
        except StoreError as error:
            said.append(str(error))

    with locked(tmp_path):
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
    assert f"is in use by process {os.getpid()}" in said[0]


def test_a_lock_is_no_link_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("keep me")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "victim")
    with pytest.raises(StoreError, match="cannot write to"), locked(tmp_path / "run"):
        pass
    assert (tmp_path / "victim").read_text() == "keep me"


def test_what_a_killed_process_left_half_written_is_removed_and_nothing_else(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write("data/a.bin", b"whole")
    leftover = tmp_path / "data" / ".b.bin.0123abcd.writing"
    others = [tmp_path / "data" / ".writing", tmp_path / "notes.writing", tmp_path / ".my.writing"]
    for place in (leftover, *others):
        place.write_bytes(b"half")
    with folder.working():
        assert not leftover.exists()
    assert all(place.exists() for place in (*others, tmp_path / "data" / "a.bin"))
