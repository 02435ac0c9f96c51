from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import MODEL, write_checkpoint, write_pictures

from vitreport import RunSettings, explain
from vitreport.errors import ImageError, SettingsError
from vitreport.explanation import ClassNames
from vitreport.images import build_catalogue
from vitreport.images.place import pieces
from vitreport.images.remote import RemoteFile

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
CLASSES = ClassNames(("disc", "square", "triangle", "star", "cross"))


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[str]:
    """Four pictures in the memory of this process, two in each of two folders, and what is no picture."""
    memory = fsspec.filesystem("memory")
    for number, path in enumerate(sorted(write_pictures(tmp_path / "pictures", 4).iterdir())):
        memory.pipe(f"/bucket/{('disc', 'star')[number % 2]}/{path.name}", path.read_bytes())
    for name in ("notes.txt", ".hidden.jpg", ".cache/a.jpg"):
        memory.pipe(f"/bucket/{name}", b"nothing")
    yield "memory://bucket"
    memory.rm("/bucket", recursive=True)


def test_a_url_is_read_like_a_folder(bucket: str) -> None:
    catalogue = build_catalogue([bucket], CLASSES)
    assert sorted((ref.uri, ref.label) for ref in catalogue.refs) == [
        ("memory:///bucket/disc/picture_000.jpg", 0),
        ("memory:///bucket/disc/picture_002.jpg", 0),
        ("memory:///bucket/star/picture_001.jpg", 3),
        ("memory:///bucket/star/picture_003.jpg", 3),
    ]
    for ref in catalogue.refs:
        content = b"".join(pieces(catalogue.paths[ref.id]))
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (ref.sha256, ref.size)
    assert "are classes of this model; they are used as labels" in catalogue.notices[0]


def test_folders_that_are_no_classes_are_groups(bucket: str) -> None:
    catalogue = build_catalogue([bucket], ClassNames(("llama",)))
    assert {(ref.label, ref.group) for ref in catalogue.refs} == {(None, "disc"), (None, "star")}


def test_one_image_has_a_url_of_its_own(tmp_path: Path) -> None:
    (picture,) = write_pictures(tmp_path / "pictures", 1).iterdir()
    (ref,) = build_catalogue([f"file://{picture}"], CLASSES).refs
    assert (ref.uri, ref.label) == (f"file://{picture}", None)
    assert ref.sha256 == hashlib.sha256(picture.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory://nowhere", "cannot read 'memory://nowhere': there is nothing"),
        ("strange://a/b", "cannot read 'strange://a/b': Protocol not known"),
        ("memory://bucket/table.csv", "download it first"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_in_one_line(bucket: str, url: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        build_catalogue([url], CLASSES)
    assert "\n" not in str(caught.value)


def test_a_missing_fsspec_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(SettingsError, match=r"pip install 'vitreport\[remote\]'"):
        build_catalogue(["s3://bucket/images"], CLASSES)


def test_a_file_that_is_gone_is_a_reason(bucket: str) -> None:
    with pytest.raises(ImageError, match="no such file"):
        list(pieces(RemoteFile("memory://bucket/gone.jpg")))


def test_a_run_on_a_url_quarantines_what_is_no_image_and_resumes(bucket: str, tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe("/bucket/star/broken.jpg", b"no picture")
    fixed = {"model": MODEL, "checkpoint": str(write_checkpoint(tmp_path / "tiny.safetensors"))}
    fixed |= {"images": (bucket,), "metrics": ("none",), "device": "cpu", "batch_size": 2}
    for technique in ("saliency", "raw_attention"):
        run = explain(RunSettings(techniques=(technique,), **fixed), tmp_path / "run")  # type: ignore[arg-type]
        assert (run.manifest.data.images, run.manifest.data.quarantined) == (5, 1)
    assert [record.key for record in run.techniques] == ["saliency", "raw_attention"]
