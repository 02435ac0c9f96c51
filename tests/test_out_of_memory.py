"""What a run does where memory runs out, which is made up here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_explainer import maps, settings, tiny
from torch import Tensor

from vitreport import explain
from vitreport.errors import SettingsError
from vitreport.faithfulness.metric import Case
from vitreport.faithfulness.relevance_gain import RelevanceGain
from vitreport.model.load import VisionModel
from vitreport.model.memory import SHORT_OF_MEMORY, bytes_per_image, check_room, lacks_memory
from vitreport.model.tracer import Tracer
from vitreport.techniques.attention.raw_attention import RawAttention

__all__ = ["tiny"]
ON_A_GPU = torch.OutOfMemoryError("CUDA out of memory")
ON_THE_CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"
)
KEYS = ("raw_attention", "gradient_rollout")


def _room_for(images: int, where: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lets one step fail for larger batches; returns the sizes of the forward passes that were tried."""
    forward, gradient, attribute = Tracer.forward, Tracer.gradient, RawAttention.attribute_all
    tried: list[int] = []

    def check(step: str, batch: int) -> None:
        if step == where and batch > images:
            raise error

    def on_forward(self: Tracer, pixels: Tensor) -> Any:
        tried.append(len(pixels))
        check("forward", len(pixels))
        return forward(self, pixels)

    def on_gradient(self: Tracer, seen: Any, *given: Any, **named: Any) -> Any:
        check("gradient", len(seen.logits))
        return gradient(self, seen, *given, **named)

    def on_attribute(techniques: Any, context: Any) -> Iterator[Tensor]:
        check("technique", len(context.image_ids))
        return attribute(techniques, context)

    monkeypatch.setattr(Tracer, "forward", on_forward)
    monkeypatch.setattr(Tracer, "gradient", on_gradient)
    monkeypatch.setattr(RawAttention, "attribute_all", on_attribute)
    return tried


