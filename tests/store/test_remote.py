"""Run folders on URLs: what lies there is whole, and what cannot be done is said in a line."""

from __future__ import annotations

import gc
import os
import pickle
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from synthetic_run import write_run

from vitreport.errors import SettingsError, StoreError
from vitreport.store import RunFolder, open_run, run_folder
from vitreport.store.folder import MANIFEST
from vitreport.store.objects import Objects
from vitreport.store.remote import RemoteFolder

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
from fsspec import AbstractFileSystem  # noqa: E402
from fsspec.implementations.local import LocalFileSystem  # noqa: E402
from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402


class Refusing(MemoryFileSystem):  # type: ignore[misc]
    """A file system without rights: all that it is asked fails."""

    protocol = "refusing"
    cachable = False

    def _refuse(self, *_: object, **__: object) -> Any:
        raise PermissionError("Access Denied\nby a long account of it")

    def _forbid(self, path: str, **__: object) -> Any:
        raise PermissionError(f"Forbidden, url='refusing://bob:secret@{path}?sig=abc'")

    isfile = ls = find = cat_file = pipe_file = rm_file = _refuse


fsspec.register_implementation("refusing", Refusing, clobber=True)


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of a place where nothing is yet: a store of whole objects, and a file system."""
    place = f"memory://{tmp_path.name}/run" if request.param == "memory" else f"file://{tmp_path}/place/run"
    yield place
    memory = fsspec.filesystem("memory")
    if memory.exists(f"/{tmp_path.name}"):
        memory.rm(f"/{tmp_path.name}", recursive=True)


def there(url: str) -> dict[str, bytes]:
    """All that lies below a URL."""
    system, base = fsspec.core.url_to_fs(url)
    return {path.removeprefix(f"{base}/"): system.cat_file(path) for path in system.find(base)}


def put(url: str, content: bytes) -> None:
    system, place = fsspec.core.url_to_fs(url)
    system.makedirs(place.rpartition("/")[0], exist_ok=True)
    system.pipe_file(place, content)


def test_a_path_is_a_folder_on_a_disk_and_a_url_is_not(tmp_path: Path) -> None:
    assert run_folder(str(tmp_path)) == run_folder(tmp_path) == RunFolder(tmp_path)
    folder = run_folder("Memory://bucket/run/")
    assert isinstance(folder, RemoteFolder)
    assert run_folder(folder) is folder
    assert (folder.place(), folder.place("a/b")) == ("Memory://bucket/run", "Memory://bucket/run/a/b")
    with pytest.raises(StoreError, match=r"^S3:/bucket/run was a URL; give it as a text"):
        RunFolder(Path("S3://bucket/run")).claim()


def test_what_is_written_is_there_whole_and_alone_and_other_folders_see_it(url: str, tmp_path: Path) -> None:
    folders = (run_folder(url), RunFolder(tmp_path / "local"))
    for folder in folders:
        folder.write("data/b/x", b"1")
        folder.write("data/b-c/x", b"2")
        folder.write("data/b-c/x", b"3")
        folder.write_table("data/a.parquet", pa.table({"id": ["x", "y"]}))
        folder.write_json("timings.json", "{\n}\n")
        assert (folder.has("data/b/x"), folder.has("data/b"), folder.has("data/none")) == (True, False, False)
    local = {path: (tmp_path / "local" / path).read_bytes() for path in folders[1].files_below("")}
    assert there(url) == local
    for folder in (*folders, run_folder(url)):
        for room in ("", "data", "data/b", "nothing"):
            assert list(folder.files_below(room)) == list(folders[1].files_below(room))
        assert folder.names() == ["data", "timings.json"]
        assert folder.read_table("data/a.parquet")["id"].to_pylist() == ["x", "y"]
        assert folder.is_whole("data/a.parquet")
        assert not folder.is_whole("data/b/x")
        assert folder.sha256("data/b/x") == folders[1].sha256("data/b/x")


def test_what_another_process_writes_is_read_at_once_and_seen_at_the_next_look(url: str) -> None:
    one, other = run_folder(url), run_folder(url)
    assert not one.has("data/a")
    other.write("data/a", b"1")
    assert one.read("data/a") == b"1"
    one.look()
    assert one.has("data/a")
    one.remove("data/a")
    assert (one.has("data/a"), there(url)) == (False, {})


def test_files_are_fetched_and_sent_by_the_working_copy(url: str) -> None:
    put(f"{url}/data/a", b"1")
    put(f"{url}/data/b", b"2")
    folder, told = run_folder(url), []
    folder.fetch(["data/a", "data/b", "data/none"], lambda done, total: told.append((done, total)))
    assert (folder.root / "data/a").read_bytes() == b"1"
    assert told == [(1, 2), (2, 2)]
    folder.fetch(["data/a"], lambda done, total: pytest.fail("it is there"))
    (folder.root / "data/a").write_bytes(b"3")
    (folder.root / "data/b").unlink()
    folder.send(["data/a", "data/b"])
    assert there(url) == {"data/a": b"3"}
    assert list(folder.files_below("data")) == ["data/a"]


def test_a_working_copy_goes_with_its_folder_and_a_folder_inside_keeps_it(url: str) -> None:
    folder = run_folder(url)
    folder.write("data/a", b"1")
    root, inner = folder.root, folder.below("publish")
    inner.write("b", b"2")
    del folder
    gc.collect()
    assert (root / "data/a").is_file()
    del inner
    gc.collect()
    assert not root.exists()
    assert there(url) == {"data/a": b"1", "publish/b": b"2"}


def test_in_another_process_it_writes_to_the_url_and_keeps_nothing(url: str) -> None:
    folder = run_folder(url)
    folder.write("data/a", b"1")
    put(f"{url}/data/a", b"changed by somebody else")
    other = pickle.loads(pickle.dumps(folder))
    assert folder.read("data/a") == b"1"
    assert other.read("data/a") == b"changed by somebody else"
    other.write("data/b", b"2")
    assert other.has("data/b")
    assert not (folder.root / "data/b").exists()
    assert other.root != folder.root
    assert not other.root.is_dir()


@pytest.mark.parametrize("step", ["pipe_file", "mv"])
def test_a_file_system_shows_no_file_before_it_is_whole(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_folder(f"file://{tmp_path}/run")
    folder.write("data/a", b"the older content")

    def fail(system: LocalFileSystem, path: str, content: object) -> None:
        if step == "pipe_file":
            Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, step, fail)
        with pytest.raises(StoreError, match=r"cannot write file://.*data/a: .*No space left.*goes on"):
            folder.write("data/a", b"the newer content")
    assert there(folder.url) == {"data/a": b"the older content"}  # type: ignore[attr-defined]
    assert folder.read("data/a") == b"the older content"


def test_what_a_killed_process_left_half_written_is_no_file_and_is_swept(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/run"
    for name in (".manifest.json.0123abcd.writing", "data/.part.parquet.0123abcd.writing"):
        put(f"{url}/{name}", b"half")
        os.utime(tmp_path / "run" / name, (0, 0))
    put(f"{url}/data/.other.parquet.0123abcd.writing", b"half")
    folder = run_folder(url)
    assert list(folder.files_below("data")) == []
    with folder.working():
        assert list(there(url)) == ["data/.other.parquet.0123abcd.writing"]


def test_what_another_process_is_writing_is_not_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"file://{tmp_path}/run"
    one, other = Objects(url), Objects(url)
    move = LocalFileSystem.mv

    def sweep_before(system: LocalFileSystem, *places: str) -> None:
        other.sweep()
        move(system, *places)

    monkeypatch.setattr(LocalFileSystem, "mv", sweep_before)
    one.put("data/a", b"1")
    assert there(url) == {"data/a": b"1"}


def test_a_file_whose_age_nobody_tells_is_not_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"file://{tmp_path}/run"
    put(f"{url}/.a.0123abcd.writing", b"half")
    os.utime(tmp_path / "run/.a.0123abcd.writing", (0, 0))
    monkeypatch.setattr(LocalFileSystem, "modified", AbstractFileSystem.modified)
    Objects(url).sweep()
    assert list(there(url)) == [".a.0123abcd.writing"]


def test_only_the_folders_around_the_url_tell_whether_it_is_in_a_run(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / MANIFEST).write_bytes(b"{}")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "copies"))
    folder = run_folder(f"{url}/difference")
    assert not folder.is_in_a_run()
    put(f"{url}/{MANIFEST}", b"{}")
    assert folder.is_in_a_run()
    assert run_folder(f"{url}/a/b").is_in_a_run()
    assert not run_folder(url).is_in_a_run()
    assert RunFolder(tmp_path / "copies/difference").is_in_a_run()
    assert not RunFolder(tmp_path / "copies").is_in_a_run()


@pytest.mark.parametrize("at_url", [True, False])
def test_a_table_is_made_when_it_is_its_turn(at_url: bool, tmp_path: Path) -> None:
    folder = run_folder(f"memory://{tmp_path.name}/run" if at_url else tmp_path)
    told: list[object] = []

    def made(number: int) -> pa.Table:
        told.append([folder.has(f"data/{other}.parquet") for other in range(3)])
        return pa.table({"number": [number]})

    folder.write_tables({f"data/{number}.parquet": partial(made, number) for number in range(3)})
    assert told == [[False, False, False], [True, False, False], [True, True, False]]
    assert folder.read_table("data/2.parquet")["number"].to_pylist() == [2]


def test_places_are_claimed_as_on_a_disk(url: str, tmp_path: Path) -> None:
    assert run_folder(url).claim() is None
    put(f"{url}/thesis.txt", b"mine")
    with pytest.raises(StoreError, match=rf"^{url} holds something else .thesis\.txt.; nothing was touched"):
        run_folder(url).claim()
    with pytest.raises(StoreError, match=rf"^{url}/thesis\.txt is a file; choose another -o$"):
        run_folder(f"{url}/thesis.txt").claim()
    local = write_run(tmp_path / "local")
    for path in RunFolder(local).files_below(""):
        put(f"{url}2/{path}", (local / path).read_bytes())
    assert run_folder(f"{url}2").claim() == RunFolder(local).manifest()
    assert [row["id"] for row in open_run(f"{url}2").images.to_pylist()] == [
        row["id"] for row in open_run(local).images.to_pylist()
    ]
    with pytest.raises(StoreError, match=rf"^{url} is not a run: it has no manifest\.json"):
        open_run(url)


def test_no_path_leads_out_of_a_run(url: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"mine")
    put(f"{url.rpartition('/')[0]}/secret", b"theirs")
    folder = run_folder(url)
    for path in ("../secret", str(tmp_path / "secret"), "data/../../secret"):
        assert not folder.has(path)
        assert not folder.is_whole(path)
        with pytest.raises(StoreError, match="is missing"):
            folder.read(path)


def test_missing_and_damaged_files_are_named_by_their_url(url: str) -> None:
    put(f"{url}/data/a.parquet", b"PAR1")
    folder = run_folder(url)
    with pytest.raises(StoreError, match=rf"^{url}/data/a\.parquet is not as it was written; run the same"):
        folder.read_table("data/a.parquet")
    with pytest.raises(StoreError, match=rf"^{url}/data/none\.parquet is missing; run the same"):
        folder.read_table("data/none.parquet")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://bucket/run", r"^cannot read 's3://bucket/run': Install s3fs to access S3$"),
        ("strange://a/b", r"^cannot read 'strange://a/b': Protocol not known: strange$"),
        ("memory://", r"^'memory://' names no folder; add the name of one$"),
    ],
)
def test_a_url_that_cannot_be_opened_is_refused_in_one_line(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(SettingsError, match=said):
        run_folder(url)


def test_a_missing_fsspec_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(SettingsError, match=r"^'s3://b/run' is a URL, .*pip install 'vitreport\[remote\]'$"):
        open_run("s3://b/run")


def test_secrets_of_a_url_are_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("403, url='https://bob:secret@host/a?sig=abc'")

    monkeypatch.setattr(Refusing, "cat_file", refuse)
    folder = run_folder("refusing://bob:secret@bucket/run")
    assert isinstance(folder, RemoteFolder)
    assert "secret" in folder.url
    for attempt in (folder.claim, lambda: folder.objects.get("a"), lambda: folder.write("a", b"1")):
        with pytest.raises(StoreError, match="refusing://bucket/run") as caught:
            attempt()
        assert "secret" not in str(caught.value) and "abc" not in str(caught.value)
    assert folder.below("publish").place("a") == "refusing://bucket/run/publish/a"


def test_a_place_without_rights_is_said_in_one_line_and_taken_for_no_damage() -> None:
    folder = run_folder("refusing://bucket/run")
    for said, attempt in {
        "cannot read refusing://bucket/run: Access Denied": folder.claim,
        "cannot read refusing://bucket/run/a: Access Denied": lambda: folder.read("a"),
        "cannot remove refusing://bucket/run/a: Access Denied; remove it": lambda: folder.remove("a"),
    }.items():
        with pytest.raises(StoreError, match=f"^{said}$"):
            attempt()
    with pytest.raises(StoreError, match=r"^cannot write refusing://bucket/run/a: Access Denied; [^\n]*$"):
        folder.write("a", b"1")
    with pytest.raises(StoreError, match="Access Denied"):
        folder.is_whole("a")
