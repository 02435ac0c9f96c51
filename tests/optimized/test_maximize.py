from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from command_line import MODEL, SIZE, contents, finish, process, write_checkpoint, write_pictures
from PIL import Image

from vitreport import RunSettings, explain, maximize, open_run
from vitreport.cli import main
from vitreport.errors import SettingsError, StoreError
from vitreport.explanation import ClassNames
from vitreport.model.head import Head
from vitreport.model.load import load_model
from vitreport.optimized.audited import AuditedImages
from vitreport.optimized.maximize import Maximizer, Wish, model_of
from vitreport.optimized.reading import reading
from vitreport.optimized.target import Kind, Target
from vitreport.store import RunFolder
from vitreport.store.optimized import cross_control, optimized_records

QUICK = {"steps": 3, "seeds": 2, "device": "cpu"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of seven pictures, with its weights and pictures beside it."""
    return explained_in(tmp_path_factory.mktemp("place"))


def explained_in(place: Path) -> Path:
    checkpoint = write_checkpoint(place / "tiny.safetensors")
    pictures = write_pictures(place / "pictures", 7)
    settings = RunSettings(
        images=(str(pictures),),
        model=MODEL,
        checkpoint=str(checkpoint),
        techniques=("raw_attention",),
        metrics=("none",),
        device="cpu",
        batch_size=4,
    )
    explain(settings, place / "run")
    return place


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run to write into."""
    return Path(shutil.copytree(finished / "run", tmp_path / "run"))


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


def files(run: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (run / "optimized").iterdir()}


def test_the_command_writes_a_picture_a_seed_and_says_what_each_target_fails(run):
    before = contents(run)
    targets = ["--target", "class:1", "--target", "star", "--target", "unit:2:7", "--target", "head:1:2"]
    result = call("maximize", "-o", run, *targets, "--steps", 3, "--seeds", 2, "--device", "cpu")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["class:1", "class:3", "unit:2:7", "head:1:2", "pictures:"]
    assert "class 3: star: fails " in lines[1] and "; seam ratio " in lines[1]
    records = {record.target: record for record in optimized_records(open_run(run).folder)}
    assert list(records) == ["class:1", "class:3", "head:1:2", "unit:2:7"]
    for record in records.values():
        assert len(record.pictures) == 2
        for picture in (*record.pictures, record.noise):
            with Image.open(run / picture.file) as image:
                assert (image.format, image.size, image.mode) == ("PNG", (SIZE, SIZE), "RGB")
        assert record.recipe["steps"] == 3
        assert record.audited.images == 7
        assert record.statistics == "measured on 7 audited images"
    after = contents(run)
    assert {name: after[name] for name in before} == before  # the run itself is as it was
    assert all(name.startswith("optimized/") for name in set(after) - set(before))


def test_what_is_written_is_what_the_model_says_of_the_stored_picture(run):
    (record,) = maximize(run, ["unit:2:7"], **QUICK)
    model = model_of(open_run(run), "cpu")
    target = Target(Kind.UNIT, 7, 2)
    for picture in record.pictures:
        levels = torch.from_numpy(np.asarray(Image.open(run / picture.file), np.float32))
        pixels = model.preparation.normalised(levels.permute(2, 0, 1)[None] / 255)
        with torch.no_grad(), reading(model, [target]) as read:
            activation = read(pixels).activation(target)
        assert picture.looks["clean"].activation == pytest.approx(activation.item(), abs=1e-5)
    assert record.pictures[0].file != record.pictures[1].file


def test_what_the_audited_images_say_is_what_the_model_says_of_their_files(run):
    (record,) = maximize(run, ["unit:2:7"], **QUICK)
    finished, target = open_run(run), Target(Kind.UNIT, 7, 2)
    model = model_of(finished, "cpu")
    activations = {}
    for image in finished.catalogue:
        view = finished.view(image.id)
        assert view is not None
        pixels, _ = model.preparation(np.asarray(Image.open(image.uri).convert("RGB")))
        with torch.no_grad(), reading(model, [target]) as read:
            activations[image.id] = read(pixels[None]).activation(target).item()
    wanted = sorted(activations.values(), reverse=True)
    found = [value for _, value in record.audited.top]
    assert found == sorted(found, reverse=True) and len(found) == 7
    assert record.audited.from_views == 0
    assert dict(record.audited.top) == pytest.approx(activations, abs=1e-5)
    assert found == pytest.approx(wanted, abs=1e-5)
    assert record.audited.bound == record.audited.most == found[0]
    assert record.audited.rule == "above the maximum of the 7 audited images"


def test_without_targets_the_classes_that_occur_and_the_most_active_units_are_taken(run):
    finished = open_run(run)
    model = model_of(finished, "cpu")
    predicted = [row["top_index"][0] for row in finished.images.to_pylist()]
    order = sorted(set(predicted), key=lambda index: (-predicted.count(index), index))
    images = AuditedImages(finished, model)
    assert images.common_classes(8) == [Target(Kind.CLASS, index) for index in order]
    assert images.common_classes(1) == [Target(Kind.CLASS, order[0])]
    units = images.most_active_units(4)
    assert [unit.block for unit in units] == [2, 5, 8, 11]
    everything = torch.cat([pixels for _, pixels in images.batches()])
    with torch.no_grad(), reading(model, units) as read:
        seen = read(model.preparation.normalised(everything))
    for unit in units:
        peaks = seen.activations(Kind.UNIT, unit.block).amax(0)
        assert peaks[unit.index] == peaks.max()
    assert Maximizer(finished, model, Wish()).targets == images.common_classes(8) + units


def test_images_come_in_batches_up_to_a_number(run):
    finished = open_run(run)
    images = AuditedImages(finished, model_of(finished, "cpu"))
    images._batch = 3
    ids = [ref.id for ref in finished.catalogue]
    assert [names for names, _ in images.batches()] == [ids[:3], ids[3:6], ids[6:]]
    assert [names for names, _ in images.batches(4)] == [ids[:3], ids[3:4]]
    assert all(pixels.shape[1:] == (3, SIZE, SIZE) for _, pixels in images.batches())
    assert images.count == 7


def test_a_file_that_has_changed_is_read_from_its_view(tmp_path):
    run = open_run(explained_in(tmp_path) / "run")
    first, second = run.catalogue[:2]
    shutil.copy(second.uri, first.uri)
    images = AuditedImages(run, model_of(run, "cpu"))
    found = torch.cat([pixels for _, pixels in images.batches()])
    assert images.from_views == 1
    view = run.view(first.id)
    assert view is not None
    levels = np.asarray(Image.open(io.BytesIO(view)), np.float32)
    assert torch.equal(found[0], torch.from_numpy(levels).permute(2, 0, 1) / 255)
    assert not torch.allclose(found[0], found[1], atol=0.1)


def test_labels_come_before_predictions(finished, tmp_path):
    names = sorted(path.name for path in (finished / "pictures").iterdir())
    table = finished / "pictures" / "table.csv"
    table.write_text(
        "path,label\n"
        + "".join(f"{name},{label}\n" for name, label in zip(names, (4, 4, 0, 4, 0, 2, ""), strict=True))
    )
    try:
        settings = open_run(finished / "run").manifest.settings
        given = RunSettings.from_mapping({**settings, "images": [str(table)]})
        labelled = explain(given, tmp_path / "labelled")
    finally:
        table.unlink()
    images = AuditedImages(labelled, model_of(labelled, "cpu"))
    assert [target.index for target in images.common_classes(8)] == [4, 0, 2]


def test_what_is_there_is_not_made_again_and_what_is_lost_is(run):
    maximize(run, ["class:1", "unit:2:7"], **QUICK)
    first = files(run)
    told: list[tuple[str, float, int]] = []
    records = maximize(run, ["class:1", "unit:2:7"], **QUICK, progress=lambda *at: told.append(at))
    assert files(run) == first and not told
    assert [record.target for record in records] == ["class:1", "unit:2:7"]
    lost = records[0].pictures[1].file
    bytes_before = (run / lost).read_bytes()
    (run / lost).unlink()
    maximize(run, ["class:1", "unit:2:7"], **QUICK, progress=lambda *at: told.append(at))
    assert told[-1] == ("maximize", 3, 3)  # one target, and not the other
    assert (run / lost).read_bytes() == bytes_before
    unit = [name for name in first if name.startswith("unit")]
    assert unit and all(files(run)[name] == first[name] for name in unit)


def test_other_settings_and_other_targets_are_kept_beside(run):
    for more in (
        {},
        {"steps": 4},
        {"seeds": 1},
        {"copies": 2},
        {"parametrisation": "maco"},
        {"parametrisation": "pixels"},
    ):
        maximize(run, ["unit:2:7"], **{**QUICK, **more})
    records = optimized_records(open_run(run).folder)
    assert len(records) == len({record.digest for record in records}) == 6
    assert sorted(record.parametrisation for record in records) == ["fourier"] * 4 + ["maco", "pixels"]
    (pixels,) = [record for record in records if record.parametrisation == "pixels"]
    assert (pixels.recipe["copies"], pixels.recipe["seam"], pixels.recipe["total_variation"]) == (0, 0, 0)


def test_a_stopped_run_keeps_the_targets_that_are_finished(run):
    def stop(stage: str, done: float, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    wanted = [f"unit:2:{number}" for number in range(6)]  # four targets of two seeds in a batch
    with pytest.raises(KeyboardInterrupt):
        maximize(run, wanted, **QUICK, progress=stop)
    kept = files(run)
    finished = [record.target for record in optimized_records(open_run(run).folder)]
    assert finished == wanted[:4]
    assert not any(name.endswith(".writing") for name in kept)
    maximize(run, wanted, **QUICK)
    assert all(files(run)[name] == kept[name] for name in kept)
    assert len(optimized_records(open_run(run).folder)) == 6


def test_pictures_of_classes_are_judged_for_each_other(run):
    records = maximize(run, ["class:0", "unit:2:7", "class:3"], **QUICK)
    found = cross_control(open_run(run).folder)
    assert found is not None and found.targets == ("class:0", "class:3")
    for place, record in enumerate(records[::2]):
        assert found.scores[place][place] == pytest.approx(record.pictures[0].looks["clean"].score, abs=1e-5)
        assert found.passes[place][place] == record.pictures[0].passed
        assert not found.passes[place][1 - place]
        assert sum(found.scores[place]) < 1


def test_a_run_can_be_explained_further_with_its_pictures_in_it(run, finished):
    maximize(run, ["unit:2:7"], **QUICK)
    kept = files(run)
    settings = RunSettings.from_mapping(dict(open_run(run).manifest.settings))
    more = explain(RunSettings.from_mapping({**settings.to_mapping(), "techniques": ["saliency"]}), run)
    assert {record.name for record in more.techniques} == {"raw_attention", "saliency"}
    assert more.manifest.complete and not any("optimized" in path for path in more.manifest.files)
    assert files(run) == kept


def test_the_images_may_be_gone_but_not_the_weights(tmp_path):
    place = explained_in(tmp_path)
    manifest = open_run(place / "run").manifest
    gone = {**manifest.settings, "checkpoint": str(place / "gone.safetensors")}
    RunFolder(place / "run").commit_manifest(replace(manifest, settings=gone))
    shutil.rmtree(place / "pictures")
    with pytest.raises(SettingsError, match=r"no longer at .*gone.safetensors; --checkpoint FILE"):
        maximize(place / "run", ["unit:2:7"], **QUICK)
    (record,) = maximize(place / "run", ["unit:2:7"], **QUICK, checkpoint=place / "tiny.safetensors")
    assert (record.audited.images, record.audited.from_views) == (7, 7)
    assert record.statistics.endswith("7 of them from the run's JPEG views, as their files are gone")
    other = write_checkpoint(place / "other.safetensors")
    other.write_bytes(other.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(SettingsError, match="not those that this run explained"):
        maximize(place / "run", ["unit:2:7"], **QUICK, checkpoint=other)


def test_a_run_without_one_usable_image_assumes_what_it_cannot_measure_and_says_so(finished, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "broken.jpg").write_bytes(b"no picture")
    settings = open_run(finished / "run").manifest.settings
    given = RunSettings.from_mapping({**settings, "images": [str(folder)]})
    explain(given, tmp_path / "run")
    (record,) = maximize(tmp_path / "run", ["class:1"], **QUICK)
    assert record.statistics.startswith("assumed: no image to learn from")
    assert record.audited.images == 0 and record.audited.bound is None
    gates = {gate.name: gate.passed for gate in record.pictures[0].gates}
    assert gates["activation"] is None and gates["seam"] is not None
    with pytest.raises(SettingsError, match="neither classes nor units"):
        maximize(tmp_path / "run", **QUICK)


def test_another_model_can_judge(run, finished):
    records = maximize(
        run, ["class:1", "unit:2:7"], **QUICK, judge=MODEL, judge_checkpoint=finished / "tiny.safetensors"
    )
    names = [[gate.name for gate in record.gates] for record in records]
    assert names == [["seeds", "judge"], ["seeds"]]
    assert records[0].gates[1].value == 1  # five classes, all among the likeliest five


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "unit:12:0"], "blocks are 0 to 11"),
        (["--target", "strar"], "did you mean 'star'"),
        (["--checkpoint", "nowhere.safetensors"], "there are no weights at nowhere.safetensors"),
        (["--judge-checkpoint", "x"], "--judge"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_before_anything_is_made(run, words, said):
    result = call("maximize", "-o", run, *words, "--device", "cpu")
    assert result.exit_code == 2
    assert said in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert not (run / "optimized").exists()


def test_a_folder_that_is_no_run_or_not_finished_is_refused(run, tmp_path):
    assert call("maximize", "-o", tmp_path / "nothing").exit_code == 3
    RunFolder(run).commit_manifest(replace(open_run(run).manifest, complete=False))
    with pytest.raises(StoreError, match="not finished"):
        maximize(run, ["unit:2:7"], **QUICK)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"parametrisation": "fourir"}, "did you mean 'fourier'"), ({"seeds": 0}, "at least 1")],
)
def test_wishes_are_checked(wrong, said):
    with pytest.raises(SettingsError, match=said):
        Wish(**wrong)


