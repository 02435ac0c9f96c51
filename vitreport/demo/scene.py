"""Scenes: small photo-like pictures with one or two objects of known class and place.

Everything is drawn from a seed: the backdrop, its clutter and light, the objects' proportions, colours,
textures, sizes and places. Colour tells nothing of the class. Objects lie anywhere in the picture, also
cut by its edge, so that pointing at the middle finds few of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, unique

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vitreport.demo.backdrop import SIDE, Floats, backdrop, noise, soft
from vitreport.demo.shape import CLASSES, DISTRACTORS, SHAPES, Outline, Part, Tone

AREA = (0.05, 0.20)
"""Least and largest share of the picture that the visible part of an object covers."""

_FINE = 3  # outlines are drawn this much larger, then averaged
_REACH = 1.7  # an outline, turned and stretched, ends within so many units of its middle
_TRIAL = 24.0  # pixels a unit when the area of an outline is measured
_VISIBLE = 0.8  # least share of an object inside the picture
_PAIR_AREA = (0.05, 0.12)

Pixels = NDArray[np.uint8]


@unique
class Series(IntEnum):
    """What scenes are drawn for: the first number of their seed, so that no scene serves two purposes."""

    TRAINING = 0
    CARD, CARD_PAIRS = 1, 2
    DEMONSTRATION = 5


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it.

    Attributes:
        pixels: (height, width, 3) uint8.
        mask: (height, width) uint8: 0 is background, k is class k - 1.
        labels: the classes in it, the first placed first.
    """

    pixels: Pixels
    mask: Pixels
    labels: tuple[int, ...]

    def area(self, label: int) -> float:
        """Share of the picture that the object of a class covers."""
        return float((self.mask == label + 1).mean())


def make_scene(seed: Sequence[int], labels: Sequence[int] | None = None, objects: int = 1) -> Scene:
    """Draws one scene.

    Args:
        seed: any numbers; equal numbers give equal scenes with the same versions of numpy and Pillow.
        labels: classes of the objects, all different; None draws them.
        objects: one or two, where `labels` does not say.
    """
    draw = np.random.default_rng(list(seed))
    if labels is None:
        labels = draw.permutation(len(CLASSES))[:objects].tolist()
    picture = backdrop(draw)
    for _ in range(draw.integers(0, 4)):
        shape = DISTRACTORS[draw.integers(len(DISTRACTORS))]
        _paint(picture, _thing(draw, shape, _log_uniform(draw, 0.006, 0.03), visible=0.4), draw)
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    for label, thing in zip(labels, _objects(draw, labels), strict=True):
        _paint(picture, thing, draw)
        mask[thing.cover >= 0.5] = label + 1
    return Scene(_expose(picture, draw), mask, tuple(labels))


@dataclass(frozen=True)
class _Thing:
    """A thing in its place: how much it covers of each pixel, and its tone there."""

    cover: Floats
    tones: Floats  # (height, width, tones): how much each tone covers


def _objects(draw: np.random.Generator, labels: Sequence[int]) -> list[_Thing]:
    """The objects; none hides another. Where one cannot be placed, all are placed anew."""
    low, high = AREA if len(labels) == 1 else _PAIR_AREA
    while True:
        things: list[_Thing] = []
        taken = np.zeros((SIDE, SIDE), dtype=bool)
        for label in labels:
            thing = _thing(draw, SHAPES[CLASSES[label]], _log_uniform(draw, low, high), _VISIBLE)
            inside = thing.cover >= 0.5
            if not AREA[0] <= inside.mean() <= AREA[1] or (inside & taken).any():
                break
            taken |= inside
            things.append(thing)
        else:
            return things


def _thing(draw: np.random.Generator, shape: Outline, area: float, visible: float) -> _Thing:
    """Places a thing of about `area` of the picture, at least `visible` of it inside."""
    parts = _posed(draw, shape(draw))
    pixels = area * SIDE**2
    size = _TRIAL * float(np.sqrt(pixels / _raster(parts, _TRIAL).sum()))
    tile = _raster(parts, size)
    cover = tile.sum(-1)
    half = len(tile) / 2
    places: list[tuple[int, int]] = []
    while len(places) < 2:
        top, left = np.round(draw.uniform(0, SIDE, 2) - half).astype(int).tolist()
        if _window(cover, top, left).sum() >= visible * pixels:
            places.append((top, left))
    # Things fit near the middle more often than at the edge; half the time the outer of two evens it out.
    outer = max(places, key=lambda place: max(abs(at + half - SIDE / 2) for at in place))
    tones = _window(tile, *(outer if draw.random() < 0.5 else places[0]))
    return _Thing(tones.sum(-1), tones)


def _posed(draw: np.random.Generator, parts: list[Part]) -> list[Part]:
    """Turned, stretched, and in half of the cases mirrored."""
    angle = np.deg2rad(np.clip(draw.normal(0, 12), -30, 30))
    stretch = np.exp(draw.normal(0, 0.08))
    flip = draw.choice([-1.0, 1.0])
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.array([[cos, sin], [-sin, cos]]) * [[flip * stretch], [1 / stretch]]
    return [Part(part.points @ matrix, part.tone) for part in parts]


