"""Sanity check: does a map change with the class that is explained?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from vitreport.faithfulness.metric import Case, Metric, Row, explaining_passes, register
from vitreport.model.load import VisionModel
from vitreport.ranks import spearman
from vitreport.store import Check
from vitreport.techniques.technique import Technique


@register
@dataclass(frozen=True)
class ClassSensitivity(Metric):
    """Rank correlation, in [-1, 1], of the maps of the explained class and of the likeliest other one.

    Both are explained from one forward pass. A technique that knows no class has exactly 1. It is a check and
    ranks nothing: below its limit no value is better than another, and opposed maps are no better than
    unrelated ones.

    Source:
        Spearman's rank correlation of two maps, as Adebayo et al. 2018, arXiv:1810.03292, take it between
        two models.
    """

    name = "class_sensitivity"
    title = "Likeness of the maps of two classes"
    short = "Two classes"
    source = (
        "Spearman's rank correlation of two maps, as Adebayo et al., Sanity Checks for Saliency Maps, 2018, "
        "arXiv:1810.03292, take it between two models"
    )
    measures = (
        "Whether a map says something about its class: 1 means that the two likeliest classes have the same "
        "map, as with every technique that knows no class."
    )
    does_not_measure = (
        "Whether the map is right. Two classes may well rest on the same patches, above all where there is "
        "one object."
    )
    higher_is_better: ClassVar[bool | None] = None
    check: ClassVar[Check | None] = Check(
        0.9, "From 0.9 on, the ranks of two maps have more than four fifths of their variance in common."
    )
    columns: ClassVar[Mapping[str, str]] = {"other": "int32"}
    tier = "core"

    def passes(self, model: VisionModel, techniques: Sequence[Technique]) -> float:
        """See `Metric.passes`."""
        return 2 * explaining_passes(model, techniques)

    def supports(self, model: VisionModel) -> str | None:
        """See `Metric.supports`."""
        return None if len(model.classes) > 1 else "the model has no second class to compare with"

    def score(self, case: Case, maps: Mapping[str, Tensor]) -> dict[str, list[Row]]:
        """See `Metric.score`."""
        logits = case.logits(case.pixels)
        others = logits.scatter(1, case.targets[:, None], -torch.inf).argmax(1)
        own, other = case.explain(maps, case.pixels, case.targets, others)
        rows: dict[str, list[Row]] = {}
        for key in maps:
            likeness = spearman(own[key].flatten(1).cpu().numpy(), other[key].flatten(1).cpu().numpy())
            rows[key] = [
                {"value": float(value) if np.isfinite(value) else None, "other": index}
                for value, index in zip(likeness, others.tolist(), strict=True)
            ]
        return rows
