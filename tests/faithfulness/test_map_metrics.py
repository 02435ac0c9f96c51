"""The metrics that look at maps alone, and those that need labels or masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tiny_model import noise, vision_model
from torch import Tensor

from vitreport.faithfulness import grid_pointing
from vitreport.faithfulness.completeness import Completeness
from vitreport.faithfulness.concentration import Concentration
from vitreport.faithfulness.grid_pointing import GridPointing
from vitreport.faithfulness.mask_agreement import MaskAgreement, average_precision
from vitreport.faithfulness.metric import BACKGROUND, IGNORED, METRICS, Case, Gallery
from vitreport.model.load import VisionModel, load_model
from vitreport.techniques.technique import Technique, select


def case_of(model: VisionModel, batch: int, keys: Sequence[str] = (), **given: Any) -> Case:
    pixels = noise(model, batch)
    techniques = {one.key: one for one in select(keys) if isinstance(one, Technique)}
    ids = tuple(f"image{number}" for number in range(batch))
    return Case(model, pixels, model.module(pixels).argmax(1), ids, 0, 4, techniques, **given)


@pytest.fixture(scope="module")
def tiny() -> VisionModel:
    return vision_model("class_token")


def values(rows: Sequence[dict[str, Any]], column: str = "value") -> list[Any]:
    return [row[column] for row in rows]


def test_the_gini_index_is_the_mean_difference_over_twice_the_mean(tiny: VisionModel) -> None:
    maps = torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(0))
    rows = Concentration().score(case_of(tiny, 4), {"map": maps})["map"]
    for row, one in zip(rows, maps.abs().flatten(1).double(), strict=True):
        difference = (one[:, None] - one[None]).abs().mean()
        assert row["value"] == pytest.approx(float(difference / (2 * one.mean())), abs=1e-9)


def test_one_patch_is_most_concentrated_and_a_constant_map_undefined(tiny: VisionModel) -> None:
    maps = torch.zeros(3, 4, 4)
    maps[0, 1, 2] = -3
    maps[1] = 1
    maps[2, 0, 0] = torch.nan
    rows = Concentration().score(case_of(tiny, 3), {"map": maps})["map"]
    assert values(rows) == [pytest.approx(1 - 1 / 16), None, None]
    assert values(rows, "entropy") == [0, None, None]


def test_full_grad_is_complete_and_integrated_gradients_as_far_as_their_steps_reach() -> None:
    model = vision_model("class_token")
    keys = ("libra_full_grad", "integrated_gradients:steps=200", "integrated_gradients:steps=2", "saliency")
    case = case_of(model, 3, keys)
    (maps,) = case.explain(keys, case.pixels, case.targets)
    rows = Completeness().score(case, maps)
    assert max(values(rows["libra_full_grad"])) < 1e-4
    assert max(values(rows["integrated_gradients:steps=200"])) < 1e-3
    assert values(rows["saliency"]) == [None] * 3
    rough = rows["integrated_gradients:steps=2"]
    with torch.no_grad():
        logits = model.module(torch.cat((case.pixels, torch.zeros_like(case.pixels[:1]))))
    for image, row in enumerate(rough):
        target = int(case.targets[image])
        claimed = float(logits[image, target] - logits[3, target])
        total = float(maps["integrated_gradients:steps=2"][image].sum())
        assert row["claimed"] == pytest.approx(claimed, abs=1e-5)
        assert row["sum"] == pytest.approx(total, abs=1e-5)
        assert row["value"] == pytest.approx(abs(total - claimed) / abs(claimed), rel=1e-4)


def test_expected_gradients_claim_the_logit_less_that_of_the_drawn_colours(tiny: VisionModel) -> None:
    key = "expected_gradients:samples=3000"
    case = case_of(tiny, 1, (key,))
    case = Case(**{**vars(case), "chunk": 256})
    (maps,) = case.explain([key], case.pixels, case.targets)
    (row,) = Completeness().score(case, maps)[key]
    assert row["value"] < 0.15


def test_average_precision_counts_ties_at_once() -> None:
    values = torch.tensor([0.9, 0.8, 0.8, 0.1])
    marked = torch.tensor([True, True, False, True])
    assert average_precision(values, marked) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert average_precision(values.zero_(), marked) == pytest.approx(3 / 4)


def mask_case(tiny: VisionModel) -> Case:
    masks = torch.full((3, 32, 32), BACKGROUND)
    masks[:, 8:16, 16:24] = torch.arange(3)[:, None, None]
    masks[1, :, :8] = IGNORED
    case = case_of(tiny, 3, masks=masks, mask_notes=(None, None, "there is no mask"))
    return Case(**{**vars(case), "targets": torch.arange(3)})


def test_a_map_on_the_object_agrees_with_its_mask_and_its_inverse_does_not(tiny: VisionModel) -> None:
    maps = torch.zeros(3, 4, 4)
    maps[:, 1, 2] = 1
    rows = MaskAgreement().score(mask_case(tiny), {"map": maps, "inverse": -maps})
    assert values(rows["map"], "note") == [None, None, "there is no mask"]
    assert values(rows["map"], "area") == [pytest.approx(64 / 1024), pytest.approx(64 / 768), None]
    for row in rows["map"][:2]:
        assert row["value"] > 0.95
        assert row["energy"] > 0.4
        assert row["pixel_accuracy"] > 0.8
    for row in rows["inverse"][:2]:
        assert row["value"] < 0.1
        assert row["energy"] is None


def test_masks_say_nothing_of_other_classes(tiny: VisionModel) -> None:
    case = mask_case(tiny)
    case = Case(**{**vars(case), "targets": torch.tensor([4, 4, 4]), "mask_notes": (None,) * 3})
    rows = MaskAgreement().score(case, {"map": torch.rand(3, 4, 4)})["map"]
    assert values(rows, "note") == ["the mask does not show the explained class"] * 3
    assert values(rows) == [None] * 3


class Colours(torch.nn.Module):
    """Says which of four colours a picture shows, wherever it is."""

    def forward(self, pixels: Tensor) -> Tensor:
        red, green, blue = pixels.mean((2, 3)).unbind(1)
        return 50 * torch.stack((red, green, blue, -(red + green + blue)), 1)


def coloured(images: int) -> Tensor:
    pictures = torch.zeros(images, 3, 32, 32)
    for number in range(images):
        if number % 4 < 3:
            pictures[number, number % 4] = 1
        else:
            pictures[number] = -1
    return pictures


def mosaic_case(tiny: VisionModel, monkeypatch: pytest.MonkeyPatch, unknown: int = -1) -> Case:
    pixels = coloured(8)
    labels = torch.arange(8) % 4
    if unknown >= 0:
        labels[unknown] = 4
    ids = tuple(f"image{number}" for number in range(8))
    case = Case(tiny, pixels, labels, ids, 0, 4, gallery=Gallery(pixels, labels, ids))
    colours = Colours()
    monkeypatch.setattr(
        Case, "logits", lambda _, given: torch.nn.functional.pad(colours(given), (0, 1), value=-9)
    )
    return case


def test_a_mosaic_shows_its_image_in_one_cell_and_three_other_labels(
    tiny: VisionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = mosaic_case(tiny, monkeypatch)
    found, notes = GridPointing()._mosaics(case, case.gallery)  # type: ignore[arg-type]
    assert [place for place, *_ in found] == list(range(8)) and notes == [None] * 8
    assert len({cell for _, cell, *_ in found}) > 1
    for place, cell, mosaic, label in found:
        cells = [mosaic[:, r : r + 16, c : c + 16] for r in (0, 16) for c in (0, 16)]
        assert torch.allclose(cells[cell], coloured(8)[place][:, :16, :16])
        shown = [int(Colours()(one[None]).argmax()) for one in cells]
        assert sorted(shown) == [0, 1, 2, 3]
        assert shown[cell] == label == place % 4


def test_only_images_that_the_model_knows_at_half_size_play(
    tiny: VisionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = mosaic_case(tiny, monkeypatch, unknown=2)
    found, notes = GridPointing()._mosaics(case, case.gallery)  # type: ignore[arg-type]
    assert [place for place, *_ in found] == [0, 1, 3, 4, 5, 6, 7]
    assert notes[2] == "the model gives its label a probability below 0.5 at half size"


def test_the_share_in_its_own_cell_is_what_counts(tiny: VisionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    case = mosaic_case(tiny, monkeypatch)

    def explain(_: Case, keys: Any, pixels: Tensor, targets: Tensor, **__: Any) -> list[dict[str, Tensor]]:
        """Marks what has the target's colour, and nothing, and everything negative."""
        grid = torch.nn.functional.avg_pool2d(pixels, 8)
        right = torch.stack(
            [
                one[target] - one.sum(0) / 3 if target < 3 else -one.sum(0)
                for one, target in zip(grid, targets.tolist(), strict=True)
            ]
        ).clamp(min=0)
        return [{"right": right, "even": torch.ones_like(right), "none": -right}]

    monkeypatch.setattr(Case, "explain", explain)
    rows = GridPointing().score(case, dict.fromkeys(("right", "even", "none"), torch.zeros(8, 4, 4)))
    assert values(rows["right"]) == [pytest.approx(1)] * 8
    assert values(rows["even"]) == [pytest.approx(0.25)] * 8
    assert values(rows["none"]) == [None] * 8


