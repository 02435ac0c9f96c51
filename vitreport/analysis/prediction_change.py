"""What two models say of the same images: which predictions changed, and how often each is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from vitreport.analysis.outcomes import NO_CLASS, Outcomes
from vitreport.store import Run


@dataclass(frozen=True)
class Change:
    """An image of which the two models do not say the same.

    Attributes:
        before: its id in the first run.
        after: its id in the second run.
        label: name of its class; empty without a label.
        said_before: name of the class that the first model predicts.
        said_after: name of the class that the second model predicts.
        confidence_before: score of that class, in [0, 1].
        confidence_after: score of that class, in [0, 1].
    """

    before: str
    after: str
    label: str
    said_before: str
    said_after: str
    confidence_before: float
    confidence_after: float

    @property
    def kind(self) -> str:
        """``broken``, ``mended``, ``wrong otherwise``, or ``changed`` where there is no label."""
        if not self.label:
            return "changed"
        if self.said_after == self.label:
            return "mended"
        return "broken" if self.said_before == self.label else "wrong otherwise"


KINDS = ("broken", "mended", "wrong otherwise", "changed")
"""Kinds of changes, the gravest first."""


@dataclass(frozen=True)
class Accuracy:
    """How often two models are right on the labelled images that both saw.

    Source:
        McNemar 1947, Note on the sampling error of the difference between correlated proportions or
        percentages, Psychometrika 12(2); the exact test on the images that only one model gets right.

    Attributes:
        images: how many there are.
        before: on how many the first model is right.
        after: on how many the second model is right.
        broken: on how many only the first is.
        mended: on how many only the second is.
        p: two-sided; 1 where no image is broken or mended.
    """

    images: int
    before: int
    after: int
    broken: int
    mended: int
    p: float


@dataclass(frozen=True, eq=False)
class Pairs:
    """The images of both runs.

    Attributes:
        before: of the first run.
        after: of the second run.
        places: of each image in the first and in the second, ``(2, images)``.
    """

    before: Outcomes
    after: Outcomes
    places: NDArray[np.int64]

    def names(self, run: int, indices: NDArray[np.int64]) -> list[str]:
        """Names of a run's classes for the images in both; empty where there is none."""
        said = (self.before, self.after)[run]
        return ["" if index == NO_CLASS else said.name(int(index)) for index in indices[self.places[run]]]


def paired(before: Outcomes, after: Outcomes) -> Pairs:
    """The images of both runs: those whose files' bytes are the same."""
    known = {ref.sha256: place for place, ref in reversed(list(enumerate(after.refs)))}
    seen: set[str] = set()
    places = []
    for place, ref in enumerate(before.refs):
        if ref.sha256 in known and ref.sha256 not in seen:
            seen.add(ref.sha256)
            places.append((place, known[ref.sha256]))
    return Pairs(before, after, np.array(places, np.int64).reshape(-1, 2).T)


def prediction_changes(
    before: Run, after: Run, pairs: Pairs, reasons: list[str]
) -> tuple[tuple[Change, ...], Accuracy | None]:
    """The changes, as in `Difference`, and how often each model is right; None without labelled images.

    Args:
        before: a finished run.
        after: another.
        pairs: the images of both.
        reasons: takes a sentence for what could not be compared.
    """
    models = [run.manifest.model for run in (before, after)]
    if not all(model.tells_classes for model in models):
        reasons.append("Predictions are not compared: one of the models tells no classes from each other.")
        return (), None
    if models[0].class_names != models[1].class_names:
        reasons.append("The models have different classes; they are compared by name.")
    said = [pairs.names(0, pairs.before.predicted), pairs.names(1, pairs.after.predicted)]
    labels = pairs.names(0, pairs.before.label)
    others = pairs.names(1, pairs.after.label)
    unlike = sum(one != other for one, other in zip(labels, others, strict=True))
    if unlike:
        reasons.append(f"On {unlike:,} images the labels of the runs differ; those of the first run count.")
    sure = [
        outcome.confidence[places]
        for outcome, places in zip((pairs.before, pairs.after), pairs.places, strict=True)
    ]
    changes = [
        Change(
            pairs.before.ids[one],
            pairs.after.ids[other],
            labels[number],
            said[0][number],
            said[1][number],
            float(sure[0][number]),
            float(sure[1][number]),
        )
        for number, (one, other) in enumerate(pairs.places.T.tolist())
        if said[0][number] != said[1][number]
    ]
    changes.sort(key=lambda one: (KINDS.index(one.kind), -one.confidence_after, one.before))
    judged = [number for number, label in enumerate(labels) if label]
    if not judged:
        return tuple(changes), None
    right = [[said[run][number] == labels[number] for number in judged] for run in (0, 1)]
    broken = sum(one and not other for one, other in zip(*right, strict=True))
    mended = sum(other and not one for one, other in zip(*right, strict=True))
    p = float(binomtest(broken, broken + mended).pvalue) if broken + mended else 1.0
    return tuple(changes), Accuracy(len(judged), sum(right[0]), sum(right[1]), broken, mended, p)
