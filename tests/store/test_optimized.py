from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from vitreport.errors import StoreError
from vitreport.store.folder import RunFolder
from vitreport.store.optimized import (
    CONTROLS,
    Audited,
    CrossControl,
    Gate,
    Look,
    OptimizedPicture,
    OptimizedRecord,
    cross_control,
    optimized_records,
    picture_path,
    read_record,
    record_path,
)

PNG_SHA256 = hashlib.sha256(b"png").hexdigest()
PATH = record_path("unit-8-17", "01234567")


def picture(name: str, *gates: Gate) -> OptimizedPicture:
    look = Look(activation=1.5, predicted=3, score=None, rank=None)
    file = picture_path("unit-8-17", "01234567", name)
    return OptimizedPicture(name, file, 1.01, None, {"clean": look}, gates, PNG_SHA256)


def record(*gates: Gate, together: bool | None = True) -> OptimizedRecord:
    return OptimizedRecord(
        target="unit:8:17",
        title="unit 17 of block 8",
        kind="unit",
        index=17,
        block=8,
        digest="01234567",
        parametrisation="fourier",
        recipe={"steps": 3, "augmentation": {"zoom": [0.5, 1.3]}},
        weights_sha256="ab",
        device="cpu",
        statistics="measured on 2 audited images",
        audited=Audited(2, 1, 0.5, 0.1, 0.6, 0.6, "above the maximum", (("a", 0.6), ("b", 0.4)), 0.2),
        pictures=(picture("seed 0", *gates), picture("seed 1", *gates)),
        noise=picture("noise"),
        gates=(Gate("seeds", together, 1.0, "all seeds"),),
        feature_cosine=0.8,
    )


def stored(root: Path, found: OptimizedRecord) -> RunFolder:
    folder = RunFolder(root)
    for one in (*found.pictures, found.noise):
        folder.write(one.file, b"png")
    folder.write_json(PATH, found.to_json())
    return folder


def test_a_record_reads_back_as_it_was(tmp_path):
    found = record(Gate("seam", True, 1.01, "between 0.9 and 1.1"))
    folder = stored(tmp_path, found)
    assert read_record(folder, PATH) == found
    assert optimized_records(folder) == [found]
    assert found.pictures[0].file == "optimized/unit-8-17-01234567-seed-0.png"


def test_a_record_whose_picture_is_missing_counts_as_none(tmp_path):
    found = record()
    folder = stored(tmp_path, found)
    (tmp_path / found.pictures[1].file).unlink()
    assert read_record(folder, PATH) is None
    assert optimized_records(folder) == []
    assert optimized_records(RunFolder(tmp_path / "nowhere")) == []


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": "vitreport run", "version": 1}'])
def test_a_damaged_record_says_what_to_do(tmp_path, text):
    folder = stored(tmp_path, record())
    folder.write(PATH, text.encode())
    with pytest.raises(StoreError, match="run the same 'vitreport maximize' command again"):
        optimized_records(folder)


@pytest.mark.parametrize("text", ["{}", '{\n "format": "vitreport run", "version": 1}', "{\n"])
def test_a_sealed_record_of_something_else_says_what_to_do(tmp_path, text):
    folder = stored(tmp_path, record())
    folder.write_json(PATH, text)
    with pytest.raises(StoreError, match="delete it and run 'vitreport maximize' again"):
        optimized_records(folder)


def test_a_picture_that_the_disk_has_changed_is_named(tmp_path):
    folder = stored(tmp_path, record())
    (tmp_path / record().pictures[0].file).write_bytes(b"pnh")
    with pytest.raises(StoreError, match=r"seed-0\.png is not as it was written; run the same 'vi"):
        optimized_records(folder)


def test_everything_passes_only_where_nothing_fails():
    good, bad, open_ = (Gate("seam", passed, 1.0, "") for passed in (True, False, None))
    assert record(good).passed
    assert record(good, open_).passed
    assert not record(good, bad).passed and record(good, bad).failed_gates == ("seam",)
    assert not record(open_).passed  # what was not tested has not passed
    assert not record(good, together=False).passed
    assert record(good, together=False).failed_gates == ("seeds",)
    assert record(good, together=None).passed
    assert record(good, open_, together=None).untested_gates == ("seam", "seeds")


def test_reading_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import vitreport.store.optimized"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_cross_control_reads_back(tmp_path):
    folder = RunFolder(tmp_path)
    assert cross_control(folder) is None
    found = CrossControl(
        "89abcdef", ("class:1", "class:2"), ((0.9, 0.0), (0.1, 0.8)), ((True, False), (False, True))
    )
    folder.write_json(CONTROLS, found.to_json())
    assert cross_control(folder) == found
    folder.write(CONTROLS, b"{}")
    with pytest.raises(StoreError, match=r"controls\.json is not as it was written"):
        cross_control(folder)
