"""PNGs with a palette, written here since Pillow takes three times as long for a few hundred pixels."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE = 3
"""The colour type of pictures whose pixels are places in a palette."""


def paletted_png(indices: Bytes, table: Bytes, transparent: int | None = None) -> bytes:
    """A PNG with the colours of `table` that occur in `indices`.

    Args:
        indices: of every pixel's colour, ``(rows, cols)``, at least one pixel.
        table: red, green and blue of up to 256 colours, ``(colours, 3)``.
        transparent: an index to see through.
    """
    rows, cols = indices.shape
    used = np.flatnonzero(np.bincount(indices.ravel(), minlength=len(table)))
    places = np.zeros(len(table), np.uint8)
    places[used] = np.arange(len(used))
    bits = next(bits for bits in (1, 2, 4, 8) if len(used) <= 1 << bits)
    pixels = _packed(places[indices], bits)
    lines = np.zeros((rows, 1 + pixels.shape[1]), np.uint8)  # each begins with 0, the name of no filter
    lines[:, 1:] = pixels
    chunks = [
        _chunk(b"IHDR", struct.pack(">IIBBBBB", cols, rows, bits, _PALETTE, 0, 0, 0)),
        _chunk(b"PLTE", table[used].tobytes()),
    ]
    if transparent is not None and transparent in used:
        chunks.append(_chunk(b"tRNS", b"\xff" * int(places[transparent]) + b"\x00"))
    return b"".join(
        (_SIGNATURE, *chunks, _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)), _chunk(b"IEND", b""))
    )


def _packed(pixels: Bytes, bits: int) -> Bytes:
    """Pixels of so many bits, those of a row side by side in its bytes, the first in the highest bits."""
    if bits == 8:
        return pixels
    share = 8 // bits
    rows, cols = pixels.shape
    full = np.zeros((rows, -(-cols // share) * share), np.uint8)
    full[:, :cols] = pixels
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    packed: Bytes = np.bitwise_or.reduce(full.reshape(rows, -1, share) << shifts, axis=2)
    return packed


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
