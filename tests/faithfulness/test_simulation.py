"""What the symmetric relevance gain must say of a model whose true map is known, and how sure it may be.

The model's output is the sum of its visible patches' values. So hiding k patches costs at most the sum of the
k largest values, and the true map reaches that at every k: no order of patches has a larger gain.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vitreport.analysis.leaderboard import leaderboard
from vitreport.analysis.statistics import Bootstrap, Scores
from vitreport.faithfulness.metric import Case
from vitreport.faithfulness.relevance_gain import RelevanceGain
from vitreport.model.head import Head
from vitreport.model.layout import Readout, TokenLayout
from vitreport.techniques.technique import Context, Technique, select

IMAGES, SIMULATIONS = 64, 1000
OCCLUDERS = ("mean", "token_drop")


class Summing(nn.Module):
    """In place of a block: the class token takes up the sum of the patch tokens that are there."""

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.cat((tokens.sum(1, keepdim=True), tokens[:, 1:]), 1)


def additive(grid: tuple[int, int], head: Head = Head.REGRESSION) -> Any:
    """A Vision Transformer that gives the sum of its patches' values, and 0 as a second output.

    A patch is a pixel, and its value is the mean of the three channels. The filling of the mean occluder, 0,
    has the value 0.
    """
    module = VisionTransformer(
        img_size=grid, patch_size=1, embed_dim=1, depth=1, num_heads=1, num_classes=2, class_token=True
    )
    module.blocks = nn.Sequential(Summing())
    module.norm = nn.Identity()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.patch_embed.proj.weight.fill_(1 / 3)
        module.head.weight[0] = 1
    return SimpleNamespace(
        module=module.eval(),
        blocks=1,
        layout=TokenLayout(1, grid, (1, 1), Readout.CLASS_TOKEN),
        head=head,
        classes=("sum", "nothing"),
        preparation=SimpleNamespace(config={"mean": (0.5,) * 3, "std": (0.2,) * 3}),
    )


def case_of(grid: tuple[int, int], images: int, head: Head = Head.REGRESSION, seed: int = 0) -> Case:
    pixels = torch.randn(images, 3, *grid, generator=torch.Generator().manual_seed(seed))
    ids = tuple(f"image{number}" for number in range(images))
    return Case(additive(grid, head), pixels, torch.zeros(images, dtype=torch.int64), ids, 0, chunk=16384)


def gains(metric: RelevanceGain, case: Case, **maps: Tensor) -> dict[str, np.ndarray]:
    """Values by map, ``(images,)``; NaN where undefined."""
    rows = metric.score(case, maps)
    return {key: np.array([row["value"] for row in found], dtype=float) for key, found in rows.items()}


def truth(case: Case) -> Tensor:
    return case.pixels.mean(1)


def from_orders(orders: np.ndarray, grid: tuple[int, int]) -> Iterator[Tensor]:
    """The map that is hidden in each order of patches."""
    for order in orders:
        values = torch.empty(len(order))
        values[torch.from_numpy(order)] = torch.arange(len(order), 0, -1).float()
        yield values.view(1, *grid)


@pytest.mark.parametrize("occluder", OCCLUDERS)
def test_the_model_is_the_sum_of_the_patches_that_are_shown(occluder: str) -> None:
    case = case_of((2, 3), 1)
    maps = torch.arange(6, 0, -1.0).view(1, 2, 3)
    row = RelevanceGain(occluder=occluder, steps=6).score(case, {"map": maps})["map"][0]
    values = truth(case).flatten()
    assert row["most_first"] == pytest.approx([float(values[k:].sum()) for k in range(7)], abs=1e-6)
    assert row["least_first"] == pytest.approx([float(values[: 6 - k].sum()) for k in range(7)], abs=1e-6)


@pytest.mark.parametrize("head", [Head.REGRESSION, Head.SOFTMAX])
@pytest.mark.parametrize("occluder", OCCLUDERS)
def test_no_permutation_of_six_patches_scores_higher_than_the_true_map(occluder: str, head: Head) -> None:
    grid = (2, 3)
    case = case_of(grid, 1, head)
    orders = np.array(list(permutations(range(6))))
    others = {str(number): values for number, values in enumerate(from_orders(orders, grid))}
    for steps in (6, 4):
        metric = RelevanceGain(occluder=occluder, steps=steps)
        found = gains(metric, case, truth=truth(case), inverse=-truth(case), **others)
        every = np.array([found[key][0] for key in others])
        best = found["truth"][0]
        assert every.max() == pytest.approx(best, abs=1e-6)
        assert every.min() == pytest.approx(found["inverse"][0], abs=1e-6)
        assert found["inverse"][0] == pytest.approx(-best, abs=1e-6)
        assert every.mean() == pytest.approx(0, abs=1e-6)
        if steps == 6:
            assert np.sum(every > best - 1e-6) == 1


@pytest.mark.parametrize("occluder", OCCLUDERS)
def test_no_random_order_of_sixteen_patches_scores_higher_than_the_true_map(occluder: str) -> None:
    grid = (4, 4)
    case = case_of(grid, 8)
    generator = np.random.default_rng(1)
    orders = generator.permuted(np.tile(np.arange(16), (1000, 1)), axis=1)
    others = {str(n): values.expand(8, 4, 4) for n, values in enumerate(from_orders(orders, grid))}
    metric = RelevanceGain(occluder=occluder)
    found = gains(metric, case, truth=truth(case), inverse=-truth(case), **others)
    every = np.stack([found[key] for key in others])
    assert (every.max(0) < found["truth"]).all()
    assert (every.min(0) > found["inverse"]).all()
    np.testing.assert_allclose(found["inverse"], -found["truth"], atol=1e-6)


@pytest.mark.parametrize("occluder", OCCLUDERS)
def test_the_true_map_reaches_the_value_that_follows_from_the_definition(occluder: str) -> None:
    case = case_of((4, 4), 5)
    found = gains(RelevanceGain(occluder=occluder, steps=16), case, truth=truth(case))["truth"]
    ordered = truth(case).flatten(1).double().sort(descending=True).values.numpy()
    np.testing.assert_allclose(found, ordered @ (17 - 2 * np.arange(1, 17)) / 16, atol=1e-5)


@pytest.fixture(scope="module")
def simulated() -> dict[str, np.ndarray]:
    """Gains of 1,000 simulations of 64 images, ``(simulations, images)``: each image and map is new."""
    grid = (3, 3)
    case = case_of(grid, SIMULATIONS * IMAGES, seed=3)
    (random,) = select(["random"])
    assert isinstance(random, Technique)
    blank = SimpleNamespace(logits=torch.zeros(1))
    context = Context(blank, case.model, case.image_ids, seed=0)  # type: ignore[arg-type]
    chance = random.attribute(context)
    noisy = truth(case) + 2 * torch.randn(truth(case).shape, generator=torch.Generator().manual_seed(4))
    found = gains(RelevanceGain(occluder="mean", steps=3), case, random=chance, noisy=noisy)
    return {key: values.reshape(SIMULATIONS, IMAGES) for key, values in found.items()}


def holding(values: np.ndarray, true_mean: float) -> float:
    found = Bootstrap().estimate(values)
    return float(np.mean((found.low <= true_mean) & (true_mean <= found.high)))


def test_intervals_of_random_maps_hold_0_in_93_to_97_percent_of_simulations(
    simulated: dict[str, np.ndarray],
) -> None:
    assert abs(simulated["random"].mean()) < 4 * simulated["random"].std() / (SIMULATIONS * IMAGES) ** 0.5
    assert 0.93 <= holding(simulated["random"], 0) <= 0.97


def test_intervals_hold_the_true_gain_in_93_to_97_percent_of_simulations(
    simulated: dict[str, np.ndarray],
) -> None:
    noisy, gap = simulated["noisy"], simulated["noisy"] - simulated["random"]
    assert noisy.mean() > 10 * noisy.std() / (SIMULATIONS * IMAGES) ** 0.5
    assert 0.93 <= holding(noisy, noisy.mean()) <= 0.97
    assert 0.93 <= holding(gap, gap.mean()) <= 0.97


def test_better_than_random_is_said_of_what_is_and_rarely_of_a_second_random_map(
    simulated: dict[str, np.ndarray],
) -> None:
    random, noisy = simulated["random"], simulated["noisy"]
    bootstrap = Bootstrap(resamples=1000)
    verdicts = []
    for number in range(0, 100, 2):
        rows = np.stack((random[number], random[number + 1], noisy[number]))
        board = leaderboard(
            Scores(("random", "other", "noisy"), rows), random=["random"], bootstrap=bootstrap
        )
        verdicts.append({row.key: row.better_than_random for row in board.rows})
    assert sum(bool(verdict["noisy"]) for verdict in verdicts) >= 40
    assert sum(bool(verdict["other"]) for verdict in verdicts) <= 6


@pytest.mark.parametrize("occluder", OCCLUDERS)
def test_constant_and_nan_maps_are_undefined_and_rank_nowhere(occluder: str) -> None:
    case = case_of((3, 3), 12)
    holed = truth(case).clone()
    holed[:4, 1, 1] = torch.nan
    maps = {
        "truth": truth(case),
        "constant": torch.full((12, 3, 3), 0.25),
        "nan": torch.full((12, 3, 3), torch.nan),
        "holed": holed,
    }
    found = gains(RelevanceGain(occluder=occluder), case, **maps)
    assert np.isnan(found["constant"]).all() and np.isnan(found["nan"]).all()
    assert np.isnan(found["holed"]).tolist() == [True] * 4 + [False] * 8
    np.testing.assert_allclose(found["holed"][4:], found["truth"][4:], atol=1e-6)
    board = leaderboard(Scores(tuple(found), np.stack(list(found.values()))))
    assert [(row.key, row.n, row.mean is None) for row in board.rows][2:] == [
        ("constant", 0, True),
        ("nan", 0, True),
    ]
    assert {row.key: row.group for row in board.rows}["constant"] is None
