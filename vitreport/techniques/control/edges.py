"""A map of edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn

from vitreport.masking import colours
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
        mean, std = colours(context.model, pixels)
        weights = pixels.new_tensor(_LUMINANCE).view(1, 3, 1, 1)
        luminance = ((pixels * std + mean) * weights).sum(1, keepdim=True)
        maps = patch_means(_steepness(luminance)[:, 0], context.model.layout.grid)
        for _ in techniques:
            yield maps


def _steepness(values: Tensor) -> Tensor:
    """Magnitude of the slope a pixel, of ``(batch, 1, height, width)``; the edge goes on beyond the edge."""
    across = values.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]).view(1, 1, 3, 3) / 8
    wide = nn.functional.pad(values, (1, 1, 1, 1), mode="replicate")
    right, down = (nn.functional.conv2d(wide, kernel) for kernel in (across, across.mT))
    return (right.square() + down.square()).sqrt()
