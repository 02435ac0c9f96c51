"""Plausibility: does a map lie on the pixels that people marked?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from vitreport.faithfulness.metric import IGNORED, Case, Metric, Row, register
from vitreport.faithfulness.ranking import is_defined
from vitreport.model.load import VisionModel
from vitreport.techniques.technique import Technique


@register
@dataclass(frozen=True)
class MaskAgreement(Metric):
    """Average precision, in [0, 1], with which a map's pixels find those of the explained class in a mask.

    The map is enlarged to pixels bilinearly; ignored pixels are left out. ``pixel_accuracy`` and ``iou``
    (mean of object and background) are of the map cut at its mean, ``energy`` is the share of positive
    relevance on the object, and ``area`` the object's share of the pixels, which is what chance reaches.
    ``note`` says why there is no value.

    Source:
        Chefer et al. 2021, arXiv:2012.09838, section 4 (segmentation: pixel accuracy, mAP, mIoU); Wang et al.
        2020, Score-CAM, arXiv:1910.01279, section 4.3 (energy-based pointing game).
    """

    name = "mask_agreement"
    title = "Agreement with masks"
    short = "Masks"
    source = (
        "Chefer et al., Transformer Interpretability Beyond Attention Visualization, 2021, arXiv:2012.09838, "
        "section 4; energy: Wang et al., Score-CAM, 2020, arXiv:1910.01279, section 4.3"
    )
    measures = (
        "Plausibility: whether a map lies on the pixels that people marked as its class. Chance reaches the "
        "object's share of the picture, which stands in the column area."
    )
    does_not_measure = (
        "Whether the map is faithful. A model that cheats has faithful maps that lie beside the object."
    )
    columns: ClassVar[Mapping[str, str]] = {
        "pixel_accuracy": "float",
        "iou": "float",
        "energy": "float",
        "area": "float",
        "note": "string",
    }
    details: ClassVar[Mapping[str, str]] = {
        "pixel_accuracy": "pixel accuracy",
        "iou": "mean IoU",
        "energy": "energy on the object",
        "area": "object's share (chance)",
    }
    version: ClassVar[int] = 2
    tier = "core"
    needs_masks = True

    def passes(self, model: VisionModel, techniques: Sequence[Technique]) -> float:
        """See `Metric.passes`: it looks at maps alone."""
        return 0.0

    def score(self, case: Case, maps: Mapping[str, Tensor]) -> dict[str, list[Row]]:
        """See `Metric.score`."""
        masks = torch.full_like(case.pixels[:, 0], IGNORED, dtype=torch.int64)
        if case.masks is not None:
            masks = case.masks.to(masks.device)
        notes = case.mask_notes or ("there is no mask",) * len(masks)
        return {
            key: [
                _row(*one)
                for one in zip(values, masks, case.targets.tolist(), is_defined(values), notes, strict=True)
            ]
            for key, values in maps.items()
        }


def _row(values: Tensor, mask: Tensor, target: int, defined: Tensor, note: str | None) -> Row:
    shape = (mask.shape[0], mask.shape[1])
    wide = nn.functional.interpolate(values[None, None].double(), shape, mode="bilinear")[0, 0]
    known = mask != IGNORED
    marked, wide = (mask == target)[known], wide[known]
    if note is None and not defined:
        note = "the map is constant or has values that are not finite"
    if note is None and not marked.any():
        note = "the mask does not show the explained class"
    if note is None and marked.all():
        note = "the mask shows nothing but the explained class"
    if note is not None:
        return {**dict.fromkeys(("value", *MaskAgreement.columns)), "note": note}
    high = wide > wide.mean()
    positive = wide.clamp(min=0)
    overlaps = [
        float((one & other).sum() / (one | other).sum()) for one, other in ((high, marked), (~high, ~marked))
    ]
    return {
        "value": average_precision(wide, marked),
        "pixel_accuracy": float((high == marked).double().mean()),
        "iou": sum(overlaps) / 2,
        "energy": float(positive[marked].sum() / positive.sum()) if positive.any() else None,
        "area": float(marked.double().mean()),
        "note": None,
    }


def average_precision(values: Tensor, marked: Tensor) -> float:
    """Mean precision over the marked items, most relevant first; tied items count at once.

    Args:
        values: ``(items,)``.
        marked: booleans, ``(items,)``, at least one of them true.
    """
    order = values.argsort(descending=True)
    ranked, hits = values[order], marked[order].double().cumsum(0)
    ends = torch.cat((ranked[1:] != ranked[:-1], torch.ones(1, dtype=torch.bool, device=ranked.device)))
    found = hits[ends]
    precision = found / (ends.nonzero().squeeze(1) + 1)
    gained = torch.diff(found, prepend=found.new_zeros(1))
    return float((precision * gained).sum() / hits[-1])
