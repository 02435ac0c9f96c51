"""Slices of the image set: where the model is right less often than elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vitreport.analysis.intervals import Interval, fisher_exact, share
from vitreport.analysis.outcomes import NO_CLASS, Outcomes
from vitreport.analysis.statistics import FEWEST, holm, mean_of_defined

CLASS, PREDICTED, GROUP, OUTCOME, CONFIDENCE = "class", "predicted class", "group", "outcome", "confidence"
"""Names of the ways to slice that every run may have; beside them stand the metadata columns."""
OWN = (CLASS, PREDICTED, GROUP, OUTCOME, CONFIDENCE)
EMPTY = "(empty)"
"""The slice of images that have no value in a column that others have one in."""

MOST_VALUES = 20
"""Values up to which a metadata column is sliced by value."""
BINS = (0.0, 0.5, 0.7, 0.9, 1.0)
"""Edges of the bins of confidence; the lower edge belongs to a bin, and 1 to the last."""
LEVEL = 0.01
"""P value, after Holm's correction, below which a slice may be flagged."""
LEAST = 0.05
"""How much less accurate a flagged slice is at least: among many images even a trifle is certain."""
EXAMPLES = 6
"""Images that a slice names."""


@dataclass(frozen=True, eq=False)
class Slice:
    """Images that have something in common.

    Attributes:
        by: what they are sliced by: one of `OWN`, or the name of a metadata column.
        metadata: whether that is the name of a metadata column, which may be any.
        value: what they have in common.
        images: places of its images, in id order.
        judged: how many have a label.
        right: how many of these the model gets right.
        accuracy: their share, with Wilson's interval.
        rest: accuracy of all other images with a label.
        confidence: mean score of the predicted class; NaN where there is none.
        p: of its accuracy being that of the rest, by Fisher's exact test; NaN where either has fewer than
            `FEWEST` images with a label, or where the slice is made of the outcome itself.
        corrected: the same after Holm's correction for all slices of the run that are tested.
        examples: ids of images that the model gets wrong, the most confident first.
    """

    by: str
    metadata: bool
    value: str
    images: NDArray[np.int64]
    judged: int
    right: int
    accuracy: Interval
    rest: Interval
    confidence: float
    p: float
    corrected: float
    examples: tuple[str, ...]

    @property
    def difference(self) -> float:
        """Its accuracy less that of the rest, in [-1, 1]; NaN where either is unknown."""
        return self.accuracy.value - self.rest.value

    @property
    def flagged(self) -> bool:
        """Whether the model is for certain worse on it, and by more than a trifle."""
        return self.corrected < LEVEL and self.difference <= -LEAST


@dataclass(frozen=True)
class Slicing:
    """All slices of a run.

    Attributes:
        slices: by what they are sliced by, then by value.
        unused: metadata columns that give no slices, and why.
    """

    slices: tuple[Slice, ...]
    unused: dict[str, str]

    @property
    def flagged(self) -> tuple[Slice, ...]:
        """Slices on which the model is worse, the largest gap first."""
        return tuple(
            sorted((one for one in self.slices if one.flagged), key=lambda one: (one.difference, one.by))
        )


def slices(found: Outcomes) -> Slicing:
    """Slices the images by class, predicted class, group, outcome, confidence and every metadata column.

    Slices of confidence and of the outcome are described, not tested: that a model is wrong more often
    where it is less sure, or always where it is wrong, is no finding.

    Args:
        found: what the model said of the images.
    """
    parts = [(by, False, value, images) for by, value, images in _own(found)]
    columns: dict[str, None] = {}
    for ref in found.refs:
        columns.update(dict.fromkeys(ref.meta))
    unused: dict[str, str] = {}
    for column in sorted(columns):
        values = [ref.meta.get(column, "").strip() for ref in found.refs]
        named, reason = column_slices(values)
        parts += [(column, True, value, images) for value, images in named]
        if reason is not None:
            unused[column] = reason
    made = [_slice(found, *part) for part in parts]
    corrected = holm([one.p for one in made])
    tested = (replace(one, corrected=float(p)) for one, p in zip(made, corrected, strict=True))
    return Slicing(tuple(tested), unused)


