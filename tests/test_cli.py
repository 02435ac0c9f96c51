from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from command_line import CLASSES, contents, finish, options, process, write_checkpoint, write_pictures

from vitreport import open_run
from vitreport.cli import main

KILLS = 6


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures", 5)


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


def explain(pictures: Path, checkpoint: Path, output: Path, *more: object) -> Result:
    return call("explain", pictures, *options(checkpoint), "-o", output, *more)


def test_help_comes_without_importing_torch():
    code, out, err = finish(
        process("--help", before="import sys\nsys.modules['torch'] = None\nsys.modules['pyarrow'] = None")
    )
    assert code == 0, err
    for command in ("run", "demo", "explain", "report", "techniques", "doctor"):
        assert command in out


def test_a_run_ends_with_a_site_a_pdf_and_one_closing_line(pictures, checkpoint, tmp_path):
    output = tmp_path / "run"
    result = call("run", pictures, *options(checkpoint), "-o", output)
    assert result.exit_code == 0, result.output
    assert (output / "report" / "index.html").is_file()
    assert (output / "report.pdf").read_bytes().startswith(b"%PDF")
    assert result.stdout.splitlines()[-1] == "explained 5 of 5 images"
    assert open_run(output).manifest.model.class_names == CLASSES


def test_unusable_images_are_named_on_the_last_line_and_the_rest_goes_on(pictures, checkpoint, tmp_path):
    (pictures / "broken.jpg").write_bytes(b"no picture")
    result = explain(pictures, checkpoint, tmp_path / "run")
    assert result.exit_code == 1
    last = result.stdout.splitlines()[-1]
    assert last.startswith("explained 5 of 6 images; 1 quarantined: ")
    assert "broken.jpg" in last
    run = open_run(tmp_path / "run")
    (row,) = [row for row in run.images.to_pylist() if row["status"] == "quarantined"]
    assert row["uri"].endswith("broken.jpg") and row["reason"]


def test_a_set_without_one_usable_image_exits_with_3(checkpoint, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "broken.jpg").write_bytes(b"no picture")
    assert explain(folder, checkpoint, tmp_path / "run").exit_code == 3


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["-t", "atention_rollout"], ["unknown technique 'atention_rollout'", "'attention_rollout'"]),
        (["-t", "attention_rollout:fusion=maks"], ["fusion is 'maks'", "'max'", "mean, max, min"]),
        (["-t", "attention_rollout:fuse=max"], ["no parameter 'fuse'", "'fusion'"]),
        (["-t", "attention_rollout:discard_ratio=1"], ["discard_ratio is 1", "[0, 1)"]),
        (["--target", "7"], ["target 7 is no class", "0 to 4"]),
        (["--target", "squere"], ["unknown target 'squere'", "'square'"]),
        (["--target", "label"], ["no image has a label"]),
        (["--model", "vit_tiny_patch16_225"], ["no model 'vit_tiny_patch16_225'", "'vit_tiny_patch16_224'"]),
        (["--model", "vit_small_patch16_224"], ["does not fit the model", "cls_token is (1, 1, 192)"]),
        (["--model", "resnet18"], ["does not fit"]),
        (["--checkpoint", "nowhere.safetensors"], ["no checkpoint at nowhere.safetensors"]),
        (["--batch-size", "some"], ["batch size is 'some'"]),
        (["--image-size", "big"], ["image size is 'big'"]),
        (["-t", "random:draw=inf"], ["draw is 'inf'", "whole number"]),
    ],
)
def test_a_bad_setting_is_one_clear_line_and_exit_code_2(more, words, pictures, checkpoint, tmp_path):
    result = explain(pictures, checkpoint, tmp_path / "run", *more)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()[-1:]
    assert line.startswith("vitreport: ")
    for word in words:
        assert word in line
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_an_empty_folder_is_refused(checkpoint, tmp_path):
    (tmp_path / "empty").mkdir()
    result = explain(tmp_path / "empty", checkpoint, tmp_path / "run")
    assert result.exit_code == 2
    assert "no image" in result.stderr


def test_a_label_out_of_range_is_refused_with_its_row(pictures, checkpoint, tmp_path):
    table = tmp_path / "pictures.csv"
    table.write_text("path,label\npictures/picture_000.jpg,4\npictures/picture_001.jpg,5\n")
    result = explain(table, checkpoint, tmp_path / "run")
    assert result.exit_code == 2
    assert "5" in result.stderr and "3" in result.stderr


def test_an_output_folder_that_holds_something_else_is_left_alone(pictures, checkpoint, tmp_path):
    output = tmp_path / "precious"
    output.mkdir()
    (output / "thesis.txt").write_text("three years of work")
    result = explain(pictures, checkpoint, output)
    assert result.exit_code == 3
    assert "holds something else (thesis.txt)" in result.stderr
    assert [path.name for path in output.iterdir()] == ["thesis.txt"]


