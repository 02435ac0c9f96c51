"""What the model said of every image, and whether it was right."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vitreport.analysis.statistics import Floats
from vitreport.explanation import ImageRef
from vitreport.store import Run

NO_CLASS = -1
"""Stands for a class where there is none."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The explained images of a run, in id order; quarantined ones are left out.

    Attributes:
        refs: the images.
        predicted: the likeliest class of each, ``(images,)``; `NO_CLASS` where the model tells no classes.
        confidence: its score in [0, 1], ``(images,)``; NaN where the model gives none.
        margin: how far the second class is behind, ``(images,)`` in [0, 1]; NaN where there is none.
        label: the true class, ``(images,)``; `NO_CLASS` where it is unknown.
        classes: names of the model's outputs.
    """

    refs: tuple[ImageRef, ...]
    predicted: NDArray[np.int64]
    confidence: Floats
    margin: Floats
    label: NDArray[np.int64]
    classes: tuple[str, ...]

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Of the images."""
        return tuple(ref.id for ref in self.refs)

    @cached_property
    def right(self) -> Floats:
        """1 where the model is right, 0 where wrong, NaN where that cannot be said, ``(images,)``."""
        known = (self.label != NO_CLASS) & (self.predicted != NO_CLASS)
        return np.where(known, self.label == self.predicted, np.nan)

    def name(self, index: int) -> str:
        """A class's name, the first of its synonyms; its number where it has none."""
        name = self.classes[index].partition(",")[0].strip() if index < len(self.classes) else ""
        return name or f"class {index}"


def outcomes(run: Run) -> Outcomes:
    """Reads what the model said of every image of a run."""
    model = run.manifest.model
    wanted = run.images.select(["id", "status", "label", "top_index", "top_probability"])
    rows = {row["id"]: row for row in wanted.to_pylist() if row["status"] == "explained"}
    refs = tuple(ref for ref in run.catalogue if ref.id in rows)
    count = len(refs)
    predicted, label = np.full((2, count), NO_CLASS, np.int64)
    confidence, margin = np.full((2, count), np.nan)
    for place, ref in enumerate(refs):
        row = rows[ref.id]
        if row["label"] is not None:
            label[place] = row["label"]
        scores = row["top_probability"] or ()
        if not scores or model.head not in ("softmax", "sigmoid"):
            continue
        confidence[place] = scores[0]
        if model.tells_classes:
            predicted[place] = row["top_index"][0]
            if len(scores) > 1:
                margin[place] = scores[0] - scores[1]
    return Outcomes(refs, predicted, confidence, margin, label, model.class_names)
