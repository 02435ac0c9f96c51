"""The perturbation test of the Transformer Attribution paper, for comparison with published tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from vitreport.faithfulness.metric import Case, Metric, Row, register
from vitreport.faithfulness.ranking import is_defined
from vitreport.masking import black, every_variant
from vitreport.model.load import VisionModel
from vitreport.techniques.technique import Technique

LEVELS = tuple(range(10, 100, 10))
"""Percent of the pixels that are blackened."""


@register
@dataclass(frozen=True)
class BlackPixels(Metric):
    """Mean share of nine levels, 10 to 90 % of the pixels blackened, at which the prediction is kept.

    The map is enlarged to pixels bilinearly. Positive blackens the most relevant pixels first, and lower is
    better; negative the least relevant first, and higher is better. The value is negative minus positive,
    in [-1, 1].

    Source:
        Chefer et al. 2021, Transformer Interpretability Beyond Attention Visualization, arXiv:2012.09838,
        section 4 (positive and negative perturbation).

    Differs:
        The mean of nine shares that keep the model's own prediction; the paper's tables hold areas under
        the accuracy by labels, which are lower.
    """

    name = "black_pixels"
    title = "Positive and negative perturbation"
    short = "Black pixels"
    source = (
        "Chefer et al., Transformer Interpretability Beyond Attention Visualization, 2021, arXiv:2012.09838, "
        "section 4"
    )
    measures = (
        "How much of the picture must turn black, most or least relevant pixels first, until the prediction "
        "changes."
    )
    does_not_measure = (
        "How the model would judge a natural picture without these pixels: black squares are nothing that "
        "it was trained on, and their shape tells of the map."
    )
    columns: ClassVar[Mapping[str, str]] = {"positive": "float", "negative": "float"}
    details: ClassVar[Mapping[str, str]] = {
        "positive": "kept, most relevant first (positive)",
        "negative": "kept, least relevant first (negative)",
    }

    def passes(self, model: VisionModel, techniques: Sequence[Technique]) -> float:
        """See `Metric.passes`."""
        return 2 * len(LEVELS) * len(techniques)

    def supports(self, model: VisionModel) -> str | None:
        """See `Metric.supports`."""
        return None if len(model.classes) > 1 else "there is no prediction to keep: the model has no classes"

    def score(self, case: Case, maps: Mapping[str, Tensor]) -> dict[str, list[Row]]:
        """See `Metric.score`."""
        filling = black(case.pixels, case.model)
        with case.evaluating():
            predicted = case.logits(case.pixels).argmax(1)
            return {key: self._rows(case, values, filling, predicted) for key, values in maps.items()}

    def _rows(self, case: Case, maps: Tensor, filling: Tensor, predicted: Tensor) -> list[Row]:
        height, width = case.pixels.shape[-2:]
        wide = nn.functional.interpolate(maps[:, None].float(), (height, width), mode="bilinear")
        order = wide.flatten(1).argsort(dim=1, descending=True, stable=True)
        rank = torch.empty_like(order)
        rank.scatter_(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
        sizes = torch.tensor([height * width * level // 100 for level in LEVELS], device=order.device)
        kept = []
        for images, numbers in every_variant(len(maps), 2 * len(LEVELS), case.chunk, order.device):
            size = sizes[numbers % len(LEVELS)][:, None]
            ranks = rank[images]
            hidden = torch.where(
                (numbers < len(LEVELS))[:, None], ranks < size, ranks >= height * width - size
            ).view(-1, 1, height, width)
            pictures = torch.where(hidden, filling[images], case.pixels[images])
            kept.append(case.model.module(pictures).argmax(1) == predicted[images])
        shares = torch.cat(kept).view(len(maps), 2, len(LEVELS)).double().mean(2).tolist()
        return [
            {"value": negative - positive, "positive": positive, "negative": negative}
            if defined
            else {"value": None, "positive": None, "negative": None}
            for (positive, negative), defined in zip(shares, is_defined(maps).tolist(), strict=True)
        ]
