"""Techniques with passes of their own, on real weights, against maps from public implementations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import trace

from vitreport.model.load import VisionModel
from vitreport.model.trace import Need
from vitreport.techniques.gradient.integrated_gradients import IntegratedGradients
from vitreport.techniques.technique import Context

BOUND = 1e-4
PICTURES = (
    "both",
    "dogbird",
    "plane",
    "plane2",
    "c340_zebra",
    "c323_monarch",
    "c920_traffic_light",
    "c555_fire_engine",
)


@pytest.mark.parametrize("picture", PICTURES)
def test_integrated_gradients_equal_captum_s(picture: str, shared: Path, deit: VisionModel) -> None:
    with np.load(shared / "goldens" / f"{picture}.npz") as archive:
        golden = {key: archive[key] for key in ("input", "target", "captum_ig_chsum", "captum_ig_delta")}
    pixels, targets = torch.from_numpy(golden["input"])[None], golden["target"].tolist()
    with torch.no_grad():
        flat = deit.module(torch.zeros_like(pixels))[0]
    for number, target in enumerate(targets):
        seen = trace(deit, pixels, [target], Need.NOTHING)
        found = IntegratedGradients().attribute(Context(seen, deit, (picture,), 0, chunk=16))[0]
        expected = golden["captum_ig_chsum"][number]
        assert np.abs(found.numpy() - expected).max() <= BOUND * np.abs(expected).max()
        residual = float(found.sum() - (seen.logits[0, target] - flat[target]))
        assert residual == pytest.approx(golden["captum_ig_delta"][number], abs=1e-3)
