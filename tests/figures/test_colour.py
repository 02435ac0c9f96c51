from __future__ import annotations

import io
import re

import numpy as np
from PIL import Image

from vitreport.figures.colour import (
    LEVELS,
    coloured,
    is_small,
    large_map,
    lookup_table,
    small_map,
    steps,
)
from vitreport.figures.scale import Scale
from vitreport.report.template_files import template_text

DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
"""Of linear red, green and blue: Machado, Oliveira and Fernandes (2009)."""


def linear(table: np.ndarray) -> np.ndarray:
    shares = table / 255
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


def lightness(table: np.ndarray) -> np.ndarray:
    """CIE L*, 0 to 100."""
    return 116 * np.cbrt(linear(table) @ np.array([0.2126, 0.7152, 0.0722])) - 16


def test_the_sequential_colours_only_get_lighter() -> None:
    assert (np.diff(lightness(lookup_table(signed=False))) > 0).all()


def test_the_diverging_colours_get_lighter_in_even_steps_and_are_grey_at_zero() -> None:
    table = lookup_table(signed=True, levels=65)
    levels = lightness(table)
    grown = np.diff(levels[::8])
    assert (np.diff(levels) > 0).all()
    assert grown.max() < 2 * grown.min()
    assert np.ptp(table[32]) == 0


def test_above_and_below_zero_stay_apart_in_greyscale_and_without_red_and_green() -> None:
    table = lookup_table(signed=True, levels=65)
    levels = lightness(table)
    assert (levels[40:] - levels[24::-1] > 15).all()
    seen = np.clip(linear(table) @ DEUTERANOPIA.T, 0, 1)
    assert (seen[:28, 2] > seen[:28, 0] * 1.2).all()
    assert (seen[37:, 0] > seen[37:, 2] * 1.2).all()


def test_the_legends_of_the_style_sheet_are_the_colours_of_the_maps() -> None:
    tokens = template_text("css/tokens.css")
    for name, signed in (("sequential", False), ("diverging", True)):
        match = re.search(rf"--ramp-{name}: ([^;]+);", tokens)
        assert match
        stops = match[1].split(", ")
        assert stops == ["#{:02x}{:02x}{:02x}".format(*colour) for colour in lookup_table(signed, len(stops))]


def test_values_beyond_the_scale_take_the_colour_of_its_end() -> None:
    values = np.float32([-5, 0, 1, 9])
    assert steps(values, Scale(0, 1)).tolist() == [0, 0, LEVELS - 1, LEVELS - 1]


def test_a_scale_without_extent_gives_one_colour() -> None:
    assert not steps(np.float32([1, 2]), Scale(1, 1)).any()


def test_a_small_picture_has_one_pixel_a_patch_and_the_right_colours() -> None:
    values = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    with Image.open(io.BytesIO(small_map(values, Scale(-1, 1), signed=True))) as picture:
        assert picture.size == (4, 3)
        shown = np.asarray(picture.convert("RGB"))
    assert (shown == lookup_table(signed=True)[steps(values, Scale(-1, 1))]).all()


def test_a_patch_grid_map_costs_a_few_hundred_bytes() -> None:
    values = np.random.default_rng(0).random((14, 14)).astype(np.float32)
    assert len(small_map(values, Scale(0, 1), signed=False)) < 300


def test_equal_maps_give_equal_bytes() -> None:
    values = np.random.default_rng(0).random((14, 14)).astype(np.float32)
    for draw in (small_map, large_map):
        assert draw(values, Scale(0, 1), False) == draw(values.copy(), Scale(0, 1), False)


def test_maps_at_pixel_resolution_are_not_embedded() -> None:
    assert is_small(np.zeros((64, 14), np.float32))
    assert not is_small(np.zeros((224, 224), np.float32))
    with Image.open(io.BytesIO(large_map(np.eye(224, dtype=np.float32), Scale(0, 1), False))) as picture:
        assert (picture.format, picture.size) == ("WEBP", (224, 224))


def test_maps_are_coloured_in_256_steps_for_sheets() -> None:
    values = np.linspace(0, 1, 256, dtype=np.float32)[None]
    assert len(np.unique(coloured(values, Scale(0, 1), False)[0], axis=0)) > 200
