"""Where on the grid the evidence lies: centre, border and corners, for all images and class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from vitreport.analysis.intervals import Interval, shifted
from vitreport.analysis.maps import defined
from vitreport.analysis.outcomes import NO_CLASS
from vitreport.analysis.statistics import Bootstrap, Floats
from vitreport.explanation import FloatArray

CORNERS = ("upper left corner", "upper right corner", "lower left corner", "lower right corner")
CENTRE, BORDER = "centre", "border"

CORNER_SIDE = 1 / 4
"""Height and width of a corner, as a share of the grid's."""
BORDER_SIDE = 1 / 8
"""Width of the border, as a share of the grid's height and width."""


@dataclass(frozen=True, eq=False)
class Regions:
    """Parts of a grid.

    A corner is `CORNER_SIDE` of the grid high and wide, rounded to whole patches, at least one and at most
    half: 2 x 2 of 8 x 8 patches, 9 x 9 of 37 x 37. The centre is what lies as far from all four edges as a
    corner reaches in. The border is a ring along the edges, `BORDER_SIDE` wide, at least one patch; it
    shares patches with the corners, never with the centre. A grid of one row or column has no corners.

    Attributes:
        grid: (rows, cols).
        masks: by name, ``(rows, cols)``; corners in the order of `CORNERS`, then centre and border.
    """

    grid: tuple[int, int]
    masks: Mapping[str, NDArray[np.bool_]]

    @property
    def corners(self) -> tuple[str, ...]:
        """Names of the corners: four or none."""
        return tuple(name for name in self.masks if name in CORNERS)

    def size(self, name: str) -> float:
        """A region's share of the grid's patches."""
        return float(self.masks[name].mean())

    def masses(self, shares: FloatArray, names: Sequence[str] | None = None) -> Floats:
        """How much of each map lies in each region.

        Args:
            shares: ``(images, rows, cols)``, each map of sum 1.
            names: of the regions; by default all.

        Returns:
            ``(regions, images)`` in [0, 1]; NaN where a map is.
        """
        flat = shares.reshape(len(shares), self.grid[0] * self.grid[1])
        wanted = self.masks if names is None else names
        found = [flat[:, self.masks[name].ravel()].sum(axis=1, dtype=np.float64) for name in wanted]
        return np.reshape(found, (len(found), len(shares)))


def regions(grid: tuple[int, int]) -> Regions:
    """The regions of a grid of (rows, cols)."""
    rows, cols = grid
    masks: dict[str, NDArray[np.bool_]] = {}
    high, wide = (_patches(CORNER_SIDE, side, side // 2) for side in grid)
    if min(grid) > 1:
        ends = [(slice(high), slice(rows - high, rows)), (slice(wide), slice(cols - wide, cols))]
        for name, place in zip(CORNERS, product(*ends), strict=True):
            masks[name] = np.zeros(grid, bool)
            masks[name][place] = True
    centre = np.zeros(grid, bool)
    centre[high : rows - high, wide : cols - wide] = True
    border = np.ones(grid, bool)
    thick, broad = (_patches(BORDER_SIDE, side, side) for side in grid)
    border[thick : rows - thick, broad : cols - broad] = False
    return Regions(grid, {**masks, CENTRE: centre, BORDER: border & ~centre})


def _patches(part: float, side: int, most: int) -> int:
    return min(max(1, int(part * side + 0.5)), most)


@dataclass(frozen=True, eq=False)
class Placement:
    """Where the evidence lies on some images.

    Attributes:
        index: of the class that the maps explain; None for all images together.
        n: maps with something positive.
        mean_map: mean share of each patch, ``(rows, cols)`` of sum 1.
        masses: by region, the mean share of a map that lies there, in [0, 1]; without an interval where
            there are fewer than `FEWEST` maps.
        expected: by region, its share of the patches: what evidence spread evenly would give.
        p: by region, two-sided, of the mean being that; NaN where there are fewer than `FEWEST` maps.
    """

    index: int | None
    n: int
    mean_map: Floats
    masses: Mapping[str, Interval]
    expected: Mapping[str, float]
    p: Mapping[str, float]


def placements(
    shares: FloatArray, classes: NDArray[np.int64], where: Regions, bootstrap: Bootstrap
) -> tuple[Placement, ...]:
    """Where the evidence lies: all images first, then every explained class, the most images first.

    Args:
        shares: ``(images, rows, cols)``, each map of sum 1 or NaN.
        classes: that each map explains, ``(images,)``; `NO_CLASS` where there is none.
        where: the regions.
        bootstrap: how images are drawn anew.

    Returns:
        Empty where no map has anything positive.
    """
    masses = where.masses(shares)
    expected = {name: where.size(name) for name in where.masks}
    found = []
    for index, chosen in groups(classes, defined(shares)):
        gaps = bootstrap.estimate(masses[:, chosen] - np.array(list(expected.values()))[:, None])
        mean_map = shares[chosen].mean(axis=0, dtype=np.float64)
        by_region = {name: shifted(gaps, place, expected[name]) for place, name in enumerate(where.masks)}
        p = dict(zip(where.masks, gaps.p.tolist(), strict=True))
        found.append(Placement(index, len(chosen), mean_map, by_region, expected, p))
    return tuple(found)


def groups(
    classes: NDArray[np.int64], counts: NDArray[np.bool_]
) -> list[tuple[int | None, NDArray[np.int64]]]:
    """All images and then each class with the places of its images, the most images first.

    Args:
        classes: ``(images,)``; `NO_CLASS` where there is none.
        counts: which images count, ``(images,)``.

    Returns:
        Empty where none counts.
    """
    usable = np.flatnonzero(counts)
    if not len(usable):
        return []
    named = usable[classes[usable] != NO_CLASS]
    order = np.argsort(classes[named], kind="stable")
    indices, starts = np.unique(classes[named][order], return_index=True)
    parts = zip(indices.tolist(), np.split(named[order], starts[1:]), strict=True) if len(named) else ()
    return [(None, usable), *sorted(parts, key=lambda part: (-len(part[1]), part[0]))]
