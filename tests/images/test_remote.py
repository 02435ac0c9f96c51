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
from vitreport.images.remote import RemoteFile, shown

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402

CLASSES = ClassNames(("disc", "square", "triangle", "star", "cross"))


class Signed(MemoryFileSystem):  # type: ignore[misc]
    """The memory of this process behind a password and a signature, which open every file."""

    protocol = "signed"
    cachable = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        if path.startswith("signed://") and not (path.startswith("signed://bob:secret@") and "?sig=" in path):
            raise PermissionError("no password")
        path = path.removeprefix("signed://bob:secret@").partition("?")[0]
        return str(super()._strip_protocol(path))

    def unstrip_protocol(self, name: str) -> str:
        return f"signed://bob:secret@{name.lstrip('/')}?sig=abc"


class Hosted(MemoryFileSystem):  # type: ignore[misc]
    """The memory of this process on a server, which the paths there do not name; as FTP has it."""

    protocol = "hosted"
    cachable = False

    def __init__(self, host: str) -> None:
        super().__init__()
        assert host == "bob:secret@server"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("hosted://bob:secret@server").strip("/")

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, str]:
        return {"host": path.removeprefix("hosted://").partition("/")[0]}


fsspec.register_implementation("signed", Signed, clobber=True)
fsspec.register_implementation("hosted", Hosted, clobber=True)


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


def test_files_keep_the_server_that_their_paths_do_not_name(bucket: str) -> None:
    catalogue = build_catalogue(["hosted://bob:secret@server/bucket"], CLASSES)
    assert {ref.uri for ref in catalogue.refs if ref.label == 0} == {
        "hosted://server/bucket/disc/picture_000.jpg",
        "hosted://server/bucket/disc/picture_002.jpg",
    }
    assert all(ref.sha256 for ref in catalogue.refs)


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


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://bob:secret@host/photos", "ftp://host/photos"),
        ("ftp://bob:sec@ret@host/a@2x.jpg", "ftp://host/a@2x.jpg"),
        ("https://bob:secret@host/a.jpg?X-Amz-Signature=abc", "https://host/a.jpg"),
        ("https://host/a.jpg?abc", "https://host/a.jpg"),
        ("http://bob:secret@[::1]:8080/a.jpg", "http://[::1]:8080/a.jpg"),
        ("S3://key:secret@bucket/a@2x//why?.jpg", "S3://bucket/a@2x//why?.jpg"),
        ("memory:///a@b/c?d=e.jpg", "memory:///a@b/c?d=e.jpg"),
        ("abfs://container@account.host/a.jpg?sig=abc", "abfs://container@account.host/a.jpg"),
        ("simplecache::s3://key:secret@bucket/a@2x.jpg", "simplecache::s3://bucket/a@2x.jpg"),
        ("zip://a@2x.png::https://bob:secret@host/b.zip?s=a::b", "zip://a@2x.png::https://host/b.zip"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, said: str) -> None:
    assert shown(url) == said


@pytest.mark.parametrize(
    "url", ["strange://bob:secret@host/a?sig=abc", "signed://bob:secret@nowhere?sig=abc"]
)
def test_secrets_of_a_url_that_cannot_be_read_are_not_said(bucket: str, url: str) -> None:
    with pytest.raises(SettingsError, match=r"cannot read '(strange://host/a|signed://nowhere)'") as caught:
        build_catalogue([url], CLASSES)
    assert "secret" not in str(caught.value) and "abc" not in str(caught.value)


def test_a_run_on_a_url_quarantines_what_is_no_image_resumes_and_keeps_secrets(
    bucket: str, tmp_path: Path
) -> None:
    fsspec.filesystem("memory").pipe("/bucket/star/broken.jpg", b"no picture")
    fixed = {"model": MODEL, "checkpoint": str(write_checkpoint(tmp_path / "tiny.safetensors"))}
    fixed |= {
        "images": ("signed://bob:secret@bucket?sig=abc",),
        "metrics": ("none",),
        "device": "cpu",
        "batch_size": 2,
    }
    for technique in ("saliency", "raw_attention"):
        run = explain(RunSettings(techniques=(technique,), **fixed), tmp_path / "run")  # type: ignore[arg-type]
        assert (run.manifest.data.images, run.manifest.data.quarantined) == (5, 1)
    assert [record.key for record in run.techniques] == ["saliency", "raw_attention"]
    assert run.manifest.command.startswith("vitreport run signed://bucket --model ")
    assert run.manifest.settings["images"] == ["signed://bucket"]
    assert any("the sub-folders of 'signed://bucket' are" in said for said in run.manifest.data.notices)
    uris = {ref.uri for ref in run.catalogue}
    assert len(uris) == 5 and all(uri.startswith("signed://bucket/") for uri in uris)
    assert not any("secret" in text or "sig=" in text for text in (*uris, run.manifest.to_json()))
