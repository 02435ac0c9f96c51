from __future__ import annotations

import copy
import time

import pytest
import torch
from tiny_model import explainable, vision_model

from tests.benchmarks.models import seeded_model
from vitreport.optimized import gates
from vitreport.optimized.image import PARAMETRISATIONS, Fourier
from vitreport.optimized.optimise import Order, Recipe, optimise
from vitreport.optimized.reading import reading
from vitreport.optimized.statistics import ImageStatistics
from vitreport.optimized.target import Kind, Target
from vitreport.store.optimized import Audited

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@pytest.mark.parametrize("kind", PARAMETRISATIONS.values())
def test_targets_rise_on_the_gpu_and_pictures_are_judged_there(kind) -> None:
    here = vision_model("class_token")
    model = explainable(copy.deepcopy(here.module).cuda(), here.input_size)
    targets = [Target(Kind.CLASS, 2), Target(Kind.UNIT, 7, 1), Target(Kind.HEAD, 1, 1)]
    space = kind(ImageStatistics.assumed(model.input_size).to(model.device), model.input_size)
    orders = [Order(target, 0) for target in targets]
    start = space.pictures(space.start([order.generator("start") for order in orders]).to(model.device))
    made = optimise(model, orders, space, Recipe.unconstrained(30))
    with torch.no_grad(), reading(model, targets) as read:
        before, after = (read(model.preparation.normalised(shown)) for shown in (start, made))
    for place, target in enumerate(targets):
        rows = slice(place, place + 1)
        assert after.activation(target, rows) > before.activation(target, rows)
    optimise(model, orders, space, Recipe(steps=2, copies=2))
    said = [Audited(1, 0, 0.0, 1.0, 0.0, 0.0, "above the maximum")] * 3
    found = gates.judged(model, gates.quantised(made), targets, said, ["a", "b", "c"], ["a", "b", "c"])
    assert [len(picture.gates) for picture in found] == [5, 4, 4]


def test_a_target_in_a_batch_of_eight_costs_at_most_half_of_one_alone() -> None:
    model = seeded_model("deit_tiny_patch16_224", "cuda")
    space = Fourier(ImageStatistics.assumed((224, 224)).to(model.device), (224, 224))
    orders = [Order(Target(Kind.CLASS, index), 0) for index in range(8)]

    def seconds(some: list[Order]) -> float:
        torch.cuda.synchronize()
        began = time.perf_counter()
        optimise(model, some, space, Recipe(20))
        torch.cuda.synchronize()
        return (time.perf_counter() - began) / len(some)

    for some in (orders, orders[:1]):
        seconds(some)
    alone = min(seconds(orders[:1]) for _ in range(3))
    together = min(seconds(orders) for _ in range(3))
    assert together <= 0.5 * alone
