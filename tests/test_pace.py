"""What goes on at the same time in a run: decoding, explaining and writing."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from test_explainer import settings, small_shards, stored, tiny

import vitreport.batches
from vitreport import explain
from vitreport.batches import Prepared, prepared_batches
from vitreport.explainer import Explainer
from vitreport.explanation import ImageRef
from vitreport.faithfulness.relevance_gain import RelevanceGain
from vitreport.model.environment import exact_float32
from vitreport.model.load import VisionModel
from vitreport.model.tracer import Tracer
from vitreport.plan import Plan, make_plan
from vitreport.store import RunFolder

__all__ = ["small_shards", "tiny"]


def test_a_shard_is_written_while_the_next_one_is_explained(
    tiny: VisionModel, pictures: Path, tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    explain(settings(pictures), tmp_path / "calm")
    forward, write_table = Tracer.forward, RunFolder.write_table
    explained: list[threading.Event] = [threading.Event() for _ in range(3)]
    writing: list[str] = []

    def on_forward(self: Tracer, pixels: Any) -> Any:
        next(event for event in explained if not event.is_set()).set()
        return forward(self, pixels)

    def on_write(self: RunFolder, path: str, table: pa.Table) -> None:
        if path.endswith("part-00000.parquet"):
            assert explained[1].wait(30), "nothing is explained while the first shard is written"
        writing.append(path)
        write_table(self, path, table)

    monkeypatch.setattr(Tracer, "forward", on_forward)
    monkeypatch.setattr(RunFolder, "write_table", on_write)
    explain(settings(pictures), tmp_path / "run")
    assert all(event.is_set() for event in explained)
    shards = [path[-13:-8] for path in writing if "part-" in path]
    assert shards == sorted(shards), "one shard after the other"
    assert stored(tmp_path / "run") == stored(tmp_path / "calm")


def test_no_more_than_two_shards_are_held(
    tiny: VisionModel, pictures: Path, tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, explain_batch = Explainer._write, Explainer._explain
    written: list[int] = []
    begun: list[int] = []

    def on_write(self: Explainer, shard: int, *given: Any) -> None:
        write(self, shard, *given)
        written.append(shard)

    def on_batch(self: Explainer, batch: list[Prepared], *given: Any) -> Any:
        begun.append(batch[0].ref.shard)
        assert len(set(begun)) - len(written) <= 2
        return explain_batch(self, batch, *given)

    monkeypatch.setattr(Explainer, "_write", on_write)
    monkeypatch.setattr(Explainer, "_explain", on_batch)
    explain(settings(pictures), tmp_path / "run")
    assert written == [0, 1, 2]


def test_maps_are_computed_in_float32_proper_and_the_switches_are_left_as_they_were(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    forward, seen = Tracer.forward, set()

    def on_forward(self: Tracer, pixels: Any) -> Any:
        seen.update(switch.allow_tf32 for switch in switches)
        return forward(self, pixels)

    monkeypatch.setattr(Tracer, "forward", on_forward)
    score, scored = RelevanceGain.score, set()

    def on_score(self: RelevanceGain, *given: Any) -> Any:
        scored.update(switch.allow_tf32 for switch in switches)
        return score(self, *given)

    monkeypatch.setattr(RelevanceGain, "score", on_score)
    with exact_float32():  # which leaves this test's switches as they were, too
        for switch in switches:
            switch.allow_tf32 = True
        run = explain(settings(pictures, metrics=("relevance_gain",)), tmp_path / "run")
        assert seen == {False} and scored == {False}
        assert run.manifest.environment["tf32"] is False
        assert all(switch.allow_tf32 for switch in switches)


@pytest.fixture
def plan(tiny: VisionModel, pictures: Path, small_shards: None) -> Plan:
    return make_plan(settings(pictures, batch_size=1))


def test_images_of_the_next_shards_are_decoded_before_they_are_asked_for(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, seen = vitreport.batches._prepare, threading.Semaphore(0)

    def note(plan: Plan, ref: ImageRef) -> Prepared:
        seen.release()
        return prepare(plan, ref)

    monkeypatch.setattr(vitreport.batches, "_prepare", note)
    batches = prepared_batches(plan, plan.shards.values())
    first = next(batches)
    assert all(seen.acquire(timeout=30) for _ in range(5)), "all five images, of three shards"
    rest = list(batches)
    refs = [one.ref for batch in [first, *rest] for one in batch]
    assert refs == list(plan.catalogue.refs) and len(rest) == 4


def test_large_batches_are_decoded_one_ahead(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    assert vitreport.batches._batches_ahead(plan) == 4
    assert vitreport.batches._batches_ahead(replace(plan, batch_size=10_000)) == 2
    assert vitreport.batches._batches_ahead(replace(plan, batch_size=100_000)) == 1


def test_a_run_that_ends_early_decodes_no_further(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[str] = []
    go_on = threading.Event()

    def wait(plan: Plan, ref: ImageRef) -> Prepared:
        began.append(ref.id)
        if len(began) > 1:
            assert go_on.wait(30)
        return Prepared(ref, reason="not now")

    monkeypatch.setattr(vitreport.batches, "_prepare", wait)
    monkeypatch.setattr(vitreport.batches, "_DECODERS", 1)
    batches = prepared_batches(plan, plan.shards.values())
    next(batches)
    threading.Timer(0.05, go_on.set).start()
    batches.close()
    assert len(began) <= 2
