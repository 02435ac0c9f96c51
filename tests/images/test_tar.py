from __future__ import annotations

import hashlib
import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from command_line import MODEL, contents, write_checkpoint
from PIL import Image

from vitreport import RunSettings, explain
from vitreport.errors import ImageError, SettingsError
from vitreport.explanation import ClassNames
from vitreport.images import build_catalogue
from vitreport.images.file import FILE_LIMIT
from vitreport.images.place import on_disk, pieces
from vitreport.images.tar import SIDECAR_LIMIT, TarMember

CLASSES = ClassNames(("disc", "square", "triangle", "star", "cross"))


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((80, 60)).save(buffer, "JPEG")
    return buffer.getvalue()


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_samples_have_their_bytes_labels_and_groups(tmp_path: Path) -> None:
    facts = {"label": "star", "group": "night", "camera": 7, "boxes": [1]}
    write_tar(tmp_path / "b.tar", {"x/2.jpg": jpeg(2), "x/2.cls": b"1\n"})
    write_tar(tmp_path / "a.tar", {"0.json": json.dumps(facts).encode(), "0.jpg": jpeg(0), "1.png": jpeg(1)})
    catalogue = build_catalogue([str(tmp_path)], CLASSES)
    found = {ref.uri: ref for ref in catalogue.refs}
    root = tmp_path.as_posix()
    assert sorted(found) == [f"{root}/a.tar/0.jpg", f"{root}/a.tar/1.png", f"{root}/b.tar/x/2.jpg"]
    assert [found[uri].label for uri in sorted(found)] == [3, None, 1]
    first = found[f"{root}/a.tar/0.jpg"]
    assert (first.group, dict(first.meta)) == ("night", {"camera": "7"})
    assert (first.sha256, first.size) == (hashlib.sha256(jpeg(0)).hexdigest(), len(jpeg(0)))
    assert catalogue.notices == ()
    place = pickle.loads(pickle.dumps(catalogue.paths[first.id]))
    assert b"".join(pieces(place)) == jpeg(0)
    with on_disk(place) as path:
        assert path.read_bytes() == jpeg(0)
    assert not path.exists()


def test_the_first_image_of_a_sample_is_taken(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "a.tar", {"0.jpg": jpeg(0), "0.png": jpeg(1), "0.mask.png": jpeg(2)})
    assert [ref.sha256 for ref in build_catalogue([str(archive)], CLASSES).refs] == [
        hashlib.sha256(jpeg(0)).hexdigest()
    ]


def test_labels_that_are_no_classes_become_groups(tmp_path: Path) -> None:
    archive = write_tar(
        tmp_path / "a.tar", {"0.jpg": jpeg(0), "0.cls": b"star", "1.jpg": jpeg(1), "1.cls": b"llama"}
    )
    catalogue = build_catalogue([str(archive)], CLASSES)
    assert sorted((ref.label, ref.group) for ref in catalogue.refs) == [(None, "llama"), (None, "star")]
    assert "('llama' is none); they are used as groups" in catalogue.notices[0]


def test_links_devices_and_paths_outside_do_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(jpeg(9))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in {"0.jpg": tarfile.SYMTYPE, "1.jpg": tarfile.LNKTYPE, "2.jpg": tarfile.CHRTYPE,
                           "3.jpg": tarfile.FIFOTYPE, "4.jpg": tarfile.DIRTYPE}.items():  # fmt: skip
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(tmp_path / "secret.jpg")
            archive.addfile(member)
        for name, seed in {"/etc/5.jpg": 5, "../../6.jpg": 6}.items():
            member = tarfile.TarInfo(name)
            member.size = len(jpeg(seed))
            archive.addfile(member, io.BytesIO(jpeg(seed)))
    before = sorted(path.name for path in tmp_path.iterdir())
    refs = build_catalogue([str(tmp_path / "a.tar")], CLASSES).refs
    assert {ref.sha256 for ref in refs} == {hashlib.sha256(jpeg(seed)).hexdigest() for seed in (5, 6)}
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_truncated_archive_gives_what_lies_before_the_damage_and_a_notice(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", {f"{seed}.jpg": jpeg(seed) for seed in range(3)}).read_bytes()
    step = len(whole[: whole.index(b"2.jpg")])
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole[: step + 512 + 100])
    catalogue = build_catalogue([str(cut)], CLASSES)
    assert sorted(bool(ref.sha256) for ref in catalogue.refs) == [False, True, True]
    (lost,) = (ref for ref in catalogue.refs if not ref.sha256)
    with pytest.raises(ImageError, match="the archive ends in the middle of it"):
        list(pieces(catalogue.paths[lost.id]))
    assert "cannot be read to its end" in catalogue.notices[0]


def test_huge_members_are_not_read(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    for name in ("0.jpg", "0.cls"):
        member = tarfile.TarInfo(name)
        member.size = FILE_LIMIT + 1
        with archive.open("ab") as file:
            file.write(member.tobuf())
            file.truncate(file.tell() + FILE_LIMIT + 512)
    assert SIDECAR_LIMIT < FILE_LIMIT
    (ref,) = (catalogue := build_catalogue([str(archive)], CLASSES)).refs
    assert (ref.sha256, ref.label) == ("", None)
    with pytest.raises(ImageError, match="files of more than 512 MiB are not read"):
        next(pieces(catalogue.paths[ref.id]))


@pytest.mark.parametrize("content", [b"", b"no archive" * 200, bytes(10240)])
def test_an_archive_without_images_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(SettingsError, match="plain tars, not compressed") as caught:
        build_catalogue([str(tmp_path / "a.tar")], CLASSES)
    assert "\n" not in str(caught.value)


def test_an_archive_that_vanishes_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="its archive cannot be read: no such file"):
        list(pieces(TarMember(tmp_path / "gone.tar", 512, 3)))


def test_a_run_on_shards_gives_the_maps_of_the_files_and_resumes(tmp_path: Path) -> None:
    files = {f"{seed}.jpg": jpeg(seed) for seed in range(3)}
    folder, shards = tmp_path / "folder", tmp_path / "shards"
    for place in (folder, shards):
        place.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    write_tar(shards / "0.tar", dict(list(files.items())[:2]))
    write_tar(shards / "1.tar", dict(list(files.items())[2:]))
    fixed = {"model": MODEL, "checkpoint": str(write_checkpoint(tmp_path / "tiny.safetensors"))}
    fixed |= {"metrics": ("none",), "device": "cpu", "batch_size": 2}
    runs = {}
    for place in (folder, shards):
        asked = RunSettings(images=(str(place),), techniques=("saliency",), **fixed)  # type: ignore[arg-type]
        runs[place.name] = explain(asked, tmp_path / f"run-{place.name}")
    maps = [
        {path: sha for path, sha in run.manifest.files.items() if path.startswith("data/maps/")}
        for run in runs.values()
    ]
    assert maps[0] == maps[1] and maps[0]
    before = contents(tmp_path / "run-shards")
    more = RunSettings(images=(str(shards),), techniques=("raw_attention",), **fixed)  # type: ignore[arg-type]
    explain(more, tmp_path / "run-shards")
    after = contents(tmp_path / "run-shards")
    assert before.items() - {("manifest.json", before["manifest.json"])} <= after.items()
