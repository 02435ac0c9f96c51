"""Does a map add up to what its technique claims that it shares out?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vitreport.faithfulness.metric import Case, Metric, Row, register
from vitreport.model.load import VisionModel
from vitreport.techniques.maps import contexts
from vitreport.techniques.technique import SHARED_PASSES, Technique


@register
@dataclass(frozen=True)
class Completeness(Metric):
    """Relative error, 0 or more, of the sum of a map against what it claims to share out.

    Defined where a technique claims it: integrated gradients the logit less that of the baseline, Libra
    FullGrad the logit less the terms that no patch owns. The columns have both sums; ``note`` says why there
    is no value.

    Source:
        Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks, arXiv:1703.01365, proposition 1.
    """

    name = "completeness"
    title = "Completeness error"
    short = "Sum"
    source = (
        "Sundararajan et al., Axiomatic Attribution for Deep Networks, 2017, arXiv:1703.01365, proposition 1"
    )
    measures = "Whether the parts of a map add up to the whole that the technique says it shares out."
    does_not_measure = (
        "Whether the shares are right: the same whole can be shared out in many ways. Techniques that claim "
        "no sum have no value."
    )
    higher_is_better: ClassVar[bool | None] = False
    columns: ClassVar[Mapping[str, str]] = {"sum": "float", "claimed": "float", "note": "string"}
    version: ClassVar[int] = 2
    details: ClassVar[Mapping[str, str]] = {"sum": "sum of the map", "claimed": "claimed sum"}
    tier = "core"

    def passes(self, model: VisionModel, techniques: Sequence[Technique]) -> float:
        """See `Metric.passes`."""
        return SHARED_PASSES * len({one.backward for one in techniques if _claims(one)})

    def score(self, case: Case, maps: Mapping[str, Tensor]) -> dict[str, list[Row]]:
        """See `Metric.score`."""
        rows: dict[str, list[Row]] = {
            key: [_nothing("the technique claims no sum")] * len(case.image_ids) for key in maps
        }
        claiming = [case.techniques[key] for key in maps if _claims(case.techniques[key])]
        for _, context, members in contexts(
            case.model, claiming, case.pixels, [case.targets], case.image_ids, case.seed, case.chunk
        ):
            for technique in members:
                claimed = technique.claimed_sum(context)
                assert claimed is not None
                rows[technique.key] = _rows(maps[technique.key], claimed)
        return rows


def _nothing(note: str) -> Row:
    return {"value": None, "sum": None, "claimed": None, "note": note}


def _claims(technique: Technique) -> bool:
    return type(technique).claimed_sum is not Technique.claimed_sum


def _rows(maps: Tensor, claimed: Tensor) -> list[Row]:
    sums, claims = maps.flatten(1).double().sum(1), claimed.detach().double()
    errors = (sums - claims).abs() / claims.abs()
    return [
        {"value": error, "sum": total, "claimed": claim, "note": None}
        if defined
        else _nothing("the claimed sum is 0, or a value of the map is not finite")
        for error, total, claim, defined in zip(
            errors.tolist(), sums.tolist(), claims.tolist(), torch.isfinite(errors).tolist(), strict=True
        )
    ]
