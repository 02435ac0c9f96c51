"""The class-token attention atlas: all blocks and heads of an image on one sheet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vitreport.explanation import FloatArray
from vitreport.figures.colour import lookup_table, lossless, steps
from vitreport.figures.scale import own_scale

_LEVELS = 32
_GAP = _LEVELS


@dataclass(frozen=True)
class Sheet:
    """An encoded picture with its size in pixels."""

    encoded: bytes
    width: int
    height: int


def atlas_sheet(values: FloatArray) -> Sheet:
    """Every block (across) and head (down) on its own scale, as one lossless WebP.

    Args:
        values: ``(blocks, heads, rows, cols)``.

    Returns:
        A sheet of ``blocks * (cols + 1)`` by ``heads * (rows + 1)`` pixels: one transparent row and column
        after every cell, so that cells are equal fractions of the sheet. Cells that cannot be drawn
        are transparent.
    """
    blocks, heads, rows, cols = values.shape
    sheet = np.full((heads, rows + 1, blocks, cols + 1), _GAP, np.uint8)
    for block in range(blocks):
        for head in range(heads):
            cell = values[block, head]
            if np.isfinite(cell).all():
                sheet[head, :rows, block, :cols] = steps(cell, own_scale(cell, signed=False), _LEVELS)
    opaque = np.full((_LEVELS, 1), 255, np.uint8)
    table = np.vstack([np.hstack([lookup_table(False, _LEVELS), opaque]), np.zeros((1, 4), np.uint8)])
    flat = sheet.reshape(heads * (rows + 1), blocks * (cols + 1))
    return Sheet(lossless(table[flat]), flat.shape[1], flat.shape[0])
