"""Deletion and insertion: on a model whose truth is known, and against a loop written out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_model import VARIANTS, noise, vision_model
from torch import Tensor, nn

from vitreport.faithfulness.metric import METRICS, Case
from vitreport.faithfulness.ranking import is_defined, most_relevant_first
from vitreport.faithfulness.relevance_gain import RelevanceGain
from vitreport.masking import blurred, hide, token_drop
from vitreport.model.head import Head
from vitreport.model.layout import Readout, TokenLayout

GRID, PATCH = (4, 5), 8
PATCHES = GRID[0] * GRID[1]


class Additive(nn.Module):
    """A model whose output is a weighted sum of the patches' means: its true map is known."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.from_numpy(np.random.default_rng(3).normal(size=GRID)).float()

    def parts(self, pixels: Tensor) -> Tensor:
        means = nn.functional.avg_pool2d(pixels.mean(1, keepdim=True), PATCH).squeeze(1)
        return means * self.weights

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.stack((self.parts(pixels).sum((1, 2)), torch.zeros(len(pixels))), 1)


def additive() -> Any:
    return SimpleNamespace(
        module=Additive(),
        layout=TokenLayout(1, GRID, (PATCH, PATCH), Readout.CLASS_TOKEN),
        head=Head.REGRESSION,
        classes=("sum", "nothing"),
        preparation=SimpleNamespace(config={"mean": (0.5,) * 3, "std": (0.2,) * 3}),
    )


def case_of(model: Any, batch: int, seed: int = 0) -> Case:
    size = GRID[0] * PATCH, GRID[1] * PATCH
    pixels = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(seed))
    ids = tuple(f"image{number}" for number in range(batch))
    return Case(model, pixels, torch.zeros(batch, dtype=torch.int64), ids, seed, chunk=7)


def values(metric: RelevanceGain, case: Case, maps: dict[str, Tensor]) -> dict[str, list[float]]:
    return {key: [row["value"] for row in rows] for key, rows in metric.score(case, maps).items()}


MEAN = RelevanceGain(occluder="mean", steps=PATCHES)


def test_no_map_scores_higher_than_the_true_one_and_its_inverse_has_the_negative() -> None:
    case = case_of(additive(), 6)
    truth = case.model.module.parts(case.pixels)  # type: ignore[operator]
    generator = torch.Generator().manual_seed(5)
    others = {f"other{n}": torch.randn(truth.shape, generator=generator) for n in range(20)}
    found = values(MEAN, case, {"truth": truth, "inverse": -truth, **others})
    for image in range(6):
        best = found["truth"][image]
        assert best > max(found[key][image] for key in others)
        assert found["inverse"][image] == pytest.approx(-best, abs=1e-9)
        ordered = truth[image].flatten().sort(descending=True).values.double()
        total = ordered.sum()
        most = total - torch.cat((torch.zeros(1), ordered.cumsum(0)))
        least = torch.cat((torch.zeros(1), ordered.cumsum(0))).flip(0)
        area = torch.trapezoid(least - most, dx=1 / PATCHES)
        assert best == pytest.approx(float(area), rel=1e-4)


def test_random_maps_score_zero_on_average() -> None:
    case = case_of(additive(), 64)
    intervals = []
    for draw in range(25):
        generator = torch.Generator().manual_seed(draw)
        found = values(MEAN, case, {"random": torch.rand(64, *GRID, generator=generator)})["random"]
        spread = np.std(found, ddof=1) / 8
        intervals.append(abs(np.mean(found)) <= 1.96 * spread)
    assert sum(intervals) >= 20


def test_a_map_that_says_nothing_is_undefined() -> None:
    case = case_of(additive(), 3)
    maps = torch.rand(3, *GRID)
    maps[1] = 0.5
    maps[2, 0, 0] = torch.nan
    found = values(MEAN, case, {"map": maps})["map"]
    assert found[0] is not None
    assert found[1:] == [None, None]
    assert is_defined(maps).tolist() == [True, False, False]


def test_ties_are_broken_by_chance_and_alike_for_all() -> None:
    maps = torch.zeros(2, *GRID)
    maps[:, 1, 2] = 1
    order = most_relevant_first(maps, ("a", "b"), 0)
    assert order[:, 0].tolist() == [7, 7]
    assert sorted(order[0].tolist()) == list(range(PATCHES))
    assert order[0].tolist() != order[1].tolist()
    assert order[0, 1:].tolist() != sorted(order[0, 1:].tolist())
    assert torch.equal(order, most_relevant_first(maps * 3, ("a", "b"), 0))
    assert torch.equal(order[1:], most_relevant_first(maps[1:], ("b",), 0))


