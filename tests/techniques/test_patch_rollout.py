"""The rollout between all tokens, against the row that attention rollout gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_model import VARIANTS, context, context_by_hand, noise, vision_model

from vitreport.model.layout import Readout, TokenLayout
from vitreport.techniques.attention.patch_rollout import PatchRollout, quantised, rollout_matrix
from vitreport.techniques.attention.rollout import AttentionRollout

THREE = TokenLayout(1, (1, 2), (8, 8), Readout.CLASS_TOKEN)
FIRST = [[0.4, 0.6, 0.0], [0.1, 0.8, 0.1], [0.5, 0.2, 0.3]]
SECOND = [[0.0, 0.5, 0.5], [0.2, 0.3, 0.5], [0.6, 0.4, 0.0]]


def shares(row: dict[str, Any]) -> Any:
    """The stored matrix as shares ``(tokens, tokens)``."""
    tokens = row["prefix"] + row["rows"] * row["cols"]
    matrix = row["values"].reshape(tokens, tokens) * (row["scales"] / 255)
    assert not matrix.diagonal().any()
    return matrix + np.diag(row["own"])


def test_three_tokens_and_two_blocks_give_what_was_computed_by_hand() -> None:
    # (SECOND + I) / 2 has the rows (0.5, 0.25, 0.25), (0.1, 0.65, 0.25), (0.3, 0.2, 0.5);
    # (FIRST + I) / 2 has (0.7, 0.3, 0), (0.05, 0.9, 0.05), (0.25, 0.1, 0.65).
    attention = [torch.tensor(block)[None, None] for block in (FIRST, SECOND)]
    expected = [[0.425, 0.4, 0.175], [0.165, 0.64, 0.195], [0.345, 0.32, 0.335]]
    assert rollout_matrix(attention)[0].tolist() == [pytest.approx(row) for row in expected]
    ((row,),) = PatchRollout().observe(context_by_hand(attention, None, THREE))
    assert (row["prefix"], row["rows"], row["cols"]) == (1, 1, 2)
    assert row["readout"].tolist() == [1, 0, 0]
    assert np.abs(shares(row) - expected).max() <= 0.4 / 510


@pytest.mark.parametrize("kind", sorted(VARIANTS))
def test_the_readout_s_row_of_the_matrix_is_the_rollout_map(kind: str) -> None:
    model = vision_model(kind)
    known = context(model, noise(model, 2), [0, 1])
    maps = AttentionRollout().attribute(known).numpy()
    for (row,), expected in zip(PatchRollout().observe(known), maps, strict=True):
        assert (row["prefix"], (row["rows"], row["cols"])) == (VARIANTS[kind].prefix, VARIANTS[kind].grid)
        assert row["values"].dtype == np.uint8
        matrix = shares(row)
        assert np.abs(matrix.sum(1) - 1).max() < 0.02
        found = (row["readout"] @ matrix)[row["prefix"] :]
        assert np.abs(found - expected.ravel()).max() <= row["scales"].max() / 510 + 1e-6


def test_a_column_s_largest_entry_is_exact_and_the_others_are_off_by_half_a_step() -> None:
    matrix = np.random.default_rng(0).random((6, 6)).astype(np.float32) * np.float32([1, 1e-3, 1, 1, 0, 1])
    scales, values = quantised(matrix)
    others = matrix * (1 - np.eye(6, dtype=np.float32))
    assert scales.tolist() == others.max(0).tolist()
    assert values.max(0).tolist() == [255, 255, 255, 255, 0, 255]
    assert (np.abs(values * (scales / 255) - others) <= scales / 510 + 1e-7).all()


def test_an_image_whose_rollout_is_not_finite_says_so_and_leaves_its_neighbours_alone() -> None:
    model = vision_model("class_token")
    pixels = noise(model, 2)
    pixels[0] = torch.nan
    (broken,), (sound,) = PatchRollout().observe(context(model, pixels, [0, 1]))
    assert broken == {"error": "the rollout has values that are not finite"}
    assert np.abs(shares(sound).sum(1) - 1).max() < 0.02
