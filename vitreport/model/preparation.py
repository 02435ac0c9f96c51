"""From a decoded picture to the model's input, and to the view that the report shows."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor

from vitreport.errors import ImageError, SettingsError
from vitreport.explanation import View

Box = tuple[float, float, float, float]
_VIEW_QUALITY = 90
_MOST_SCALED_PIXELS = 1 << 26
"""Pixels of the largest picture that the transform may make before it crops."""


@dataclass(frozen=True)
class Preparation:
    """A model's own evaluation transform.

    Attributes:
        config: timm's resolved data config.

    Raises:
        SettingsError: the config says in no usable way how images are prepared.
    """

    config: Mapping[str, Any]

    def __post_init__(self) -> None:
        try:
            self._make_transforms()
        except Exception as error:  # a config can be wrong in every way there is
            reason = " ".join(str(error).split())[:120]
            raise SettingsError(
                f"the model's config says in no usable way how images are prepared ({reason}); look at its "
                "mean, std, crop_pct, crop_mode and interpolation"
            ) from error

    def _make_transforms(self) -> None:
        if not all(len(self.config[name]) == 3 and min(self.config[name]) >= 0 for name in ("mean", "std")):
            raise ValueError("mean and std are three numbers each")
        given = {key: value for key, value in self.config.items() if key != "input_size"}
        size = self.config["input_size"]
        known = {"interpolation", "mean", "std", "crop_pct", "crop_mode"}
        arguments = {key: value for key, value in given.items() if key in known}
        transform = create_transform(input_size=size, is_training=False, **arguments)
        object.__setattr__(self, "_transform", transform)
        plain = arguments | {"interpolation": "nearest", "mean": (0.0,) * 3, "std": (1.0,) * 3}
        numbers = create_transform(input_size=size, is_training=False, **plain)
        object.__setattr__(self, "_mask_transform", numbers)

    def __call__(self, rgb: npt.NDArray[np.uint8]) -> tuple[Tensor, View]:
        """Prepares one picture.

        Args:
            rgb: upright picture, ``(height, width, 3)``.

        Returns:
            Normalised pixels ``(3, height, width)``, float32, and the view of them.

        Raises:
            ImageError: the picture is so long and thin that it cannot be scaled for the model.
        """
        self._check((rgb.shape[1], rgb.shape[0]))
        picture = Image.fromarray(rgb)
        pixels: Tensor = self._transform(picture)  # type: ignore[attr-defined]
        return pixels, self._view(pixels, (rgb.shape[1], rgb.shape[0]))

    def normalised(self, pixels: Tensor) -> Tensor:
        """The model's input of pixels in [0, 1] that have its size already, ``(…, 3, height, width)``."""
        mean, std = self._colours(pixels)
        return (pixels - mean) / std

    def plain(self, pixels: Tensor) -> Tensor:
        """The pixels in [0, 1] of the model's input, ``(…, 3, height, width)``."""
        mean, std = self._colours(pixels)
        return pixels * std + mean

    def mask(self, classes: npt.NDArray[np.int32]) -> Tensor:
        """Cuts and scales a mask like its picture, each pixel taking the nearest one's class.

        Args:
            classes: indices, -1 and -2 as of `vitreport.images.decode.decode_mask`, ``(height, width)``.

        Returns:
            ``(height, width)`` of the model's input, int64; -2 beyond the picture.
        """
        numbers = classes.astype(np.int64) + 3  # from 1; a border that is added has 0
        channels = np.stack([numbers & 255, numbers >> 8 & 255, numbers >> 16 & 255], -1).astype(np.uint8)
        prepared: Tensor = self._mask_transform(Image.fromarray(channels))  # type: ignore[attr-defined]
        low, middle, high = (prepared * 255).round().to(torch.int64)
        found: Tensor = low + (middle << 8) + (high << 16) - 3
        return found.clamp(min=-2)

    def canary_sha256(self) -> str:
        """SHA-256 of a fixed synthetic picture after the transform, rounded to 1e-4; hex.

        Two machines that give the same canary prepare images alike.
        """
        y, x = np.mgrid[0:211, 0:307]
        wave = 127.5 + 127.5 * np.sin(x / 7.0 + np.array([0.0, 2.1, 4.2])[:, None, None]) * np.cos(y / 11.0)
        pixels, _ = self(np.ascontiguousarray(wave.transpose(1, 2, 0).astype(np.uint8)))
        return hashlib.sha256((pixels * 1e4).round().to(torch.int32).numpy().tobytes()).hexdigest()

    def _colours(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (like.new_tensor(self.config[name]).view(-1, 1, 1) for name in ("mean", "std"))
        return mean, std

    def _view(self, pixels: Tensor, original: tuple[int, int]) -> View:
        shown = (self.plain(pixels) * 255).round().clamp(0, 255).to(torch.uint8)
        encoded = io.BytesIO()
        Image.fromarray(shown.permute(1, 2, 0).numpy()).save(encoded, "JPEG", quality=_VIEW_QUALITY)
        return View(
            jpeg=encoded.getvalue(),
            width=pixels.shape[2],
            height=pixels.shape[1],
            crop=self._crop(original),
            original=original,
        )

    def _crop(self, original: tuple[int, int]) -> Box:
        """(left, top, right, bottom) of what the model sees, in pixels of the original.

        Follows timm's evaluation transform: scale to input / crop_pct (the short side, the long side in
        `border` mode, both in `squash` mode), then cut or pad around the centre.
        """
        input_size, ratios = self.config["input_size"][1:], self._ratios(original)
        half_height, half_width = (side / ratio / 2 for side, ratio in zip(input_size, ratios, strict=True))
        middle_x, middle_y = original[0] / 2, original[1] / 2
        return (middle_x - half_width, middle_y - half_height, middle_x + half_width, middle_y + half_height)

    def _ratios(self, original: tuple[int, int]) -> tuple[float, float]:
        """(vertical, horizontal) factors by which the transform scales a picture of (width, height)."""
        percent = self.config.get("crop_pct") or 0.875
        sides = zip(self.config["input_size"][1:], reversed(original), strict=True)
        vertical, horizontal = (int(wanted / percent) / side for wanted, side in sides)
        match self.config.get("crop_mode") or "center":
            case "center":
                return (max(vertical, horizontal),) * 2
            case "border":
                return (min(vertical, horizontal),) * 2
            case _:
                return vertical, horizontal

    def _check(self, original: tuple[int, int]) -> None:
        height, width = (
            round(side * ratio)
            for side, ratio in zip(reversed(original), self._ratios(original), strict=True)
        )
        if not 0 < width * height <= _MOST_SCALED_PIXELS:
            raise ImageError(
                f"it is too long and thin: its {original[0]} x {original[1]} pixels would become "
                f"{width} x {height} for this model"
            )
