"""How much of a map lies on few patches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vitreport.faithfulness.metric import Case, Metric, Row, register
from vitreport.faithfulness.ranking import is_defined
from vitreport.model.load import VisionModel
from vitreport.techniques.technique import Technique


@register
@dataclass(frozen=True)
class Concentration(Metric):
    """Gini index of a map's absolute values, in [0, 1): 0 is the same everywhere, near 1 is one patch.

    The column ``entropy`` has the entropy of their shares, divided by that of an even map, in [0, 1].

    Source:
        Hurley and Rickard 2009, Comparing Measures of Sparsity, arXiv:0811.4706, table I (Gini index); used
        on explanations by Chalasani et al. 2020, arXiv:1810.06583.
    """

    name = "concentration"
    title = "Concentration (Gini index)"
    short = "Gini"
    source = (
        "Hurley and Rickard, Comparing Measures of Sparsity, 2009, arXiv:0811.4706; on explanations: "
        "Chalasani et al., 2020, arXiv:1810.06583"
    )
    measures = "How few patches carry most of a map: 0 is the same everywhere, near 1 is a single patch."
    does_not_measure = "Whether these are the right patches. It describes a map and does not rank techniques."
    higher_is_better: ClassVar[bool | None] = None
    columns: ClassVar[Mapping[str, str]] = {"entropy": "float"}
    details: ClassVar[Mapping[str, str]] = {"entropy": "entropy, as a share of an even map's"}
    tier = "core"

    def passes(self, model: VisionModel, techniques: Sequence[Technique]) -> float:
        """See `Metric.passes`: it looks at maps alone."""
        return 0.0

    def score(self, case: Case, maps: Mapping[str, Tensor]) -> dict[str, list[Row]]:
        """See `Metric.score`."""
        return {key: _rows(values) for key, values in maps.items()}


def _rows(maps: Tensor) -> list[Row]:
    share = maps.flatten(1).double().abs().sort(1).values
    share = share / share.sum(1, keepdim=True)
    several = share.shape[1]
    places = torch.arange(1, several + 1, device=share.device, dtype=share.dtype)
    gini = 1 - 2 * (share * (several - places + 0.5) / several).sum(1)
    entropy = -torch.special.xlogy(share, share).sum(1) / math.log(several)
    return [
        {"value": value, "entropy": spread} if defined else {"value": None, "entropy": None}
        for value, spread, defined in zip(
            gini.tolist(), entropy.tolist(), is_defined(maps).tolist(), strict=True
        )
    ]
