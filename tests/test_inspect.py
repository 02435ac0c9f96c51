"""How many images of a run keep the rollout between all patches."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_model import vision_model

from vitreport import RunSettings, explain, open_run
from vitreport.errors import SettingsError
from vitreport.model.load import VisionModel
from vitreport.store import Run

PATCHES = "patch_rollout"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> VisionModel:
    """What every name loads."""
    model = vision_model("class_token")
    monkeypatch.setattr("vitreport.plan.load_model", lambda *_, **__: model)
    return model


def settings(pictures: Path, **changes: Any) -> RunSettings:
    given = {"images": (str(pictures),), "techniques": ("raw_attention",), "metrics": ("none",)}
    return RunSettings(**{**given, "batch_size": 2, "device": "cpu", **changes})


def inspected(run: Run) -> list[str]:
    """Ids of the images whose rollout the run says it has, and has."""
    record = next(record for record in run.techniques if record.name == PATCHES)
    found = run.observations(record, 0)
    assert found["error"].null_count == len(found)
    tokens = 1 + 4 * 4
    assert {len(values) for values in found["values"].to_pylist()} == {tokens**2}
    return found["id"].to_pylist()


def test_the_first_images_of_a_run_are_inspected(tiny: VisionModel, pictures: Path, tmp_path: Path) -> None:
    run = explain(settings(pictures, inspect=3), tmp_path / "run")
    assert inspected(run) == [ref.id for ref in run.catalogue[:3]]
    assert "--inspect 3" in run.manifest.command
    again = explain(settings(pictures), tmp_path / "run")
    assert inspected(again) == inspected(run)


def test_without_the_option_the_core_tier_inspects_sixteen_and_single_techniques_none(
    tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    core = explain(settings(pictures, techniques=("core",)), tmp_path / "core")
    assert core.technique(PATCHES).parameters == {"images": 16}
    assert len(inspected(core)) == 5
    few = explain(settings(pictures), tmp_path / "few")
    assert [record.name for record in few.techniques] == ["raw_attention"]
    none = explain(settings(pictures, techniques=("core",), inspect=0), tmp_path / "none")
    assert PATCHES not in {record.name for record in none.techniques}


def test_more_can_be_asked_for_later_and_nothing_else_is_computed_again(
    tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    explain(settings(pictures, inspect=2), tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run/data").rglob("part-*.parquet")}
    run = explain(settings(pictures, inspect=4), tmp_path / "run")
    assert len(inspected(run)) == 4
    assert all(path.stat().st_mtime_ns == moment for path, moment in before.items())
    assert run.manifest.complete


def test_a_run_that_lost_its_rollouts_makes_them_again_byte_by_byte(
    tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    run = explain(settings(pictures, inspect=2), tmp_path / "run")
    (folder,) = (tmp_path / "run/data/activations").glob(f"{PATCHES}-*")
    digests = run.manifest.files
    shutil.rmtree(folder)
    explain(settings(pictures, inspect=2), tmp_path / "run")
    assert open_run(tmp_path / "run").manifest.files == digests


def test_a_model_without_a_sequence_of_blocks_says_why_it_has_none(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, tmp_path: Path
) -> None:
    import timm
    from tiny_model import explainable

    options = {"img_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 12, "num_classes": 5}
    swin = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1), num_heads=(1, 2), **options)
    model = explainable(swin.eval(), (32, 32))
    monkeypatch.setattr("vitreport.plan.load_model", lambda *_, **__: model)
    run = explain(settings(pictures, techniques=("grad_cam",), inspect=2), tmp_path / "run")
    assert run.technique(f"{PATCHES}:images=2").skipped == model.lacks[next(iter(model.lacks))]
    assert not (tmp_path / "run/data/activations").exists()


def test_fewer_than_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="inspect is -1; it must be 0 \\(none\\) or a number of images"):
        RunSettings(images=("photos",), inspect=-1)
