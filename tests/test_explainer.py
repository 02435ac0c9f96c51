from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_model import disturb, noise, trace, vision_model

import vitreport.batches
from vitreport import RunSettings, explain, open_run
from vitreport.engines import Receipt, Resources
from vitreport.errors import SettingsError, StoreError, TechniqueError
from vitreport.images.decode import decode
from vitreport.images.decoder import decoded
from vitreport.model.head import Head
from vitreport.model.load import VisionModel, load_model
from vitreport.model.trace import Forward
from vitreport.model.tracer import Tracer
from vitreport.store import Run, RunFolder
from vitreport.store.folder import images_part, technique_part
from vitreport.techniques.attention.class_attention import ClassAttention
from vitreport.techniques.attention.raw_attention import RawAttention
from vitreport.techniques.gradient.gradient_rollout import GradientRollout
from vitreport.techniques.perturbation.occlusion import OcclusionTokenDrop
from vitreport.techniques.technique import Context

FEW = ("raw_attention", "gradient_rollout", "class_attention")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> VisionModel:
    """What every name loads."""
    model = vision_model("class_token")
    monkeypatch.setattr("vitreport.plan.load_model", lambda *_, **__: model)
    return model


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitreport.images.catalogue.SHARD_SIZE", 2)


def settings(pictures: Path, **changes: Any) -> RunSettings:
    given = {"images": (str(pictures),), "techniques": FEW, "metrics": ("none",), "batch_size": 2}
    return RunSettings(**{**given, "device": "cpu", **changes})


def stored(root: Path) -> dict[str, bytes]:
    """All files of a run, the timings left out."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "timings.json"
    }


def touched(root: Path) -> dict[str, int]:
    return {
        str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()
    }


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that went through the model in explained runs."""
    sizes: list[int] = []
    forward = Tracer.forward

    def count(tracer: Tracer, pixels: torch.Tensor) -> Forward:
        sizes.append(len(pixels))
        return forward(tracer, pixels)

    monkeypatch.setattr(Tracer, "forward", count)
    return sizes


def maps(run: Run, key: str) -> dict[tuple[str, int | None], np.ndarray]:
    record = run.technique(key)
    found = [
        ((image, one.target), one.values)
        for shard in run.shards
        for image, one in run.attributions(record, shard)
    ]
    assert len(dict(found)) == len(found), "a map is stored twice"
    return dict(found)


def ids(run: Run, status: str = "explained") -> list[str]:
    rows = run.images.select(["id", "status"]).to_pylist()
    return [row["id"] for row in rows if row["status"] == status]


def test_a_run_from_a_checkpoint_holds_what_the_model_and_techniques_give(
    pictures: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=5, img_size=48)
    disturb(network)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    checkpoint = tmp_path / "weights.safetensors"
    chosen = settings(pictures, model="test_vit", checkpoint=str(checkpoint), techniques=("core",))
    run = explain(chosen, tmp_path / "run")
    model = load_model("test_vit", checkpoint=checkpoint)
    assert run.manifest.complete
    assert run.manifest.model.grid == (3, 3)
    assert run.manifest.model.weights_sha256 == model.weights_sha256
    assert (run.manifest.data.images, run.manifest.data.quarantined, run.manifest.data.failed) == (5, 0, 0)
    assert run.manifest.settings == chosen.to_mapping()
    assert set(run.manifest.files) == set(stored(tmp_path / "run")) - {"manifest.json"}
    assert all(run.folder.sha256(path) == sha256 for path, sha256 in run.manifest.files.items())
    for row in run.images.to_pylist():
        pixels, view = model.preparation(decode(Path(row["uri"])))
        with torch.no_grad():
            probabilities = model.module(pixels[None])[0].softmax(0)
        assert row["top_index"] == probabilities.argsort(descending=True).tolist()
        assert row["top_probability"] == pytest.approx(sorted(probabilities.tolist(), reverse=True), rel=1e-4)
        assert row["targets"] == row["top_index"][:1]
        assert (row["crop"], row["view_width"]) == (pytest.approx(view.crop), 48)
        assert run.view(row["id"]) == view.jpeg
        context = Context(trace(model, pixels[None], row["targets"]), model, (row["id"],), 0)
        for kind in (RawAttention, GradientRollout):
            expected = kind().attribute(context)[0].numpy()
            assert np.abs(run.map(row["id"], kind.name) - expected).max() <= 1e-5 * expected.max()
    for record in run.techniques:
        if record.kind == "map":
            assert len(maps(run, record.key)) == 5
            assert {target is None for _, target in maps(run, record.key)} == {not record.class_specific}
        else:
            assert set(run.observations(record, 0)["id"].to_pylist()) == set(ids(run))


