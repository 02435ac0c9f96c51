"""A map of edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from vitreport.model.layout import patch_means
from vitreport.model.trace import Need
from vitreport.techniques.technique import Context, Technique, register

_LUMINANCE = (0.299, 0.587, 0.114)
"""Of red, green and blue: ITU-R BT.601."""


@register
@dataclass(frozen=True)
class Edges(Technique):
    """Mean steepness of the picture's luminance in each patch, by the Sobel operator; not negative."""

    name = "edges"
    title = "Sobel edges (control)"
    family = "control"
    needs = Need.NOTHING
    source = "A control, as in Adebayo et al., Sanity Checks for Saliency Maps, 2018, arXiv:1810.03292"
    shows = (
        "How far one gets by pointing at edges: a map that looks much like this one may say more of the "
        "picture than of the model."
    )
    does_not_show = "Anything about the model."

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        pixels = context.trace.pixels
        std = np.array(context.model.preparation.config["std"], np.float32)  # the mean has no slope
        red, green, blue = (std * np.array(_LUMINANCE, np.float32)).tolist()
        luminance = (pixels[:, 0] * red).add_(pixels[:, 1], alpha=green).add_(pixels[:, 2], alpha=blue)
        maps = patch_means(_steepness(luminance), context.model.layout.grid)
        for _ in techniques:
            yield maps


def _steepness(values: Tensor) -> Tensor:
    """Magnitude of the slope a pixel, of ``(batch, height, width)``; the edge goes on beyond the edge."""
    wide = nn.functional.pad(values, (1, 1, 1, 1), mode="replicate")
    right, down = (_across(one) for one in (wide, wide.mT))
    return torch.hypot(right, down.mT, out=right)


def _across(wide: Tensor) -> Tensor:
    """Sobel's slope along the last axis, by its two factors."""
    step = wide[:, :, 2:] - wide[:, :, :-2]
    return (step[:, :-2] + step[:, 2:]).add_(step[:, 1:-1], alpha=2).div_(8)