def test_a_patch_in_two_cells_is_parted_by_area() -> None:
    maps = torch.zeros(1, 3, 3)
    maps[0, 1, 1] = 1
    assert grid_pointing._shares(maps, (30, 30))[0].tolist() == pytest.approx([0.25] * 4)
    maps = torch.zeros(1, 3, 3)
    maps[0, 0, 1] = 2
    assert grid_pointing._shares(maps, (30, 30))[0].tolist() == pytest.approx([0.5, 0.5, 0, 0])


def test_without_labels_nobody_plays(tiny: VisionModel) -> None:
    case = case_of(tiny, 2, ("saliency",))
    assert values(GridPointing().score(case, {"saliency": torch.rand(2, 4, 4)})["saliency"]) == [None, None]


@pytest.mark.parametrize("kind", ["class_token", "distilled", "attention_pool", "beit"])
def test_every_metric_scores_every_row_whatever_is_beside_it(kind: str) -> None:
    model = vision_model(kind)
    keys = ("attention_rollout", "gradient_rollout", "input_x_gradient", "libra_full_grad", "centre")
    pixels = noise(model, 3)
    labels = model.module(pixels).argmax(1)
    ids = ("a", "b", "c")
    techniques = {one.key: one for one in select(keys) if isinstance(one, Technique)}
    masks = torch.full((3, *model.input_size), BACKGROUND)
    masks[:, :8, :8] = labels[:, None, None]
    whole = Case(
        *(model, pixels, labels, ids, 0, 2, techniques, masks, (None,) * 3),
        gallery=Gallery(pixels, labels, ids),
    )
    (maps,) = whole.explain(keys, pixels, labels)
    maps["gradient_rollout"][1] = torch.nan
    for cls in METRICS.values():
        metric = cls()
        if metric.supports(model) is not None:
            continue
        rows = metric.score(whole, maps)
        assert set(rows) == set(keys)
        for key in keys:
            assert [set(row) for row in rows[key]] == [{"value", *metric.columns}] * 3
        alone = Case(
            *(model, pixels[2:], labels[2:], ids[2:], 0, 2, techniques, masks[2:], (None,)),
            gallery=Gallery(pixels, labels, ids),
        )
        again = metric.score(alone, {key: values[2:] for key, values in maps.items()})
        for key in keys:
            one, other = rows[key][2]["value"], again[key][0]["value"]
            assert (one is None) == (other is None)
            assert one is None or one == pytest.approx(other, abs=2e-3), (metric.name, key)
        if cls.name in ("relevance_gain", "black_pixels", "concentration", "randomisation"):
            assert rows["gradient_rollout"][1]["value"] is None


def test_a_class_is_found_among_four_pictures_by_what_knows_classes() -> None:
    from vitreport.demo.scene import Series, make_scene

    model = load_model("embedded:honest")
    scenes = [make_scene((Series.DEMONSTRATION, 1000 + number), (number % 8,)) for number in range(16)]
    pixels = torch.stack([model.preparation(scene.pixels)[0] for scene in scenes])
    labels, ids = torch.arange(16) % 8, tuple(f"scene{number}" for number in range(16))
    keys = ("gradient_rollout", "attention_rollout", "centre", "random")
    techniques = {one.key: one for one in select(keys) if isinstance(one, Technique)}
    case = Case(model, pixels, labels, ids, 0, 16, techniques, gallery=Gallery(pixels, labels, ids))
    rows = GridPointing().score(case, dict.fromkeys(keys, torch.zeros(16, 8, 8)))
    shares = {key: [row["value"] for row in rows[key] if row["value"] is not None] for key in keys}
    assert len(shares["centre"]) >= 4
    assert np.mean(shares["gradient_rollout"]) > 0.4
    assert np.mean(shares["random"]) == pytest.approx(0.25, abs=0.05)
    assert np.mean(shares["centre"]) == pytest.approx(0.25, abs=1e-6)
