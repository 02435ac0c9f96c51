"""A published copy tells nothing of the originals: every file of it is searched for all that is private."""

from __future__ import annotations

import getpass
import hashlib
import io
import json
import os
import re
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pypdf
import pytest
from click.testing import CliRunner
from leak_search import readings, search
from PIL import Image
from site_reading import assert_inert
from synthetic_run import write_run, write_scores
from test_optimized_reading import write_record

from vitreport.api import build_report
from vitreport.cli import main
from vitreport.errors import SettingsError, StoreError
from vitreport.publication.photo import published_photo
from vitreport.publication.pseudonym import KEY, pseudonyms, publication_key
from vitreport.publication.publication import Photos, Publication
from vitreport.store import Run, RunFolder, open_run
from vitreport.store import folder as paths

CANARY = "zqxvwkj"
"""Stands in every private text, and nowhere else."""

IMAGES = 6
URIS = tuple(f"/home/{CANARY}user/{CANARY}ward/{CANARY}name{number}.jpg" for number in range(IMAGES))


def change(folder: RunFolder, path: str, **columns: object) -> None:
    table = folder.read_table(path)
    rows = [
        row | {name: value(row) if callable(value) else value for name, value in columns.items()}
        for row in table.to_pylist()
    ]
    folder.write_table(path, pa.Table.from_pylist(rows, schema=table.schema))


def with_exif(row: dict[str, bytes | None]) -> bytes | None:
    """The view of an image with the metadata of a camera, which no run of ours stores."""
    if row["view"] is None:
        return None
    picture = Image.open(io.BytesIO(row["view"]))
    exif = Image.Exif()
    exif[0x013B] = f"{CANARY} artist"
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0)}
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=90, exif=exif, comment=f"{CANARY} comment".encode())
    return encoded.getvalue()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that is full of private text; tests must leave all but its copy as it is."""
    root = write_run(
        tmp_path_factory.mktemp(f"{CANARY}place") / "run", IMAGES, uris=URIS, failing=("centre",)
    )
    write_scores(root)
    write_record(root, "class:1", [0.9, 0.8])
    folder = RunFolder(root)
    meta = json.dumps({"patient": f"{CANARY}patient", "site": f"{CANARY}site"})
    for path in (paths.CATALOGUE, paths.images_part(0)):
        change(folder, path, group=f"{CANARY}group", meta=meta, size=lambda row: 9_000_000_000 + row["size"])
    reason = f"cannot open /home/{CANARY}user/x.jpg"
    change(folder, paths.images_part(0), reason=lambda row: row["reason"] and reason, view=with_exif)
    manifest = folder.manifest()
    failed = next(one for one in manifest.techniques if one.name == "centre")
    change(folder, paths.technique_part(failed, 0), error=f"ValueError: {CANARY}name1.jpg is odd")
    masks = next(one for one in manifest.metrics if one.name == "mask_agreement")
    for part in folder.score_parts(masks, manifest.techniques[0]):
        change(folder, part, note=f"no mask /home/{CANARY}user/masks/{CANARY}name1.png", value=None)
    notice = f"/home/{CANARY}user cannot be read on {socket.gethostname()} by {getpass.getuser()}"
    model = replace(
        manifest.model,
        name=f"local-dir:/home/{CANARY}user/model",
        weights=f"the folder {CANARY}weights",
        class_names_origin=f"the file {CANARY}labels.txt",
        card={"description": f"trained on /home/{CANARY}user/data", "data": f"{CANARY}name2.jpg and more"},
    )
    folder.commit_manifest(
        replace(
            manifest,
            run_digest=hashlib.sha256(b"the run").hexdigest(),
            model=model,
            command=f"vitreport run /home/{CANARY}user/photos --checkpoint {CANARY}.safetensors -o RUN",
            settings={
                "images": [f"/home/{CANARY}user/photos"],
                "checkpoint": f"/home/{CANARY}user/weights/{CANARY}.safetensors",
                "labels": f"{CANARY}labels.txt",
                "masks": f"/home/{CANARY}user/masks",
                "model_card": f"{CANARY}card.md",
                "targets": ["1", "3"],
                "seed": 0,
            },
            bound={"seed": 0, "images": "ef" * 32, "model": [f"{CANARY}"]},
            data=replace(manifest.data, notices=(notice,)),
        )
    )
    return open_run(root)


def secrets_of(run: Run) -> set[bytes]:
    """What no file of a copy may hold: text, identities and digests of the originals and their pictures."""
    found = {CANARY, run.manifest.run_digest, run.manifest.data.catalogue_sha256, str(run.folder.root.parent)}
    for ref in run.catalogue:
        found |= {ref.id, ref.sha256, ref.uri, str(ref.size)} - {""}
    for digest in (ref.sha256 for ref in run.catalogue):
        found |= {digest[:8], digest[:12], digest.upper()}
    found |= {name for name in (getpass.getuser(), socket.gethostname()) if len(name) > 4}
    return {text.encode() for text in found}


def assert_tells_nothing(home: Path, run: Run) -> int:
    """Searches a folder; returns how many files it has."""
    assert not [place for place in home.rglob("*") if CANARY in place.relative_to(home).as_posix()]
    return search(home, secrets_of(run))


@pytest.fixture(scope="module")
def published(source: Run) -> Path:
    """The copy's folder, with groups, metadata and photos at their defaults."""
    index = build_report(source.folder.root, publish=Publication())
    assert index == source.folder.root / "publish" / "report" / "index.html"
    return index.parents[1]


