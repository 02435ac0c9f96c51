"""How a picture is written as numbers that can be optimised.

Each parametrisation turns coefficients into pixels in [0, 1]. The first two work on frequencies and on
uncorrelated colours, so that a step of the optimiser changes a picture at all scales alike and not pixel by
pixel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vitreport.optimized.statistics import ImageStatistics, frequencies

_START = 0.1
"""Standard deviation of what the free parametrisations start from, where natural pictures have 1."""
_SOFTNESS = 0.4
"""How much steeper than the natural spectrum, as a power of the frequency."""


@dataclass(frozen=True)
class Parametrisation(ABC):
    """A way to write pictures.

    Attributes:
        statistics: of natural pictures.
        size: (height, width) in pixels.
    """

    name: ClassVar[str]
    rate: ClassVar[float]
    """The optimiser's learning rate, in the coefficients' own unit."""

    statistics: ImageStatistics
    size: tuple[int, int]

    def start(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Coefficients to start from, ``(pictures, …)``: of each picture from its own generator (CPU)."""
        return torch.stack([self._start(generator) for generator in generators])

    @abstractmethod
    def pictures(self, coefficients: Tensor) -> Tensor:
        """Pixels in [0, 1], ``(pictures, 3, height, width)``."""

    @abstractmethod
    def _start(self, generator: torch.Generator) -> Tensor:
        """Coefficients of one picture."""

    def _coloured(self, channels: Tensor) -> Tensor:
        """Uncorrelated channels of unit variance to pixels, ``(pictures, 3, height, width)`` both."""
        colours = torch.einsum("dc,bchw->bdhw", self.statistics.colours, channels)
        return torch.sigmoid(colours + self.statistics.mean[:, None, None])


@dataclass(frozen=True)
class Fourier(Parametrisation):
    """Free Fourier coefficients of uncorrelated colours, each in units of its natural magnitude.

    Source: Olah, Mordvintsev, Schubert 2017, "Feature Visualization", doi:10.23915/distill.00007: a
        decorrelated, whitened space to descend in.
    Differs: the spectrum and the colours that it whitens by are those of the audited images; fine detail is
        held back further, by frequency to the power of `_SOFTNESS`.
    """

    name = "fourier"
    rate = 0.09

    def pictures(self, coefficients: Tensor) -> Tensor:
        """Pixels of real and imaginary parts, ``(pictures, 3, height, width // 2 + 1, 2)``."""
        cycles = (frequencies(self.size) * max(self.size)).clamp(min=1).to(coefficients.device)
        scaled = torch.view_as_complex(coefficients) * (self.statistics.spectrum / cycles**_SOFTNESS)
        return self._coloured(torch.fft.irfft2(scaled, s=self.size, norm="ortho"))

    def _start(self, generator: torch.Generator) -> Tensor:
        return _START * torch.randn(*self.statistics.spectrum.shape, 2, generator=generator)


@dataclass(frozen=True)
class Maco(Parametrisation):
    """Phases alone; each frequency keeps the magnitude that natural pictures have.

    Source: Fel et al. 2023, "Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained
        Optimization", arXiv:2306.06805.
    Differs: the magnitudes are those of the audited images.
    """

    name = "maco"
    rate = 0.2

    def pictures(self, coefficients: Tensor) -> Tensor:
        """Pixels of phases in radians, ``(pictures, 3, height, width // 2 + 1)``."""
        scaled = torch.polar(self.statistics.spectrum.expand_as(coefficients), coefficients)
        return self._coloured(torch.fft.irfft2(scaled, s=self.size, norm="ortho"))

    def _start(self, generator: torch.Generator) -> Tensor:
        return 2 * torch.pi * torch.rand(self.statistics.spectrum.shape, generator=generator)


@dataclass(frozen=True)
class Pixels(Parametrisation):
    """Every pixel for itself: what shows the blocky pictures that nothing restrains."""

    name = "pixels"
    rate = 0.05

    def pictures(self, coefficients: Tensor) -> Tensor:
        """Pixels of their logits, ``(pictures, 3, height, width)``."""
        return torch.sigmoid(coefficients)

    def _start(self, generator: torch.Generator) -> Tensor:
        return _START * torch.randn(3, *self.size, generator=generator)


PARAMETRISATIONS: dict[str, type[Parametrisation]] = {kind.name: kind for kind in (Fourier, Maco, Pixels)}
