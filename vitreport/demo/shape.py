"""What is in a scene: outlines of the classes and of the distractors, each drawn anew in its proportions.

An outline is a list of parts in a square from -1 to 1, x to the right and y down; later parts cover earlier
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Outline = Callable[[np.random.Generator], "list[Part]"]


class Tone(IntEnum):
    """Which of a thing's colours a part has."""

    BODY = 0
    SECOND = 1
    DARK = 2
    LIGHT = 3


@dataclass(frozen=True)
class Part:
    """A filled polygon.

    Attributes:
        points: corners, (corners, 2) as x and y.
        tone: its colour.
    """

    points: Points
    tone: Tone


def _polygon(tone: Tone, *corners: tuple[float, float]) -> Part:
    return Part(np.array(corners, dtype=np.float64), tone)


def _ellipse(
    tone: Tone,
    centre: tuple[float, float],
    radii: tuple[float, float],
    arc: tuple[float, float] = (0, 360),
    turn: float = 0,
) -> Part:
    """An ellipse, or the segment of it between two angles in degrees (0 is right, 90 down), turned."""
    angles = np.deg2rad(np.linspace(*arc, 28))
    local = np.stack([radii[0] * np.cos(angles), radii[1] * np.sin(angles)], axis=1)
    cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    return Part(local @ np.array([[cos, sin], [-sin, cos]]) + centre, tone)


def _boat(draw: np.random.Generator) -> list[Part]:
    deck, tip = draw.uniform(0.30, 0.45), draw.uniform(-1.0, -0.85)
    bow, mast = draw.uniform(0.2, 0.4), draw.uniform(-0.15, 0.1)
    return [
        _polygon(Tone.DARK, (mast - 0.04, tip), (mast + 0.04, tip), (mast + 0.04, deck), (mast - 0.04, deck)),
        _polygon(
            Tone.SECOND,
            (mast + 0.07, tip),
            (mast + draw.uniform(0.6, 0.8), deck - 0.1),
            (mast + 0.07, deck - 0.1),
        ),
        _polygon(
            Tone.LIGHT,
            (mast - 0.07, tip + 0.2),
            (mast - draw.uniform(0.45, 0.7), deck - 0.1),
            (mast - 0.07, deck - 0.1),
        ),
        _polygon(Tone.BODY, (-0.95, deck), (0.95, deck), (0.95 - bow, 0.85), (-0.95 + bow, 0.85)),
    ]


def _butterfly(draw: np.random.Generator) -> list[Part]:
    upper, lower = draw.uniform(0.40, 0.52), draw.uniform(0.30, 0.40)
    lift, spot = draw.uniform(25, 45), draw.uniform(0.12, 0.2)
    parts = []
    for side in (-1, 1):
        parts += [
            _ellipse(Tone.SECOND, (side * 0.42, 0.42), (lower, 0.28), turn=side * lift),
            _ellipse(Tone.BODY, (side * 0.5, -0.32), (upper, 0.36), turn=-side * lift),
            _ellipse(Tone.LIGHT, (side * 0.55, -0.36), (spot, spot)),
        ]
    return [*parts, _ellipse(Tone.DARK, (0, 0), (0.1, 0.72))]


def _car(draw: np.random.Generator) -> list[Part]:
    roof, wheel = draw.uniform(-0.55, -0.4), draw.uniform(0.2, 0.26)
    front, back = draw.uniform(0.25, 0.5), draw.uniform(-0.7, -0.5)
    return [
        _polygon(Tone.BODY, (back - 0.2, 0), (back, roof), (front, roof), (front + 0.3, 0)),
        _polygon(
            Tone.LIGHT, (back - 0.02, -0.04), (back + 0.12, roof + 0.1), (-0.1, roof + 0.1), (-0.1, -0.04)
        ),
        _polygon(
            Tone.LIGHT, (0.0, -0.04), (0.0, roof + 0.1), (front - 0.04, roof + 0.1), (front + 0.14, -0.04)
        ),
        _polygon(Tone.BODY, (-1, 0), (0.9, -0.02), (1, 0.15), (1, 0.42), (-1, 0.42)),
        *(_ellipse(Tone.DARK, (x, 0.42), (wheel, wheel)) for x in (-0.52, 0.52)),
        *(_ellipse(Tone.SECOND, (x, 0.42), (wheel / 2, wheel / 2)) for x in (-0.52, 0.52)),
    ]


def _fish(draw: np.random.Generator) -> list[Part]:
    height, tail = draw.uniform(0.36, 0.5), draw.uniform(0.35, 0.5)
    return [
        _polygon(Tone.SECOND, (-0.45, 0), (-1, -tail), (-0.85, 0), (-1, tail)),
        _polygon(Tone.SECOND, (-0.2, -height + 0.08), (0.1, -height - 0.28), (0.4, -height + 0.12)),
        _ellipse(Tone.BODY, (0.2, 0), (0.78, height)),
        _polygon(Tone.SECOND, (0.2, 0.05), (-0.1, 0.3), (-0.15, 0.02)),
        _ellipse(Tone.LIGHT, (0.66, -0.1), (0.13, 0.13)),
        _ellipse(Tone.DARK, (0.69, -0.1), (0.07, 0.07)),
    ]


