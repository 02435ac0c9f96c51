"""Shortcut screening: a planted corner is flagged, chance is not, and the p value is exact."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from vitreport.analysis.outcomes import NO_CLASS
from vitreport.analysis.regions import CORNERS, regions
from vitreport.analysis.shortcuts import (
    DRAWS,
    EXACT,
    LEVEL,
    RATIO,
    Screening,
    chernoff_limit,
    corner_p_values,
    screen,
)
from vitreport.analysis.statistics import FEWEST, Bootstrap

FEW = Bootstrap(resamples=500)


def counted(masses: np.ndarray) -> np.ndarray:
    """The p values by going through all ways to draw one corner from every image."""
    corners, images = masses.shape
    reached = np.zeros(corners)
    ways = list(product(range(corners), repeat=images))
    for way in ways:
        total = sum(masses[corner, image] for image, corner in enumerate(way))
        reached += total >= masses.sum(axis=1) - 1e-12
    return reached / len(ways)


def noise(rng: np.random.Generator, images: int, grid: tuple[int, int] = (8, 8)) -> np.ndarray:
    """Evidence in one place a picture, anywhere; heavy tails, as maps have."""
    shares = rng.gamma(0.3, 1, (images, *grid))
    return (shares / shares.sum(axis=(1, 2), keepdims=True)).astype(np.float32)


def screened(shares: np.ndarray, classes: np.ndarray, seed: int = 0) -> Screening:
    ids = tuple(f"{number:03d}" for number in range(len(shares)))
    return screen("technique", ids, shares, classes, regions(shares.shape[1:]), FEW, seed)


@pytest.mark.parametrize("images", [1, 3, 6])
def test_few_images_have_the_p_value_of_all_exchanges(images):
    masses = np.random.default_rng(images).random((4, images))
    assert corner_p_values(masses, np.random.default_rng(0)) == pytest.approx(counted(masses))


def test_many_images_have_nearly_the_exact_p_value():
    masses = np.random.default_rng(0).random((4, EXACT + 1))
    masses[0] += 0.2
    exact = np.zeros(1)
    for image in masses.T:
        exact = np.add.outer(exact, image).ravel()
    expected = np.array([(exact >= total - 1e-12).mean() for total in masses.sum(axis=1)])
    found = corner_p_values(masses, np.random.default_rng(0))
    assert np.abs(found - expected).max() < 4 * np.sqrt(0.25 / DRAWS)


def test_below_what_draws_can_show_the_limit_is_never_below_the_exact_p_value():
    """Twelve images that all favour one corner: one exchange in 4 to the power of 12 reaches as much."""
    masses = np.full((4, 12), 0.1)
    masses[2] = 0.7
    found = corner_p_values(masses, np.random.default_rng(0))
    assert found[2] == pytest.approx(4.0**-12, rel=0.01)
    assert found[2] >= 4.0**-12 * (1 - 1e-9)
    assert found[[0, 1, 3]] == pytest.approx(1)
    rng = np.random.default_rng(4)
    for _ in range(20):
        small = rng.gamma(0.5, 1, (4, EXACT))
        small[1] += 2
        exact = corner_p_values(small, rng)
        for corner in range(4):
            assert chernoff_limit(small, corner) >= exact[corner] * (1 - 1e-9)


def test_corners_that_are_all_alike_stand_out_nowhere():
    for images in (FEWEST, EXACT + 5):
        assert corner_p_values(np.full((4, images), 0.3), np.random.default_rng(0)) == pytest.approx(1)


def test_under_chance_p_values_are_not_too_small():
    rng = np.random.default_rng(5)
    p_values = np.concatenate([corner_p_values(rng.gamma(0.3, 1, (4, 15)), rng)[:1] for _ in range(400)])
    for level in (0.05, 0.2, 0.5):
        spread = np.sqrt(level * (1 - level) / 400)
        assert abs((p_values <= level).mean() - level) < 3.5 * spread


def test_a_planted_mark_is_flagged_first_with_its_class_and_images():
    rng = np.random.default_rng(2)
    shares = noise(rng, 60)
    classes = np.arange(60) % 3
    shares[classes == 1, -1, -1] += 2
    shares /= shares.sum(axis=(1, 2), keepdims=True)
    found = screened(shares, classes)
    first = found.flagged[0]
    assert (first.index, first.corner, first.n) == (1, "lower right corner", 20)
    assert first.p < 1e-6 and first.corrected < LEVEL and first.ratio.value > RATIO
    assert first.ratio.low is not None and 3 < first.ratio.low < first.ratio.value
    held = shares[:, -2:, -2:].sum(axis=(1, 2))
    most = sorted((n for n in range(60) if classes[n] == 1), key=lambda n: -held[n])[:6]
    assert first.examples == tuple(f"{n:03d}" for n in most)
    assert first.share == pytest.approx(held[classes == 1].mean(), rel=1e-5)
    assert {test.index for test in found.flagged} <= {1, None}
    assert len(found.tests) == 4 * 4


def test_the_ratio_is_to_the_mean_of_the_three_other_corners():
    shares = np.zeros((FEWEST, 8, 8), np.float32)
    for image in range(FEWEST):
        shares[image, 0, 0], shares[image, 0, 7], shares[image, 7, 0], shares[image, 7, 7] = (
            0.4,
            0.1,
            0.2,
            0.3,
        )
    tests = {test.corner: test for test in screened(shares, np.full(FEWEST, NO_CLASS)).tests}
    expected = dict(zip(CORNERS, (0.4 / 0.2, 0.1 / 0.3, 0.2 / (0.8 / 3), 0.3 / (0.7 / 3)), strict=True))
    for corner, ratio in expected.items():
        assert tests[corner].ratio.value == pytest.approx(ratio, rel=1e-5)


def test_an_edge_that_speaks_for_a_class_is_no_corner():
    """Sky or ground: two corners alike, however certain, stay below three times the mean of the others."""
    rng = np.random.default_rng(3)
    shares = noise(rng, 200)
    shares[:, -2:, :] += 1
    shares /= shares.sum(axis=(1, 2), keepdims=True)
    found = screened(shares, np.zeros(200, int))
    assert not found.flagged
    assert min(test.corrected for test in found.tests) < LEVEL, "certain it is"


def test_too_few_images_are_listed_and_not_tested():
    rng = np.random.default_rng(0)
    shares = noise(rng, 14)
    shares[:3] = np.nan
    classes = np.array([2] * 3 + [0] * 7 + [1] * 4)
    found = screened(shares, classes)
    assert {test.index for test in found.tests} == {None, 0}
    assert found.untested == {1: 4}
    assert FEWEST > 4
    assert screened(shares[:3], classes[:3]).tests == ()


def test_one_image_alone_flags_nothing():
    assert screened(noise(np.random.default_rng(0), 1), np.zeros(1, int)).tests == ()


def test_a_grid_without_corners_is_not_screened():
    shares = noise(np.random.default_rng(0), 20, (1, 9))
    assert screened(shares, np.zeros(20, int)) == Screening("technique", (), {})


def test_a_corner_with_all_the_evidence_has_an_infinite_ratio():
    shares = np.zeros((12, 4, 4), np.float32)
    shares[:, 0, 0] = 1
    first = screened(shares, np.zeros(12, int)).flagged[0]
    assert first.ratio.value == np.inf and first.ratio.low is None
    assert first.corner == "upper left corner" and first.share == 1


def test_the_same_seed_gives_the_same_numbers_and_a_class_does_not_hang_on_the_others():
    rng = np.random.default_rng(8)
    shares, classes = noise(rng, 40), np.arange(40) % 2
    one, again = screened(shares, classes), screened(shares, classes)
    assert one == again
    alone = screened(shares[classes == 1], classes[classes == 1])
    p_values = {test.corner: test.p for test in one.tests if test.index == 1}
    assert {test.corner: test.p for test in alone.tests if test.index == 1} == p_values


def test_chance_is_flagged_no_more_often_than_promised():
    """A hundred data sets of four classes without any shortcut."""
    rng = np.random.default_rng(11)
    flags = sum(bool(screened(noise(rng, 48), np.arange(48) % 4, seed).flagged) for seed in range(100))
    assert flags <= 4


def test_with_a_thousand_classes_a_mark_is_still_found():
    """Of 10 images each; draws alone could not show p values that survive 4,004 tests."""
    rng = np.random.default_rng(12)
    shares = noise(rng, 10_000)
    classes = np.arange(10_000) % 1000
    shares[classes == 77] *= 0.05
    shares[classes == 77, 0, -1] += 2
    shares /= shares.sum(axis=(1, 2), keepdims=True)
    found = screened(shares, classes)
    assert [(test.index, test.corner) for test in found.flagged] == [(77, "upper right corner")]
