"""What natural pictures have in common, as the audited images show it: colours and spectrum.

Pictures are looked at in logit space, log(p / (1 - p)) of a pixel p in [0, 1], so that a sigmoid leads back
and no optimised pixel can leave the range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

_EDGE = 1 / 64
"""Pixels nearer than this to 0 and 1 are taken for as near: their logit would run away."""
_PLAIN = 1e-6
"""Variance of colours below which pictures are of one colour, and have nothing to measure."""
_LEAST = 0.01
"""Of the assumed spectrum: what every frequency has at least, so that none is lost to the optimiser."""


@dataclass(frozen=True)
class ImageStatistics:
    """Colours and spectrum of a set of pictures of one size.

    Attributes:
        mean: of each colour in logit space, ``(3,)``.
        colours: symmetric square root of the covariance of the colours in logit space, ``(3, 3)``: it turns
            three uncorrelated channels of unit variance into colours.
        spectrum: magnitude of each frequency of the three uncorrelated channels, as `torch.fft.rfft2` with
            ``norm="ortho"`` has them, mean over pictures, ``(3, height, width // 2 + 1)``; 0 at frequency 0.
        pictures: how many were looked at; 0 where the statistics are assumed.
    """

    mean: Tensor
    colours: Tensor
    spectrum: Tensor
    pictures: int

    def to(self, device: torch.device) -> ImageStatistics:
        """The same on a device."""
        return ImageStatistics(
            self.mean.to(device), self.colours.to(device), self.spectrum.to(device), self.pictures
        )

    @classmethod
    def assumed(cls, size: tuple[int, int]) -> ImageStatistics:
        """Statistics where there is no picture to learn from: uncorrelated colours, a 1 / frequency spectrum.

        Args:
            size: (height, width) in pixels.
        """
        fall = 1 / frequencies(size).clamp(min=1 / max(size))
        fall[0, 0] = 0
        # to unit variance: by Parseval the squares of all frequencies sum to those of the pixels
        both = torch.fft.irfft2(fall.to(torch.complex64), s=size, norm="ortho").square().sum()
        fall = fall * (size[0] * size[1] / both).sqrt()
        return cls(torch.zeros(3), torch.eye(3), fall.expand(3, -1, -1).contiguous(), 0)

    @classmethod
    def measured(cls, batches: Callable[[], Iterable[Tensor]], size: tuple[int, int]) -> ImageStatistics:
        """Statistics of pictures.

        Args:
            batches: gives pixels in [0, 1], ``(batch, 3, height, width)``, from the start; called twice.
            size: (height, width) in pixels.

        Returns:
            Their statistics; the assumed ones where there is no picture, or nothing in any.
        """
        count, total, products = (
            0,
            torch.zeros(3, dtype=torch.float64),
            torch.zeros(3, 3, dtype=torch.float64),
        )
        magnitudes = torch.zeros(3, size[0], size[1] // 2 + 1, dtype=torch.float64)
        pictures = 0
        for batch in batches():
            latent = to_latent(batch).double()
            flat = latent.transpose(0, 1).flatten(1)
            pictures += len(batch)
            count += flat.shape[1]
            total += flat.sum(1)
            products += flat @ flat.T
        assumed = cls.assumed(size)
        if not pictures:
            return assumed
        mean = total / count
        covariance = products / count - mean[:, None] * mean
        values, vectors = torch.linalg.eigh(covariance)
        if values.max() < _PLAIN:
            return assumed
        values = values.clamp(min=float(values.max()) * 1e-3)
        root = vectors @ values.sqrt().diag() @ vectors.T
        plain = vectors @ values.rsqrt().diag() @ vectors.T
        for batch in batches():
            centred = to_latent(batch).double() - mean[:, None, None]
            apart = torch.einsum("dc,bchw->bdhw", plain, centred)
            magnitudes += torch.fft.rfft2(apart, norm="ortho").abs().sum(0)
        spectrum = torch.maximum(magnitudes / pictures, _LEAST * assumed.spectrum)
        spectrum[:, 0, 0] = 0
        return cls(mean.float(), root.float(), spectrum.float(), pictures)


def frequencies(size: tuple[int, int]) -> Tensor:
    """Cycles a pixel of each coefficient of `torch.fft.rfft2`, ``(height, width // 2 + 1)``."""
    return torch.hypot(torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1])[None])


def to_latent(pixels: Tensor) -> Tensor:
    """Logits of pixels in [0, 1]."""
    return torch.logit(pixels, eps=_EDGE)
