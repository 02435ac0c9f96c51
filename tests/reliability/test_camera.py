"""Photos as cameras write them, through a whole run: what they say beside their pixels stays with them."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from leak_search import search
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

from vitreport.cli import main
from vitreport.store import Run, open_run

PERSON = "qwjvkzx"
"""Stands in all that the photos say, and nowhere else."""
TRIP = "zqxvwkj"
"""Stands in their names and folders, and nowhere else."""
LATITUDE = (52_431_977, 1_000_003)
MOMENT = "2023:07:21 13:37:42"


def preview(seed: int) -> bytes:
    """What a camera keeps of a photo before it was cropped."""
    noise = np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(noise).save(encoded, "JPEG", quality=60)
    return encoded.getvalue()


def photo(place: Path, seed: int) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x013B], exif[0x0112] = f"{PERSON} cameras", f"{PERSON} artist", 6
    exif.get_ifd(0x8769).update({0x9003: MOMENT, 0x927C: preview(seed), 0xA431: f"{PERSON} serial"})
    exif.get_ifd(0x8825).update({1: "N", 2: (IFDRational(*LATITUDE), 31.0, 12.0)})
    colours = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(colours).resize((320, 240), Image.Resampling.BICUBIC).save(
        place,
        "JPEG",
        quality=92,
        exif=exif,
        comment=f"{PERSON} comment".encode(),
        icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        xmp=f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{PERSON} location</x:xmpmeta>".encode(),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of three photos, with the report that is to be published and the one that is not."""
    place = tmp_path_factory.mktemp("camera")
    folder = place / f"{TRIP} with family"
    folder.mkdir()
    for number in range(3):
        photo(folder / f"{TRIP}_{number}.jpg", number)
    words = ["run", str(folder), "-o", str(place / "run"), "--model", "embedded:honest", "--device", "cpu"]
    words += ["-t", "raw_attention", "-t", "saliency", "--metric", "none", "--pdf-images", "2", "-q"]
    for further in (["--publish"], []):
        result = CliRunner().invoke(main, [*words, *further], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    return open_run(place / "run")


def said_by(run: Run) -> set[bytes]:
    """What the photos say beside their pixels, as it stands in their files."""
    previews = {preview(number)[700:716] for number in range(3)}
    return {PERSON.encode(), MOMENT.encode(), struct.pack(">II", *LATITUDE), *previews}


def test_the_photos_say_all_that_is_searched_for(run: Run) -> None:
    contents = [Path(ref.uri).read_bytes() for ref in run.catalogue]
    assert all(any(secret in content for content in contents) for secret in said_by(run))


def test_what_a_photo_says_beside_its_pixels_is_nowhere_in_a_run(run: Run) -> None:
    assert search(run.folder.root, said_by(run)) > 60


def test_a_published_copy_tells_neither_that_nor_what_a_photo_was_called(run: Run) -> None:
    names = {TRIP, run.manifest.run_digest, str(run.folder.root.parent)}
    for ref in run.catalogue:
        names |= {ref.id, ref.id[:8], ref.sha256, ref.uri}
    assert search(run.folder.root / "publish", said_by(run) | {name.encode() for name in names}) > 30
