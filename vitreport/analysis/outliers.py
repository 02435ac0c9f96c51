"""Census of outlier tokens: patches whose tokens are far longer than the others of their image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitreport.analysis.intervals import Interval, means, ratios_of_means
from vitreport.analysis.observations import array_of, observation, sound_parts
from vitreport.analysis.statistics import Bootstrap, Floats
from vitreport.explanation import FloatArray
from vitreport.store import Run

OBSERVATION = "token_norms"
SPREADS = 5.0
"""Robust standard deviations above the median of its image and block that make a token an outlier."""
TIMES = 1.5
"""How many times that median it is long at least: norms that are nearly equal have no outliers."""
_NORMAL = 1.4826
"""Standard deviations in a median absolute deviation, of a normal distribution."""


@dataclass(frozen=True, eq=False)
class Census:
    """Where outlier tokens are.

    Attributes:
        ids: of the images, in id order.
        outlier: ``(images, blocks, rows, cols)``.
        patches: by block, the share of patches that are outliers, mean over the images.
        images: by block, how many images have one at least.
        longest: by block, the longest token over the median of its image, mean over the images; NaN where a
            median is 0.
    """

    ids: tuple[str, ...]
    outlier: NDArray[np.bool_]
    patches: tuple[Interval, ...]
    images: tuple[int, ...]
    longest: tuple[float, ...]

    @property
    def blocks(self) -> int:
        """How many blocks the model has."""
        return int(self.outlier.shape[1])

    def places(self, block: int) -> Floats:
        """How often each patch is an outlier after a block, ``(rows, cols)`` in [0, 1]."""
        often: Floats = self.outlier[:, block].mean(axis=0, dtype=np.float64)
        return often

    def examples(self, block: int, most: int = 6) -> tuple[str, ...]:
        """Ids of the images with the most outliers after a block, the most first."""
        amounts = self.outlier[:, block].sum(axis=(1, 2))
        order = np.argsort(-amounts, kind="stable")[:most]
        return tuple(self.ids[place] for place in order if amounts[place])


@dataclass(frozen=True)
class MassOnOutliers:
    """How much of a technique's evidence lies on outlier tokens, over the images that have some.

    Attributes:
        technique: its key.
        block: after which the tokens are outliers.
        n: images with an outlier and a map.
        mass: mean share of the evidence on outliers, in [0, 1].
        patches: mean share of the patches that are outliers, in (0, 1].
        ratio: of the two: 1 where evidence is spread as if outliers were patches like others.
        p: two-sided, of both being the same; NaN where there are too few images.
    """

    technique: str
    block: int
    n: int
    mass: Interval
    patches: float
    ratio: Interval
    p: float


def robust_z(norms: Floats) -> Floats:
    """How many robust standard deviations each token is above the median of its image and block.

    Source:
        Iglewicz and Hoaglin 1993, How to Detect and Handle Outliers, the modified z score.

    Args:
        norms: ``(…, patches)``, 0 or more.

    Returns:
        The same shape; 0 throughout where more than half of the tokens are equally long, because nothing
        then says how much they spread.
    """
    gap = norms - np.median(norms, axis=-1, keepdims=True)
    spread = _NORMAL * np.median(np.abs(gap), axis=-1, keepdims=True)
    return np.divide(gap, spread, out=np.zeros_like(gap), where=spread > 0)


def outlier_tokens(norms: Floats) -> NDArray[np.bool_]:
    """Which tokens are outliers: `SPREADS` above the median, and `TIMES` as long.

    Source:
        Darcet et al. 2023, Vision Transformers Need Registers, arXiv:2309.16588, section 2.

    Differs:
        there one norm was chosen by eye for each model (150 for DINOv2-g); here each image and block is its
        own yardstick, so that the same rule holds for all models and blocks.

    Args:
        norms: ``(…, patches)``.
    """
    long: NDArray[np.bool_] = norms >= TIMES * np.median(norms, axis=-1, keepdims=True)
    return long & (robust_z(norms) > SPREADS)


def census(run: Run, bootstrap: Bootstrap) -> Census | None:
    """Counts the outlier tokens of a run, block by block.

    Returns:
        None where the run has no token norms.
    """
    record = observation(run, OBSERVATION)
    if record is None:
        return None
    ids: list[str] = []
    outlier, longest = [], []
    for table in sound_parts(run, record):
        shape = tuple(table[name][0].as_py() for name in ("blocks", "rows", "cols"))
        norms = array_of(table, "values", (shape[0], shape[1] * shape[2]))
        ids += table["id"].to_pylist()
        outlier.append(outlier_tokens(norms).reshape(-1, *shape))
        middle = np.median(norms, axis=-1)
        longest.append(np.divide(norms.max(-1), middle, out=np.full_like(middle, np.nan), where=middle > 0))
    if not ids:
        return None
    found = np.concatenate(outlier)
    return Census(
        ids=tuple(ids),
        outlier=found,
        patches=means(found.mean(axis=(2, 3), dtype=np.float64).T, bootstrap),
        images=tuple(found.any(axis=(2, 3)).sum(axis=0).tolist()),
        longest=tuple(np.concatenate(longest).mean(axis=0).tolist()),
    )


def outlier_mass(ids: Sequence[str], shares: FloatArray, found: Census, block: int = -1) -> Floats:
    """How much of each map lies on outlier tokens.

    Args:
        ids: of the images of `shares`.
        shares: of the evidence, ``(images, rows, cols)``, each map of sum 1 or NaN.
        found: the census.
        block: after which tokens are looked at; by default the last, before the last norm layer.

    Returns:
        One an image of the census, ``(images,)`` in [0, 1]; NaN where there is no outlier or no map.
    """
    places = {image_id: place for place, image_id in enumerate(ids)}
    mass = np.full(len(found.ids), np.nan)
    some = np.flatnonzero(found.outlier[:, block].any(axis=(1, 2))).tolist()
    for number in some:
        place = places.get(found.ids[number])
        if place is not None:
            mass[number] = shares[place][found.outlier[number, block]].sum(dtype=np.float64)
    return mass


def mass_on_outliers(
    techniques: Sequence[str], masses: Floats, found: Census, bootstrap: Bootstrap, block: int = -1
) -> tuple[MassOnOutliers, ...]:
    """How much of each technique's evidence lies on outlier tokens, against their share of the patches.

    Args:
        techniques: their keys.
        masses: of each technique, what `outlier_mass` gives, ``(techniques, images)``.
        found: the census.
        bootstrap: how images are drawn anew.
        block: after which tokens are looked at.

    Returns:
        Those with a map of an image that has outliers, in the order given.
    """
    kept = [place for place, row in enumerate(masses) if np.isfinite(row).any()]
    rows = masses[kept] if kept else np.zeros((0, len(found.ids)))
    patches = np.where(np.isfinite(rows), found.outlier[:, block].mean(axis=(1, 2), dtype=np.float64), np.nan)
    mean, ratio = means(rows, bootstrap), ratios_of_means(rows, patches, bootstrap)
    p_values = bootstrap.estimate(rows - patches).p
    return tuple(
        MassOnOutliers(
            technique=techniques[place],
            block=block % found.blocks,
            n=int(np.isfinite(rows[number]).sum()),
            mass=mean[number],
            patches=float(np.nanmean(patches[number])),
            ratio=ratio[number],
            p=float(p_values[number]),
        )
        for number, place in enumerate(kept)
    )
