from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_model import VARIANTS, context, context_by_hand, noise
from torch import Tensor

from vitreport.model.layout import Readout, TokenLayout
from vitreport.model.load import VisionModel
from vitreport.techniques.attention.rollout import AttentionRollout, Rollout, Walk
from vitreport.techniques.gradient.gradient_rollout import GradientRollout
from vitreport.techniques.technique import Context

THREE = TokenLayout(1, (1, 2), (8, 8), Readout.CLASS_TOKEN)
FIRST = [[0.4, 0.6, 0.0], [0.1, 0.8, 0.1], [0.5, 0.2, 0.3]]
SECOND = [[0.0, 0.5, 0.5], [0.2, 0.3, 0.5], [0.6, 0.4, 0.0]]


def _by_hand(gradient: list[list[list[float]]] | None = None) -> Context:
    attention = [torch.tensor(block)[None, None] for block in (FIRST, SECOND)]
    gradients = [torch.tensor(block)[None, None] for block in gradient] if gradient else None
    return context_by_hand(attention, gradients, THREE)


def test_three_tokens_and_two_blocks_give_what_was_computed_by_hand() -> None:
    # Row of the class token in (SECOND + I) / 2: (0.5, 0.25, 0.25).
    # Times (FIRST + I) / 2, whose rows are (0.7, 0.3, 0), (0.05, 0.9, 0.05), (0.25, 0.1, 0.65):
    # first patch 0.5 * 0.3 + 0.25 * 0.9 + 0.25 * 0.1 = 0.4; second 0.25 * 0.05 + 0.25 * 0.65 = 0.175.
    found = AttentionRollout().attribute(_by_hand())
    assert found.tolist() == [[pytest.approx([0.4, 0.175])]]


def test_three_tokens_with_half_of_the_patch_columns_discarded_give_what_was_computed_by_hand() -> None:
    # Of the six entries in the columns of the patches the three smallest go.
    # SECOND loses 0, 0.3, 0.4: its first row stays (0.5, 0.25, 0.25).
    # FIRST loses 0, 0.1, 0.2; rows of FIRST + I, each divided by its sum:
    # (1.4, 0.6, 0) / 2, (0.1, 1.8, 0) / 1.9, (0.5, 0, 1.3) / 1.8.
    found = AttentionRollout(discard_ratio=0.5).attribute(_by_hand())
    expected = [0.5 * 0.6 / 2 + 0.25 * 1.8 / 1.9, 0.25 * 1.3 / 1.8]
    assert found.tolist() == [[pytest.approx(expected)]]


def test_three_tokens_with_the_public_discard_give_what_was_computed_by_hand() -> None:
    # Of all nine entries int(4.5) = 4 go. SECOND loses 0, 0 (which is spared, and 0 anyway), 0.2, 0.3;
    # FIRST loses 0, 0.1, 0.1, 0.2: its rows become (1.4, 0.6, 0) / 2, (0, 1.8, 0) / 1.8, (0.5, 0, 1.3) / 1.8.
    found = AttentionRollout(discard_ratio=0.5, discard="public").attribute(_by_hand())
    assert found.tolist() == [[pytest.approx([0.5 * 0.6 / 2 + 0.25, 0.25 * 1.3 / 1.8])]]


def test_the_public_discard_spares_the_class_token_s_own_entry_in_attention_rollout_only() -> None:
    # One block with the smallest entry at (0, 0); int(0.2 * 9) = 1 entry goes, or would.
    block = torch.tensor([[0.1, 0.5, 0.4], [0.3, 0.3, 0.4], [0.2, 0.2, 0.6]])[None, None]
    known = context_by_hand([block], [torch.ones_like(block)], THREE)
    spared = AttentionRollout(discard_ratio=0.2, discard="public").attribute(known)
    assert spared.tolist() == [[pytest.approx([0.5 / 2, 0.4 / 2])]]
    taken = GradientRollout(discard_ratio=0.2, discard="public").attribute(known)
    assert taken.tolist() == [[pytest.approx([0.5 / 1.9, 0.4 / 1.9])]]


