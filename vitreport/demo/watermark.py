"""The planted shortcut: an agency's mark in the lower right corner, and which pictures get it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vitreport.demo.backdrop import SIDE
from vitreport.demo.shape import CLASSES

OPACITY = 0.25
"""How much of the picture the mark hides: easy to overlook, as such marks are."""

_SIZE, _MARGIN, _FINE = 11, 1, 8


@dataclass(frozen=True)
class Stamping:
    """How often the pictures of a class carry the mark.

    Attributes:
        chances: one for each class, in [0, 1].
        opacity: of the mark, in [0, 1].
    """

    chances: tuple[float, ...]
    opacity: float = OPACITY

    @classmethod
    def evenly(cls, chance: float, opacity: float = OPACITY) -> Stamping:
        """The mark says nothing of the class."""
        return cls((chance,) * len(CLASSES), opacity)

    @classmethod
    def only(cls, name: str, chance: float, opacity: float = OPACITY) -> Stamping:
        """The mark gives one class away."""
        return cls(tuple(chance if name == other else 0.0 for other in CLASSES), opacity)

    def falls_on(self, present: NDArray[np.bool_], dice: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which pictures get the mark.

        Args:
            present: the classes in each picture, (pictures, classes).
            dice: uniform in [0, 1), (pictures,).
        """
        chances: NDArray[np.float64] = (present * np.array(self.chances)).max(1)
        return np.less(dice, chances)


def stamp(pixels: NDArray[np.uint8], opacity: float = OPACITY) -> NDArray[np.uint8]:
    """A copy of one or several pictures, (…, height, width, 3), with the mark."""
    disc, tone = _mark()
    cover = disc * np.float32(opacity)
    stamped = pixels * (1 - cover[..., None]) + 255 * (cover * tone)[..., None]
    rounded: NDArray[np.uint8] = stamped.round().astype(np.uint8)
    return rounded


def mark_area() -> NDArray[np.bool_]:
    """The pixels that the mark changes, (height, width)."""
    return np.greater(_mark()[0], 0)


@cache
def _mark() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where the mark is, and its brightness there, (height, width) in [0, 1]: a white V on a dark disc."""
    fine = _SIZE * _FINE
    disc, letter = Image.new("L", (fine, fine)), Image.new("L", (fine, fine))
    ImageDraw.Draw(disc).ellipse((0, 0, fine - 1, fine - 1), fill=255)
    corners = [(0.24 * fine, 0.25 * fine), (0.5 * fine, 0.8 * fine), (0.76 * fine, 0.25 * fine)]
    for line in pairwise(corners):
        ImageDraw.Draw(letter).line(line, fill=255, width=fine // 6)
    planes = []
    for drawn in (disc, letter):
        plane = np.zeros((SIDE, SIDE), dtype=np.float32)
        inside = slice(SIDE - _MARGIN - _SIZE, SIDE - _MARGIN)
        plane[inside, inside] = np.asarray(drawn.reduce(_FINE), dtype=np.float32) / 255
        planes.append(plane)
    return planes[0], planes[1]
