"""Attention flow: hand-solved graphs, a slow oracle, the public code's numbers, and the cap end to end."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from click.testing import CliRunner
from tiny_model import context, context_by_hand, noise, vision_model

import vitreport.techniques.attention.flow
from vitreport.api import build_report, explain
from vitreport.cli import main
from vitreport.errors import StoreError
from vitreport.model.layout import Readout, TokenLayout
from vitreport.settings import RunSettings
from vitreport.store import Run
from vitreport.techniques.attention.flow import AttentionFlow, augmented, flows
from vitreport.techniques.technique import TIERS, Context, select

CLASS_TOKEN = np.array([1.0, 0, 0])


def _slow_flow(matrices: Sequence[np.ndarray], shares: np.ndarray, sink: int) -> float:
    """Shortest augmenting paths in float64, over nodes (level, token)."""
    residual: dict[tuple[object, object], float] = {}
    for token, share in enumerate(shares):
        residual["source", (0, token)] = share
    for level, matrix in enumerate(matrices):
        for (row, column), capacity in np.ndenumerate(matrix):
            residual[(level, row), (level + 1, column)] = capacity
    ends: dict[object, list[object]] = {}
    for start, end in list(residual):
        residual.setdefault((end, start), 0.0)
        ends.setdefault(start, []).append(end)
        ends.setdefault(end, []).append(start)
    goal, total = (len(matrices), sink), 0.0
    while True:
        came: dict[object, object] = {"source": None}
        queue: deque[object] = deque(["source"])
        while queue and goal not in came:
            node = queue.popleft()
            for end in ends[node]:
                if end not in came and residual[node, end] > 1e-12:
                    came[end] = node
                    queue.append(end)
        if goal not in came:
            return total
        path, node = [], goal
        while came[node] is not None:
            path.append((came[node], node))
            node = came[node]
        amount = min(residual[step] for step in path)
        for start, end in path:
            residual[start, end] -= amount
            residual[end, start] += amount
        total += amount


def _random(blocks: int, tokens: int, seed: int, sharpness: float = 4) -> list[np.ndarray]:
    scores = np.random.default_rng(seed).normal(size=(blocks, tokens, tokens)) * sharpness
    attention = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    return list((attention + np.eye(tokens)) / 2)


def test_one_block_lets_through_what_its_readout_row_holds() -> None:
    matrix = np.array([[0.5, 0.2, 0.3], [0.1, 0.8, 0.1], [0, 0.4, 0.6]])
    assert flows([matrix], CLASS_TOKEN, [0, 1, 2]) == pytest.approx([0.5, 0.2, 0.3], abs=1e-8)


def test_two_blocks_solved_by_hand() -> None:
    last = np.array([[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]])
    first = np.array([[0.6, 0.1, 0.3], [0.2, 0.7, 0.1], [0, 0, 1]])
    # To token 1: 0.1 through token 0 and, of the 0.7 that token 1 could pass on, the 0.5 that reach it.
    # To token 2: the narrow pipes 0.3 and 0.1. To token 0: 0.5 of 0.6, and 0.2.
    assert flows([last, first], CLASS_TOKEN, [0, 1, 2]) == pytest.approx([0.7, 0.6, 0.4], abs=1e-8)


def test_a_flow_is_no_rollout_it_may_be_limited_in_the_middle() -> None:
    last = np.array([[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]])
    middle = np.array([[0.9, 0, 0.1], [0, 0.8, 0.2], [0, 0, 1]])
    first = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert flows([last, middle, first], CLASS_TOKEN, [0, 1, 2]) == pytest.approx([0.5, 0.5, 0.3], abs=1e-8)


def test_a_head_that_reads_several_tokens_feeds_each_by_its_share() -> None:
    matrix = np.array([[0.5, 0.2, 0.3], [0.1, 0.8, 0.1], [0, 0.4, 0.6]])
    found = flows([matrix], np.array([0, 0.5, 0.5]), [0, 1, 2])
    assert found == pytest.approx([0.1, 0.9, 0.6], abs=1e-8)


@pytest.mark.parametrize("widest", [1, 2, 16])
@pytest.mark.parametrize("seed", range(3))
def test_flows_equal_a_slow_oracle_whatever_the_first_try_keeps(
    seed: int, widest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vitreport.techniques.attention.flow, "_WIDEST", widest)
    matrices = _random(2 + seed, 7, seed)
    for shares in (np.eye(7)[0], np.full(7, 1 / 7), np.array([0, 0.5, 0.2, 0.1, 0.1, 0.1, 0])):
        found = flows(matrices, shares, range(7))
        slow = [_slow_flow(matrices, shares, sink) for sink in range(7)]
        assert found == pytest.approx(slow, abs=1e-7)


def test_flows_equal_the_public_code_s(shared: Path) -> None:
    with np.load(shared / "goldens" / "attention_flow_small.npz") as golden:
        attention, expected = golden["a_attn"], golden["a_flow"]
    matrices = [augmented(torch.from_numpy(block)) for block in attention[::-1]]
    for token, row in enumerate(expected):
        found = flows(matrices, np.eye(10)[token], range(10))
        assert np.abs(found - row).max() <= 1e-7 * row.max()


def test_the_flow_is_laid_out_on_the_grid_image_by_image() -> None:
    layout = TokenLayout(1, (1, 2), (8, 8), Readout.CLASS_TOKEN)
    known = torch.tensor([[[0.0, 0.4, 0.6], [0, 1, 0], [0, 0, 1]], [[0.2, 0.8, 0], [0, 1, 0], [0, 0, 1]]])
    found = AttentionFlow().attribute(context_by_hand([known[:, None]], None, layout))
    assert found.tolist() == [[pytest.approx([0.2, 0.3])], [pytest.approx([0.4, 0.0])]]


@pytest.mark.parametrize("name", ["class_token", "distilled", "patch_mean", "attention_pool"])
def test_every_readout_has_the_flow_of_the_oracle(name: str) -> None:
    model = vision_model(name)
    known = context(model, noise(model, 2), [0, 1])
    found = AttentionFlow().attribute(known).flatten(1).numpy()
    layout = model.layout
    for image in range(2):
        shares = known.trace.readout[image].double().numpy()
        assert shares.sum() == pytest.approx(1, abs=1e-5)
        matrices = [augmented(attention[image]) for attention in reversed(known.trace.attention)]
        for sink in (0, layout.num_patches - 1):
            slow = _slow_flow(matrices, shares, layout.num_prefix_tokens + sink)
            assert found[image, sink] == pytest.approx(slow, abs=1e-5)


def test_a_batch_of_eight_gives_what_eight_singles_give() -> None:
    model = vision_model("class_token")
    known = context(model, noise(model, 8), [0] * 8)
    together = AttentionFlow().attribute(known)
    for image, alone in enumerate(known.each()):
        assert torch.allclose(together[image], AttentionFlow().attribute(alone)[0], atol=1e-6)


def test_real_attention_is_seconds_of_work_and_limited_by_two_blocks(shared: Path) -> None:
    with np.load(shared / "goldens" / "both.npz") as golden:
        attention = torch.from_numpy(golden["attn_layers"])
    matrices = [augmented(block) for block in reversed(list(attention))]
    sinks = range(1, 197, 14)
    found = flows(matrices, np.eye(197)[0], sinks)
    bound = np.minimum(1, matrices[-1].sum(0))[list(sinks)]
    assert (found <= bound + 1e-6).all()
    assert np.mean(found > bound - 1e-6) > 0.9


def test_no_tier_runs_it_and_the_listing_says_so() -> None:
    for tier in TIERS:
        assert not any(isinstance(technique, AttentionFlow) for technique in select([tier]))
    assert select(["attention_flow"]) == [AttentionFlow()]
    listed = CliRunner().invoke(main, ["techniques"]).output
    assert "attention_flow  Attention flow · opt-in" in listed
    assert "raw_attention  Raw attention · core tier" in listed


@pytest.fixture
def run(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Run, list]:
    """Five images, two of them with flow, in shards of two; and what the progress was told."""
    monkeypatch.setattr("vitreport.plan.load_model", lambda *_, **__: vision_model("class_token"))
    monkeypatch.setattr("vitreport.images.catalogue.SHARD_SIZE", 2)
    told: list[tuple[str, float, int]] = []
    settings = RunSettings(
        images=(str(pictures),),
        techniques=("core", "attention_flow:images=2"),
        metrics=("none",),
        batch_size=2,
        device="cpu",
    )
    finished = explain(settings, tmp_path / "run", progress=lambda *stage: told.append(stage))
    return finished, told


def test_a_capped_run_has_maps_of_its_first_images_and_a_progress_of_their_own(run: tuple[Run, list]) -> None:
    finished, told = run
    key = "attention_flow:images=2"
    ids = [ref.id for ref in finished.catalogue]
    assert [(done, total) for stage, done, total in told if stage == key] == [(1, 2), (2, 2)]
    for image_id in ids[:2]:
        values = finished.map(image_id, key)
        assert values.shape == (4, 4)
        assert 0 <= values.min() < values.max() <= 1 + 1e-6
    with pytest.raises(StoreError, match="was asked for the first 2 images of the run only"):
        finished.map(ids[2], key)
    assert finished.manifest.complete
    assert finished.manifest.data.failed == 0
    assert finished.technique(key).most_images == 2
    assert finished.technique("raw_attention").most_images is None


def test_the_report_of_a_capped_run_says_calmly_what_was_not_asked_for(run: tuple[Run, list]) -> None:
    finished, _ = run
    site = build_report(finished.folder.root, pdf=False).parent
    said = "asked for the first 2 images of the run only"
    for place, ref in enumerate(finished.catalogue):
        page = BeautifulSoup((site / "images" / f"{ref.id}.html").read_text(), "html.parser")
        missing = page.find("section", attrs={"aria-labelledby": "missing"})
        if place < 2:
            assert missing is None
            assert "Attention flow" in page.get_text()
        else:
            assert missing is not None
            assert said in missing.get_text()
            assert "failed" not in missing.get_text()
    page = BeautifulSoup((site / "techniques" / "attention_flow.html").read_text(), "html.parser")
    examples = page.select("ul.strip li")
    assert len(examples) == 2
    assert all(example.select("figure.map") for example in examples)
    assert "it runs where it is asked for by name" in page.get_text()


@pytest.mark.slow
def test_the_pdf_of_a_capped_run_has_a_line_on_every_further_sheet(run: tuple[Run, list]) -> None:
    from pypdf import PdfReader

    finished, _ = run
    build_report(finished.folder.root)
    reader = PdfReader(finished.folder.root / "report.pdf")
    text = " ".join(" ".join(page.extract_text().split()) for page in reader.pages)
    line = "Attention flow (attention_flow:images=2) was asked for the first 2 images of the run only"
    assert text.count(line) == 3


def test_context_by_hand_is_left_as_it_was() -> None:
    layout = TokenLayout(1, (1, 2), (8, 8), Readout.CLASS_TOKEN)
    attention = torch.full((1, 2, 3, 3), 1 / 3)
    known: Context = context_by_hand([attention], None, layout)
    AttentionFlow().attribute(known)
    assert torch.equal(attention, torch.full((1, 2, 3, 3), 1 / 3))
