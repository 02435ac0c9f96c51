"""Techniques with passes of their own, on real weights, against maps from public implementations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import trace

from vitreport.model.layout import patch_sums
from vitreport.model.load import VisionModel
from vitreport.model.trace import Need
from vitreport.techniques.gradient.integrated_gradients import IntegratedGradients
from vitreport.techniques.relevance.propagation import Walk
from vitreport.techniques.technique import Context, Technique, select

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
KEYS = {
    "transformer_attribution": "chefer_ta_f64",
    "lrp_input": "chefer_lrp_full_f64",
    "lrp_rollout": "chefer_lrp_rollout_f64",
    "lrp_last_block": "chefer_lrp_last_layer_f64",
    "cp_lrp:conv_gamma=0,linear_gamma=0": "lxt_cplrp_eps",
    "attn_lrp:conv_gamma=0,linear_gamma=0": "lxt_composed_attnlrp_eps_patch14",
    "attn_lrp": "lxt_composed_attnlrp_gamma_0.25_0.05_patch14",
}
GAMMA = ("cp_lrp", "lxt_cplrp_gamma_0.25_0.05")
"""Compared by Pearson: where terms cancel, the rule's quotient magnifies the rounding of float32."""


@pytest.mark.parametrize("picture", PICTURES)
def test_relevance_equals_the_public_one(picture: str, shared: Path, deit: VisionModel) -> None:
    with np.load(shared / "goldens" / f"{picture}.npz") as archive:
        golden = {key: archive[key] for key in ("input", "target", *KEYS.values(), GAMMA[1])}
    targets = golden["target"].tolist()
    pixels = torch.from_numpy(golden["input"])[None].expand(len(targets), -1, -1, -1)
    seen = Context(trace(deit, pixels, targets, Need.NOTHING), deit, ("one", "other")[: len(targets)], 0)
    for spec, key in KEYS.items():
        expected = golden[key]
        found = _maps(spec, seen)
        if key.endswith("_patch14"):
            found = patch_sums(found, (14, 14))
        for one, other in zip(found.numpy(), expected, strict=True):
            assert np.abs(one - other).max() <= BOUND * np.abs(other).max(), spec
    for one, other in zip(_maps(GAMMA[0], seen).numpy(), golden[GAMMA[1]], strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.9999
        assert np.abs(one - other).max() <= 1e-3 * np.abs(other).max()


def _maps(spec: str, known: Context) -> torch.Tensor:
    (technique,) = select([spec])
    assert isinstance(technique, Technique)
    return technique.attribute(known)


@pytest.mark.parametrize("start", [0, 1])
def test_transformer_attribution_multiplies_as_the_public_function(start: int, shared: Path) -> None:
    with np.load(shared / "goldens" / "formula_small.npz") as archive:
        golden = {key: torch.from_numpy(archive[key]).double() for key in ("attn", "grad", "attn_cam")}
        expected = archive[f"chefer_ta_start{start}_matrix"]
    blocks, _, tokens, _ = golden["attn"].shape
    walk = Walk(torch.eye(tokens, dtype=torch.float64))  # a batch of all rows
    for number in reversed(range(blocks)):
        walk.through(*(golden[name][number].expand(tokens, -1, -1, -1) for name in ("attn_cam", "grad")))
    assert np.abs(walk.weighted[blocks - 1 - start].numpy() - expected).max() <= 1e-6 * expected.max()


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
