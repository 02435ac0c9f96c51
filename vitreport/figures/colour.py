"""Colours for maps: lookup tables, and maps as small pictures.

A map on the patch grid becomes a picture of as many pixels as it has patches; whoever shows it scales it
up. All are WebP, which a few hundred pixels fit into a fifth tighter than into PNG; those of small maps lose
nothing.
"""

from __future__ import annotations

import io
from functools import cache

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap
from PIL import Image

from vitreport.explanation import FloatArray
from vitreport.figures.scale import Scale

Bytes = npt.NDArray[np.uint8]

SEQUENTIAL = "inferno"
"""Perceptual, monotone in lightness: unsigned maps."""

DIVERGING = LinearSegmentedColormap.from_list(
    "signed", ("#0b1a54", "#1f4fb0", "#868686", "#f0a53c", "#ffe680"), N=257
)
"""Grey at zero, orange to yellow above, blue below: signed maps.

Monotone in lightness, in even steps, so that greyscale and colour blindness leave above and below apart.
"""

LEVELS = 32
"""Steps of a colour scale in a small picture: below what an eye tells apart, and a short palette."""

SMALL_SIDE = 64
"""The most pixels a side that a picture may have to be embedded in a page."""


@cache
def lookup_table(signed: bool, levels: int = LEVELS) -> Bytes:
    """Red, green and blue of every step of the scale, ``(levels, 3)``."""
    scale = DIVERGING if signed else matplotlib.colormaps[SEQUENTIAL]
    colours = scale(np.linspace(0, 1, levels))
    table: Bytes = np.round(255 * colours[:, :3]).astype(np.uint8)
    table.setflags(write=False)
    return table


def steps(values: FloatArray, scale: Scale, levels: int = LEVELS) -> Bytes:
    """The step of every value on the scale, 0 to ``levels - 1``; values beyond its ends take the end."""
    reach = scale.high - scale.low
    if not reach > 0:
        return np.zeros(values.shape, np.uint8)
    shares = (values.astype(np.float64) - scale.low) / reach
    return np.round(np.clip(shares, 0, 1) * (levels - 1)).astype(np.uint8)


def coloured(values: FloatArray, scale: Scale, signed: bool) -> Bytes:
    """The map in 256 colours, ``(rows, cols, 3)``."""
    table = lookup_table(signed, 256)
    picture: Bytes = table[steps(values, scale, 256)]
    return picture


def lossless(pixels: Bytes) -> bytes:
    """A WebP with exactly these pixels, ``(rows, cols, 3)``, or 4 where some can be seen through."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, quality=20, method=1)
    return buffer.getvalue()


def small_map(values: FloatArray, scale: Scale, signed: bool) -> bytes:
    """The map as a lossless WebP, one pixel a value."""
    return lossless(lookup_table(signed)[steps(values, scale)])


def large_map(values: FloatArray, scale: Scale, signed: bool) -> bytes:
    """The map as WebP, one pixel a value: for maps at pixel resolution."""
    buffer = io.BytesIO()
    Image.fromarray(coloured(values, scale, signed)).save(buffer, "WEBP", quality=80, method=4)
    return buffer.getvalue()


def is_small(values: FloatArray) -> bool:
    """True where the map may be embedded in a page."""
    return bool(max(values.shape) <= SMALL_SIDE)