def test_maps_are_kept_in_pixels_where_that_is_asked_for(pictures, checkpoint, tmp_path):
    output = tmp_path / "run"
    result = explain(pictures, checkpoint, output, "-t", "saliency", "--pixel-maps", "float16")
    assert result.exit_code == 0, result.output
    run = open_run(output)
    image = run.catalogue[0].id
    rows, cols = run.manifest.model.input_size
    assert run.pixel_map(image, "saliency").shape == (rows, cols)
    result = explain(pictures, checkpoint, output, "-t", "input_x_gradient")
    assert result.exit_code == 0, result.output
    assert open_run(output).pixel_map(image, "input_x_gradient").shape == (rows, cols)
    result = explain(pictures, checkpoint, output, "-t", "saliency", "--pixel-maps", "float32")
    assert result.exit_code == 3
    assert "holds another run: the pixel maps differ" in result.stderr


def test_another_run_in_the_same_folder_is_refused_and_says_what_differs(pictures, checkpoint, tmp_path):
    output = tmp_path / "run"
    assert explain(pictures, checkpoint, output).exit_code == 0
    before = contents(output)
    result = explain(pictures, checkpoint, output, "--seed", "1")
    assert result.exit_code == 3
    assert "holds another run: the seed differs" in result.stderr
    assert contents(output) == before


def test_a_technique_can_be_added_later_without_touching_the_rest(pictures, checkpoint, tmp_path):
    output = tmp_path / "run"
    assert explain(pictures, checkpoint, output, "-t", "raw_attention").exit_code == 0
    before = contents(output)
    assert explain(pictures, checkpoint, output, "-t", "centre").exit_code == 0
    after = contents(output)
    assert {path: after[path] for path in before if path != "manifest.json"} == {
        path: digest for path, digest in before.items() if path != "manifest.json"
    }
    assert [record.key for record in open_run(output).techniques] == ["raw_attention", "centre"]


