"""Images that a person should look at, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitreport.analysis.outcomes import Outcomes
from vitreport.analysis.statistics import Floats
from vitreport.analysis.trust import CONTROL
from vitreport.explanation import FloatArray
from vitreport.ranks import centred_ranks
from vitreport.store import TechniqueRecord

CONFIDENT = 0.9
"""Score from which a wrong prediction is a confident one."""
NARROW = 0.1
"""How far at most the second class is behind in an undecided image."""
SPREADS = 2.0
"""Robust standard deviations below the median from which on techniques disagree more than usual."""
_NORMAL = 1.4826
_BLOCK = 512
"""Images whose maps are ranked at a time."""

WRONG, UNDECIDED, DISAGREEMENT = "wrong and confident", "undecided", "techniques disagree"
"""Reasons, the gravest first."""


class RankAgreement:
    """How much techniques agree on each image; maps come in one technique at a time.

    The mean of Spearman's rank correlation over all pairs of techniques follows from the sum of their ranks
    alone: no two techniques' maps are ever held at once.

    Source:
        Krishna et al. 2022, The Disagreement Problem in Explainable Machine Learning, arXiv:2202.01602.

    Attributes:
        techniques: keys of the techniques added.
    """

    def __init__(self, images: int, patches: int) -> None:
        self.techniques: list[str] = []
        self._sum = np.zeros((images, patches), np.float32)
        self._count = np.zeros(images, np.int64)

    def add(self, technique: str, maps: FloatArray) -> None:
        """Adds a technique's maps, ``(images, rows, cols)``; constant ones and NaN say nothing."""
        self.techniques.append(technique)
        for start in range(0, len(maps), _BLOCK):
            part = slice(start, start + _BLOCK)
            ranks = centred_ranks(maps[part].reshape(len(maps[part]), -1))
            size = np.sqrt((ranks * ranks).sum(axis=1, keepdims=True))
            said = np.isfinite(size[:, 0]) & (size[:, 0] > 0)
            self._sum[part][said] += (ranks[said] / size[said]).astype(np.float32)
            self._count[part] += said

    def mean(self) -> Floats:
        """The mean over all pairs, ``(images,)`` in [-1, 1]; NaN where fewer than two maps say something."""
        n = self._count.astype(np.float64)
        length = np.einsum("ip,ip->i", self._sum, self._sum, dtype=np.float64)
        pairs = np.where(n > 1, n * (n - 1), np.nan)
        mean: Floats = np.clip((length - n) / pairs, -1, 1)
        return mean


def compared(techniques: Sequence[TechniqueRecord]) -> tuple[TechniqueRecord, ...]:
    """The techniques whose agreement is asked for: no controls, and one setting of each.

    Several settings of one technique agree by nature and would outvote the rest. The one with the default
    parameters is taken, else the first.
    """
    chosen: dict[str, TechniqueRecord] = {}
    for record in techniques:
        if record.kind != "map" or record.skipped or record.family == CONTROL:
            continue
        plain = dict(record.parameters) == dict(record.defaults)
        if record.name not in chosen or plain:
            chosen[record.name] = record
    return tuple(chosen.values())


@dataclass(frozen=True)
class Case:
    """An image to look at.

    Attributes:
        id: of the image.
        reasons: the gravest first.
        words: the same as a sentence with the numbers.
        confidence: score of the predicted class, in [0, 1]; NaN where there is none.
        margin: how far the second class is behind; NaN where there is none.
        agreement: mean rank correlation of the techniques; NaN where fewer than two say something.
    """

    id: str
    reasons: tuple[str, ...]
    words: str
    confidence: float
    margin: float
    agreement: float


@dataclass(frozen=True, eq=False)
class Review:
    """The images for human review.

    Attributes:
        cases: those with the gravest reason first; of these those with more reasons; then by how far they
            go; then by id.
        agreement: of the techniques on every image, ``(images,)``.
        below: agreement from which on an image is listed for it; NaN where it cannot be said.
        techniques: keys of those compared.
    """

    cases: tuple[Case, ...]
    agreement: Floats
    below: float
    techniques: tuple[str, ...]


def review(found: Outcomes, agreement: Floats, techniques: Sequence[str] = ()) -> Review:
    """Lists the images that are wrong and confident, undecided, or explained in contradictory ways.

    Args:
        found: what the model said.
        agreement: of the techniques on each image, ``(images,)``; NaN where it is unknown.
        techniques: keys of those compared.
    """
    below = _unusual(agreement)
    is_sure = sure(found)
    cases = []
    for place, ref in enumerate(found.refs):
        confidence, margin, agreed = (
            float(values[place]) for values in (found.confidence, found.margin, agreement)
        )
        said: dict[str, str] = {}
        if found.right[place] == 0 and is_sure[place]:
            said[WRONG] = (
                f"the model says {found.name(int(found.predicted[place]))} with {confidence:.2f}, "
                f"the label is {found.name(int(found.label[place]))}"
            )
        if margin <= NARROW:
            said[UNDECIDED] = f"the second class is {margin:.2f} behind"
        if agreed <= below:
            said[DISAGREEMENT] = (
                f"the techniques’ maps agree by {agreed:.2f}, those of other images by "
                f"{_middle(agreement):.2f}"
            ).replace("-", "−")
        if said:
            words = "; ".join(said.values())
            words = f"{words[0].upper()}{words[1:]}."
            cases.append(Case(ref.id, tuple(said), words, confidence, margin, agreed))
    return Review(tuple(sorted(cases, key=_order)), agreement, below, tuple(techniques))


def sure(found: Outcomes) -> NDArray[np.bool_]:
    """Where the model is at least `CONFIDENT`, ``(images,)``."""
    return np.greater_equal(found.confidence.astype(np.float32), np.float32(CONFIDENT))


def _order(case: Case) -> tuple[int, int, float, str]:
    reasons = (WRONG, UNDECIDED, DISAGREEMENT)
    gravest = case.reasons[0]
    amount = {WRONG: -case.confidence, UNDECIDED: case.margin, DISAGREEMENT: case.agreement}[gravest]
    return reasons.index(gravest), -len(case.reasons), amount, case.id


def _middle(agreement: Floats) -> float:
    known = agreement[np.isfinite(agreement)]
    return float(np.median(known)) if len(known) else float("nan")


def _unusual(agreement: Floats) -> float:
    """The agreement that is `SPREADS` robust standard deviations below the median of all images."""
    known = agreement[np.isfinite(agreement)]
    if len(known) < 2:
        return float("nan")
    middle = float(np.median(known))
    spread = _NORMAL * float(np.median(np.abs(known - middle)))
    return middle - SPREADS * spread if spread > 0 else float("nan")
