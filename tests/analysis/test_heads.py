"""Means over the images of what each head's attention is like."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from tests.analysis.planted_run import even_scores, plant
from vitreport.analysis.heads import QUANTITIES, head_atlas
from vitreport.analysis.statistics import Bootstrap

FEW = Bootstrap(resamples=500)
BLOCKS, HEADS = 5, 3


def tables(images: int = 12) -> dict[str, np.ndarray]:
    """Distance grows from block to block; head 1 of block 3 does what its neighbours do."""
    rng = np.random.default_rng(0)
    found = {name: rng.random((images, BLOCKS, HEADS)) for name in QUANTITIES}
    found["distance"] += 10 * np.arange(BLOCKS)[:, None]
    found["redundancy"] *= 0.5
    found["redundancy"][:, 3, 1] = 0.97
    return found


def run_of(tmp_path, found: dict[str, np.ndarray], failed: tuple[int, ...] = (), quarantined=()):
    count = len(found["entropy"])
    rows = [
        {}
        if number in failed
        else {
            "blocks": BLOCKS,
            "heads": HEADS,
            **{name: np.float32(found[name][number]).ravel() for name in QUANTITIES},
        }
        for number in range(count)
    ]
    return plant(
        tmp_path / "run",
        scores=even_scores([0] * count),
        observations={"attention_statistics": rows},
        quarantined=quarantined,
    )


def test_means_are_those_of_the_images(tmp_path):
    given = tables()
    found = head_atlas(run_of(tmp_path, given, failed=(2,), quarantined=(5,)), FEW)
    used = [number for number in range(12) if number not in (2, 5)]
    assert found is not None and found.n == 10
    for name in QUANTITIES:
        assert found.heads[name] == pytest.approx(given[name][used].mean(axis=0), rel=1e-5)
        for block in range(BLOCKS):
            one = found.blocks[name][block]
            assert one.value == pytest.approx(given[name][used, block].mean(), rel=1e-5)
            assert one.low is not None and one.high is not None and one.low <= one.value <= one.high


def test_distance_that_grows_is_told_from_distance_that_does_not(tmp_path):
    growing = head_atlas(run_of(tmp_path / "a", tables()), FEW)
    assert growing is not None and growing.growth.value == 1 and growing.growth.low == 1
    given = tables()
    given["distance"] = np.random.default_rng(1).random(given["distance"].shape)
    level = head_atlas(run_of(tmp_path / "b", given), FEW)
    expected = [spearmanr(image.mean(axis=1), np.arange(BLOCKS)).statistic for image in given["distance"]]
    assert level is not None and level.growth.value == pytest.approx(np.mean(expected))
    assert level.growth.low is not None and level.growth.low < 0 < (level.growth.high or 0)


def test_the_most_redundant_heads_come_first(tmp_path):
    given = tables()
    found = head_atlas(run_of(tmp_path, given), FEW)
    assert found is not None
    first, second = found.most_redundant(2)
    assert (first.block, first.head, first.value) == (3, 1, pytest.approx(0.97))
    means = given["redundancy"].mean(axis=0)
    means[3, 1] = 0
    assert (second.block, second.head) == np.unravel_index(means.argmax(), means.shape)
    assert len(found.most_redundant(99)) == BLOCKS * HEADS


def test_what_is_undefined_stays_so_and_does_not_spread(tmp_path):
    """One head a block has no other head to be like, and one image's number is missing."""
    given = tables()
    given["redundancy"][:, :, 2] = np.nan
    given["entropy"][0, 0, 0] = np.nan
    found = head_atlas(run_of(tmp_path, given), FEW)
    assert found is not None
    assert np.isnan(found.heads["redundancy"][:, 2]).all()
    assert np.isfinite(found.heads["redundancy"][:, :2]).all()
    assert len(found.most_redundant(99)) == BLOCKS * (HEADS - 1)
    assert found.heads["entropy"][0, 0] == pytest.approx(given["entropy"][1:, 0, 0].mean(), rel=1e-5)
    assert found.blocks["redundancy"][1].value == pytest.approx(
        given["redundancy"][:, 1, :2].mean(), rel=1e-5
    )


def test_one_image_has_means_and_no_intervals(tmp_path):
    found = head_atlas(run_of(tmp_path, tables(1)), FEW)
    assert found is not None and found.n == 1 and found.blocks["entropy"][0].low is None


def test_without_the_observation_there_is_no_atlas(tmp_path):
    assert head_atlas(plant(tmp_path / "run", scores=even_scores([0])), FEW) is None
    assert head_atlas(run_of(tmp_path, tables(2), failed=(0, 1)), FEW) is None