@pytest.mark.parametrize("occluder", ["token_drop", "blur", "mean", "black"])
@pytest.mark.parametrize("kind", ["class_token", "patch_mean", "distilled", "dinov3"])
def test_curves_are_those_of_one_picture_after_the_other(kind: str, occluder: str) -> None:
    model = vision_model(kind)
    pixels, steps = noise(model, 2), 5
    case = Case(model, pixels, torch.tensor([0, 3]), ("a", "b"), 0, chunk=3)
    maps = torch.randn(2, *VARIANTS[kind].grid, generator=torch.Generator().manual_seed(2))
    rows = RelevanceGain(occluder=occluder, steps=steps).score(case, {"map": maps, "other": maps.flip(1)})
    total = model.layout.num_patches
    averages = model.layout.readout in (Readout.PATCH_MEAN, Readout.TOKEN_MEAN)
    for image, target in enumerate((0, 3)):
        order = maps[image].flatten().argsort(descending=True)
        for name, one in (("most_first", order), ("least_first", order.flip(0))):
            for step in range(steps + 1):
                count = min(round(total * step / steps), total - averages)
                logits = _hidden_alone(model, pixels[image : image + 1], one, count, occluder)
                row = rows["map"][image]
                assert row[name][step] == pytest.approx(float(logits.softmax(-1)[0, target]), abs=1e-5)
                assert row[f"{name}_kept"][step] == int(logits.argmax() == target)
                assert row["hidden"][step] == pytest.approx(count / total)


@torch.no_grad()
def _hidden_alone(model: Any, pixels: Tensor, order: Tensor, count: int, occluder: str) -> Tensor:
    if occluder == "token_drop":
        with token_drop(model) as run:
            return run(pixels, order[count:][None])
    config = model.preparation.config
    filling = {
        "blur": blurred(pixels, 0.05),
        "mean": torch.zeros_like(pixels),
        "black": (-torch.tensor(config["mean"]) / torch.tensor(config["std"]))
        .view(1, 3, 1, 1)
        .expand_as(pixels),
    }[occluder]
    hidden = torch.zeros(1, len(order), dtype=torch.bool)
    hidden[0, order[:count]] = True
    logits: Tensor = model.module(hide(pixels, hidden.view(1, *model.layout.grid), filling))
    return logits


def test_black_pixels_blackens_by_rank_and_counts_what_is_kept() -> None:
    model = additive()
    case = case_of(model, 4)
    truth = model.module.parts(case.pixels)
    rows = METRICS["black_pixels"]().score(case, {"truth": truth, "constant": truth * 0})
    height, width = case.pixels.shape[-2:]
    black = torch.full((3, 1, 1), -0.5 / 0.2)
    for image in range(4):
        wide = nn.functional.interpolate(truth[image][None, None], (height, width), mode="bilinear")
        order = wide.flatten().argsort(descending=True)
        kept: list[list[bool]] = [[], []]
        best = model.module(case.pixels[image : image + 1]).argmax()
        for side, one in enumerate((order, order.flip(0))):
            for level in range(10, 100, 10):
                hidden = torch.zeros(height * width, dtype=torch.bool)
                hidden[one[: height * width * level // 100]] = True
                picture = torch.where(hidden.view(1, height, width), black, case.pixels[image])
                kept[side].append(bool(model.module(picture[None]).argmax() == best))
        row = rows["truth"][image]
        assert row["positive"] == pytest.approx(np.mean(kept[0]))
        assert row["negative"] == pytest.approx(np.mean(kept[1]))
        assert row["value"] == pytest.approx(row["negative"] - row["positive"])
        assert rows["constant"][image]["value"] is None


def test_a_model_whose_tokens_cannot_be_dropped_is_pointed_to_another_occluder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = vision_model("class_token")
    monkeypatch.setattr("vitreport.faithfulness.relevance_gain.why_no_token_drop", lambda _: "it cannot")
    why = "it cannot; --metric relevance_gain:occluder=blur blurs patches instead"
    assert RelevanceGain().supports(model) == why
    assert RelevanceGain(occluder="blur").supports(model) is None