def test_settings_come_from_a_file_and_the_command_line_wins(pictures, checkpoint, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text(
        f'images = ["{pictures}"]\nmodel = "vit_tiny_patch16_224"\ncheckpoint = "{checkpoint}"\n'
        'techniques = ["centre"]\nseed = 3\nbatch_size = 2\n'
    )
    result = call("explain", "--config", config, "--seed", 4, "-o", tmp_path / "run", "--limit", 2)
    assert result.exit_code == 0, result.output
    settings = open_run(tmp_path / "run").manifest.settings
    assert (settings["seed"], settings["batch_size"], settings["limit"]) == (4, 2, 2)


def test_an_unknown_setting_in_a_file_is_named(tmp_path, pictures):
    config = tmp_path / "run.toml"
    config.write_text("tecniques = ['core']\n")
    result = call("explain", pictures, "--config", config, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert "unknown setting 'tecniques'; did you mean 'techniques'?" in result.stderr


def test_the_manifest_holds_the_command_that_reproduces_the_run(pictures, checkpoint, tmp_path):
    target = f"{CLASSES[1]},2"
    assert explain(pictures, checkpoint, tmp_path / "run", "--target", target, "-t", "core").exit_code == 0
    command = open_run(tmp_path / "run").manifest.command
    assert command.startswith(f"vitreport run {pictures} ")
    assert "--target square,2" in command
    assert command.endswith("-o RUN")


def test_techniques_are_listed_as_text_and_as_json():
    text = call("techniques").output
    listed = json.loads(call("techniques", "--json").output)
    names = {entry["name"] for entry in listed}
    assert names >= {"raw_attention", "attention_rollout", "gradient_rollout", "random", "centre"}
    assert names >= {"class_attention", "qkv"}
    for entry in listed:
        assert entry["name"] in text
        assert entry["shows"] and entry["does_not_show"] and entry["source"]


@pytest.mark.parametrize(
    ("model", "had", "lacked"),
    [
        ("test_vit", "grad_cam ", None),
        ("swin_tiny_patch4_window7_224", "grad_cam ", "not raw_attention, attention_rollout,"),
        ("vit_tiny_patch16_224.augreg_in21k", "raw_attention ", None),
    ],
)
def test_techniques_that_a_model_can_have_are_told_from_the_others(model, had, lacked):
    result = call("techniques", "--model", model)
    assert f"{model} can have" in result.output and had in result.output
    assert (lacked in result.output) if lacked else ("not " not in result.output)
    listed = json.loads(call("techniques", "--model", model, "--json").output)
    reasons = {entry["name"]: entry["skipped"] for entry in listed}
    assert (reasons["raw_attention"] is not None) == bool(lacked)


def test_techniques_of_a_model_that_is_not_known_are_refused():
    result = call("techniques", "--model", "swim_tiny")
    assert result.exit_code == 2 and "timm" in result.stderr


def test_doctor_says_what_is_there():
    result = call("doctor")
    assert "torch" in result.output and "PDF" in result.output


def test_report_refuses_a_folder_without_a_run(tmp_path):
    result = call("report", tmp_path)
    assert result.exit_code == 3
    assert "is not a run" in result.stderr


@pytest.mark.slow
def test_explain_works_without_weasyprint_and_report_without_torch(pictures, checkpoint, tmp_path):
    output = str(tmp_path / "run")
    lacking = "import sys\nfor name in {}: sys.modules[name] = None"
    code, _, err = finish(
        process(
            "explain", str(pictures), *options(checkpoint), "-o", output,
            before=lacking.format(["weasyprint", "matplotlib"]),
        )
    )  # fmt: skip
    assert code == 0, err
    code, _, err = finish(process("report", output, before=lacking.format(["torch", "timm", "torchvision"])))
    assert code == 0, err
    assert (tmp_path / "run" / "report.pdf").is_file()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
def test_an_interrupted_run_stops_cleanly_and_goes_on(checkpoint, tmp_path):
    pictures = write_pictures(tmp_path / "pictures", 600)
    words = ["explain", str(pictures), *options(checkpoint), "-o", str(tmp_path / "run")]
    started = process(*words)
    wait_for(tmp_path / "run" / "data" / "images" / "part-00000.parquet")
    started.send_signal(signal.SIGINT)
    code, out, err = finish(started)
    assert code == 130, err
    assert "the same command goes on" in err
    kept = tmp_path / "run" / "data" / "images" / "part-00000.parquet"
    moment = kept.stat().st_mtime_ns
    code, out, err = finish(process(*words))
    assert code == 0, err
    assert out.splitlines()[-1] == "explained 600 of 600 images"
    assert kept.stat().st_mtime_ns == moment


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(checkpoint, tmp_path):
    pictures = write_pictures(tmp_path / "pictures", 300)
    (pictures / "broken.jpg").write_bytes(b"no picture")
    words = ["run", str(pictures), *options(checkpoint), "--pdf-images", "3", "-o"]
    began = time.monotonic()
    code, _, err = finish(process(*words, str(tmp_path / "undisturbed")))
    took = time.monotonic() - began
    assert code == 1, err
    moments = random.Random(0)
    output = tmp_path / "disturbed"
    killed = 0
    for _ in range(KILLS):
        started = process(*words, str(output))
        time.sleep(moments.uniform(0.2, 1) * took)
        killed += started.poll() is None
        started.kill()
        finish(started)
    assert killed
    code, _, err = finish(process(*words, str(output)))
    assert code == 1, err
    assert contents(output) == contents(tmp_path / "undisturbed")


def test_a_run_on_a_full_disk_says_so_and_goes_on_when_there_is_room(
    pictures, checkpoint, tmp_path, monkeypatch
):
    written = []

    def full_after_three(number: int) -> None:
        written.append(number)
        if len(written) > 3:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("vitreport.store.folder.os.fsync", full_after_three)
        result = explain(pictures, checkpoint, tmp_path / "run")
    assert result.exit_code == 3
    assert "No space left on device" in result.stderr
    assert "run the same command again" in result.stderr
    assert explain(pictures, checkpoint, tmp_path / "run").exit_code == 0
    assert explain(pictures, checkpoint, tmp_path / "undisturbed").exit_code == 0
    assert contents(tmp_path / "run") == contents(tmp_path / "undisturbed")


def test_no_temporary_file_is_left(pictures, checkpoint, tmp_path):
    assert explain(pictures, checkpoint, tmp_path / "run").exit_code == 0
    assert not [path for path in (tmp_path / "run").rglob("*") if path.name.startswith(".")]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_refused(pictures, checkpoint, tmp_path):
    result = explain(pictures, checkpoint, tmp_path / "run", "--device", "cuda")
    assert result.exit_code == 2
    assert "torch finds no GPU here" in result.stderr


def test_a_run_that_cannot_write_its_pdf_keeps_the_rest_and_says_so(pictures, checkpoint, tmp_path):
    words = ["run", str(pictures), *options(checkpoint), "-o", str(tmp_path / "run")]
    code, out, err = finish(process(*words, before="import sys\nsys.modules['weasyprint'] = None"))
    assert code == 1
    assert "--no-pdf" in err
    assert out.splitlines()[-1] == "explained 5 of 5 images"
    assert (tmp_path / "run" / "report" / "index.html").is_file()


def test_a_name_that_is_not_utf_8_can_be_given(checkpoint, tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    write_pictures(Path(folder), 1)
    code, _, err = finish(process("explain", folder, *options(checkpoint), "-o", str(tmp_path / "run")))
    assert code == 0, err
    assert open_run(tmp_path / "run").images["uri"][0].as_py().endswith("caf\\xe9/picture_000.jpg")


def test_the_same_command_twice_computes_nothing_twice(pictures, checkpoint, tmp_path):
    assert explain(pictures, checkpoint, tmp_path / "run").exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.parquet")}
    assert explain(pictures, checkpoint, tmp_path / "run").exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_copied_run_can_be_reported_elsewhere(pictures, checkpoint, tmp_path):
    assert explain(pictures, checkpoint, tmp_path / "run").exit_code == 0
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    shutil.rmtree(pictures)
    assert call("report", tmp_path / "copy", "--no-pdf").exit_code == 0
    assert (tmp_path / "copy" / "report" / "index.html").is_file()


def wait_for(path: Path, seconds: float = 240) -> None:
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.05)
