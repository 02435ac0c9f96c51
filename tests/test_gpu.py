from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from tiny_model import EVERYTHING, VARIANTS, noise, vision_model

from vitreport.model.memory import automatic_batch_size
from vitreport.model.trace import traced
from vitreport.techniques.technique import Context, Technique, select

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_maps_on_the_gpu_agree_with_those_on_the_cpu(variant: str) -> None:
    here = vision_model(variant)
    there = dataclasses.replace(here, module=copy.deepcopy(here.module).cuda())
    techniques = [technique for technique in select(["core"]) if isinstance(technique, Technique)]
    maps = []
    for model in (here, there):
        pixels = noise(model, 4).to(model.device)
        with traced(model.module, model.layout, EVERYTHING) as tracer:
            forward = tracer.forward(pixels)
            targets = torch.zeros(len(pixels), dtype=torch.long, device=model.device)
            trace = tracer.gradient(forward, targets)
            context = Context(trace, model, ("a", "b", "c", "d"), seed=0)
            maps.append({technique.key: technique.attribute(context).cpu() for technique in techniques})
    for key, expected in maps[0].items():
        assert (maps[1][key] - expected).abs().max() <= 1e-3 * expected.abs().max(), key


def test_a_batch_that_fits_the_gpu_is_chosen() -> None:
    model = vision_model("vit")
    assert automatic_batch_size(dataclasses.replace(model, module=copy.deepcopy(model.module).cuda())) >= 1