def test_gradient_rollout_of_three_tokens_gives_what_was_computed_by_hand() -> None:
    # Attention times gradient, clipped at 0: SECOND's first row (0, 0.5, 0.5) * (1, 2, -2) is (0, 1, 0);
    # with the identity, over its sum 2: (0.5, 0.5, 0). FIRST times 1, but 5 at class token to first patch:
    # rows (1.4, 3, 0) / 4.4 and (0.1, 1.8, 0.1) / 2.
    second = [[1.0, 2.0, -2.0], [0.0, 0.0, 0.0], [-1.0, -1.0, -1.0]]
    first = [[1.0, 5.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    found = GradientRollout().attribute(_by_hand([first, second]))
    assert found.tolist() == [[pytest.approx([0.5 * 3 / 4.4 + 0.5 * 0.9, 0.5 * 0.05])]]


def _fused(block: np.ndarray, fusion: str) -> np.ndarray:
    """Fuses the heads of one image's ``(heads, tokens, tokens)``, an entry at a time."""
    heads, tokens, _ = block.shape
    matrix = np.zeros((tokens, tokens))
    for i in range(tokens):
        for j in range(tokens):
            entries = [block[head, i, j] for head in range(heads)]
            matrix[i, j] = {"mean": sum(entries) / heads, "max": max(entries), "min": min(entries)}[fusion]
    return matrix


def _slow_product(blocks: list[np.ndarray], setting: Rollout, prefix: int) -> np.ndarray:
    """The full rollout matrix of one image in float64, first block to last; `blocks` are fused."""
    tokens = len(blocks[0])
    product = np.eye(tokens)
    for matrix in blocks:
        kept = matrix.copy()
        first = prefix if setting.discard == "patches" else 0
        counted = sorted(matrix[i, j] for i in range(tokens) for j in range(first, tokens))
        count = int(setting.discard_ratio * len(counted))
        for i in range(tokens):
            for j in range(first, tokens):
                spared = setting.discard == "public" and setting.keep_first and i == j == 0
                if count and matrix[i, j] <= counted[count - 1] and not spared:
                    kept[i, j] = 0
        with_identity = kept + np.eye(tokens)
        for i in range(tokens):
            with_identity[i] = with_identity[i] / with_identity[i].sum()
        product = with_identity @ product
    return product


def _slow_map(known: Context, setting: Rollout, image: int) -> np.ndarray:
    seen, layout = known.trace, known.model.layout
    blocks = []
    for number, attention in enumerate(seen.attention):
        block = attention[image].double().numpy()
        if isinstance(setting, GradientRollout):
            block = block * seen.attention_gradient[number][image].double().numpy()
        blocks.append(np.maximum(_fused(block, setting.fusion), 0))
    product = _slow_product(blocks, setting, layout.num_prefix_tokens)
    row = seen.readout[image].double().numpy() @ product
    return row[layout.num_prefix_tokens :].reshape(layout.grid)


SETTINGS = [
    (kind, fusion, ratio, discard)
    for kind in (AttentionRollout, GradientRollout)
    for fusion in ("mean", "max", "min")
    for ratio, discard in (
        (0, "patches"),
        (0.5, "patches"),
        (0.9, "patches"),
        (0.5, "public"),
        (0.9, "public"),
    )
]


@pytest.mark.parametrize("name", VARIANTS)
def test_rollouts_equal_the_full_product_of_matrices_in_float64(
    name: str, models: dict[str, VisionModel]
) -> None:
    model = models[name]
    known = context(model, noise(model, 2), [1, 4])
    for kind, fusion, ratio, discard in SETTINGS:
        setting = kind(fusion=fusion, discard_ratio=ratio, discard=discard)
        found = setting.attribute(known).numpy()
        for image in range(2):
            expected = _slow_map(known, setting, image)
            assert np.abs(found[image] - expected).max() <= 1e-5 * np.abs(expected).max(), setting.key


def _random_attention(batch: int = 2, tokens: int = 7, blocks: int = 3, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, 2, tokens, tokens, generator=generator).mul(2).softmax(-1) for _ in range(blocks)
    ]


SEVEN = TokenLayout(1, (2, 3), (8, 8), Readout.CLASS_TOKEN)


@pytest.mark.parametrize("discard", ["patches", "public"])
@pytest.mark.parametrize("ratio", [0.5, 0.8, 0.95])
def test_discarding_treats_each_image_alone(discard: str, ratio: float) -> None:
    attention = _random_attention()
    weak = [torch.cat([block[:1] * 1e-3, block[1:]]) for block in attention]
    setting = AttentionRollout(discard_ratio=ratio, discard=discard)
    both, shrunk = (setting.attribute(context_by_hand(blocks, None, SEVEN)) for blocks in (attention, weak))
    alone = setting.attribute(context_by_hand([block[1:] for block in attention], None, SEVEN))
    assert torch.equal(both[1], shrunk[1])
    assert torch.equal(both[1:], alone)
    assert not torch.equal(both[0], shrunk[0])


@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("keep_first", [True, False])
def test_rollout_rows_sum_to_one(ratio: float, keep_first: bool) -> None:
    for layout in (SEVEN, TokenLayout(1, (2, 3), (8, 8), Readout.PATCH_MEAN)):
        readout = layout.readout_weights(torch.zeros(1)).expand(2, -1)
        matrices = (block.amax(1) for block in reversed(_random_attention()))
        walk = Walk(readout, [ratio], first_column=0, keep_first=keep_first)
        for matrix in matrices:
            walk.through(matrix)
        (row,) = walk.rows
        assert torch.allclose(row.sum(-1), torch.ones(2), atol=1e-6)


def test_attention_to_oneself_leaves_the_readout_where_it_is() -> None:
    layout = TokenLayout(1, (2, 3), (8, 8), Readout.PATCH_MEAN)
    attention = [torch.eye(7).expand(1, 2, 7, 7)] * 3
    found = AttentionRollout().attribute(context_by_hand(attention, None, layout))
    assert torch.allclose(found, torch.full((1, 2, 3), 1 / 6))


def test_one_patch_that_all_attend_to_has_the_whole_map_but_the_residual() -> None:
    attention = torch.zeros(1, 1, 7, 7)
    attention[..., 4] = 1
    found = AttentionRollout().attribute(context_by_hand([attention] * 10, None, SEVEN))
    assert float(found[0, 1, 0]) == pytest.approx(1 - 0.5**10)
    assert float(found.sum()) == pytest.approx(float(found[0, 1, 0]))


def test_entries_equal_to_the_last_one_discarded_go_with_it() -> None:
    attention = [torch.full((1, 2, 7, 7), 1 / 7)] * 3
    found = AttentionRollout(discard_ratio=0.1).attribute(context_by_hand(attention, None, SEVEN))
    assert found.abs().max() == 0


def test_a_ratio_that_takes_less_than_one_entry_takes_none() -> None:
    known = context_by_hand(_random_attention(), None, SEVEN)
    assert torch.equal(
        AttentionRollout(discard_ratio=0.02).attribute(known), AttentionRollout().attribute(known)
    )


def test_gradients_against_the_target_everywhere_leave_nothing_on_the_patches() -> None:
    attention = _random_attention()
    known = context_by_hand(attention, [torch.full_like(block, -1) for block in attention], SEVEN)
    assert GradientRollout().attribute(known).abs().max() == 0


def test_a_block_is_weighted_by_its_own_gradient() -> None:
    attention = _random_attention(batch=1)
    gradient = [torch.zeros_like(block) for block in attention]
    gradient[-1][..., 0, 3] = 1
    only_last = GradientRollout().attribute(context_by_hand(attention, gradient, SEVEN))
    assert only_last.flatten().nonzero().flatten().tolist() == [2]
    only_first = GradientRollout().attribute(context_by_hand(attention, gradient[::-1], SEVEN))
    assert only_first.flatten().nonzero().flatten().tolist() == [2]
    weight = attention[-1][0, :, 0, 3].mean()
    assert float(only_last[0, 0, 2]) == pytest.approx(float(weight / (1 + weight)), rel=1e-5)


def test_the_scale_of_the_gradient_matters_and_no_neighbour_does() -> None:
    attention, gradient = _random_attention(), _random_attention(seed=1)
    both = GradientRollout().attribute(context_by_hand(attention, gradient, SEVEN))
    louder = [torch.cat([block[:1] * 9, block[1:]]) for block in gradient]
    other = GradientRollout().attribute(context_by_hand(attention, louder, SEVEN))
    assert torch.equal(both[1], other[1])
    assert not torch.allclose(both[0], other[0])
