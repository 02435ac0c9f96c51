from __future__ import annotations

import pytest
import torch

from vitreport.optimized.regulariser import seam_loss, seam_ratio, total_variation


def by_hand(picture: torch.Tensor, patch: tuple[int, int]) -> tuple[float, float]:
    """Mean absolute step across patch borders and inside patches, pixel pair by pixel pair."""
    across, inside = [], []
    channels, height, width = picture.shape
    for channel in range(channels):
        for y in range(height):
            for x in range(width):
                for below, right in ((1, 0), (0, 1)):
                    if y + below >= height or x + right >= width:
                        continue
                    step = abs(float(picture[channel, y + below, x + right] - picture[channel, y, x]))
                    same = (y + below) // patch[0] == y // patch[0] and (x + right) // patch[1] == x // patch[
                        1
                    ]
                    (inside if same else across).append(step)
    return sum(across) / len(across), sum(inside) / len(inside)


def random(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_seam_ratio_is_that_of_all_pixel_pairs():
    pictures = random(3, 3, 16, 16)
    for picture, found in zip(pictures, seam_ratio(pictures, (8, 8)), strict=True):
        across, inside = by_hand(picture, (8, 8))
        assert found.item() == pytest.approx(across / inside, rel=1e-5)


def test_rows_and_columns_of_patches_that_are_not_square_are_told_apart():
    tall = random(1, 3, 16, 12)
    tall[:, :, 8:] += 5  # a step between two rows of patches 8 high
    assert seam_ratio(tall, (8, 4)) > 3 * seam_ratio(tall, (5, 4))


def test_a_picture_of_plain_patches_is_nothing_but_seams_and_noise_has_none():
    plain = random(1, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert seam_ratio(plain, (8, 8)) > 1000
    noise = random(1, 3, 128, 128)
    assert seam_ratio(noise, (16, 16)).item() == pytest.approx(1, abs=0.02)
    assert seam_ratio(torch.zeros(1, 3, 32, 32), (8, 8)).item() == 1


def test_a_single_patch_has_no_border_and_a_patch_of_one_pixel_no_inside():
    pictures = random(2, 3, 8, 8).requires_grad_()
    for patch in ((8, 8), (1, 1)):
        assert seam_ratio(pictures, patch).tolist() == [1, 1]
    assert seam_ratio(pictures, (8, 4)).tolist() != [1, 1]


def test_the_seam_loss_pulls_from_both_sides_to_a_ratio_of_one():
    rough = random(1, 3, 32, 32)
    blocky = rough + 3 * random(1, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    shy = rough.clone()
    shy[:, :, 8::8] = shy[:, :, 7:-1:8]  # no step from one row of patches to the next
    shy[..., 8::8] = shy[..., 7:-1:8]
    assert seam_ratio(blocky, (8, 8)) > 2
    assert seam_ratio(shy, (8, 8)) < 0.2
    for pictures in (blocky, shy):
        pictures.requires_grad_()
        loss = seam_loss(pictures, (8, 8))
        ratio = seam_ratio(pictures, (8, 8)).detach()
        assert loss.item() == pytest.approx(ratio.log().item() ** 2)
        (gradient,) = torch.autograd.grad(loss.sum(), pictures)
        step = 0.01 * gradient / gradient.norm()
        nearer = seam_ratio(pictures.detach() - step, (8, 8))
        assert (nearer - 1).abs() < (ratio - 1).abs()


def test_total_variation_is_the_mean_step_down_and_to_the_right():
    ramp = torch.arange(8.0).expand(1, 3, 6, 8) * 0.5
    assert total_variation(ramp).item() == pytest.approx(0.5)
    assert total_variation(ramp.mT).item() == pytest.approx(0.5)
    assert total_variation(torch.ones(2, 3, 4, 4)).tolist() == [0, 0]