def column_slices(values: Sequence[str]) -> tuple[list[tuple[str, NDArray[np.int64]]], str | None]:
    """Slices by one metadata column.

    Up to `MOST_VALUES` different values are slices of their own. More numbers are cut into quartiles; more
    texts give no slices. Images without a value are a slice too.

    Args:
        values: one an image; empty where there is none.

    Returns:
        Names and places of the images, and None; or nothing, and why.
    """
    filled = [value for value in values if value]
    distinct = set(filled)
    if len(distinct) + (len(filled) < len(values)) < 2:
        return [], "it has one value" if distinct else "it is empty"
    empty = [(EMPTY, np.flatnonzero([not value for value in values]))]
    found: list[tuple[str, NDArray[np.int64]]]
    if len(distinct) <= MOST_VALUES:
        numbers = {value: _number(value) for value in distinct}
        numeric = all(map(math.isfinite, numbers.values()))
        order = sorted(distinct, key=lambda value: (numbers[value] if numeric else 0.0, value))
        table = np.array(values, dtype=object)
        found = [(value, np.flatnonzero(table == value)) for value in order]
    else:
        amounts = np.array([_number(value) for value in values])
        if np.isfinite(amounts).sum() < len(filled):
            return [], f"it has {len(distinct):,} different values, and not all are numbers"
        found = _quartiles(amounts)
        if len(found) < 2:
            return [], "nearly all of its numbers are the same"
    return [part for part in (*found, *empty) if len(part[1])], None


def _quartiles(amounts: NDArray[np.float64]) -> list[tuple[str, NDArray[np.int64]]]:
    """Four slices of about as many images each; equal numbers stay together."""
    edges = np.unique(np.nanquantile(amounts, (0, 0.25, 0.5, 0.75, 1), method="higher"))
    found = []
    for place, (low, high) in enumerate(pairwise(edges.tolist())):
        last = place == len(edges) - 2
        inside = (amounts >= low) & ((amounts <= high) if last else (amounts < high))
        name = f"{low:.15g} to {'' if last else 'below '}{high:.15g}"
        found.append((name, np.flatnonzero(inside)))
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _own(found: Outcomes) -> Iterator[tuple[str, str, NDArray[np.int64]]]:
    for by, classes in ((CLASS, found.label), (PREDICTED, found.predicted)):
        for index in np.unique(classes[classes != NO_CLASS]).tolist():
            yield by, found.name(index), np.flatnonzero(classes == index)
    names = np.array([ref.group or "" for ref in found.refs], dtype=object)
    for name in sorted(set(names.tolist()) - {""}):
        yield GROUP, name, np.flatnonzero(names == name)
    for value, right in (("correct", 1), ("wrong", 0)):
        images = np.flatnonzero(found.right == right)
        if len(images):
            yield OUTCOME, value, images
    edges = np.array(BINS[1:-1], np.float32)  # as exact as the store
    place = np.searchsorted(edges, found.confidence.astype(np.float32), side="right")
    for number, (low, high) in enumerate(pairwise(BINS)):
        inside = (place == number) & np.isfinite(found.confidence)
        if inside.any():
            yield CONFIDENCE, f"{low:g} to {high:g}", np.flatnonzero(inside)


def _slice(found: Outcomes, by: str, metadata: bool, value: str, images: NDArray[np.int64]) -> Slice:
    outcome = found.right[images]
    judged, right = int(np.isfinite(outcome).sum()), int((outcome == 1).sum())
    all_judged, all_right = int(np.isfinite(found.right).sum()), int((found.right == 1).sum())
    rest, rest_right = all_judged - judged, all_right - right
    tested = (metadata or by not in (OUTCOME, CONFIDENCE)) and min(judged, rest) >= FEWEST
    wrong = images[outcome == 0]
    worst = wrong[np.argsort(-found.confidence[wrong], kind="stable")[:EXAMPLES]]
    return Slice(
        by=by,
        metadata=metadata,
        value=value,
        images=images,
        judged=judged,
        right=right,
        accuracy=share(right, judged),
        rest=share(rest_right, rest),
        confidence=float(mean_of_defined(found.confidence[images][None])[0]),
        p=fisher_exact(right, judged, rest_right, rest) if tested else math.nan,
        corrected=math.nan,
        examples=tuple(found.ids[place] for place in worst),
    )