def test_a_model_without_classes_has_units(run, finished):
    complete = load_model(MODEL, checkpoint=finished / "tiny.safetensors")
    torch.manual_seed(0)
    headless = replace(complete, classes=ClassNames(()), head=Head.NONE)
    headless.module.reset_classifier(0)
    finished_run = open_run(run)
    images = AuditedImages(finished_run, headless)
    assert images.common_classes(8) == []
    maximizer = Maximizer(finished_run, headless, Wish(steps=2, seeds=2))
    assert {target.kind for target in maximizer.targets} == {Kind.UNIT}
    records = maximizer.records()
    assert len(records) == 4
    assert records[0].pictures[0].looks["clean"].predicted is None
    assert maximizer.cross_control(records) is None
    with pytest.raises(SettingsError, match="no classifier"):
        Maximizer(finished_run, headless, Wish(targets=("class:1",)))


def test_the_embedded_models_classes_pass_their_gates(tmp_path):
    folder = write_pictures(tmp_path / "pictures", 6)
    settings = RunSettings(
        images=(str(folder),),
        model="embedded:honest",
        techniques=("raw_attention",),
        metrics=("none",),
        device="cpu",
    )
    explain(settings, tmp_path / "run")
    records = maximize(tmp_path / "run", ["class:0", "class:3"], seeds=2, steps=128, device="cpu")
    for record in records:
        assert record.passed, record.failed_gates
        assert not record.noise.passed
    found = cross_control(open_run(tmp_path / "run").folder)
    assert found is not None
    assert found.passes == ((True, False), (False, True))


def test_help_says_how_to_name_targets_without_importing_torch():
    code, out, err = finish(process("maximize", "--help", before="import sys\nsys.modules['torch'] = None"))
    assert code == 0, err
    assert "unit:BLOCK:UNIT" in out and "--parametrisation" in out
