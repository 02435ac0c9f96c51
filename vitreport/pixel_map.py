"""Maps at the resolution of the model's input, made ready to be stored."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vitreport.explanation import PixelMap
from vitreport.settings import PixelMaps


def pixel_maps(values: Tensor, grid: tuple[int, int], kept: PixelMaps) -> Sequence[PixelMap | None]:
    """A technique's maps of some images pixel by pixel; None where they are not kept or have patches only.

    Args:
        values: ``(images, height, width)`` or, on the patch grid, ``(images, rows, cols)``.
        grid: (rows, cols) of the patch grid.
        kept: in which numbers.
    """
    if kept == "none" or tuple(values.shape[1:]) == tuple(grid):
        return [None] * len(values)
    values = values.float()
    scales = torch.ones_like(values[:, 0, 0])
    if kept == "float16":
        scales = values.abs().amax((1, 2))
        values = (values / scales.where(scales > 0, 1.0)[:, None, None]).half()
    return [PixelMap(one, scale) for one, scale in zip(values.cpu().numpy(), scales.tolist(), strict=True)]
