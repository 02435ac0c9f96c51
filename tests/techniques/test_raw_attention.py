from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_model import VARIANTS, context, context_by_hand, noise

from vitreport.model.layout import Readout, TokenLayout
from vitreport.model.load import VisionModel
from vitreport.techniques.attention.class_attention import ClassAttention
from vitreport.techniques.attention.raw_attention import RawAttention


@pytest.mark.parametrize("name", VARIANTS)
def test_raw_attention_is_the_readout_s_share_of_the_last_block_averaged_over_heads(
    name: str, models: dict[str, VisionModel]
) -> None:
    model = models[name]
    known = context(model, noise(model, 2), [0, 1])
    found = RawAttention().attribute(known)
    rows, cols = model.layout.grid
    for image in range(2):
        attention = known.trace.attention[-1][image].double().numpy()
        readout = known.trace.readout[image].double().numpy()
        for row in range(rows):
            for col in range(cols):
                patch = model.layout.num_prefix_tokens + row * cols + col
                expected = np.mean([readout @ head[:, patch] for head in attention])
                assert float(found[image, row, col]) == pytest.approx(expected, rel=1e-5)


def test_raw_attention_reads_the_last_block_only() -> None:
    layout = TokenLayout(1, (2, 3), (8, 8), Readout.CLASS_TOKEN)
    first, last = torch.rand(1, 2, 7, 7), torch.rand(1, 2, 7, 7)
    found = RawAttention().attribute(context_by_hand([first, last], None, layout))
    assert torch.allclose(found[0], last[0, :, 0, 1:].mean(0).view(2, 3))


@pytest.mark.parametrize("name", VARIANTS)
def test_the_atlas_has_every_block_and_head_on_the_grid(name: str, models: dict[str, VisionModel]) -> None:
    model = models[name]
    known = context(model, noise(model, 2), [0, 1])
    layout = model.layout
    for image, rows in enumerate(ClassAttention().observe(known)):
        (row,) = rows
        shape = (row["blocks"], row["heads"], row["rows"], row["cols"])
        assert shape == (model.blocks, model.heads, *layout.grid)
        assert row["values"].dtype == np.float16
        atlas = row["values"].reshape(shape).astype(np.float64)
        for block, attention in enumerate(known.trace.attention):
            for head in range(model.heads):
                expected = known.trace.readout[image].double() @ attention[image, head].double()
                patches = expected[layout.num_prefix_tokens :].view(layout.grid).numpy()
                assert np.abs(atlas[block, head] - patches).max() <= 1e-3 * patches.max()
