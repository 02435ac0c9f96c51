from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from vitreport.demo.backdrop import SIDE
from vitreport.demo.scene import AREA, Scene, make_scene
from vitreport.demo.shape import CLASSES, SHAPES


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene((91, number), [number % len(CLASSES)]) for number in range(400)]


@pytest.fixture(scope="module")
def pairs() -> list[Scene]:
    return [make_scene((92, number), objects=2) for number in range(60)]


def test_equal_seeds_give_equal_scenes_and_others_give_others():
    first, again, other = make_scene((1, 2)), make_scene((1, 2)), make_scene((1, 3))
    assert np.array_equal(first.pixels, again.pixels) and np.array_equal(first.mask, again.mask)
    assert first.labels == again.labels
    assert not np.array_equal(first.pixels, other.pixels)


def test_a_scene_is_a_picture_and_a_mask_of_its_class(scenes):
    for scene in scenes:
        assert scene.pixels.shape == (SIDE, SIDE, 3) and scene.pixels.dtype == np.uint8
        assert scene.mask.shape == (SIDE, SIDE) and scene.mask.dtype == np.uint8
        assert set(np.unique(scene.mask)) == {0, scene.labels[0] + 1}


def test_an_object_covers_5_to_20_percent(scenes, pairs):
    areas = [scene.area(label) for scene in scenes + pairs for label in scene.labels]
    assert min(areas) >= AREA[0] and max(areas) <= AREA[1]
    assert np.quantile(areas, 0.9) > 2 * np.quantile(areas, 0.1), "sizes vary"


def test_pointing_at_the_middle_finds_few_objects(scenes):
    """Where objects sit in the middle, a centred Gaussian beats any technique."""
    middle = slice(SIDE // 2 - 1, SIDE // 2 + 1)
    hits = np.mean([(scene.mask[middle, middle] > 0).mean() for scene in scenes])
    assert hits <= 0.2


def test_objects_lie_evenly_over_the_picture(scenes):
    """The rim, and most of all the corners, cannot be covered as often by objects that are mostly inside."""
    cover = np.mean([scene.mask > 0 for scene in scenes], axis=0)
    parts = cover.reshape(8, 12, 8, 12).mean((1, 3))
    inner = parts[1:-1, 1:-1]
    assert inner.min() > 0.5 * inner.mean()
    assert inner.max() < 1.5 * inner.mean()
    assert parts.min() > 0.1 * inner.mean()


def test_two_objects_are_of_two_classes_and_both_are_in_the_mask(pairs):
    for scene in pairs:
        first, second = scene.labels
        assert first != second
        assert set(np.unique(scene.mask)) == {0, first + 1, second + 1}


def test_colour_does_not_tell_the_class(scenes):
    """The class of the nearest mean colour, learnt on one half, is right hardly more often than by chance."""
    colours = np.array([scene.pixels[scene.mask > 0].mean(0) for scene in scenes])
    labels = np.array([scene.labels[0] for scene in scenes])
    half = len(scenes) // 2
    means = np.array([colours[:half][labels[:half] == label].mean(0) for label in range(len(CLASSES))])
    nearest = np.linalg.norm(colours[half:, None] - means, axis=2).argmin(1)
    assert (nearest == labels[half:]).mean() < 0.25


@pytest.mark.parametrize("name", SHAPES)
def test_an_outline_is_drawn_anew_and_stays_in_its_square(name):
    draw = np.random.default_rng(0)
    drawn = [np.concatenate([part.points for part in SHAPES[name](draw)]) for _ in range(50)]
    assert max(np.abs(points).max() for points in drawn) <= 1.2
    assert any(a.shape != b.shape or not np.allclose(a, b) for a, b in pairwise(drawn))
