from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vitreport.errors import ImageError
from vitreport.model.preparation import Preparation

CONFIG = {
    "input_size": (3, 64, 64),
    "interpolation": "bilinear",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "crop_pct": 0.9,
    "crop_mode": "center",
}


def preparation(**changes: Any) -> Preparation:
    return Preparation({**CONFIG, **changes})


def _ramp(width: int, height: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Red tells how far right a pixel lies, green how far down; blue is full in the picture."""
    picture = np.full((height, width, 3), 255, np.uint8)
    picture[..., 0] = np.rint((np.arange(width) + 0.5) / width * 255)
    picture[..., 1] = np.rint((np.arange(height) + 0.5) / height * 255)[:, None]
    return picture


def _seen(pixels: torch.Tensor, original: tuple[int, int]) -> tuple[float, float, float, float]:
    """The part of the original that the model sees, read off the ramp by a straight line through it."""
    edges = []
    values, inside = pixels.numpy() / 2 + 0.5, pixels[2].numpy() > 0.98
    for channel, along, side in ((0, 0, original[0]), (1, 1, original[1])):
        count = inside.sum(along)
        profile = (values[channel] * inside).sum(along) / np.maximum(count, 1) * side
        places = np.arange(len(profile)) + 0.5
        use = (count > 0) & (profile > 0.08 * side) & (profile < 0.92 * side)
        slope, start = np.polyfit(places[use], profile[use], 1)
        edges.append((float(start), float(start + slope * len(profile))))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (96, 48)], ids=["square", "wide", "high"])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("original", [(200, 200), (301, 180), (150, 333)])
@pytest.mark.parametrize("percent", [0.8, 1.0])
def test_the_crop_box_is_the_part_that_the_model_sees(
    size: tuple[int, int], mode: str, original: tuple[int, int], percent: float
) -> None:
    prepare = preparation(input_size=(3, *size), crop_mode=mode, crop_pct=percent)
    pixels, view = prepare(_ramp(*original))
    assert pixels.shape == (3, *size)
    pixel = max((view.crop[2] - view.crop[0]) / size[1], (view.crop[3] - view.crop[1]) / size[0])
    assert view.crop == pytest.approx(_seen(pixels, original), abs=1.6 * pixel)


def test_a_squashed_whole_picture_has_the_whole_picture_as_its_box() -> None:
    _, view = preparation(crop_mode="squash", crop_pct=1.0)(_ramp(300, 100))
    assert view.crop == pytest.approx((0, 0, 300, 100))


def test_a_border_lies_outside_the_picture_and_has_the_mean_colour() -> None:
    pixels, view = preparation(crop_mode="border", crop_pct=1.0)(_ramp(300, 100))
    assert view.crop == pytest.approx((0, -100, 300, 200))
    assert pixels[:, 0].abs().max() < 0.01


def test_the_view_is_what_the_model_saw() -> None:
    prepare = preparation(input_size=(3, 64, 96), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    pixels, view = prepare(_ramp(300, 200))
    assert (view.width, view.height, view.original) == (96, 64, (300, 200))
    with Image.open(io.BytesIO(view.jpeg)) as picture:
        shown = torch.from_numpy(np.array(picture).astype(np.float32)).permute(2, 0, 1) / 255
    assert picture.format == "JPEG"
    expected = pixels * torch.tensor((0.2, 0.3, 0.4)).view(3, 1, 1)
    expected += torch.tensor((0.4, 0.5, 0.6)).view(3, 1, 1)
    assert shown.shape == (3, 64, 96)
    assert float((shown - expected).abs().mean()) < 0.01


def test_the_canary_is_stable_and_tells_transforms_apart() -> None:
    canary = preparation().canary_sha256()
    assert canary == preparation().canary_sha256()
    for other in ({"crop_pct": 0.8}, {"interpolation": "bicubic"}, {"mean": (0.4, 0.5, 0.5)}):
        assert preparation(**other).canary_sha256() != canary


def test_further_entries_of_a_config_are_of_no_matter() -> None:
    assert preparation(classifier="head", test_input_size=(3, 9, 9)).canary_sha256() == (
        preparation().canary_sha256()
    )


@pytest.mark.parametrize("mode", ["center", "border"])
def test_a_picture_too_thin_to_scale_is_an_image_error(mode: str) -> None:
    prepare = preparation(crop_mode=mode)
    for original in ((1, 60_000), (60_000, 1)):
        with pytest.raises(ImageError, match=f"too long and thin: its {original[0]} x {original[1]} pixels"):
            prepare(np.zeros((original[1], original[0], 3), np.uint8))


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("original", [(1, 1), (1, 60), (60, 1), (2, 3)])
def test_small_and_thin_pictures_are_prepared(mode: str, original: tuple[int, int]) -> None:
    pixels, view = preparation(crop_mode=mode)(_ramp(*original))
    assert pixels.shape == (3, 64, 64)
    assert pixels.isfinite().all()
    assert view.original == original


@pytest.mark.parametrize("mode", ["center", "border", "squash"])
def test_a_mask_is_cut_like_its_picture(mode: str) -> None:
    y, x = np.mgrid[0:150, 0:220]
    classes = ((y // 30) * 300 + x // 40).astype(np.int32)
    grey = np.repeat((classes[..., None] % 300 + classes[..., None] // 300) * 20 + 40, 3, -1).astype(np.uint8)
    preparation = Preparation(
        {
            "input_size": (3, 96, 128),
            "interpolation": "bicubic",
            "mean": (0.0,) * 3,
            "std": (1.0,) * 3,
            "crop_pct": 1.0,
            "crop_mode": mode,
        }
    )
    pixels, _ = preparation(grey)
    mask = preparation.mask(classes)
    assert mask.shape == pixels.shape[1:]
    assert set(mask.unique().tolist()) <= {-2, *np.unique(classes).tolist()}
    inside = mask >= 0
    assert (mask == -2).any() == (mode == "border")
    expected = (mask % 300 + mask // 300) * 20 + 40
    agree = (pixels[0] * 255 - expected).abs()[inside] < 10
    assert agree.float().mean() > 0.85  # all but the seams


def test_a_mask_keeps_what_is_to_be_ignored() -> None:
    config = {"input_size": (3, 32, 32), "interpolation": "bilinear", "mean": (0.5,) * 3, "std": (0.5,) * 3}
    preparation = Preparation({**config, "crop_pct": 1.0})
    classes = np.full((32, 32), -1, np.int32)
    classes[:8], classes[8:16] = -2, 70_000
    mask = preparation.mask(classes)
    assert [int(mask[row, 5]) for row in (0, 7, 8, 15, 16, 31)] == [-2, -2, 70_000, 70_000, -1, -1]


def test_pixels_of_the_models_size_are_normalised_as_the_transform_does_it(models):
    preparation = models["class_token"].preparation
    levels = np.random.default_rng(3).integers(0, 256, (32, 32, 3), np.uint8)
    unscaled = Preparation({**preparation.config, "crop_pct": 1.0})
    pixels, _ = unscaled(levels)
    plain = torch.from_numpy(levels).permute(2, 0, 1)[None] / 255
    assert torch.allclose(unscaled.normalised(plain)[0], pixels, atol=1e-6)
    assert torch.allclose(unscaled.plain(pixels), plain[0], atol=1e-6)
