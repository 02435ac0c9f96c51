"""Shortcut screening: classes that are recognised by one corner of the picture, as a watermark would be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from vitreport.analysis.intervals import Interval, ratios_of_means
from vitreport.analysis.regions import Regions, groups
from vitreport.analysis.statistics import FEWEST, Bootstrap, Floats, holm
from vitreport.explanation import FloatArray

LEVEL = 0.01
"""P value, after Holm's correction, below which a corner may be flagged."""
RATIO = 3.0
"""How many times the mean of the other corners a flagged corner holds at least.

Two corners alike, with nothing in the others, give exactly 3: a picture whose upper or lower edge speaks for
a class, as sky or ground may, stays below.
"""
DRAWS = 10_000
"""Random exchanges of corners, where they are too many to be gone through one by one."""
EXACT = 8
"""Images up to which all exchanges are gone through: 4 to the power of 8 are 65,536."""
EXAMPLES = 6
"""Images that a test names."""
_BLOCK = 2**20
"""Exchanges held at a time."""


@dataclass(frozen=True)
class CornerTest:
    """Whether one corner stands out among the four.

    Attributes:
        index: of the class that the maps explain; None for all images together.
        corner: which, in words.
        n: maps with something positive.
        share: mean share of the evidence in the corner, in [0, 1].
        size: the corner's share of the patches.
        ratio: of that share to the mean of the other three corners; infinite where these hold nothing.
        p: one-sided, of a permutation test.
        corrected: the same after Holm's correction for all tests of the screening.
        examples: ids of the images with the most evidence in the corner, the most first.
    """

    index: int | None
    corner: str
    n: int
    share: float
    size: float
    ratio: Interval
    p: float
    corrected: float
    examples: tuple[str, ...]

    @property
    def flagged(self) -> bool:
        """Whether the corner stands out for certain and by much."""
        return self.corrected < LEVEL and self.ratio.value >= RATIO


@dataclass(frozen=True)
class Screening:
    """All corners of all classes.

    Attributes:
        technique: key of the one whose maps were screened.
        tests: the flagged ones first, then by how much evidence the corner holds beyond the mean of the
            others.
        untested: classes with too few images, by index: how many they have.
    """

    technique: str
    tests: tuple[CornerTest, ...]
    untested: dict[int, int]

    @property
    def flagged(self) -> tuple[CornerTest, ...]:
        """The tests that found something, the most severe first."""
        return tuple(test for test in self.tests if test.flagged)


def screen(
    technique: str,
    ids: tuple[str, ...],
    shares: FloatArray,
    classes: NDArray[np.int64],
    where: Regions,
    bootstrap: Bootstrap,
    seed: int = 0,
) -> Screening:
    """Tests every corner for all images together and for every class of at least `FEWEST` images.

    If a corner means no more than the others, then which of an image's four corners holds how much is
    chance. So the four are exchanged at random within each image, and the p value is how often the corner
    then holds as much as it does. Under that hypothesis the p value is exact.

    A preference that the whole data set has for one corner, of the photographer or of the technique, is a
    finding too: whether it misleads the model, the maps alone cannot say.

    Args:
        technique: key of the technique, to be told with the findings.
        ids: of the images, ``(images,)``.
        shares: of the evidence, ``(images, rows, cols)``, each map of sum 1 or NaN.
        classes: that each map explains, ``(images,)``.
        where: the regions of the grid.
        bootstrap: how images are drawn anew for the intervals.
        seed: of the exchanges.
    """
    corners = where.corners
    if not corners:
        return Screening(technique, (), {})
    masses = where.masses(shares, corners)
    tested: list[tuple[int | None, NDArray[np.int64], Floats]] = []
    untested: dict[int, int] = {}
    for index, chosen in groups(classes, np.isfinite(masses).all(axis=0).astype(bool)):
        if len(chosen) >= FEWEST:
            generator = np.random.default_rng([seed, 0 if index is None else index + 1])
            tested.append((index, chosen, corner_p_values(masses[:, chosen], generator)))
        elif index is not None:
            untested[index] = len(chosen)
    corrected = holm(np.concatenate([p for *_, p in tested])) if tested else np.zeros(0)
    tests = []
    for number, (index, chosen, p_values) in enumerate(tested):
        held = masses[:, chosen]
        others = (held.sum(axis=0) - held) / (len(corners) - 1)
        ratios = ratios_of_means(held, others, bootstrap)
        for place, corner in enumerate(corners):
            most = chosen[np.argsort(-held[place], kind="stable")[:EXAMPLES]]
            tests.append(
                CornerTest(
                    index=index,
                    corner=corner,
                    n=len(chosen),
                    share=float(held[place].mean()),
                    size=where.size(corner),
                    ratio=ratios[place],
                    p=float(p_values[place]),
                    corrected=float(corrected[number * len(corners) + place]),
                    examples=tuple(ids[image] for image in most),
                )
            )
    return Screening(technique, tuple(sorted(tests, key=_severity)), untested)


