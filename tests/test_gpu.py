from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from tiny_model import EVERYTHING, VARIANTS, every_technique, explainable, fits, noise, vision_model

from vitreport.faithfulness.metric import Case
from vitreport.faithfulness.relevance_gain import RelevanceGain
from vitreport.model.environment import exact_float32
from vitreport.model.load import VisionModel
from vitreport.model.memory import automatic_batch_size
from vitreport.model.trace import Backward
from vitreport.techniques.technique import Context, Technique

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@pytest.fixture(autouse=True)
def float32() -> Iterator[None]:
    """As in a run: convolutions are in TF32 by default, which is not what the CPU computes."""
    with exact_float32():
        yield


def on_the_gpu(here: VisionModel) -> VisionModel:
    return explainable(copy.deepcopy(here.module).cuda(), here.input_size)


@pytest.mark.parametrize("backward", Backward)
@pytest.mark.parametrize("variant", VARIANTS)
def test_maps_on_the_gpu_agree_with_those_on_the_cpu(variant: str, backward: Backward) -> None:
    here = vision_model(variant)
    techniques = [
        technique
        for technique in every_technique()
        if isinstance(technique, Technique) and technique.backward is backward and fits(technique, variant)
    ]
    maps = []
    for model in (here, on_the_gpu(here)):
        pixels = noise(model, 4).to(model.device)
        with model.traced(EVERYTHING[backward], backward) as tracer:
            forward = tracer.forward(pixels)
        targets = torch.zeros(len(pixels), dtype=torch.long, device=model.device)
        trace = tracer.gradient(forward, targets)
        context = Context(trace, model, ("a", "b", "c", "d"), seed=0)
        maps.append({technique.key: technique.attribute(context).cpu() for technique in techniques})
    for key, expected in maps[0].items():
        assert (maps[1][key] - expected).abs().max() <= 1e-3 * expected.abs().max(), key


def test_a_batch_that_fits_the_gpu_is_chosen() -> None:
    assert automatic_batch_size(on_the_gpu(vision_model("class_token"))) >= 1


@pytest.mark.parametrize("metric", [RelevanceGain(steps=5), RelevanceGain(steps=5, occluder="blur")])
@pytest.mark.parametrize("variant", ["class_token", "attention_pool", "beit"])
def test_scores_in_half_precision_agree_with_those_on_the_cpu(variant: str, metric: RelevanceGain) -> None:
    here = vision_model(variant)
    maps = torch.rand(4, *here.layout.grid, generator=torch.Generator().manual_seed(0))
    values = []
    for model in (here, on_the_gpu(here)):
        pixels = noise(model, 4).to(model.device)
        targets = torch.zeros(len(pixels), dtype=torch.long, device=model.device)
        case = Case(model, pixels, targets, ("a", "b", "c", "d"), seed=0)
        rows = metric.score(case, {"map": maps.to(model.device)})["map"]
        values.append([row["value"] for row in rows])
    assert values[1] == pytest.approx(values[0], abs=0.01)
