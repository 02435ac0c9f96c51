"""In which block the prediction emerges, for images that the model gets right and wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from vitreport.analysis.intervals import Interval, means, share
from vitreport.analysis.observations import array_of, observation, sound_parts
from vitreport.analysis.outcomes import Outcomes
from vitreport.analysis.statistics import FEWEST, Bootstrap, Floats
from vitreport.ranks import centred_ranks
from vitreport.store import Run

OBSERVATION = "logit_lens"
ALL, CORRECT, WRONG = "all", "correct", "wrong"


@dataclass(frozen=True)
class Emergence:
    """What is read of the blocks, over some images.

    Attributes:
        n: images.
        score: by block, the mean score of the class that is predicted in the end, in [0, 1].
        ahead: by block, the share of images in which that class is already the likeliest.
        settled: median block from which it stays the likeliest, counted from 0.
    """

    n: int
    score: tuple[Interval, ...]
    ahead: tuple[Interval, ...]
    settled: float


@dataclass(frozen=True, eq=False)
class Evolution:
    """The logit lens over the whole run.

    Attributes:
        ids: of the images, in id order.
        settled: the block from which the final prediction stays the likeliest, ``(images,)``.
        by_outcome: ``all``, and where labels tell them apart ``correct`` and ``wrong``, if there are any.
        p: two-sided, of correct and wrong predictions settling equally late, by the rank sum test; NaN where
            there are fewer than `FEWEST` of either.
        gap: largest difference between the last block's score and the stored prediction's: 0 or rounding.
        same: how many images have the stored prediction ahead after the last block.
    """

    ids: tuple[str, ...]
    settled: NDArray[np.int64]
    by_outcome: Mapping[str, Emergence]
    p: float
    gap: float
    same: int


def evolution(run: Run, outcomes: Outcomes, bootstrap: Bootstrap) -> Evolution | None:
    """Reads how predictions emerge.

    Args:
        run: the run.
        outcomes: what the model said in the end.
        bootstrap: how images are drawn anew.

    Returns:
        None where the run has no logit lens, or the model tells no classes from each other.
    """
    record = observation(run, OBSERVATION)
    if record is None or not run.manifest.model.tells_classes:
        return None
    places = {image_id: place for place, image_id in enumerate(outcomes.ids)}
    ids: list[str] = []
    scores, ahead, final = [], [], []
    for table in sound_parts(run, record):
        blocks = table["blocks"][0].as_py()
        kept = len(table["classes"][0])
        final.append(array_of(table, "classes", (kept,))[:, 0])
        ids += table["id"].to_pylist()
        scores.append(array_of(table, "scores", (blocks, kept))[:, :, 0])
        ahead.append(array_of(table, "first", (blocks,)) == final[-1][:, None])
    if not ids:
        return None
    score, first = np.concatenate(scores), np.concatenate(ahead)
    at = np.array([places[image_id] for image_id in ids])
    right = outcomes.right[at]
    settled = settled_block(first)
    chosen = {ALL: np.ones(len(ids), bool), CORRECT: right == 1, WRONG: right == 0}
    by_outcome = {
        name: _emergence(score[some], first[some], settled[some], bootstrap)
        for name, some in chosen.items()
        if some.any()
    }
    gap = float(np.abs(score[:, -1] - outcomes.confidence[at]).max())
    same = first[:, -1] & (np.concatenate(final) == outcomes.predicted[at])
    return Evolution(
        tuple(ids),
        settled,
        by_outcome,
        rank_sum(settled[right == 1], settled[right == 0]),
        gap,
        int(same.sum()),
    )


def settled_block(ahead: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The block from which the final prediction is the likeliest to the end.

    Args:
        ahead: whether it is after each block, ``(images, blocks)``.

    Returns:
        ``(images,)``, from 0; the number of blocks where it is not ahead after the last.
    """
    behind = ~ahead[:, ::-1]
    blocks = ahead.shape[1]
    return np.where(behind.any(axis=1), blocks - behind.argmax(axis=1), 0).astype(np.int64)


def rank_sum(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """P value of two samples having one distribution, two-sided; NaN where either is below `FEWEST`.

    Source:
        Mann and Whitney 1947, On a test of whether one of two random variables is stochastically larger
        than the other, Annals of Mathematical Statistics 18(1); normal approximation with ties.
    """
    if min(len(one), len(other)) < FEWEST:
        return math.nan
    n, all_of_them = len(one) + len(other), np.concatenate((one, other))
    ranks = centred_ranks(all_of_them)
    variance = len(one) * len(other) * float((ranks * ranks).sum()) / (n * (n - 1))
    if variance == 0:
        return 1.0
    gap = max(0.0, abs(float(ranks[: len(one)].sum())) - 0.5)
    return float(2 * ndtr(-gap / math.sqrt(variance)))


def _emergence(
    score: Floats, ahead: NDArray[np.bool_], settled: NDArray[np.int64], bootstrap: Bootstrap
) -> Emergence:
    n = len(score)
    shares = tuple(share(int(some), n) for some in ahead.sum(axis=0))
    return Emergence(n, means(score.T, bootstrap), shares, float(np.median(settled)))