def test_no_file_of_a_published_copy_tells_anything_of_an_original(source: Run, published: Path) -> None:
    assert assert_tells_nothing(published, source) > 40


def test_the_search_finds_what_an_ordinary_report_tells(source: Run, tmp_path: Path) -> None:
    """Else it would prove nothing."""
    shutil.copytree(source.folder.root, tmp_path / "run", ignore=shutil.ignore_patterns("publish*"))
    build_report(tmp_path / "run", pdf_images=1)
    kinds = {"index.html", "images-0", ".json", ".csv", ".pdf", ".jpg"}
    found = set()
    for place in [*(tmp_path / "run" / "report").rglob("*"), tmp_path / "run" / "report.pdf"]:
        if place.is_file():
            try:
                for reading in readings(place):
                    assert CANARY.encode() not in reading.lower()
            except AssertionError:
                found |= {kind for kind in kinds if kind in place.name}
    assert found == kinds


def test_the_published_site_is_whole_and_for_any_host(published: Path) -> None:
    site = published / "report"
    pages = {page.path: page.soup for page in assert_inert(site)}
    assert (site / ".nojekyll").read_bytes() == b""
    assert (site / "report.pdf").read_bytes() == (published / "report.pdf").read_bytes()
    assert pages["index.html"].select_one("a[href='report.pdf']")
    assert "This is a published copy" in pages["index.html"].get_text()
    assert "reproduces the run" not in pages["index.html"].get_text()
    shown = pages["analysis/learned.html"].select("a[href*='images/image-']")
    assert shown  # the audited images that an optimised picture is held against, by their numbers
    rows = {link.get_text() for link in pages["index.html"].select("table.images th a")}
    assert len(rows) == IMAGES - 1 and all(re.fullmatch(r"image-000[1-6]", name) for name in rows)


def test_nothing_stands_in_the_order_of_checksums(source: Run, published: Path) -> None:
    names = pseudonyms(publication_key(source.folder), [ref.id for ref in source.catalogue])
    assert [names[ref.id] for ref in source.catalogue] != sorted(names.values())
    listed = (published / "report" / "analysis" / "files.csv").read_text().splitlines()[1:]
    assert [line.partition(",")[0] for line in listed] == sorted(names.values())
    (attached,) = pypdf.PdfReader(published / "report.pdf").attachments["results.json"]
    assert [image["id"] for image in json.loads(attached)["images"]] == sorted(names.values())