def _severity(test: CornerTest) -> tuple[bool, float, int, str]:
    """Flagged first; then by the evidence beyond that of the other corners."""
    others = test.share / test.ratio.value if test.ratio.value > 0 else test.share
    beyond = test.share - others if np.isfinite(others) else 0.0
    return (not test.flagged, -beyond, -1 if test.index is None else test.index, test.corner)


def corner_p_values(masses: Floats, generator: np.random.Generator) -> Floats:
    """One-sided p values of each corner's mean, where the corners of every image are exchanged.

    Up to `EXACT` images all exchanges are gone through. With more there are `DRAWS` random ones; the
    observed one counts among them (Davison and Hinkley 1997, equation 4.11). Where none of them reaches what
    was observed, the p value is below what so many draws can show; it is then Chernoff's upper limit of the
    exact one, if that is smaller. So many classes can be tested at once.

    Source:
        Fisher 1935, The Design of Experiments, on exchanging within blocks; Chernoff 1952, A measure of
        asymptotic efficiency for tests of a hypothesis, Annals of Mathematical Statistics 23(4).

    Args:
        masses: ``(corners, images)``.
        generator: of the exchanges.

    Returns:
        ``(corners,)`` in (0, 1].
    """
    corners, images = masses.shape
    observed = masses.sum(axis=1)
    slack = 1e-9 * max(1.0, float(observed.max()))  # sums of the same numbers in another order
    if images <= EXACT:
        sums = np.zeros(1)
        for image in masses.T:
            sums = np.add.outer(sums, image).ravel()
        return np.array([(sums >= reached - slack).mean() for reached in observed])
    reached = np.zeros(corners, np.int64)
    turned = [np.roll(masses, -turn, axis=0).T for turn in range(corners)]
    size = max(1, _BLOCK // images)
    for start in range(0, DRAWS, size):
        turns = generator.integers(corners, size=(min(size, DRAWS - start), images), dtype=np.uint8)
        drawn = sum((turns == turn).astype(np.float64) @ turned[turn] for turn in range(corners))
        reached += (drawn >= observed - slack).sum(axis=0)
    p_values = (reached + 1) / (DRAWS + 1)
    for corner in np.flatnonzero(reached == 0):
        p_values[corner] = min(p_values[corner], chernoff_limit(masses, int(corner)))
    return p_values


def chernoff_limit(masses: Floats, corner: int) -> float:
    """An upper limit of the chance that corners drawn from every image hold as much as one corner does.

    Args:
        masses: ``(corners, images)``.
        corner: which.
    """
    short = masses - masses.max(axis=0)  # of the fullest corner of each image

    def logarithm(power: float) -> float:
        tilt = np.exp(power)
        return float((np.log(np.exp(tilt * short).mean(axis=0)) - tilt * short[corner]).sum())

    found = minimize_scalar(logarithm, bounds=(-10, 25), method="bounded")
    return float(np.exp(min(0.0, found.fun)))
