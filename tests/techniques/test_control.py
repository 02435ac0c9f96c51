from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_model import context, noise

from vitreport.model.load import VisionModel
from vitreport.techniques.control.centre import Centre
from vitreport.techniques.control.random import Random

PINNED = [0.0070002079010009766, 0.19523221254348755]


def _drawn(model: VisionModel, ids: tuple[str, ...], seed: int = 0, draw: int = 0) -> torch.Tensor:
    known = context(model, noise(model, len(ids)), [0] * len(ids), ids=ids, seed=seed)
    return Random(draw=draw).attribute(known)


def test_random_maps_differ_by_image_seed_and_draw(models: dict[str, VisionModel]) -> None:
    model = models["class_token"]
    maps = [
        _drawn(model, ("a",)),
        _drawn(model, ("b",)),
        _drawn(model, ("a",), seed=1),
        _drawn(model, ("a",), draw=1),
        _drawn(model, ("a-2",)),
    ]
    for place, one in enumerate(maps):
        for other in maps[place + 1 :]:
            assert float((one - other).abs().mean()) > 0.1


def test_an_image_has_the_same_random_map_in_any_batch(models: dict[str, VisionModel]) -> None:
    model = models["class_token"]
    alone, together = _drawn(model, ("b",)), _drawn(model, ("a", "b", "c"))
    assert torch.equal(together[1], alone[0])
    assert torch.equal(_drawn(model, ("c", "b"))[1], alone[0])


def test_random_maps_are_uniform(models: dict[str, VisionModel]) -> None:
    values = _drawn(models["non_square"], tuple(str(number) for number in range(200))).numpy().ravel()
    assert values.min() >= 0
    assert values.max() < 1
    counts, _ = np.histogram(values, 10, (0, 1))
    assert np.abs(counts / len(values) - 0.1).max() < 0.02


def test_random_maps_are_pinned(models: dict[str, VisionModel]) -> None:
    """A stored run must get the same map from the next release."""
    assert _drawn(models["class_token"], ("0123456789abcdef",))[0, 0, :2].tolist() == pytest.approx(PINNED)


@pytest.mark.parametrize("name", ["class_token", "non_square", "patch_mean"])
def test_the_centre_is_symmetric_and_highest_in_the_middle(name: str, models: dict[str, VisionModel]) -> None:
    model = models[name]
    maps = Centre().attribute(context(model, noise(model, 2), [0, 0]))
    rows, cols = model.layout.grid
    assert maps.shape == (2, rows, cols)
    assert torch.equal(maps[0], maps[1])
    assert torch.allclose(maps[0], maps[0].flip(0))
    assert torch.allclose(maps[0], maps[0].flip(1))
    assert int(maps[0].argmax()) in {
        row * cols + col for row in ((rows - 1) // 2, rows // 2) for col in ((cols - 1) // 2, cols // 2)
    }
    assert float(maps.min()) == pytest.approx(float(maps[0, 0, 0]))


def test_the_centre_is_a_gaussian_in_shares_of_the_sides(models: dict[str, VisionModel]) -> None:
    model = models["non_square"]
    found = Centre(sigma=0.3).attribute(context(model, noise(model, 1), [0]))[0]
    for row in range(4):
        for col in range(6):
            distance = ((row + 0.5) / 4 - 0.5) ** 2 + ((col + 0.5) / 6 - 0.5) ** 2
            assert float(found[row, col]) == pytest.approx(np.exp(-distance / (2 * 0.09)), rel=1e-5)
