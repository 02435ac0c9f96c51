from __future__ import annotations

import errno
import hashlib
import os
import stat
from io import FileIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from synthetic_run import write_run

from vitreport.errors import StoreError
from vitreport.store import RunFolder
from vitreport.store.folder import images_part, part_name, technique_part


def _everything(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_place_that_is_missing_or_empty_is_claimed(tmp_path: Path) -> None:
    assert RunFolder(tmp_path / "a" / "b").claim() is None
    assert not (tmp_path / "a").exists()
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert RunFolder(tmp_path / "a" / "b").claim() is None


def test_a_run_is_claimed_with_its_manifest(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    before = _everything(tmp_path)
    manifest = RunFolder(tmp_path / "run").claim()
    assert manifest == RunFolder(tmp_path / "run").manifest()
    assert _everything(tmp_path) == before


def test_a_run_that_was_stopped_at_its_first_file_is_claimed(tmp_path: Path) -> None:
    (tmp_path / ".manifest.json.0123abcd.writing").write_text('{"form')
    assert RunFolder(tmp_path).claim() is None


def test_a_file_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="file is a file; choose another -o"):
        RunFolder(tmp_path / "file").claim()
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("names", [["thesis.txt"], [".hidden"], ["a.txt", "b.txt"], ["data/part.parquet"]])
def test_a_folder_of_something_else_is_refused_and_nothing_is_deleted(
    names: list[str], tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = _everything(tmp_path)
    first = names[0].partition("/")[0]
    with pytest.raises(
        StoreError, match=f"holds something else .{first}.*nothing was touched; choose another -o"
    ):
        RunFolder(tmp_path).claim()
    assert _everything(tmp_path) == before


def test_a_folder_with_a_manifest_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "an app", "icons": []}')
    with pytest.raises(StoreError, match="not the manifest of a vitreport run"):
        RunFolder(tmp_path).claim()
    assert (tmp_path / "manifest.json").read_text() == '{"name": "an app", "icons": []}'


def test_a_place_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="cannot write to"):
        RunFolder(tmp_path / "file" / "run").claim()


def test_a_folder_without_a_manifest_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(
        StoreError, match=r"is not a run: it has no manifest\.json; \'vitreport explain\' makes one"
    ):
        RunFolder(tmp_path).manifest()


def test_what_is_written_is_there_whole_and_alone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert not folder.has("a/b.bin")
    folder.write("a/b.bin", b"one")
    folder.write("a/b.bin", b"two")
    assert folder.has("a/b.bin")
    assert _everything(tmp_path) == {"a/b.bin": b"two"}
    assert folder.sha256("a/b.bin") == hashlib.sha256(b"two").hexdigest()


class FullDisk(FileIO):
    """A file on a disk with room for 10 bytes."""

    def write(self, content: Any, /) -> int:
        super().write(memoryview(content)[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "open", lambda path, mode="r", *_, **__: FullDisk(str(path), mode))


@pytest.mark.parametrize("there", [True, False], ids=["over an older file", "new"])
def test_a_full_disk_leaves_no_part_of_a_file_and_says_to_run_again(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path)
    if there:
        folder.write("data/a.bin", b"the older content")
    before = _everything(tmp_path)
    with monkeypatch.context() as patch:
        _fill_disk(patch)
        with pytest.raises(StoreError) as caught:
            folder.write("data/a.bin", b"the newer content of this file")
    said = str(caught.value)
    assert "a.bin: No space left on device" in said
    assert "what is finished is kept: make room and run the same command again" in said
    assert _everything(tmp_path) == before
    folder.write("data/a.bin", b"again")
    assert _everything(tmp_path) == {"data/a.bin": b"again"}


def test_a_stop_before_the_move_leaves_the_place_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            folder.write("data/a.bin", b"content")
    assert not folder.has("data/a.bin")
    folder.write("data/a.bin", b"content")
    assert _everything(tmp_path) == {"data/a.bin": b"content"}


@pytest.mark.skipif(os.name != "posix", reason="folders are written to the disk by POSIX only")
def test_a_file_is_on_the_disk_before_its_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def moved(place: Path, target: Path) -> Path:
        steps.append("move")
        return replace(place, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", moved)
    RunFolder(tmp_path).write("data/table", b"1")
    assert steps == ["file", "move", "folder"]


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for name in ("a", "b"):
        table = pa.table({"id": ["x", "y"] * 100, "map": [[0.5, None], []] * 100})
        folder.write_table(f"{name}.parquet", table)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert folder.read_table("a.parquet").equals(table)
    assert folder.read_table("a.parquet", ["id"]).column_names == ["id"]


def test_a_missing_or_damaged_table_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_table("a.parquet", pa.table({"id": ["x"] * 1000}))
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "half.parquet").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.parquet").write_text("hello")
    (tmp_path / "empty.parquet").write_bytes(b"")
    for name in ("half", "text", "empty", "nowhere"):
        with pytest.raises(StoreError, match=rf"{name}\.parquet"):
            folder.read_table(f"{name}.parquet")


def test_parts_lie_where_the_schema_says(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    manifest = RunFolder(tmp_path / "run").manifest()
    records = {record.key: record for record in manifest.techniques}
    one, other = records["raw_attention"], records["qkv"]
    assert part_name(7) == "part-00007.parquet"
    assert images_part(0) == "data/images/part-00000.parquet"
    assert technique_part(one, 1) == f"data/maps/raw_attention-{one.digest}/part-00001.parquet"
    assert technique_part(other, 0) == f"data/activations/qkv-{other.digest}/part-00000.parquet"


def test_a_url_that_became_a_path_is_no_place_for_a_run() -> None:
    with pytest.raises(StoreError, match=r"s3:/bucket/run was a URL; give it as a text"):
        RunFolder(Path("s3://bucket/run")).claim()
