"""The census of outlier tokens, and how much of a technique's evidence lies on them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import median_abs_deviation

from tests.analysis.planted_run import even_scores, image_id, plant
from vitreport.analysis.outliers import (
    SPREADS,
    TIMES,
    Census,
    census,
    mass_on_outliers,
    outlier_mass,
    outlier_tokens,
    robust_z,
)
from vitreport.analysis.statistics import Bootstrap

FEW = Bootstrap(resamples=500)
BLOCKS, ROWS, COLS = 3, 5, 6


def norms_row(norms: np.ndarray) -> dict[str, object]:
    blocks, rows, cols = norms.shape
    shape = {"blocks": blocks, "prefix": 1, "rows": rows, "cols": cols}
    return {**shape, "prefix_values": np.ones(blocks, np.float32), "values": np.float32(norms).ravel()}


def found_in(tmp_path, norms: np.ndarray, failed: tuple[int, ...] = (), quarantined: tuple[int, ...] = ()):
    rows = [{} if number in failed else norms_row(one) for number, one in enumerate(norms)]
    return census(
        plant(
            tmp_path / "run",
            scores=even_scores([0] * len(norms)),
            grid=norms.shape[2:],
            observations={"token_norms": rows},
            quarantined=quarantined,
        ),
        FEW,
    )


def planted(images: int = 20) -> np.ndarray:
    """In the last block two long tokens in every second image, always in the same places."""
    norms = np.random.default_rng(0).normal(10, 0.5, (images, BLOCKS, ROWS, COLS))
    norms[::2, -1, 0, 0] = 60
    norms[::2, -1, 4, 5] = 40
    return norms


def test_the_robust_score_is_that_of_the_textbook():
    values = np.random.default_rng(0).gamma(2, 3, (4, 49))
    spread = median_abs_deviation(values, axis=1, scale="normal")
    expected = (values - np.median(values, axis=1)[:, None]) / spread[:, None]
    assert robust_z(values) == pytest.approx(expected, rel=1e-4)


def test_where_most_tokens_are_equally_long_none_is_an_outlier():
    values = np.full((1, 20), 5.0)
    values[0, 0] = 500
    assert (robust_z(values) == 0).all() and not outlier_tokens(values).any()


def test_an_outlier_is_far_and_much_longer():
    rng = np.random.default_rng(0)
    values = np.tile(rng.normal(10, 0.1, 99), (3, 1))
    middle = np.median(values[0])
    values[0, 0] = TIMES * middle * 0.98
    values[1, 0] = TIMES * middle * 1.02
    assert robust_z(values)[0, 0] > SPREADS
    assert outlier_tokens(values).sum(axis=1).tolist() == [0, 1, 0]
    wide = np.tile(rng.normal(10, 3, 99), (2, 1))
    wide[0, 0] = 18
    wide[1, 0] = 90
    assert outlier_tokens(wide)[:, 0].tolist() == [False, True], "as long as that is usual here"


def test_planted_outliers_are_counted_block_by_block(tmp_path):
    norms = planted()
    found = found_in(tmp_path, norms)
    assert found is not None and found.blocks == BLOCKS
    assert found.images == (0, 0, 10)
    assert [one.value for one in found.patches] == pytest.approx([0, 0, 10 * 2 / (20 * 30)])
    expected = np.zeros((ROWS, COLS))
    expected[0, 0] = expected[4, 5] = 0.5
    assert np.array_equal(found.places(2), expected)
    assert found.examples(2) == tuple(image_id(number) for number in range(0, 12, 2))
    assert found.examples(0) == ()
    middle = np.median(norms.reshape(20, BLOCKS, -1), axis=-1)
    assert found.longest == pytest.approx(np.mean(norms.max(axis=(2, 3)) / middle, axis=0), rel=1e-4)


def test_images_that_failed_or_are_quarantined_do_not_count(tmp_path):
    found = found_in(tmp_path, planted(8), failed=(2,), quarantined=(5,))
    assert found is not None
    assert found.ids == tuple(image_id(number) for number in (0, 1, 3, 4, 6, 7))
    assert found.images == (0, 0, 3)


def test_a_run_of_several_shards_is_one_census(tmp_path):
    norms = np.random.default_rng(0).normal(10, 0.5, (300, 1, 3, 4))
    norms[[10, 280], 0, 1, 1] = 90
    found = found_in(tmp_path, norms)
    assert found is not None and found.images == (2,)
    assert found.examples(0) == (image_id(10), image_id(280))


def test_without_the_observation_there_is_no_census(tmp_path):
    assert census(plant(tmp_path / "run", scores=even_scores([0])), FEW) is None
    assert found_in(tmp_path, planted(3), failed=(0, 1, 2)) is None


def census_of(outlier: np.ndarray) -> Census:
    return Census(tuple(map(image_id, range(len(outlier)))), outlier, (), (), ())


def test_mass_on_outliers_is_the_sum_over_them():
    rng = np.random.default_rng(0)
    outlier = rng.random((12, 2, 4, 5)) < 0.2
    outlier[3] = False
    shares = rng.random((12, 4, 5)).astype(np.float32)
    shares /= shares.sum(axis=(1, 2), keepdims=True)
    shares[5] = np.nan
    found = census_of(outlier)
    order = [*range(11, -1, -1)]
    mass = outlier_mass([found.ids[n] for n in order], shares[order], found, block=0)
    for number in range(12):
        total = sum(
            float(shares[number, r, c]) for r in range(4) for c in range(5) if outlier[number, 0, r, c]
        )
        none = not outlier[number, 0].any() or number == 5
        assert mass[number] == pytest.approx(np.nan if none else total, nan_ok=True, rel=1e-5)


def test_a_technique_that_lights_up_on_outliers_is_told_from_one_that_does_not():
    outlier = np.zeros((30, 1, 5, 5), bool)
    outlier[:20, 0, 0, :2] = True
    rng = np.random.default_rng(0)
    even = rng.uniform(0.9, 1.1, (30, 5, 5))
    lit = even.copy()
    lit[:, 0, :2] += 10
    shares = [(one / one.sum(axis=(1, 2), keepdims=True)).astype(np.float32) for one in (even, lit)]
    found = census_of(outlier)
    masses = np.stack([outlier_mass(found.ids, one, found) for one in shares] + [np.full(30, np.nan)])
    plain, bright = mass_on_outliers(("plain", "bright", "failed"), masses, found, FEW)
    assert (plain.technique, bright.technique) == ("plain", "bright"), "one without maps is left out"
    assert (plain.n, plain.patches, plain.block) == (20, pytest.approx(2 / 25), 0)
    assert plain.ratio.value == pytest.approx(1, abs=0.05) and plain.p > 0.001
    expected = shares[1][:20, 0, :2].sum(axis=1).mean()
    assert bright.mass.value == pytest.approx(expected, rel=1e-4)
    assert bright.ratio.value == pytest.approx(expected / (2 / 25), rel=1e-4) and bright.p < 1e-6


def test_without_outliers_there_is_nothing_to_say():
    found = census_of(np.zeros((4, 1, 2, 2), bool))
    masses = outlier_mass(found.ids, np.full((4, 2, 2), 0.25, np.float32), found)[None]
    assert mass_on_outliers(("one",), masses, found, FEW) == ()