def _raster(parts: list[Part], size: float) -> Floats:
    """How much each tone covers of each pixel, (side, side, tones); `size` pixels a unit, in the middle."""
    side = 2 * int(np.ceil(_REACH * size))
    canvas = Image.new("L", (side * _FINE, side * _FINE), 0)
    pen = ImageDraw.Draw(canvas)
    for part in parts:
        corners = (part.points * size + side / 2) * _FINE
        pen.polygon([(x, y) for x, y in corners.tolist()], fill=int(part.tone) + 1)
    fine = np.asarray(canvas)
    tones = [Image.fromarray((fine == tone + 1) * np.uint8(255)).reduce(_FINE) for tone in Tone]
    return np.stack([np.asarray(tone) for tone in tones], axis=-1).astype(np.float32) / 255


def _window(tile: Floats, top: int, left: int) -> Floats:
    """The picture's part of a tile whose corner lies at (top, left) of the picture; 0 elsewhere."""
    picture = np.zeros((SIDE, SIDE, *tile.shape[2:]), dtype=tile.dtype)
    rows, cols = (slice(max(at, 0), min(at + len(tile), SIDE)) for at in (top, left))
    picture[rows, cols] = tile[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]
    return picture


def _paint(picture: Floats, thing: _Thing, draw: np.random.Generator) -> None:
    """Puts a thing, its texture, shading and shadow into the picture."""
    rows, cols = np.nonzero(thing.cover)
    if len(rows) == 0:
        return
    around = picture[rows, cols].mean(0)
    colours = _colours(draw, around)
    down, right = int(draw.integers(1, 5)), int(draw.integers(-4, 5))
    shadow = _window(thing.cover, down, right)
    picture *= 1 - draw.uniform(0.1, 0.45) * soft(shadow)[..., None]
    body = thing.tones @ colours / np.maximum(thing.cover, 1e-6)[..., None]
    body *= (1 + _texture(draw))[..., None]
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    angle, strength = draw.uniform(0, 2 * np.pi), draw.uniform(0, 0.35)
    slope = np.cos(angle) * (x - cols.mean()) / (np.ptp(cols) + 1) + np.sin(angle) * (y - rows.mean()) / (
        np.ptp(rows) + 1
    )
    body *= (1 + strength * slope)[..., None]
    picture *= 1 - thing.cover[..., None]
    picture += thing.cover[..., None] * np.clip(body, 0, 1)


def _colours(draw: np.random.Generator, around: Floats) -> Floats:
    """One colour a tone, (tones, 3); the first stands out from what is around it."""
    while True:
        body, second = draw.uniform(0.05, 0.95, (2, 3))
        if np.abs(body - around).max() > 0.25 and np.abs(second - body).max() > 0.2:
            break
    dark, light = draw.uniform(0, 0.25), draw.uniform(0.75, 1)
    return np.array([body, second, [dark] * 3, [light] * 3], dtype=np.float32)


def _texture(draw: np.random.Generator) -> Floats:
    """Stripes, checks, speckle or none, as relative brightness around 0."""
    kind, strength = draw.integers(4), np.float32(draw.uniform(0.05, 0.25))
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    angle, period = draw.uniform(0, np.pi), draw.uniform(3, 9)
    along = np.sin((np.cos(angle) * x + np.sin(angle) * y) * 2 * np.pi / period)
    across = np.sin((np.cos(angle) * y - np.sin(angle) * x) * 2 * np.pi / period)
    pattern: Floats = np.zeros((SIDE, SIDE), dtype=np.float32)
    if kind == 0:
        pattern = along
    elif kind == 1:
        pattern = np.sign(along * across)
    elif kind == 2:
        pattern = noise(draw, int(draw.integers(16, 49)))
    return np.multiply(strength, pattern)


def _expose(picture: Floats, draw: np.random.Generator) -> Pixels:
    """Light from one side, a colour cast, a darker rim, blur and noise: what a camera adds."""
    y, x = (np.mgrid[0:SIDE, 0:SIDE] / SIDE - 0.5).astype(np.float32)
    angle = draw.uniform(0, 2 * np.pi)
    light = 1 + draw.uniform(0, 0.5) * (np.cos(angle) * x + np.sin(angle) * y)
    light *= draw.uniform(0.75, 1.15) * (1 - draw.uniform(0, 0.6) * (x**2 + y**2))
    picture = picture * light[..., None] * draw.uniform(0.88, 1.08, 3).astype(np.float32)
    if draw.random() < 0.4:
        picture = soft(picture)
    picture = picture + draw.normal(0, draw.uniform(0.005, 0.03), picture.shape)
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


def _log_uniform(draw: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(draw.uniform(np.log(low), np.log(high))))