@pytest.mark.parametrize("error", [ON_A_GPU, ON_THE_CPU, MemoryError()], ids=["gpu", "cpu", "python"])
@pytest.mark.parametrize("where", ["forward", "gradient", "technique"])
def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_the_run_says_so(
    where: str,
    error: Exception,
    tiny: VisionModel,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = explain(settings(pictures, batch_size=4), tmp_path / "whole")
    tried = _room_for(1, where, error, monkeypatch)
    told: list[tuple[float, int]] = []
    said: list[str] = []
    run = explain(
        settings(pictures, batch_size=4),
        tmp_path / "halved",
        progress=lambda stage, done, total: told.append((done, total)) if stage == "explain" else None,
        notice=said.append,
    )
    assert tried == [4, 2, 1, 1, 1, 1, 1]
    assert run.manifest.complete and run.manifest.data.failed == 0
    notices = [text for text in run.manifest.data.notices if text.startswith(SHORT_OF_MEMORY)]
    assert [text.split(" images")[0][-1] for text in notices] == ["4", "2"]
    assert said == notices
    assert told[-1] == (5, 5) and all(0 <= done <= total for done, total in told)
    assert run.images.drop_columns(["target_probability", "top_probability"]).equals(
        whole.images.drop_columns(["target_probability", "top_probability"])
    )
    for key in KEYS:
        expected = maps(whole, key)
        assert maps(run, key).keys() == expected.keys()
        for place, found in maps(run, key).items():
            assert np.abs(found - expected[place]).max() <= 1e-5 * np.abs(expected[place]).max()


@pytest.mark.parametrize("error", [ON_A_GPU, ON_THE_CPU, MemoryError()], ids=["gpu", "cpu", "python"])
def test_scoring_takes_half_as_many_images_where_memory_runs_out_and_the_run_says_so(
    error: Exception, tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = "relevance_gain:steps=4"
    given = settings(pictures, batch_size=4, metrics=(metric,), score_images="all")
    whole = explain(given, tmp_path / "whole")
    score = RelevanceGain.score
    tried: list[tuple[int, int]] = []

    def scarce(self: RelevanceGain, case: Case, maps: Any) -> Any:
        tried.append((len(case.image_ids), case.chunk))
        if case.chunk > 1:
            raise error
        return score(self, case, maps)

    monkeypatch.setattr(RelevanceGain, "score", scarce)
    told: list[tuple[float, int]] = []
    run = explain(
        given,
        tmp_path / "halved",
        progress=lambda stage, done, total: told.append((done, total)) if stage == "score" else None,
    )
    assert [chunk for _, chunk in tried] == [4, 2, 1, 1, 1, 1, 1]
    assert all(images <= chunk for images, chunk in tried)
    notices = [text for text in run.manifest.data.notices if text.startswith(SHORT_OF_MEMORY)]
    assert [text.split(" images")[0][-1] for text in notices] == ["4", "2"]
    assert all(f"by {metric}:" in text for text in notices)
    assert told[-1] == (5, 5)
    for record in (one for one in run.techniques if one.kind == "map"):
        found, expected = (one.scores(one.metric(metric), record).to_pylist() for one in (run, whole))
        assert [row["id"] for row in found] == [row["id"] for row in expected]
        assert [row["value"] for row in found] == pytest.approx([row["value"] for row in expected], abs=1e-5)


def test_one_image_that_cannot_be_scored_for_want_of_memory_is_an_error_in_one_line(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scarce(self: RelevanceGain, case: Case, maps: Any) -> Any:
        raise ON_A_GPU

    monkeypatch.setattr(RelevanceGain, "score", scarce)
    given = settings(pictures, metrics=("relevance_gain:steps=4",), score_images=1)
    with pytest.raises(SettingsError, match="not even one image at a time can be scored by relevance_gain"):
        explain(given, tmp_path / "run")


def test_a_run_without_lack_of_memory_says_nothing_of_it(
    tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    run = explain(settings(pictures), tmp_path / "run")
    assert not any(text.startswith(SHORT_OF_MEMORY) for text in run.manifest.data.notices)


def test_what_was_halved_is_still_said_when_a_stopped_run_goes_on(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitreport.images.catalogue.SHARD_SIZE", 2)
    _room_for(1, "forward", ON_A_GPU, monkeypatch)
    told: list[float] = []

    def stop(stage: str, done: float, _total: int) -> None:
        if stage == "explain":
            told.append(done)
            if done > 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explain(settings(pictures), tmp_path / "run", progress=stop)
    monkeypatch.undo()
    monkeypatch.setattr("vitreport.images.catalogue.SHARD_SIZE", 2)
    monkeypatch.setattr("vitreport.plan.load_model", lambda *_, **__: tiny)
    run = explain(settings(pictures), tmp_path / "run")
    assert sum(text.startswith(SHORT_OF_MEMORY) for text in run.manifest.data.notices) == 1


def test_one_image_that_does_not_fit_is_an_error_in_one_line(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _room_for(0, "gradient", ON_A_GPU, monkeypatch)
    with pytest.raises(SettingsError, match="not even one image fits the memory of the cpu; give a smaller"):
        explain(settings(pictures), tmp_path / "run")


def test_a_model_whose_attention_no_memory_holds_is_refused_before_anything_is_computed(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_room(tiny)
    monkeypatch.setattr("vitreport.model.memory.all_memory", lambda device: bytes_per_image(tiny) - 1)
    tried = _room_for(4, "forward", ON_A_GPU, monkeypatch)
    with pytest.raises(SettingsError, match=r"^one image takes about 0\.\d GB, .* tokens .* --image-size"):
        explain(settings(pictures), tmp_path / "run")
    assert not tried


def test_other_errors_are_no_lack_of_memory() -> None:
    assert not lacks_memory(RuntimeError("the shapes do not fit"))
    assert not lacks_memory(ValueError("can't allocate memory"))
