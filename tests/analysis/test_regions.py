"""Centre, border and corners of grids of every shape, and what lies in them."""

from __future__ import annotations

import numpy as np
import pytest

from vitreport.analysis.outcomes import NO_CLASS
from vitreport.analysis.regions import BORDER, CENTRE, CORNERS, groups, placements, regions
from vitreport.analysis.statistics import FEWEST, Bootstrap

FEW = Bootstrap(resamples=1000)


@pytest.mark.parametrize(
    ("grid", "corner", "centre", "ring"),
    [
        ((8, 8), (2, 2), (4, 4), (1, 1)),
        ((14, 14), (4, 4), (6, 6), (2, 2)),
        ((37, 37), (9, 9), (19, 19), (5, 5)),
        ((6, 20), (2, 5), (2, 10), (1, 3)),
        ((2, 2), (1, 1), (0, 0), (1, 1)),
        ((3, 5), (1, 1), (1, 3), (1, 1)),
    ],
)
def test_regions_are_as_large_as_they_are_said_to_be(grid, corner, centre, ring):
    where = regions(grid)
    assert where.corners == CORNERS
    patches = grid[0] * grid[1]
    for name in CORNERS:
        assert where.masks[name].sum() == corner[0] * corner[1]
    assert where.masks[CENTRE].sum() == centre[0] * centre[1]
    inside = max(0, grid[0] - 2 * ring[0]) * max(0, grid[1] - 2 * ring[1])
    assert where.masks[BORDER].sum() == patches - inside
    assert where.size(CENTRE) == centre[0] * centre[1] / patches
    assert not np.logical_and.reduce([where.masks[CENTRE], where.masks[BORDER]]).any()
    assert sum(where.masks[name].astype(int) for name in CORNERS).max() == 1, "no patch is in two corners"


def test_each_corner_is_where_its_name_says():
    where = regions((8, 12))
    ends = {"upper left": (0, 0), "upper right": (0, 11), "lower left": (7, 0), "lower right": (7, 11)}
    for name, place in ends.items():
        assert [other for other in CORNERS if where.masks[other][place]] == [f"{name} corner"]


@pytest.mark.parametrize("grid", [(1, 9), (9, 1), (1, 1)])
def test_a_grid_of_one_row_or_column_has_no_corners(grid):
    where = regions(grid)
    assert where.corners == ()
    assert not (where.masks[CENTRE] & where.masks[BORDER]).any() and where.masks[CENTRE].any()


def test_masses_are_sums_over_the_region():
    rng = np.random.default_rng(0)
    shares = rng.random((7, 6, 9)).astype(np.float32)
    shares[3] = np.nan
    where = regions((6, 9))
    found = where.masses(shares)
    for place, name in enumerate(where.masks):
        for image in range(7):
            total = sum(
                float(shares[image, r, c]) for r in range(6) for c in range(9) if where.masks[name][r, c]
            )
            assert found[place, image] == pytest.approx(total, nan_ok=True)
    assert where.masses(shares, CORNERS[2:3])[0] == pytest.approx(found[2], nan_ok=True)


def test_groups_are_all_images_then_classes_by_size():
    classes = np.array([4, 4, 1, NO_CLASS, 2, 1, 4, 2])
    counts = np.array([True] * 7 + [False])
    found = [(index, images.tolist()) for index, images in groups(classes, counts)]
    assert found == [(None, [0, 1, 2, 3, 4, 5, 6]), (4, [0, 1, 6]), (1, [2, 5]), (2, [4])]
    assert groups(classes, np.zeros(8, bool)) == []
    assert len(groups(np.full(8, NO_CLASS), counts)) == 1


def test_a_class_whose_evidence_is_planted_in_a_corner_has_it_there():
    rng = np.random.default_rng(1)
    shares = rng.random((40, 8, 8)).astype(np.float32)
    shares[:12, :2, :2] += 6
    shares /= shares.sum(axis=(1, 2), keepdims=True)
    shares[39] = np.nan
    classes = np.array([7] * 12 + [3] * 24 + [5] * 3 + [7])
    found = placements(shares, classes, regions((8, 8)), FEW)
    assert [(one.index, one.n) for one in found] == [(None, 39), (3, 24), (7, 12), (5, 3)]
    seven = found[2]
    assert seven.masses["upper left corner"].value > 0.4 > 0.1 > seven.masses["lower right corner"].value
    assert seven.p["upper left corner"] < 1e-4
    assert seven.mean_map.sum() == pytest.approx(1)
    assert np.allclose(seven.mean_map, shares[:12].mean(0))
    low, high = seven.masses["upper left corner"].low, seven.masses["upper left corner"].high
    assert low is not None and high is not None
    assert low < shares[:12, :2, :2].sum(axis=(1, 2)).mean() < high
    three = found[1]
    for name, mass in three.masses.items():
        assert mass.value == pytest.approx(three.expected[name], rel=0.15), name
        assert three.p[name] > 1e-3
    assert FEWEST > 3 and found[3].masses["centre"].low is None and np.isnan(found[3].p["centre"])


def test_without_any_evidence_there_are_no_placements():
    assert placements(np.full((4, 8, 8), np.nan, np.float32), np.zeros(4, int), regions((8, 8)), FEW) == ()