def _flower(draw: np.random.Generator) -> list[Part]:
    petals, start = int(draw.integers(5, 8)), draw.uniform(0, 72)
    length, width = draw.uniform(0.36, 0.42), draw.uniform(0.2, 0.27)
    parts = []
    for angle in start + np.arange(petals) * 360 / petals:
        out = 0.58 * np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
        parts.append(_ellipse(Tone.BODY, (out[0], out[1]), (length, width), turn=angle))
    return [*parts, _ellipse(Tone.SECOND, (0, 0), (0.3, 0.3)), _ellipse(Tone.DARK, (0, 0), (0.13, 0.13))]


def _house(draw: np.random.Generator) -> list[Part]:
    wall, eaves = draw.uniform(0.62, 0.78), draw.uniform(-0.2, 0)
    door, chimney = draw.uniform(-0.4, 0.1), draw.uniform(0.25, 0.45)
    return [
        _polygon(
            Tone.DARK, (chimney, -0.95), (chimney + 0.2, -0.95), (chimney + 0.2, eaves), (chimney, eaves)
        ),
        _polygon(Tone.BODY, (-wall, eaves), (wall, eaves), (wall, 0.9), (-wall, 0.9)),
        _polygon(Tone.SECOND, (-0.98, eaves), (0, draw.uniform(-0.98, -0.8)), (0.98, eaves)),
        _polygon(Tone.DARK, (door, 0.9), (door, 0.35), (door + 0.27, 0.35), (door + 0.27, 0.9)),
        _polygon(
            Tone.LIGHT, (wall - 0.36, 0.15), (wall - 0.1, 0.15), (wall - 0.1, 0.45), (wall - 0.36, 0.45)
        ),
    ]


def _mug(draw: np.random.Generator) -> list[Part]:
    foot, rim = draw.uniform(0.4, 0.58), draw.uniform(-0.75, -0.6)
    outer, inner = draw.uniform(0.36, 0.42), draw.uniform(0.2, 0.25)
    angles = np.deg2rad(np.linspace(-100, 100, 20))
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    handle = np.concatenate([outer * arc, inner * arc[::-1]]) + np.array([0.5, 0.08])
    band = draw.uniform(-0.1, 0.3)
    return [
        Part(handle, Tone.BODY),
        _polygon(Tone.BODY, (-0.7, rim), (0.58, rim), (foot, 0.8), (-foot - 0.1, 0.8)),
        _polygon(
            Tone.SECOND, (-0.64, band - 0.12), (0.53, band - 0.12), (0.51, band + 0.12), (-0.62, band + 0.12)
        ),
        _ellipse(Tone.LIGHT, (-0.06, rim), (0.64, 0.17)),
        _ellipse(Tone.DARK, (-0.06, rim), (0.53, 0.11)),
    ]


def _mushroom(draw: np.random.Generator) -> list[Part]:
    brim, stem = draw.uniform(0, 0.15), draw.uniform(0.18, 0.28)
    spots = [(draw.uniform(-0.6, 0.6), draw.uniform(-0.5, -0.15)) for _ in range(4)]
    return [
        _polygon(Tone.LIGHT, (-stem, brim), (stem, brim), (stem * 1.35, 0.9), (-stem * 1.35, 0.9)),
        _ellipse(Tone.BODY, (0, brim), (0.92, draw.uniform(0.75, 0.95)), arc=(180, 360)),
        *(_ellipse(Tone.SECOND, (x, brim + y), (0.12, 0.1)) for x, y in spots),
    ]


def _ball(draw: np.random.Generator) -> list[Part]:
    return [_ellipse(Tone.BODY, (0, 0), (0.9, 0.9)), _ellipse(Tone.LIGHT, (-0.3, -0.3), (0.2, 0.2))]


def _crate(draw: np.random.Generator) -> list[Part]:
    inset = draw.uniform(0.15, 0.3)
    corners = ((-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8))
    inner = tuple((x * (1 - inset), y * (1 - inset)) for x, y in corners)
    return [_polygon(Tone.BODY, *corners), _polygon(Tone.SECOND, *inner)]


def _cone(draw: np.random.Generator) -> list[Part]:
    base = draw.uniform(0.5, 0.8)
    return [
        _polygon(Tone.BODY, (0, -0.95), (base, 0.8), (-base, 0.8)),
        _polygon(Tone.LIGHT, (-base / 2, 0), (base / 2, 0), (base * 0.65, 0.3), (-base * 0.65, 0.3)),
    ]


def _post(draw: np.random.Generator) -> list[Part]:
    half = draw.uniform(0.1, 0.2)
    return [_polygon(Tone.BODY, (-half, -1), (half, -1), (half, 1), (-half, 1))]


def _stone(draw: np.random.Generator) -> list[Part]:
    angles = np.deg2rad(np.linspace(0, 330, 12))
    radii = draw.uniform(0.55, 0.95, 12)
    return [Part(np.stack([radii * np.cos(angles), 0.7 * radii * np.sin(angles)], axis=1), Tone.BODY)]


SHAPES: Mapping[str, Outline] = {
    "boat": _boat,
    "butterfly": _butterfly,
    "car": _car,
    "fish": _fish,
    "flower": _flower,
    "house": _house,
    "mug": _mug,
    "mushroom": _mushroom,
}
"""The classes, in the order of their indices."""

CLASSES = tuple(SHAPES)
DISTRACTORS: tuple[Outline, ...] = (_ball, _crate, _cone, _post, _stone)
