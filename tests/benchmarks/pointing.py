"""Where maps point, measured against the known masks of generated scenes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitreport.demo.scene import Scene
from vitreport.model.load import VisionModel
from vitreport.techniques import maps
from vitreport.techniques.technique import Technique

Maps = NDArray[np.float32]


def maps_of(
    model: VisionModel,
    techniques: Sequence[Technique],
    pixels: Tensor,
    targets: Sequence[int],
    batch_size: int = 100,
) -> dict[str, Maps]:
    """Every technique's maps, (images, rows, cols), for one target an image.

    Args:
        model: what is explained.
        techniques: with what.
        pixels: normalised, (images, 3, height, width).
        targets: a class an image.
        batch_size: images at a time.
    """
    ids = [f"{number:016x}" for number in range(len(pixels))]
    (found,) = maps.maps_of(model, techniques, pixels, [torch.tensor(targets)], ids, 0, batch_size)
    return {key: values.numpy() for key, values in found.items()}


def patch_shares(plane: NDArray[np.bool_], grid: tuple[int, int]) -> NDArray[np.float64]:
    """How much of each patch a plane (height, width) covers, (rows, cols)."""
    rows, cols = grid
    height, width = plane.shape
    return plane.reshape(rows, height // rows, cols, width // cols).mean((1, 3))


def pointing(found: Maps, scenes: Sequence[Scene], labels: Sequence[int]) -> NDArray[np.float64]:
    """For each image, whether the patch of the largest value is mostly object; (images,) in [0, 1].

    Where several patches share the largest value, the share of them that are.
    """
    hits = []
    for values, scene, label in zip(found, scenes, labels, strict=True):
        inside = patch_shares(scene.mask == label + 1, values.shape) >= 0.5
        hits.append(inside[values >= values.max() - 1e-6 * np.abs(values).max()].mean())
    return np.array(hits)


def corner_ratio(found: Maps, mark: NDArray[np.bool_]) -> float:
    """Mean positive relevance of the patches that the mark touches, over that of the other three corners'.

    Each map's positive part is scaled to sum to 1 first; maps without one are left out. Infinite where the
    other corners have none at all.
    """
    positive = np.maximum(found, 0)
    positive = positive[positive.any((1, 2))]
    share = (positive / positive.sum((1, 2), keepdims=True)).mean(0)
    touched = patch_shares(mark, share.shape) > 0
    own, others = (
        share[touched].sum(),
        [share[turned].sum() for turned in (touched[::-1], touched[:, ::-1], touched[::-1, ::-1])],
    )
    return float(own / np.mean(others)) if np.any(others) else float("inf")
