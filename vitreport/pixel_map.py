"""Maps at the resolution of the model's input, made ready to be stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vitreport.explanation import PixelMap
from vitreport.model.transfer import to_host
from vitreport.settings import PixelMaps


@dataclass(frozen=True)
class StoredPixels:
    """One technique's maps of some images pixel by pixel, perhaps still on their way from the device.

    Attributes:
        values: ``(images, height, width)``, in the numbers that are stored.
        scales: what they are to be multiplied by, ``(images,)``.
    """

    values: Tensor
    scales: Tensor

    def maps(self) -> Iterator[PixelMap]:
        """The maps image by image; for after their `arrival`."""
        for values, scale in zip(self.values.numpy(), self.scales.tolist(), strict=True):
            yield PixelMap(values, scale)


def stored_pixels(values: Tensor, grid: tuple[int, int], kept: PixelMaps) -> StoredPixels | None:
    """A technique's maps of some images pixel by pixel; None where they are not kept or have patches only.

    Args:
        values: ``(images, height, width)`` or, on the patch grid, ``(images, rows, cols)``.
        grid: (rows, cols) of the patch grid.
        kept: in which numbers.
    """
    if kept == "none" or tuple(values.shape[1:]) == tuple(grid):
        return None
    values = values.float()
    scales = torch.ones_like(values[:, 0, 0])
    if kept == "float16":
        scales = values.abs().amax((1, 2))
        values = (values / scales.where(scales > 0, 1.0)[:, None, None]).half()
    return StoredPixels(to_host(values), to_host(scales))