def test_the_same_run_twice_gives_the_same_bytes(tiny: VisionModel, pictures: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        explain(settings(pictures, techniques=("core",)), tmp_path / name)
    assert stored(tmp_path / "one") == stored(tmp_path / "other")


def test_the_timing_of_the_decoders_does_not_matter(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_shards: None
) -> None:
    explain(settings(pictures), tmp_path / "calm")
    generator = random.Random(0)

    def slow(path: Path, use: Any) -> Any:
        time.sleep(generator.random() * 0.02)
        return decoded(path, use)

    monkeypatch.setattr(vitreport.batches, "decoded", slow)
    monkeypatch.setattr(vitreport.batches, "_DECODERS", 7)
    explain(settings(pictures), tmp_path / "wild")
    assert stored(tmp_path / "calm") == stored(tmp_path / "wild")


def test_another_batch_size_gives_the_same_maps_but_for_rounding(
    tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    one, all_at_once = (
        explain(settings(pictures, techniques=("core",), batch_size=size), tmp_path / str(size))
        for size in (1, 5)
    )
    for record in one.techniques:
        if record.kind == "map":
            many = maps(all_at_once, record.key)
            for place, values in maps(one, record.key).items():
                assert np.abs(values - many[place]).max() <= 1e-5 * np.abs(values).max()
    assert one.images["top_index"].equals(all_at_once.images["top_index"])


def _stop_at(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """The run ends with the write number `count`, which does not happen."""
    write = RunFolder.write
    written: list[str] = []

    def stop(folder: RunFolder, path: str, content: bytes) -> None:
        written.append(path)
        if len(written) == count:
            raise KeyboardInterrupt
        write(folder, path, content)

    monkeypatch.setattr(RunFolder, "write", stop)


def test_a_run_stopped_at_any_write_resumes_to_the_same_bytes(
    tiny: VisionModel, pictures: Path, tmp_path: Path, small_shards: None, forwards: list[int]
) -> None:
    explain(settings(pictures), tmp_path / "whole")
    expected = stored(tmp_path / "whole")
    writes = len(expected) + 1  # the manifest is written twice
    assert len(forwards) == 3
    for count in range(1, writes + 1):
        root = tmp_path / str(count)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            _stop_at(patch, count)
            explain(settings(pictures), root)
        before = touched(root)
        finished = sum((root / images_part(shard)).is_file() for shard in range(3))
        parts = {path for path in before if path.startswith(("data/maps", "data/images", "data/activations"))}
        forwards.clear()
        explain(settings(pictures), root)
        assert stored(root) == expected
        assert len(forwards) == 3 - finished
        after = touched(root)
        assert all(after[path] == before[path] for path in parts)


def test_finished_techniques_of_a_shard_are_not_computed_again(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        _stop_at(patch, 4)  # manifest, catalogue, raw attention
        explain(settings(pictures), tmp_path / "run")
    assert [path for path in touched(tmp_path / "run") if "maps" in path] == [
        path for path in touched(tmp_path / "run") if "raw_attention" in path
    ]

    def forbidden(*_: object) -> Iterator[torch.Tensor]:
        raise AssertionError("computed again")

    monkeypatch.setattr(RawAttention, "attribute_all", forbidden)
    run = explain(settings(pictures), tmp_path / "run")
    assert len(maps(run, "raw_attention")) == 5
    assert run.manifest.data.failed == 0


def test_a_finished_run_is_left_alone(
    tiny: VisionModel, pictures: Path, tmp_path: Path, forwards: list[int]
) -> None:
    explain(settings(pictures), tmp_path / "run")
    before = touched(tmp_path / "run")
    forwards.clear()
    explain(settings(pictures), tmp_path / "run")
    assert forwards == []
    assert touched(tmp_path / "run") == before


def test_adding_a_technique_computes_only_that(
    tiny: VisionModel, pictures: Path, tmp_path: Path, forwards: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    explain(settings(pictures, techniques=("raw_attention", "random")), tmp_path / "run")
    before = touched(tmp_path / "run")
    forwards.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RawAttention, "attribute_all", None)
        run = explain(settings(pictures, techniques=("raw_attention", "gradient_rollout")), tmp_path / "run")
    assert len(forwards) == 3
    after = touched(tmp_path / "run")
    data = {path for path in before if path.startswith("data/") and "catalogue" not in path}
    assert all(after[path] == before[path] for path in data)
    assert [record.key for record in run.techniques] == ["raw_attention", "random", "gradient_rollout"]
    assert run.manifest.complete
    assert set(run.manifest.files) == set(stored(tmp_path / "run")) - {"manifest.json"}
    together = explain(settings(pictures, techniques=("gradient_rollout",)), tmp_path / "fresh")
    for place, values in maps(together, "gradient_rollout").items():
        assert np.array_equal(maps(run, "gradient_rollout")[place], values)


def _other_weights(patch: pytest.MonkeyPatch, model: VisionModel, pictures: Path) -> RunSettings:
    other = dataclasses.replace(model, weights_sha256="0" * 64)
    patch.setattr("vitreport.plan.load_model", lambda *_, **__: other)
    return settings(pictures)


def _other_head(patch: pytest.MonkeyPatch, model: VisionModel, pictures: Path) -> RunSettings:
    other = dataclasses.replace(model, head=Head.SIGMOID)
    patch.setattr("vitreport.plan.load_model", lambda *_, **__: other)
    return settings(pictures)


def _other_images(patch: pytest.MonkeyPatch, model: VisionModel, pictures: Path) -> RunSettings:
    Image.new("RGB", (9, 9)).save(pictures / "new.png")
    return settings(pictures)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda patch, model, pictures: settings(pictures, seed=1), "the seed differs"),
        (lambda patch, model, pictures: settings(pictures, targets=("top2",)), "the targets differ"),
        (lambda patch, model, pictures: settings(pictures, batch_size=3), "the batch size differs"),
        (lambda patch, model, pictures: settings(pictures, limit=2), "the images differ"),
        (
            lambda patch, model, pictures: settings(pictures, seed=1, batch_size=1),
            "the seed and the batch size differ",
        ),
        (_other_images, "the images differ"),
        (lambda patch, model, pictures: settings(pictures, pixel_maps="float16"), "the pixel maps differ"),
        (_other_weights, "the model differs"),
        (_other_head, "the head differs"),
    ],
    ids=["seed", "targets", "batch size", "limit", "two", "images", "pixels", "weights", "head"],
)
def test_another_run_is_refused_with_what_differs_and_nothing_is_touched(
    change: Callable[..., RunSettings],
    said: str,
    tiny: VisionModel,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    explain(settings(pictures), tmp_path / "run")
    before = touched(tmp_path / "run")
    with pytest.raises(
        StoreError, match=f"holds another run: {said}; nothing was touched; choose another -o"
    ):
        explain(change(monkeypatch, tiny, pictures), tmp_path / "run")
    assert touched(tmp_path / "run") == before


def test_the_automatic_batch_size_of_a_run_stays(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explain(settings(pictures, batch_size="auto"), tmp_path / "run")
    monkeypatch.setattr("vitreport.plan.automatic_batch_size", lambda model: 1)
    run = explain(settings(pictures, batch_size="auto", techniques=("random",)), tmp_path / "run")
    assert run.manifest.bound["batch size"] == 32


@pytest.fixture
def damaged(pictures: Path) -> Path:
    """Of the five pictures, three that cannot be used."""
    (pictures / "1.png").write_text("hello")
    (pictures / "2.png").write_bytes((pictures / "0.png").read_bytes()[:60])
    Image.new("L", (40_000, 1)).save(pictures / "3.png")
    return pictures


def test_what_cannot_be_read_is_quarantined_and_the_rest_goes_on(
    tiny: VisionModel, damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitreport.model.preparation._MOST_SCALED_PIXELS", 10_000)
    run = explain(settings(damaged, techniques=("core",)), tmp_path / "run")
    rows = {Path(row["uri"]).name: row for row in run.images.to_pylist()}
    assert {name for name, row in rows.items() if row["status"] == "explained"} == {"0.png", "4.png"}
    assert "not an image" in rows["1.png"]["reason"]
    assert rows["2.png"]["reason"]
    assert "too long and thin" in rows["3.png"]["reason"]
    assert run.manifest.data.quarantined == 3
    for record in run.techniques:
        if record.kind == "map":
            assert {image for image, _ in maps(run, record.key)} == set(ids(run))
    assert all(rows[name]["top_index"] == [] for name in ("1.png", "2.png", "3.png"))
    (damaged / "1.png").unlink()
    again = explain(settings(damaged, techniques=("core",)), tmp_path / "other")
    for place, values in maps(run, "gradient_rollout").items():
        assert np.abs(maps(again, "gradient_rollout")[place] - values).max() <= 1e-5 * values.max()


def test_a_run_of_unusable_images_only_is_finished_and_empty(
    tiny: VisionModel, tmp_path: Path, forwards: list[int]
) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        (tmp_path / "pictures" / f"{number}.png").write_text(f"no image {number}")
    run = explain(settings(tmp_path / "pictures", techniques=("core",)), tmp_path / "run")
    assert run.manifest.complete
    assert run.manifest.data.quarantined == 3
    assert forwards == []
    assert maps(run, "raw_attention") == {}


@pytest.mark.parametrize(
    "failure",
    [
        ValueError("no luck"),
        RuntimeError("no luck"),
        TechniqueError("no luck"),
        KeyError("no luck"),
        AttributeError("no luck"),
        ZeroDivisionError("no luck"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_a_technique_that_raises_for_one_image_is_recorded_and_every_other_image_has_its_map(
    failure: Exception, tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = explain(settings(pictures), tmp_path / "healthy")
    unlucky = ids(healthy)[2]
    attribute_all = RawAttention.attribute_all

    def sometimes(techniques: Any, context: Context) -> Iterator[torch.Tensor]:
        if unlucky in context.image_ids:
            raise failure
        yield from attribute_all(techniques, context)

    monkeypatch.setattr(RawAttention, "attribute_all", sometimes)
    run = explain(settings(pictures), tmp_path / "run")
    assert run.manifest.data.failed == 1
    assert run.manifest.complete
    for image in ids(run):
        if image == unlucky:
            said = f"'raw_attention' failed on image '{image}': {type(failure).__name__}: .*no luck"
            with pytest.raises(StoreError, match=said):
                run.map(image, "raw_attention")
        else:
            assert np.array_equal(run.map(image, "raw_attention"), healthy.map(image, "raw_attention"))
        assert np.array_equal(run.map(image, "gradient_rollout"), healthy.map(image, "gradient_rollout"))


def test_an_observation_that_raises_for_one_image_is_recorded_and_every_other_image_has_its_rows(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = explain(settings(pictures), tmp_path / "healthy")
    unlucky, observe = ids(healthy)[2], ClassAttention.observe

    def sometimes(technique: ClassAttention, context: Context) -> Any:
        if unlucky in context.image_ids:
            raise ValueError("no luck")
        return observe(technique, context)

    monkeypatch.setattr(ClassAttention, "observe", sometimes)
    run = explain(settings(pictures), tmp_path / "run")
    rows, expected = (
        one.observations(one.technique("class_attention"), 0).to_pylist() for one in (run, healthy)
    )
    assert [row for row in rows if row["id"] != unlucky] == [row for row in expected if row["id"] != unlucky]
    assert [row["error"] for row in rows if row["id"] == unlucky] == ["ValueError: no luck"]
    assert run.manifest.data.failed == 1


def test_an_observation_that_raises_is_recorded_and_the_rest_goes_on(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(technique: ClassAttention, context: Context) -> Iterator[list[dict[str, Any]]]:
        yield from ([{"blocks": 1}] for _ in context.image_ids[:1])
        raise ValueError("no luck")

    monkeypatch.setattr(ClassAttention, "observe", fail)
    run = explain(settings(pictures), tmp_path / "run")
    table = run.observations(run.technique("class_attention"), 0)
    assert table["error"].to_pylist() == ["ValueError: no luck"] * 5
    assert table["id"].to_pylist() == ids(run)
    assert table["blocks"].null_count == 5
    assert run.manifest.data.failed == 5
    assert len(maps(run, "raw_attention")) == 5


def test_a_technique_that_the_model_cannot_have_is_skipped_with_the_reason(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RawAttention, "supports", lambda technique, model: "it has no windows")
    run = explain(settings(pictures), tmp_path / "run")
    record = run.technique("raw_attention")
    assert record.skipped == "it has no windows"
    assert not run.folder.has(technique_part(record, 0))
    assert run.manifest.complete
    assert len(maps(run, "gradient_rollout")) == 5


def _table(pictures: Path, labels: dict[str, str]) -> Path:
    lines = [f"{path.name},{labels.get(path.stem, '')}" for path in sorted(pictures.glob("*.png"))]
    (pictures / "table.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    return pictures / "table.csv"


def test_images_without_a_label_have_no_class_specific_maps_under_the_target_label(
    tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    table = _table(pictures, {"0": "cat", "3": "1"})
    chosen = settings(table, targets=("label",), techniques=("core",))
    run = explain(chosen, tmp_path / "run")
    rows = {row["id"]: row for row in run.images.to_pylist()}
    labelled = {image for image, row in rows.items() if row["label"] is not None}
    assert len(labelled) == 2
    assert all(row["targets"] == ([] if row["label"] is None else [row["label"]]) for row in rows.values())
    assert set(maps(run, "gradient_rollout")) == {(image, rows[image]["label"]) for image in labelled}
    assert set(maps(run, "attention_rollout")) == {(image, None) for image in rows}
    assert set(run.observations(run.technique("qkv"), 0)["id"].to_pylist()) == labelled
    assert set(run.observations(run.technique("class_attention"), 0)["id"].to_pylist()) == set(rows)
    assert run.manifest.data.failed == 0
    with pytest.raises(StoreError, match="has no target"):
        run.map(next(iter(set(rows) - labelled)), "gradient_rollout")


def test_the_target_label_without_any_label_is_refused(
    tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="no image has a label"):
        explain(settings(pictures, targets=("label",)), tmp_path / "run")


def test_every_target_of_an_image_has_its_map_and_they_equal_those_of_a_run_each(
    tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    table = _table(pictures, {"0": "2", "1": "4", "4": "0"})
    run = explain(settings(table, targets=("top2", "label", "3", "predicted")), tmp_path / "run")
    alone = [explain(settings(table, targets=(str(index),)), tmp_path / str(index)) for index in range(5)]
    depths = set()
    for row in run.images.to_pylist():
        wanted = [*row["top_index"][:2], *([] if row["label"] is None else [row["label"]]), 3]
        assert row["targets"] == list(dict.fromkeys(wanted))
        depths.add(len(row["targets"]))
        for target, probability in zip(row["targets"], row["target_probability"], strict=True):
            assert probability == row["top_probability"][row["top_index"].index(target)]
            found = run.map(row["id"], "gradient_rollout", target)
            assert np.array_equal(found, alone[target].map(row["id"], "gradient_rollout", target))
        assert np.array_equal(run.map(row["id"], "gradient_rollout"), found) or len(row["targets"]) > 1
    assert len(depths) > 1
    places = list(maps(run, "gradient_rollout"))
    expected = [(row["id"], target) for row in run.images.to_pylist() for target in row["targets"]]
    assert places == expected
    assert len(maps(run, "raw_attention")) == 5


def test_shards_hold_the_images_in_id_order_and_change_no_map(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forwards: list[int]
) -> None:
    whole = explain(settings(pictures), tmp_path / "whole")
    monkeypatch.setattr("vitreport.images.catalogue.SHARD_SIZE", 3)
    forwards.clear()
    parted = explain(settings(pictures), tmp_path / "parted")
    assert forwards == [2, 1, 2]
    assert list(parted.shards) == [0, 1]
    assert ids(parted) == ids(whole)
    sizes = [parted.folder.read_table(images_part(shard)).num_rows for shard in parted.shards]
    assert sizes == [3, 2]
    for key in ("raw_attention", "gradient_rollout"):
        for place, values in maps(whole, key).items():
            assert np.abs(maps(parted, key)[place] - values).max() <= 1e-5 * values.max()


def test_shards_in_any_order_give_the_same_bytes(
    tiny: VisionModel, pictures: Path, tmp_path: Path, small_shards: None
) -> None:
    class Backwards:
        def map(self, worker: Any, items: Any, resources: Resources) -> Iterator[Receipt]:
            for item in reversed(items):
                yield from worker(item)

    explain(settings(pictures), tmp_path / "one")
    explain(settings(pictures), tmp_path / "other", engine=Backwards())
    assert stored(tmp_path / "one") == stored(tmp_path / "other")


def test_progress_counts_every_image_once(tiny: VisionModel, damaged: Path, tmp_path: Path) -> None:
    told: list[tuple[str, float, int]] = []
    explain(settings(damaged), tmp_path / "run", progress=lambda *stage: told.append(stage))
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages == ["hash", "explain", "digest"]
    steps = [(done, total) for stage, done, total in told if stage == "explain"]
    assert {total for _, total in steps} == {5}
    assert steps == sorted(steps)
    assert {2, 4, 5} <= {done for done, _ in steps}
    assert steps[-1] == (5, 5)


def test_images_that_cannot_be_read_count_as_done_under_a_cap(
    tiny: VisionModel, damaged: Path, tmp_path: Path
) -> None:
    told: list[tuple[str, float, int]] = []
    chosen = settings(damaged, techniques=("attention_flow:images=5",))
    explain(chosen, tmp_path / "run", progress=lambda *stage: told.append(stage))
    assert [(done, total) for stage, done, total in told if stage.startswith("attention_flow")][-1] == (5, 5)


def test_an_image_without_a_further_target_costs_no_passes_for_it(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained: list[int] = []
    attribute_all = OcclusionTokenDrop.attribute_all.__func__  # type: ignore[attr-defined]

    def watch(cls: type, techniques: Any, context: Context) -> Any:
        explained.append(len(context.image_ids))
        return attribute_all(cls, techniques, context)

    monkeypatch.setattr(OcclusionTokenDrop, "attribute_all", classmethod(watch))
    names = ("occlusion_token_drop", "legrad")
    run = explain(settings(pictures, techniques=names, batch_size=5), tmp_path / "run")
    likeliest = run.images["targets"].to_pylist()[0][0]
    targets = {"targets": ("predicted", str(likeliest)), "batch_size": 5}
    explained.clear()
    both = explain(settings(pictures, techniques=names, **targets), tmp_path / "both")
    further = sum(len(row) == 2 for row in both.images["targets"].to_pylist())
    assert 0 <= further < 5
    assert explained == ([5, further] if further else [5])
    for name in names:
        found = maps(both, name)
        assert len(found) == 5 + further
        for place, values in maps(run, name).items():
            assert np.abs(found[place] - values).max() <= 1e-5 * np.abs(values).max()


def test_the_model_is_left_as_it_was_after_a_run_and_after_a_stop(
    tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    expected = tiny.module(noise(tiny, 2))

    def state() -> list[object]:
        return [
            (name, len(part._forward_hooks), len(part._forward_pre_hooks), getattr(part, "fused_attn", None))
            for name, part in tiny.module.named_modules()
        ]

    before = state()
    explain(settings(pictures, techniques=("core",)), tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(GradientRollout, "attribute_all", _interrupt)
        explain(settings(pictures), tmp_path / "stopped")
    assert state() == before
    assert torch.equal(tiny.module(noise(tiny, 2)), expected)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_full_disk_ends_the_run_with_what_to_do_and_loses_nothing(
    tiny: VisionModel, pictures: Path, tmp_path: Path, small_shards: None
) -> None:
    explain(settings(pictures), tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StoreError, match="run the same command again"):
        written: list[Path] = []

        def full(place: Path, target: Path) -> None:
            written.append(target)
            if len(written) > 5:
                raise OSError(28, "No space left on device")
            place.rename(target)

        patch.setattr(Path, "replace", full)
        explain(settings(pictures), tmp_path / "run")
    assert not open_run(tmp_path / "run").manifest.complete
    assert not [path for path in stored(tmp_path / "run") if "writing" in path]
    explain(settings(pictures), tmp_path / "run")
    assert stored(tmp_path / "run") == stored(tmp_path / "whole")


def test_random_maps_follow_the_seed_and_nothing_else_does(
    tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    techniques = ("random", "raw_attention")
    one, other = (
        explain(settings(pictures, techniques=techniques, seed=seed), tmp_path / str(seed)) for seed in (0, 1)
    )
    for image in ids(one):
        assert not np.array_equal(one.map(image, "random"), other.map(image, "random"))
        assert np.array_equal(one.map(image, "raw_attention"), other.map(image, "raw_attention"))


def test_an_interrupted_run_goes_on_with_all_that_it_was_asked_for(
    tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        _stop_at(patch, 4)
        explain(settings(pictures), tmp_path / "run")
    run = explain(settings(pictures, techniques=("raw_attention",)), tmp_path / "run")
    assert [record.key for record in run.techniques] == list(FEW)
    assert all(f"--technique {name}" in run.manifest.command for name in FEW)


def test_a_map_that_is_not_finite_has_failed(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def undefined(techniques: Sequence[RawAttention], context: Context) -> Iterator[torch.Tensor]:
        values = torch.zeros(len(context.image_ids), *context.model.layout.grid)
        values[0, 0, 0] = torch.nan
        yield from [values] * len(techniques)

    monkeypatch.setattr(RawAttention, "attribute_all", undefined)
    run = explain(settings(pictures), tmp_path / "run")
    assert run.manifest.data.failed == 3  # the first image of each batch of two
    with pytest.raises(StoreError, match="not finite"):
        run.map(run.catalogue[0].id, "raw_attention")


@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 16)])
def test_maps_of_another_shape_have_failed_and_the_rest_goes_on(
    shape: tuple[int, ...],
    tiny: VisionModel,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RawAttention, "attribute_all", lambda techniques, context: iter([torch.zeros(shape)]))
    run = explain(settings(pictures, limit=4), tmp_path / "run")
    assert run.manifest.data.failed == 4
    assert len(maps(run, "gradient_rollout")) == 4
