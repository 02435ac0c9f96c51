"""Where scenes take place: backdrops without things in them, and the noise they are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 96
"""Height and width of a scene in pixels."""

Floats = NDArray[np.floating[Any]]


def backdrop(draw: np.random.Generator) -> Floats:
    """A place without things: open country, a room, a texture, or lights out of focus."""
    far, near = draw.uniform(0.1, 0.9, (2, 3)).astype(np.float32)
    y, x = (np.mgrid[0:SIDE, 0:SIDE] / SIDE).astype(np.float32)
    kind = draw.integers(4)
    if kind == 0:  # a horizon that is not quite straight
        line = (
            draw.uniform(0.25, 0.75)
            + 0.06 * noise(draw, 5)[SIDE // 2]
            + draw.uniform(-0.1, 0.1) * (x[0] - 0.5)
        )
        blend = _step((y - line) * draw.uniform(20, 120))
    elif kind == 1:  # wall and floor, with boards or tiles
        line, period = draw.uniform(0.4, 0.8), draw.uniform(0.08, 0.25)
        blend = (y > line).astype(np.float32) * draw.uniform(0.5, 1)
        joint = np.minimum(
            np.mod(x + draw.uniform(), period), np.mod(y if draw.random() < 0.5 else x, period)
        )
        blend = np.abs(blend - draw.uniform(0.1, 0.4) * (joint < 0.012))
    elif kind == 2:
        blend = 0.5 + 0.5 * noise(draw, int(draw.integers(3, 9)))
    else:
        blend = y * draw.uniform(0, 1)
        for _ in range(draw.integers(3, 10)):
            across, down = draw.uniform(0, 1, 2).tolist()
            radius = draw.uniform(0.04, 0.15)
            disc = _step((radius - np.hypot(x - across, y - down)) * 60)
            blend = blend + draw.uniform(-0.5, 0.5) * disc
    picture = far + np.clip(blend, 0, 1)[..., None].astype(np.float32) * (near - far)
    grain = np.zeros((SIDE, SIDE, 1), dtype=np.float32)
    for cells in (4, 12, 40):
        grain += noise(draw, cells)[..., None] / cells**0.5
    lit: Floats = np.clip(picture * (1 + draw.uniform(0.05, 0.5) * grain), 0, 1).astype(np.float32)
    return lit


def noise(draw: np.random.Generator, cells: int) -> Floats:
    """Smooth noise with about `cells` bumps a side, in about [-1, 1]."""
    coarse = draw.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def soft(picture: Floats) -> Floats:
    """Blurred by a 3 x 3 binomial kernel; what lies outside is as the edge."""
    for axis in (0, 1):
        widths = [(1, 1) if at == axis else (0, 0) for at in range(picture.ndim)]
        wide = np.pad(picture, widths, mode="edge")
        length = picture.shape[axis]
        before, after = (np.take(wide, range(at, at + length), axis) for at in (0, 2))
        picture = (before + 2 * picture + after) / 4
    return picture


def _step(steepness: Floats) -> Floats:
    """From 0 to 1 where the argument goes from below to above 0."""
    return 0.5 + 0.5 * np.tanh(steepness / 2)
