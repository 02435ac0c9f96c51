"""Scoring as a stage of a run: what is scored, what is stored, and what is not done twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import vision_model

import vitreport.sample
from vitreport import RunSettings, explain, open_run
from vitreport.batches import Prepared, prepared_batches
from vitreport.errors import ImageError, SettingsError, StoreError
from vitreport.faithfulness.metric import METRICS, Case
from vitreport.faithfulness.randomisation import Randomisation
from vitreport.faithfulness.relevance_gain import RelevanceGain
from vitreport.images.decode import decode
from vitreport.model.load import VisionModel
from vitreport.store import Run

SRG = "relevance_gain:steps=4"
TECHNIQUES = ("gradient_rollout", "raw_attention", "class_attention", "random")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> VisionModel:
    model = vision_model("class_token")
    monkeypatch.setattr("vitreport.plan.load_model", lambda *_, **__: model)
    monkeypatch.setattr("vitreport.images.catalogue.SHARD_SIZE", 2)
    monkeypatch.setattr("vitreport.scorer.SCORED_TOGETHER", 3)
    return model


def settings(pictures: Path, **changes: Any) -> RunSettings:
    given: dict[str, Any] = {
        "images": (str(pictures),),
        "techniques": TECHNIQUES,
        "metrics": (SRG,),
        "score_images": 3,
        "batch_size": 2,
        "device": "cpu",
    }
    return RunSettings(**{**given, **changes})


def values(run: Run, technique: str, metric: str = SRG) -> dict[str, float]:
    known = (*run.techniques, *run.manifest.controls)
    (record,) = (one for one in known if one.key == technique)
    rows = run.scores(run.metric(metric), record).select(["id", "value"]).to_pylist()
    return {row["id"]: row["value"] for row in rows}


def stored(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "timings.json"
    }


def test_scores_are_those_of_the_stored_maps(tiny: VisionModel, pictures: Path, tmp_path: Path) -> None:
    run = explain(settings(pictures, score_images="all"), tmp_path / "run")
    paths = {ref.id: pictures / ref.uri.rpartition("/")[2] for ref in run.catalogue}
    for technique in ("gradient_rollout", "raw_attention", "random"):
        found = values(run, technique)
        assert len(found) == 5
        for image_id, value in found.items():
            pixels, _ = tiny.preparation(decode(paths[image_id]))
            with torch.no_grad():
                target = tiny.module(pixels[None]).argmax(1)
            maps = torch.from_numpy(np.array(run.map(image_id, technique)))[None]
            case = Case(tiny, pixels[None], target, (image_id,), 0)
            (row,) = RelevanceGain(steps=4).score(case, {"map": maps})["map"]
            assert value == pytest.approx(row["value"], abs=1e-5)


def test_images_are_drawn_by_chance_and_alike_for_all(
    tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    run = explain(settings(pictures), tmp_path / "run")
    scored = {tuple(values(run, one.key)) for one in (*run.techniques, *run.manifest.controls)[:2]}
    assert len(scored) == 1
    assert len(next(iter(scored))) == 3
    draws = set()
    for seed in range(6):
        other = explain(settings(pictures, seed=seed), tmp_path / f"run{seed}")
        draws.add(tuple(values(other, "raw_attention")))
    assert len(draws) > 1


def test_scoring_alone_takes_another_precision_and_the_run_says_so(
    tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    plain = explain(settings(pictures), tmp_path / "plain")
    half = explain(settings(pictures, precision="bfloat16"), tmp_path / "half")
    assert plain.manifest.environment["scoring"] == "float32"
    assert half.manifest.environment["scoring"] == "bfloat16"
    assert plain.manifest.run_digest == half.manifest.run_digest  # explaining is the same
    for path in ("raw_attention", "gradient_rollout"):
        record = plain.technique(path)
        part = f"data/maps/{record.folder}/part-00000.parquet"
        assert (tmp_path / "plain" / part).read_bytes() == (tmp_path / "half" / part).read_bytes()
    exact, rounded = values(plain, "gradient_rollout"), values(half, "gradient_rollout")
    assert exact.keys() == rounded.keys() and exact != rounded
    assert list(rounded.values()) == pytest.approx(list(exact.values()), abs=0.05)
    assert plain.metric(SRG).digest != half.metric(SRG).digest  # neither is taken for the other
    same = explain(settings(pictures, precision="float32"), tmp_path / "same")
    assert same.metric(SRG).digest == plain.metric(SRG).digest


def test_every_score_stands_beside_the_controls(tiny: VisionModel, pictures: Path, tmp_path: Path) -> None:
    run = explain(settings(pictures), tmp_path / "run")
    keys = {record.key for record in run.manifest.controls}
    assert keys == {"random:draw=1", "random:draw=2", "random:draw=3", "random:draw=4", "centre", "edges"}
    for key in (*keys, "random"):
        assert len(values(run, key)) == 3
    assert values(run, "random") != values(run, "random:draw=1")
    plain = explain(settings(pictures, metrics=("none",)), tmp_path / "plain")
    assert plain.manifest.controls == plain.manifest.metrics == ()
    assert not (tmp_path / "plain/data/scores").exists()


def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explain(settings(pictures, score_images="all"), tmp_path / "whole")
    calls = []

    def stop(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return prepared_batches(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(vitreport.sample, "prepared_batches", stop)
        with pytest.raises(KeyboardInterrupt):
            explain(settings(pictures, score_images="all"), tmp_path / "run")
    assert not open_run(tmp_path / "run").manifest.complete
    explain(settings(pictures, score_images="all"), tmp_path / "run")
    assert stored(tmp_path / "run") == stored(tmp_path / "whole")


def test_a_technique_that_is_added_is_scored_and_no_other_again(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explain(settings(pictures), tmp_path / "run")
    scored: list[str] = []
    score = RelevanceGain.score

    def watch(self: RelevanceGain, case: Case, maps: Any) -> Any:
        scored.extend(maps)
        return score(self, case, maps)

    monkeypatch.setattr(RelevanceGain, "score", watch)
    run = explain(settings(pictures, techniques=("saliency",)), tmp_path / "run")
    assert set(scored) == {"saliency"}
    assert len(values(run, "saliency")) == 3
    scored.clear()
    explain(settings(pictures), tmp_path / "run")
    assert scored == []


def test_scores_lie_in_parts_of_the_sample(tiny: VisionModel, pictures: Path, tmp_path: Path) -> None:
    run = explain(settings(pictures, score_images=4), tmp_path / "run")
    record = run.metric(SRG)
    assert len(run.folder.score_parts(record, run.techniques[0])) == 2
    whole = explain(settings(pictures, score_images="all"), tmp_path / "whole")
    some, every = values(run, "gradient_rollout"), values(whole, "gradient_rollout")
    assert (len(some), len(every)) == (4, 5)
    assert list(every) == sorted(every)
    assert some == pytest.approx({name: every[name] for name in some}, abs=1e-5)


def test_a_metric_of_few_images_scores_the_first_that_were_drawn(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Randomisation, "most_images", 2)
    metrics = ("randomisation:seeds=1", "concentration")
    run = explain(settings(pictures, metrics=metrics, score_images=4), tmp_path / "run")
    fewer, all_of_them = (values(run, "raw_attention", metric) for metric in metrics)
    assert (len(fewer), len(all_of_them)) == (2, 4)
    assert (run.metric(metrics[0]).images, run.metric(metrics[1]).images) == (2, 4)
    two = explain(settings(pictures, metrics=metrics, score_images=2), tmp_path / "two")
    assert list(values(two, "raw_attention", "concentration")) == list(fewer)


def test_the_time_is_told_before_and_after_a_tenth(tiny: VisionModel, pictures: Path, tmp_path: Path) -> None:
    told: list[tuple[str, float, int]] = []
    explain(settings(pictures), tmp_path / "run", expect=lambda *stage: told.append(stage))
    ((stage, seconds, images),) = told
    assert (stage, images) == ("score", 3)
    assert seconds > 0
    kept = json.loads((tmp_path / "run/timings.json").read_text())["expected_seconds_of_scoring"]
    assert kept["before"] == pytest.approx(seconds, abs=1e-3)
    assert kept["after a tenth"] > 0


def masks_of(pictures: Path, folder: Path) -> Path:
    """Every picture's left half is of its predicted class in every mask, but one is too small."""
    folder.mkdir()
    for number, path in enumerate(sorted(pictures.iterdir())):
        with Image.open(path) as picture:
            width, height = picture.size
        levels = np.zeros((height, width - (number == 0)), np.uint8)
        levels[:, : width // 2] = 255
        for index in range(5):
            levels[:, width // 2 + index :: 5] = index + 1
        Image.fromarray(levels).save(folder / f"{path.stem}.png")
    return folder


def test_masks_that_are_given_are_held_against_the_maps(
    tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    given = {"metrics": ("mask_agreement",), "score_images": "all"}
    run = explain(settings(pictures, **given), tmp_path / "plain")
    assert run.metric("mask_agreement").skipped == "no masks are given; --masks names their folder"
    masks = masks_of(pictures, tmp_path / "masks")
    run = explain(settings(pictures, masks=str(masks), **given), tmp_path / "run")
    rows = run.scores(run.metric("mask_agreement"), run.technique("raw_attention")).to_pylist()
    notes = [row["note"] for row in rows if row["note"]]
    assert notes == ["the mask has 39 x 36 pixels, the picture 40 x 36"]
    for row in rows:
        assert (row["value"] is None) == (row["note"] is not None)
        assert row["value"] is None or 0.1 < row["area"] < 0.3
    assert f"--masks {masks}" in run.manifest.command
    (masks / "1.png").unlink()
    again = explain(settings(pictures, masks=str(masks), **given), tmp_path / "run")
    assert again.metric("mask_agreement").digest != run.metric("mask_agreement").digest


def labelled(pictures: Path, table: Path) -> Path:
    names = sorted(path.name for path in pictures.iterdir())
    table.write_text("path,label\n" + "".join(f"pictures/{name},{n % 5}\n" for n, name in enumerate(names)))
    return table


def test_a_mask_of_0_and_255_marks_the_label_and_says_nothing_without_one(
    tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for path in pictures.iterdir():
        with Image.open(path) as picture:
            width, height = picture.size
        levels = np.zeros((height, width), np.uint8)
        levels[:, : width // 2] = 255
        Image.fromarray(levels).save(masks / f"{path.stem}.png")
    given = {"metrics": ("mask_agreement",), "score_images": "all", "masks": str(masks)}
    run = explain(settings(pictures, **given), tmp_path / "run")
    rows = run.scores(run.metric("mask_agreement"), run.technique("raw_attention")).to_pylist()
    why = "the mask has only 0 and 255, and the image no label that says what 255 marks"
    assert [row["note"] for row in rows] == [why] * 5
    said = f"no mask could be used, so nothing is scored by masks; most often {why}"
    assert run.manifest.data.notices[-1] == said
    table = labelled(pictures, tmp_path / "labels.csv")
    run = explain(settings(table, targets=("label",), **given), tmp_path / "labelled")
    rows = run.scores(run.metric("mask_agreement"), run.technique("raw_attention")).to_pylist()
    assert all(0.4 < row["area"] < 0.6 for row in rows if row["note"] is None)
    assert any(row["note"] is None for row in rows)
    assert not any("mask" in notice for notice in run.manifest.data.notices)


def test_images_that_vanish_before_they_are_scored_are_said(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: set[str] = set()

    def vanish(plan: Any, groups: Any) -> Any:
        for batch in prepared_batches(plan, groups):
            yield [Prepared(one.ref, reason="gone") if one.ref.id in gone else one for one in batch]

    monkeypatch.setattr(vitreport.sample, "prepared_batches", vanish)
    first = explain(settings(pictures, metrics=("none",)), tmp_path / "plain").catalogue
    gone.add(first[0].id)
    run = explain(settings(pictures, score_images="all"), tmp_path / "run")
    assert first[0].id not in values(run, "raw_attention") and len(values(run, "raw_attention")) == 4
    assert run.manifest.data.notices[-1] == (
        f"1 of the 5 images drawn for scoring could not be read any more and have no score: {first[0].uri}"
    )
    gone.update(ref.id for ref in first)
    with pytest.raises(ImageError, match=r"none of the 3 images .* \(gone\); put them back") as caught:
        explain(settings(pictures, score_images="all"), tmp_path / "none")
    assert "\n" not in str(caught.value)


def test_labels_are_what_mosaics_need(tiny: VisionModel, pictures: Path, tmp_path: Path) -> None:
    run = explain(settings(pictures, metrics=("grid_pointing",)), tmp_path / "run")
    assert run.metric("grid_pointing").skipped == "no image has a label"
    table = labelled(pictures, tmp_path / "labels.csv")
    run = explain(settings(table, metrics=("grid_pointing",)), tmp_path / "labelled")
    assert run.metric("grid_pointing").skipped is None
    rows = run.scores(run.metric("grid_pointing"), run.technique("raw_attention")).to_pylist()
    assert len(rows) == 3
    assert all((row["value"] is None) == (row["note"] is not None) for row in rows)
    assert any("at half size" in (row["note"] or "") for row in rows)


def test_a_sample_stays_as_large_as_it_was_asked_for(
    tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    explain(settings(pictures, score_images=2), tmp_path / "run")
    run = explain(settings(pictures, techniques=("saliency",), score_images="auto"), tmp_path / "run")
    assert len(values(run, "saliency")) == len(values(run, "raw_attention")) == 2
    run = explain(settings(pictures, score_images=4), tmp_path / "run")
    assert len(values(run, "saliency")) == 4


def test_scoring_has_a_stage_of_its_own(tiny: VisionModel, pictures: Path, tmp_path: Path) -> None:
    told: list[tuple[str, float, int]] = []
    explain(settings(pictures), tmp_path / "run", progress=lambda *stage: told.append(stage))
    steps = [(done, total) for stage, done, total in told if stage == "score"]
    assert steps[-1] == (3, 3)
    assert steps == sorted(steps)


def test_what_is_scored_stands_in_the_manifest(tiny: VisionModel, pictures: Path, tmp_path: Path) -> None:
    run = explain(settings(pictures, metrics=("all",)), tmp_path / "run")
    keys = [record.key for record in run.manifest.metrics]
    assert keys == [METRICS[name]().key for name in METRICS]
    record = run.metric("relevance_gain")
    assert (record.images, record.higher_is_better, record.skipped) == (3, True, None)
    assert sum(path.startswith("data/scores/") for path in run.manifest.files) > 10
    assert "--metric all --score-images 3" in run.manifest.command
    with pytest.raises(StoreError, match="this run has no metric 'relevance_gan'; did you mean"):
        run.metric("relevance_gan")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metrics": ("relevance_gian",)}, "unknown metric 'relevance_gian'; did you mean 'relevance_gain'"),
        ({"metrics": ("relevance_gain:step=3",)}, "has no parameter 'step'; did you mean 'steps'"),
        ({"score_images": 0}, "score images is 0; it must be 'auto', 'all' or at least 1"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    changes: dict[str, Any], said: str, tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError) as caught:
        explain(settings(pictures, **changes), tmp_path / "run")
    assert said in str(caught.value)


def test_a_headless_model_is_not_scored(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    from vitreport.explanation import ClassNames
    from vitreport.model.load import as_vision_model

    options = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    module = timm.create_model("vit_tiny_patch16_224", num_classes=0, **options)
    model = as_vision_model(module, name="bare", names=lambda count: ClassNames(()), image_size=(32, 32))
    monkeypatch.setattr("vitreport.plan.load_model", lambda *_, **__: model)
    run = explain(settings(pictures, techniques=("raw_attention",)), tmp_path / "run")
    (record,) = run.manifest.metrics
    assert record.skipped == "the model has no classifier, so there is no score to lose"
    assert run.manifest.complete
