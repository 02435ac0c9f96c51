from __future__ import annotations

import pytest
import torch

from vitreport.optimized.image import PARAMETRISATIONS, Fourier, Maco, Pixels
from vitreport.optimized.statistics import ImageStatistics, to_latent

SIZE = (24, 32)


def coloured_noise(count: int) -> torch.Tensor:
    """Pictures whose colours have a known covariance in logit space."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[0.8, 0.1, 0.0], [0.3, 0.5, 0.2], [0.0, 0.2, 0.4]])
    latent = torch.einsum("dc,bchw->bdhw", mixing, torch.randn(count, 3, *SIZE, generator=generator))
    return torch.sigmoid(latent + torch.tensor([0.5, 0.0, -0.5])[:, None, None])


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return coloured_noise(40)


@pytest.fixture(scope="module")
def statistics(pictures: torch.Tensor) -> ImageStatistics:
    return ImageStatistics.measured(lambda: pictures.split(16), SIZE)


def test_mean_and_covariance_of_the_colours_are_those_of_the_pictures(pictures, statistics):
    latent = to_latent(pictures).transpose(0, 1).flatten(1)
    assert torch.allclose(statistics.mean, latent.mean(1), atol=1e-4)
    assert torch.allclose(statistics.colours @ statistics.colours.T, torch.cov(latent), atol=1e-3)
    assert statistics.pictures == 40


def test_the_spectrum_of_white_noise_is_flat(statistics):
    inside = statistics.spectrum[:, 1:12, 1:-1]
    assert inside.std() / inside.mean() < 0.12
    # the mean length of a complex normal number whose square has the mean 1
    assert inside.mean().item() == pytest.approx(0.5 * torch.pi**0.5, rel=0.05)
    assert not statistics.spectrum[:, 0, 0].any()


def test_how_pictures_are_batched_does_not_matter(pictures, statistics):
    again = ImageStatistics.measured(lambda: pictures.split(7), SIZE)
    assert torch.allclose(again.spectrum, statistics.spectrum, rtol=1e-5)
    assert torch.allclose(again.colours, statistics.colours, rtol=1e-5)


def test_pictures_of_one_colour_have_statistics_too():
    grey = torch.full((2, 3, *SIZE), 0.5)
    found = ImageStatistics.measured(lambda: [grey], SIZE)
    assert found.pictures == 0
    assert torch.equal(found.spectrum, ImageStatistics.assumed(SIZE).spectrum)


def test_grey_pictures_leave_no_frequency_to_the_optimiser_that_is_dead():
    grey = coloured_noise(8)[:, :1].expand(-1, 3, -1, -1)
    found = ImageStatistics.measured(lambda: [grey], SIZE)
    assert found.pictures == 8
    assert (found.spectrum.flatten(1)[:, 1:] > 0).all()
    maco = Maco(found, SIZE)
    made = maco.pictures(maco.start([torch.Generator().manual_seed(0)]))
    assert (made - made.mean(1, keepdim=True)).abs().max() < 0.05


def test_without_pictures_the_spectrum_falls_with_the_frequency_and_has_unit_variance():
    assumed = ImageStatistics.measured(list, SIZE)
    assert assumed.pictures == 0
    fall = assumed.spectrum[0, 0, 1:]
    assert torch.allclose(fall * torch.arange(1, len(fall) + 1), fall[0].expand_as(fall))
    maco = Maco(assumed, SIZE)
    pictures = maco.pictures(maco.start([torch.Generator().manual_seed(n) for n in range(50)]))
    assert torch.logit(pictures).std().item() == pytest.approx(1, rel=0.05)


def test_maco_pictures_keep_the_magnitudes_whatever_the_phases(statistics):
    maco = Maco(statistics, SIZE)
    coefficients = 100 * torch.randn(
        3, *statistics.spectrum.shape, generator=torch.Generator().manual_seed(1)
    )
    latent = torch.logit(maco.pictures(coefficients).double()) - statistics.mean.double()[:, None, None]
    apart = torch.einsum("dc,bchw->bdhw", torch.linalg.inv(statistics.colours.double()), latent)
    found = torch.fft.rfft2(apart, norm="ortho").abs()[..., 1:-1]
    assert torch.allclose(
        found, statistics.spectrum[..., 1:-1].double().expand_as(found), rtol=1e-3, atol=1e-3
    )


def test_fourier_coefficients_of_zero_are_the_mean_colour(statistics):
    fourier = Fourier(statistics, SIZE)
    pictures = fourier.pictures(torch.zeros(2, *statistics.spectrum.shape, 2))
    assert torch.allclose(
        pictures, torch.sigmoid(statistics.mean)[:, None, None].expand_as(pictures), atol=1e-6
    )


@pytest.mark.parametrize("size", [(24, 32), (16, 16), (21, 15)])
@pytest.mark.parametrize("kind", [Fourier, Maco, Pixels])
def test_every_parametrisation_gives_pixels_in_range_each_from_its_own_generator(kind, size):
    written = kind(ImageStatistics.assumed(size), size)
    alone = written.start([torch.Generator().manual_seed(7)])
    both = written.start([torch.Generator().manual_seed(3), torch.Generator().manual_seed(7)])
    assert torch.equal(alone[0], both[1])
    pictures = written.pictures(50 * both)
    assert pictures.shape == (2, 3, *size)
    assert pictures.min() >= 0 and pictures.max() <= 1
    assert PARAMETRISATIONS[kind.name] is kind


@pytest.mark.parametrize("kind", [Fourier, Maco, Pixels])
def test_gradients_of_a_picture_reach_its_own_coefficients_alone(kind, statistics):
    written = kind(statistics, SIZE)
    start = written.start([torch.Generator().manual_seed(seed) for seed in range(2)]).requires_grad_()
    weights = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(9))
    (gradient,) = torch.autograd.grad((written.pictures(start)[0] * weights).sum(), start)
    assert gradient[0].any() and torch.isfinite(gradient).all()
    assert not gradient[1].any()
