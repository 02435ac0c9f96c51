from __future__ import annotations

import pytest
import torch
from tiny_model import VARIANTS

from vitreport.model.load import VisionModel, load_model
from vitreport.optimized.image import PARAMETRISATIONS, Fourier, Parametrisation, Pixels
from vitreport.optimized.optimise import Order, Recipe, optimise
from vitreport.optimized.reading import reading
from vitreport.optimized.regulariser import seam_ratio
from vitreport.optimized.statistics import ImageStatistics
from vitreport.optimized.target import Kind, Target

ONE_OF_EACH = (
    Target(Kind.CLASS, 2),
    Target(Kind.UNIT, 7, 1),
    Target(Kind.HEAD, 1, 1),
    Target(Kind.HEAD, 1, 1, 3),
    Target(Kind.CHANNEL, 4, 0),
)


def written(model: VisionModel, kind: type[Parametrisation] = Fourier) -> Parametrisation:
    return kind(ImageStatistics.assumed(model.input_size), model.input_size)


def activations(model: VisionModel, orders: list[Order], pictures: torch.Tensor) -> torch.Tensor:
    targets = [order.target for order in orders]
    with torch.no_grad(), reading(model, targets) as read:
        seen = read(model.preparation.normalised(pictures))
    return torch.cat([seen.activation(target, slice(n, n + 1)) for n, target in enumerate(targets)])


@pytest.fixture(scope="module")
def honest() -> VisionModel:
    return load_model("embedded:honest")


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_every_kind_of_target_rises_on_every_kind_of_model(models, name):
    model = models[name]
    orders = [Order(target, 0) for target in ONE_OF_EACH]
    space = written(model)
    before = space.pictures(space.start([order.generator("start") for order in orders]))
    after = optimise(model, orders, space, Recipe.unconstrained(30))
    assert after.shape == (5, 3, *model.input_size)
    assert after.min() >= 0 and after.max() <= 1
    gained = activations(model, orders, after) - activations(model, orders, before)
    assert (gained > 0).all()


@pytest.mark.parametrize("kind", PARAMETRISATIONS.values())
def test_every_parametrisation_beats_the_best_of_many_random_pictures(honest, kind):
    model = honest
    order = Order(Target(Kind.CLASS, 2), 0)
    space = written(model, kind)
    recipe = Recipe(steps=60) if kind is not Pixels else Recipe.unconstrained(60)
    made = optimise(model, [order], space, recipe)
    random = space.pictures(space.start([torch.Generator().manual_seed(seed) for seed in range(100)]))
    best = activations(model, [order] * 100, random).max()
    assert activations(model, [order], made) > best


def test_pictures_of_a_batch_are_those_that_each_would_be_alone(models):
    model = models["registers"]
    orders = [Order(target, seed) for seed, target in enumerate(ONE_OF_EACH)]
    space, recipe = written(model), Recipe(steps=5, copies=2)
    together = optimise(model, orders, space, recipe)
    for order, picture in zip(orders, together, strict=True):
        assert torch.allclose(optimise(model, [order], space, recipe)[0], picture, atol=1e-3)


def test_the_same_order_gives_the_same_picture_and_another_seed_another(models):
    model = models["class_token"]
    target = Target(Kind.CLASS, 1)
    space, recipe = written(model), Recipe(steps=4)
    first, again, other = (optimise(model, [Order(target, seed)], space, recipe) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 0.01


def test_the_seam_loss_keeps_patches_together_that_fall_apart_without_it(honest):
    model = honest
    order = [Order(Target(Kind.CLASS, 2), 0)]
    space = written(model, Pixels)
    free, held = (
        seam_ratio(optimise(model, order, space, recipe), model.layout.patch_size).item()
        for recipe in (Recipe.unconstrained(80), Recipe(80, copies=0, total_variation=0, seam=10))
    )
    assert free > 1.05
    assert 0.97 < held < 1.03


def test_more_total_variation_makes_smoother_pictures(models):
    model = models["class_token"]
    order = [Order(Target(Kind.CLASS, 2), 0)]
    rough, smooth = (
        optimise(model, order, written(model), Recipe(steps=40, total_variation=weight))
        for weight in (0.0, 200.0)
    )
    assert smooth.diff(dim=3).abs().mean() < 0.5 * rough.diff(dim=3).abs().mean()


def test_a_target_in_larger_units_obeys_the_regularisers_more(models):
    model = models["class_token"]
    target = Target(Kind.CLASS, 2)
    space, recipe = written(model), Recipe(steps=40, total_variation=20)
    eager = optimise(model, [Order(target, 0, unit=0.1)], space, recipe)
    tame = optimise(model, [Order(target, 0, unit=10)], space, recipe)
    assert tame.diff(dim=3).abs().mean() < eager.diff(dim=3).abs().mean()


def test_progress_is_told_and_the_model_is_left_alone(models):
    model = models["class_token"]
    kept = {name: value.clone() for name, value in model.module.state_dict().items()}
    steps: list[tuple[int, int]] = []
    optimise(
        model,
        [Order(Target(Kind.UNIT, 3, 0), 0)],
        written(model),
        Recipe(steps=3),
        lambda *at: steps.append(at),
    )
    assert steps == [(1, 3), (2, 3), (3, 3)]
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, kept[name])
    assert not any(parameter.requires_grad for parameter in model.module.parameters())
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in model.module.modules())
