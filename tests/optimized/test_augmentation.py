from __future__ import annotations

import torch

from vitreport.optimized.augmentation import Augmentation

STILL = Augmentation(jitter=0, zoom=(1.0, 1.0), turn=0.0, colour=0.0, noise=0.0)


def pictures(count: int = 2, size: tuple[int, int] = (24, 40)) -> torch.Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(0))


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_without_changes_copies_are_the_picture():
    shown = pictures()
    copies = STILL(shown, generators(0, 1), 3, 1.0)
    assert torch.allclose(copies, shown.repeat_interleave(3, 0), atol=1e-4)


def test_jitter_moves_a_picture_and_what_leaves_comes_back():
    shown = pictures(1)
    moving = Augmentation(jitter=0.25, zoom=(1.0, 1.0), turn=0.0, colour=0.0, noise=0.0)
    copies = moving(shown, generators(4), 12, 1.0)
    moves = set()
    for copy in copies:
        found = [
            (down, right)
            for down in range(-6, 7)
            for right in range(-10, 11)
            if torch.allclose(copy, shown[0].roll((-down, -right), (1, 2)), atol=1e-4)
        ]
        assert len(found) == 1
        moves |= set(found)
    assert len(moves) > 6


def test_zoom_shows_the_middle_larger_and_more_than_all_repeats():
    y = torch.linspace(-1, 1, 32)
    shown = (y[:, None].square() + y.square()).sqrt().lt(0.3).float().expand(1, 3, 32, 32)
    closer = Augmentation(jitter=0, zoom=(0.5, 0.5), turn=0.0, colour=0.0, noise=0.0)
    farther = Augmentation(jitter=0, zoom=(2.0, 2.0), turn=0.0, colour=0.0, noise=0.0)
    area = shown.mean()
    assert closer(shown, generators(0), 1, 1.0).mean() > 3.5 * area
    repeated = farther(shown, generators(0), 1, 1.0)
    assert torch.allclose(repeated[..., :8, :8], repeated[..., 16:24, 16:24], atol=1e-4)
    assert torch.allclose(repeated[..., :8, :8], repeated[..., 16:24, :8], atol=1e-4)


def test_turning_a_picture_that_is_not_square_keeps_its_shape():
    y, x = torch.meshgrid(torch.arange(24) - 11.5, torch.arange(40) - 19.5, indexing="ij")
    disc = (y.square() + x.square()).lt(64).float().expand(1, 3, 24, 40)
    turned = Augmentation(jitter=0, zoom=(1.0, 1.0), turn=90.0, colour=0.0, noise=0.0)(
        disc, generators(3), 4, 1.0
    )
    middle = (slice(None), slice(None), slice(4, 20), slice(12, 28))  # beyond it the picture repeats
    assert (turned - disc)[middle].abs().mean() < 0.05
    bar = (y.abs() < 2).logical_and(x.abs() < 8).float().expand(1, 3, 24, 40)
    across = Augmentation(jitter=0, zoom=(1.0, 1.0), turn=45.0, colour=0.0, noise=0.0)(
        bar, generators(3), 8, 1.0
    )
    assert ((across - bar)[middle].abs().mean((1, 2, 3)) > 0.05).any()
    assert torch.allclose(across[middle].mean((1, 2, 3)), bar[middle].mean(), rtol=0.1)


def test_noise_falls_with_the_steps_and_colour_shifts_all_pixels_alike():
    shown = torch.zeros(1, 3, 32, 32)
    noisy = Augmentation(jitter=0, zoom=(1.0, 1.0), turn=0.0, colour=0.0, noise=0.4)
    assert 0.35 < noisy(shown, generators(0), 4, 1.0).std() < 0.45
    assert 0.15 < noisy(shown, generators(0), 4, 0.5).std() < 0.25
    assert not noisy(shown, generators(0), 4, 0.0).any()
    shifted = Augmentation(jitter=0, zoom=(1.0, 1.0), turn=0.0, colour=0.5, noise=0.0)(
        shown, generators(0), 4, 1.0
    )
    assert torch.equal(shifted.amax((2, 3)), shifted.amin((2, 3)))
    assert len(shifted[:, :, 0, 0].unique()) == 12


def test_changes_of_a_picture_do_not_depend_on_what_else_is_in_the_batch():
    shown = pictures(2)
    both = Augmentation()(shown, generators(5, 6), 2, 0.7)
    alone = Augmentation()(shown[1:], generators(6), 2, 0.7)
    assert torch.allclose(both[2:], alone, atol=1e-5)


def test_gradients_go_through():
    shown = pictures(1).requires_grad_()
    (gradient,) = torch.autograd.grad(Augmentation()(shown, generators(0), 2, 1.0).square().sum(), shown)
    assert torch.isfinite(gradient).all() and gradient.any()
