"""Searches files for what they must not tell, in every form that a reader can get out of them."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pypdf
from PIL import Image


def search(home: Path, secrets: Iterable[bytes]) -> int:
    """Asserts that no file of a folder tells a secret; returns how many files it has."""
    pattern = re.compile(b"|".join(re.escape(secret) for secret in sorted(secrets)), re.IGNORECASE)
    files = [place for place in sorted(home.rglob("*")) if place.is_file()]
    for place in files:
        for reading in readings(place):
            hit = pattern.search(reading)
            assert hit is None, (place, hit.group(), reading[max(0, hit.start() - 80) : hit.end() + 40])
    return len(files)


def readings(place: Path) -> Iterator[bytes]:
    """A file's bytes in every form that a reader can get out of it."""
    content = place.read_bytes()
    yield content
    yield str(place.name).encode()
    if place.suffix == ".pdf":
        yield from pdf_readings(content)
    elif place.suffix in {".jpg", ".jpeg", ".png", ".webp"}:
        with Image.open(place) as picture:
            assert not picture.getexif() and not set(picture.info) & {"exif", "comment", "xmp", "icc_profile"}
    elif place.suffix == ".parquet":
        table = pq.read_table(place, partitioning=None)
        yield repr(table.schema).encode()
        for name in table.column_names:
            for value in table[name].to_pylist():
                yield value if isinstance(value, bytes) else repr(value).encode()


def pdf_readings(content: bytes) -> Iterator[bytes]:
    """All streams of a PDF, attachments and XMP included, and its text."""
    reader = pypdf.PdfReader(io.BytesIO(content))
    for number in range(1, int(str(reader.trailer["/Size"]))):
        found = pypdf.generic.IndirectObject(number, 0, reader).get_object()
        yield repr(found).encode()
        if isinstance(found, pypdf.generic.StreamObject):
            try:
                yield found.get_data()
            except (NotImplementedError, ValueError, zlib.error):
                yield found._data  # a picture as it is, searched like a file
    yield "".join(page.extract_text() for page in reader.pages).encode()
    for name, attached in reader.attachments.items():
        yield name.encode()
        yield from attached
    yield (reader.xmp_metadata.get_element if reader.xmp_metadata else b"").__repr__().encode()
