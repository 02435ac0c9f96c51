"""Numbers of heads, against loops written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_model import VARIANTS, noise, vision_model

from vitreport.techniques.attention.attention_statistics import AttentionStatistics
from vitreport.techniques.technique import Context


@pytest.mark.parametrize("kind", ["class_token", "registers", "attention_pool", "non_square"])
def test_numbers_are_means_over_patches_as_queries(kind: str) -> None:
    model = vision_model(kind)
    with model.traced(AttentionStatistics.needs) as tracer:
        forward = tracer.forward(noise(model, 2))
    trace = tracer.gradient(forward, torch.zeros(2, dtype=torch.int64))
    found = list(AttentionStatistics().observe(Context(trace, model, ("a", "b"), 0)))
    prefix, (rows, cols) = VARIANTS[kind].prefix, VARIANTS[kind].grid
    places = [np.array((row, col)) * 8 for row in range(rows) for col in range(cols)]
    for image, (row,) in enumerate(found):
        assert (row["blocks"], row["heads"]) == (len(trace.attention), trace.attention[0].shape[1])
        expected = {name: [] for name in ("entropy", "distance", "prefix_mass", "redundancy")}
        for block in trace.attention:
            heads = block[image].double().numpy()[:, prefix:]
            for number, head in enumerate(heads):
                patches = head[:, prefix:]
                expected["entropy"].append(np.mean([-(a * np.log(a)).sum() for a in head]))
                expected["prefix_mass"].append(head[:, :prefix].sum(1).mean())
                far = [
                    sum(a * np.linalg.norm(places[q] - places[k]) for k, a in enumerate(patches[q]))
                    / patches[q].sum()
                    for q in range(len(patches))
                ]
                expected["distance"].append(np.mean(far))
                others = [other[:, prefix:] for place, other in enumerate(heads) if place != number]
                likeness = [np.corrcoef(patches.ravel(), other.ravel())[0, 1] for other in others]
                expected["redundancy"].append(np.mean(likeness))
        for name, values in expected.items():
            assert row[name] == pytest.approx(values, abs=1e-4), name