def test_numbers_are_those_of_the_run(source: Run, published: Path) -> None:
    names = pseudonyms(publication_key(source.folder), [ref.id for ref in source.catalogue])
    copy = open_run(published)
    record = source.technique("gradient_rollout")
    for image in source.images.filter(pa.compute.equal(source.images["status"], "explained"))[
        "id"
    ].to_pylist():
        ours, theirs = source.map(image, record.key, 3), copy.map(names[image], record.key, 3)
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("photos", list(Photos))
def test_maps_keep_their_pixels_only_beside_whole_photos(photos: Photos, tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", 2, quarantined=0, in_pixels=("signed_example",))
    build_report(root, pdf=False, publish=Publication(photos))
    run, copy = open_run(root), open_run(root / "publish")
    names = pseudonyms(publication_key(run.folder), [ref.id for ref in run.catalogue])
    page = (root / f"publish/report/images/{names[run.catalogue[0].id]}.html").read_text()
    whole = photos is Photos.FULL
    assert ("edges-pixels" in page) is ("pixel maps" in copy.manifest.bound) is whole
    assert ("Maps have their patches only" in copy.manifest.published["words"]) is not whole
    for ref in run.catalogue:
        assert np.array_equal(copy.map(names[ref.id], "signed_example"), run.map(ref.id, "signed_example"))
        if whole:
            theirs = copy.pixel_map(names[ref.id], "signed_example", 3)
            assert np.array_equal(theirs, run.pixel_map(ref.id, "signed_example", 3))
        else:
            with pytest.raises(StoreError, match="not kept pixel by pixel"):
                copy.pixel_map(names[ref.id], "signed_example")


def test_the_same_wish_changes_no_byte_and_another_wish_leaves_nothing_behind(
    source: Run, published: Path, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    shutil.copytree(source.folder.root, root)
    before = {place: place.stat().st_mtime_ns for place in root.rglob("*") if place.is_file()}
    build_report(root, publish=Publication())
    assert {place: place.stat().st_mtime_ns for place in root.rglob("*") if place.is_file()} == before

    full = {place.name for place in (root / "publish" / "report" / "assets").glob("image-*.jpg")}
    build_report(root, pdf=False, publish=Publication(Photos.NONE, ("site",)))
    now = {place.name for place in (root / "publish" / "report" / "assets").glob("image-*.jpg")}
    assert now and not now & full
    assert not list((root / "publish").rglob("*.pdf"))
    pages = "".join(place.read_text() for place in (root / "publish" / "report").rglob("*.html"))
    assert f"{CANARY}site" in pages and f"{CANARY}patient" not in pages and f"{CANARY}group" not in pages
    assert "report.pdf" not in pages
    assert "What the model saw, not shown in this copy" in pages


def test_a_key_gives_the_same_numbers_and_another_key_others(
    source: Run, published: Path, tmp_path: Path
) -> None:
    ids = [hashlib.sha256(str(number).encode()).hexdigest()[:16] for number in range(40)]
    key = publication_key(source.folder)
    assert len(key) == 32 and (source.folder.root / KEY).stat().st_mode & 0o077 == 0
    assert pseudonyms(key, ids) == pseudonyms(key, reversed(ids))
    other = publication_key(RunFolder(tmp_path))
    assert other != key and pseudonyms(other, ids) != pseudonyms(key, ids)
    assert key.hex().encode() not in b"".join(
        place.read_bytes() for place in published.rglob("*") if place.is_file()
    )


def test_a_stop_while_the_key_is_written_leaves_no_half_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(handle: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "fsync", stop)
        publication_key(RunFolder(tmp_path))
    with RunFolder(tmp_path).working():
        assert len(publication_key(RunFolder(tmp_path))) == 32
        assert [place.name for place in tmp_path.iterdir() if place.suffix == ".writing"] == []


@pytest.mark.parametrize("photos", list(Photos))
def test_a_photo_keeps_no_more_than_was_asked_and_never_its_metadata(photos: Photos) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    exif = Image.Exif()
    exif[0x013B] = CANARY
    Image.fromarray(noise).save(encoded, "JPEG", quality=95, exif=exif, comment=CANARY.encode())
    shown = published_photo(encoded.getvalue(), photos)
    assert CANARY.encode() not in shown
    with Image.open(io.BytesIO(shown)) as picture:
        assert picture.size == (128, 96)
        pixels = np.asarray(picture, np.float32)
    detail = np.abs(np.diff(pixels, axis=1)).mean()
    low, high = {"full": (40, 256), "thumbnails": (8, 30), "blurred": (0.5, 4), "none": (0, 0)}[photos.value]
    assert low <= detail <= high


def test_what_lies_in_the_copys_place_is_not_touched(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", 2)
    (root / "publish").mkdir()
    (root / "publish" / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match="something else than a published copy"):
        build_report(root, publish=Publication())
    assert [place.name for place in (root / "publish").iterdir()] == ["mine.txt"]


def test_a_column_that_the_run_does_not_have_is_named(source: Run) -> None:
    with pytest.raises(SettingsError, match="no column 'age' to publish; it has: group, patient, site"):
        build_report(source.folder.root, publish=Publication(columns=("age",)))


def test_the_command_line_publishes(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", 2)
    told = CliRunner().invoke(main, ["report", str(root), "--publish", "--photos", "blurred", "--no-pdf"])
    assert told.exit_code == 0, told.output
    assert f"to be published: all of {root / 'publish' / 'report'}" in told.output
    assert not (root / "report").exists()
    refused = CliRunner().invoke(main, ["report", str(root), "--photos", "blurred"])
    assert refused.exit_code == 2 and "add --publish" in refused.output
