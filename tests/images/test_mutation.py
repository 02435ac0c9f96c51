"""Files with bytes changed, doubled and lost: each ends as an image or as a reason, within limits."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitreport.errors import ImageError
from vitreport.images.decode import PIXEL_LIMIT
from vitreport.images.decoder import decoded

MUTANTS = int(os.environ.get("VITREPORT_MUTANTS", "30"))
"""Files of each kind that are tried; raise it for a long run."""

KINDS = {
    "JPEG": {"progressive": True},
    "PNG": {},
    "WEBP": {},
    "AVIF": {"speed": 10},
    "GIF": {"save_all": True, "append_images": [Image.new("RGB", (9, 9))]},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
    "PPM": {},
    "JPEG2000": {},
}


def mutant(content: bytes, random: np.random.Generator) -> bytes:
    """One of many ways to spoil a file, most often near its start, where its structure is."""
    body = bytearray(content)
    for _ in range(int(random.integers(1, 5))):
        place = int(len(body) * random.random() ** 3)
        length = int(random.integers(1, 9))
        match int(random.integers(0, 5)):
            case 0:
                body[place : place + length] = random.integers(0, 256, length, dtype=np.uint8).tobytes()
            case 1:
                body[place : place + length] = random.choice([b"\xff", b"\0", b"\x7f", b"\x80"]) * length
            case 2:
                del body[place : place + length]
            case 3:
                body[place:place] = body[place : place + 40 * length]
            case _:
                body[place] ^= 1 << int(random.integers(0, 8))
        body = body or bytearray(b"\0")
    return bytes(body)


@pytest.mark.parametrize("kind", KINDS)
def test_a_spoilt_file_is_an_image_or_a_reason(tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(7)
    picture = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, kind, exif=Image.Exif().tobytes(), **KINDS[kind])
    refused = 0
    for number in range(MUTANTS):
        path = tmp_path / "spoilt.jpg"
        path.write_bytes(mutant(buffer.getvalue(), random))
        try:
            height, width, colours = decoded(path, np.shape)
        except ImageError as error:
            refused += 1
            assert str(error) and "\n" not in str(error) and str(tmp_path) not in str(error), number
            assert "ends the process" not in str(error), path.read_bytes()
        else:
            assert colours == 3 and 0 < height * width <= PIXEL_LIMIT
    assert refused
