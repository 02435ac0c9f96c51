"""Where the bytes of an image lie: a file on this machine, or something that gives them piece by piece."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from vitreport.errors import ImageError
from vitreport.images.file import FILE_LIMIT, open_regular, system_reason

PIECE = 1 << 20
"""Bytes that are held of an image at a time."""


class Stored(Protocol):
    """An image that is not a file of its own on this machine. Picklable; equal where it is the same one."""

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, at most `PIECE` at a time.

        Raises:
            ImageError: why they cannot be had; the reason does not name the image.
        """
        ...


Place = Path | Stored


def pieces(place: Place) -> Iterator[bytes]:
    """The bytes of an image, wherever they lie.

    Raises:
        ImageError: why they cannot be had: what `open_regular` refuses, no bytes, or too many.
    """
    if isinstance(place, Path):
        with open_regular(place) as file:
            try:
                while piece := file.read(PIECE):
                    yield piece
            except OSError as error:
                raise ImageError(system_reason(error)) from None
        return
    size = 0
    for piece in place.pieces():
        size += len(piece)
        refuse_huge(size)
        yield piece
    if not size:
        raise ImageError("the file is empty")


def refuse_huge(size: int) -> None:
    """Raises ImageError for more bytes than are read of an image."""
    if size > FILE_LIMIT:
        raise ImageError(f"files of more than {FILE_LIMIT >> 20} MiB are not read")


@contextmanager
def on_disk(place: Place) -> Iterator[Path]:
    """A file of this machine with the bytes of an image, as decoders need it; a copy of what is elsewhere.

    Raises:
        ImageError: as `pieces`.
    """
    if isinstance(place, Path):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="vitreport-") as folder:
        path = Path(folder) / "image"
        try:
            with path.open("wb") as file:
                for piece in pieces(place):
                    file.write(piece)
        except OSError as error:
            raise ImageError(system_reason(error)) from None
        yield path
