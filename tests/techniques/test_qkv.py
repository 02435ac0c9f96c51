from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from tiny_model import VARIANTS, context, noise

from vitreport.model.families import Projections
from vitreport.model.load import VisionModel
from vitreport.techniques.attention.qkv import PATTERNS, QKV, pattern_scores
from vitreport.techniques.gradient.gradient_rollout import GradientRollout
from vitreport.techniques.technique import Context


def _object(relevance: np.ndarray) -> set[int]:
    """The fifth of the patches with the highest relevance."""
    size = max(1, round(0.2 * relevance.size))
    return set(np.argsort(relevance.ravel())[::-1][:size].tolist())


def _one_way(query: np.ndarray, key: np.ndarray, inside: set[int]) -> float:
    """Share of positive queries times how well keys rank the object, by counting pairs."""
    wins = 0.0
    pairs = 0
    for i in inside:
        for j in set(range(len(key))) - inside:
            pairs += 1
            wins += 1.0 if key[i] > key[j] else 0.5 if key[i] == key[j] else 0.0
    return float(np.mean(query > 0)) * 2 * max(0.0, wins / pairs - 0.5)


def _rarer(values: np.ndarray) -> set[int]:
    positive = {place for place, value in enumerate(values) if value > 0}
    return positive if len(positive) <= len(values) / 2 else set(range(len(values))) - positive


def _two_way(query: np.ndarray, key: np.ndarray, inside: set[int]) -> float:
    one, other = _rarer(query), _rarer(key)
    if min(len(one), len(other)) < 4:
        return 0.0
    overlap = len(one & other) / len(one | other)
    return len(one & inside) / len(one) * len(other & inside) / len(other) * (1 - overlap)


@pytest.mark.parametrize(
    "name", ["class_token", "distilled", "beit", "eva02", "attention_pool", "patch_mean"]
)
def test_scores_equal_their_definition_counted_out(name: str, models: dict[str, VisionModel]) -> None:
    model = models[name]
    known = context(model, noise(model, 2), [1, 4])
    scores = pattern_scores(known)
    prefix = model.layout.num_prefix_tokens
    for image in range(2):
        inside = _object(GradientRollout().attribute(known)[image].numpy())
        for block, shown in enumerate(known.trace.projections):
            _, heads, _, channels = shown.queries.shape
            for head in range(heads):
                for channel in range(channels):
                    query, key = (
                        projection[image, head, prefix:, channel].numpy()
                        for projection in (shown.queries, shown.keys)
                    )
                    found = [float(scores[pattern][image, block, head, channel]) for pattern in PATTERNS]
                    expected = [_one_way(query, key, inside), _two_way(query, key, inside)]
                    assert found == pytest.approx(expected, abs=1e-5)


def _with_projections(known: Context, queries: torch.Tensor, keys: torch.Tensor) -> Context:
    shown = Projections(queries, keys, torch.zeros_like(keys))
    trace = dataclasses.replace(known.trace, projections=(shown,))
    return dataclasses.replace(known, trace=trace, maps={})


@pytest.fixture
def planted(models: dict[str, VisionModel]) -> Context:
    """One image, one block, one head of six channels that are known by heart."""
    model = models["non_square"]
    known = context(model, noise(model, 1), [2])
    relevance = GradientRollout().attribute(known)[0].numpy()
    inside = torch.zeros(24, dtype=torch.bool)
    inside[sorted(_object(relevance))] = True
    assert int(inside.sum()) == 5
    places = inside.nonzero().flatten().tolist()
    outside = (~inside).nonzero().flatten().tolist()
    queries, keys = torch.randn(1, 1, 25, 6), torch.randn(1, 1, 25, 6)
    patches_q, patches_k = queries[0, 0, 1:], keys[0, 0, 1:]
    patches_q[:, 0], patches_k[:, 0] = 1.0, inside * 2.0 - 1  # perfect one-way
    patches_q[:, 1], patches_k[:, 1] = 1.0, 0.25  # the same key everywhere ranks nothing
    patches_q[:, 2], patches_k[:, 2] = 1.0, 0.0  # nor do zeros
    patches_q[:, 3] = patches_k[:, 3] = -1.0  # query and key rare on overlapping parts of the object
    patches_q[places[:4], 3] = patches_k[places[1:], 3] = 1.0
    patches_q[:, 4] = patches_k[:, 4] = 1.0  # rare sign outside of the object
    patches_q[outside[:4], 4] = patches_k[outside[4:8], 4] = -1.0
    patches_q[:, 5] = patches_k[:, 5] = -1.0  # too few patches
    patches_q[places[:3], 5] = patches_k[places[2:], 5] = 1.0
    return _with_projections(known, queries, keys)


def test_planted_patterns_have_the_scores_that_they_should(planted: Context) -> None:
    scores = pattern_scores(planted)
    one_way, two_way = (scores[pattern][0, 0, 0].tolist() for pattern in PATTERNS)
    assert one_way[0] == pytest.approx(1)
    assert one_way[1] == one_way[2] == 0
    assert two_way[3] == pytest.approx(1 - 3 / 5)
    assert two_way[4] == two_way[5] == 0


def test_the_best_channels_are_shown_with_their_raw_pictures(planted: Context) -> None:
    (rows,) = QKV(channels=2).observe(planted)
    assert [(row["pattern"], row["rank"]) for row in rows] == [
        ("one_way", 0),
        ("one_way", 1),
        ("two_way", 0),
        ("two_way", 1),
    ]
    assert (rows[0]["block"], rows[0]["head"], rows[0]["channel"]) == (0, 0, 0)
    assert rows[2]["channel"] == 3
    shown = planted.trace.projections[0]
    for row in rows:
        assert (row["rows"], row["cols"], row["target"]) == (4, 6, 2)
        for letter, projection in (("q", shown.queries), ("k", shown.keys), ("v", shown.values)):
            assert np.array_equal(row[letter], projection[0, 0, 1:, row["channel"]].numpy())
            assert row[letter].dtype == np.float32


@pytest.mark.parametrize("name", VARIANTS)
def test_ranks_fall_with_the_score_and_places_are_real(name: str, models: dict[str, VisionModel]) -> None:
    model = models[name]
    known = context(model, noise(model, 2), [0, 3])
    scores = pattern_scores(known)
    for image, rows in enumerate(QKV().observe(known)):
        for pattern in PATTERNS:
            chosen = [row for row in rows if row["pattern"] == pattern]
            assert [row["rank"] for row in chosen] == [0, 1, 2]
            values = [row["score"] for row in chosen]
            assert values == sorted(values, reverse=True)
            assert values[0] == float(scores[pattern][image].max())
            for row in chosen:
                place: Any = (image, row["block"], row["head"], row["channel"])
                assert float(scores[pattern][place]) == row["score"]


def test_more_channels_than_there_are_gives_all(planted: Context) -> None:
    (rows,) = QKV(channels=64).observe(planted)
    assert len(rows) == 2 * 6
    assert {row["channel"] for row in rows} == set(range(6))
