"""Changed copies of a picture, so that what is optimised lives through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """How copies of a picture are changed in each step.

    A copy is a window onto the picture, which repeats beyond its borders: moved, turned and scaled at
    random; then its colours shift and noise is added.

    Attributes:
        jitter: largest move down and to the right, as a share of the picture's sides: 32 of 224 pixels.
        zoom: (smallest, largest) side of the window, as a share of the picture's.
        turn: largest angle in degrees.
        colour: standard deviation of the shift of each colour, in normalised units.
        noise: standard deviation of each pixel's noise in the first step; it falls to 0 in the last.
    """

    jitter: float = 1 / 7
    zoom: tuple[float, float] = (0.5, 1.3)
    turn: float = 10.0
    colour: float = 0.2
    noise: float = 0.4

    def __call__(
        self, pixels: Tensor, generators: Sequence[torch.Generator], copies: int, left: float
    ) -> Tensor:
        """Changed copies.

        Args:
            pixels: normalised, ``(pictures, 3, height, width)``.
            generators: of each picture, on the pixels' device.
            copies: of each picture.
            left: share of the steps that is left, from 1 down to 0: the noise falls with it.

        Returns:
            ``(pictures * copies, 3, height, width)``, the copies of a picture together.
        """
        draws = [self._draw(pixels, generator, copies) for generator in generators]
        windows, shifts, noise = (torch.cat(parts) for parts in zip(*draws, strict=True))
        seen = _windows(pixels.repeat_interleave(copies, 0), windows)
        return seen + self.colour * shifts + self.noise * left * noise

    def _draw(self, pixels: Tensor, generator: torch.Generator, copies: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of one picture: windows ``(copies, 2, 3)``, colour shifts and noise."""
        height, width = pixels.shape[-2:]
        options = {"generator": generator, "device": pixels.device}
        spread = torch.rand(copies, 4, **options) * 2 - 1  # type: ignore[call-overload]
        low, high = self.zoom
        scale = low + (high - low) * (spread[:, 0] + 1) / 2
        angle = torch.deg2rad(self.turn * spread[:, 1])
        down = (spread[:, 2] * self.jitter * height).round()
        right = (spread[:, 3] * self.jitter * width).round()
        cosine, sine = scale * angle.cos(), scale * angle.sin()
        windows = torch.stack(
            [
                torch.stack([cosine, -sine * height / width, 2 * right / width], 1),
                torch.stack([sine * width / height, cosine, 2 * down / height], 1),
            ],
            1,
        )
        shifts = torch.randn(copies, 3, 1, 1, **options)  # type: ignore[call-overload]
        noise = torch.randn(copies, 3, height, width, **options)  # type: ignore[call-overload]
        return windows, shifts, noise


def _windows(pictures: Tensor, windows: Tensor) -> Tensor:
    """Looks at pictures that repeat beyond their borders through affine windows, bilinearly.

    Args:
        pictures: ``(pictures, 3, height, width)``.
        windows: from places in the window to places in the picture, both in [-1, 1] from border to border,
            ``(pictures, 2, 3)``.
    """
    height, width = pictures.shape[-2:]
    places = functional.affine_grid(windows, list(pictures.shape), align_corners=False)
    sides = torch.tensor([width, height], device=places.device, dtype=places.dtype)
    pixels = ((places + 1) * sides - 1) / 2  # pixel centres are whole numbers
    pixels = pixels.remainder(sides) + 1  # into the picture, past the pixel that is put before it
    around = functional.pad(pictures, (1, 1, 1, 1), mode="circular")
    wider = sides + 2
    return functional.grid_sample(around, (2 * pixels + 1) / wider - 1, mode="bilinear", align_corners=False)
