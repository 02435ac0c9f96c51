"""What a picture is asked for beside a high activation: smoothness, and no seams between patches."""

from __future__ import annotations

import torch
from torch import Tensor


def total_variation(pictures: Tensor) -> Tensor:
    """Mean absolute step between neighbouring pixels, down and to the right, ``(pictures,)``.

    Args:
        pictures: ``(pictures, 3, height, width)``.
    """
    down, right = _steps(pictures)
    return down.abs().mean((1, 2, 3)) + right.abs().mean((1, 2, 3))


def seam_ratio(pictures: Tensor, patch_size: tuple[int, int]) -> Tensor:
    """How much larger steps are across patch borders than inside patches, ``(pictures,)``.

    The mean absolute step between neighbouring pixels of different patches over that between neighbouring
    pixels of one patch, down and to the right together. Natural pictures know nothing of patches and have
    about 1. A picture without any step has exactly 1, and so has one of a single patch or of patches of a
    pixel.

    Args:
        pictures: ``(pictures, 3, height, width)``.
        patch_size: (height, width) of a patch in pixels.
    """
    across, inside = [], []
    for steps, side, axis in zip(_steps(pictures), patch_size, (2, 3), strict=True):
        places = torch.arange(1, steps.shape[axis] + 1, device=steps.device) % side == 0
        sizes = steps.abs().movedim(axis, 1).flatten(2).mean(2)
        across.append(sizes[:, places])
        inside.append(sizes[:, ~places])
    borders, within = torch.cat(across, 1), torch.cat(inside, 1)
    if not borders.shape[1] or not within.shape[1]:
        return pictures.new_ones(len(pictures))
    tiny = 1e-6
    return (borders.mean(1) + tiny) / (within.mean(1) + tiny)


def seam_loss(pictures: Tensor, patch_size: tuple[int, int]) -> Tensor:
    """The patch continuity constraint: the squared logarithm of the seam ratio, ``(pictures,)``; 0 at 1."""
    return seam_ratio(pictures, patch_size).log().square()


def _steps(pictures: Tensor) -> tuple[Tensor, Tensor]:
    return pictures.diff(dim=2), pictures.diff(dim=3)
