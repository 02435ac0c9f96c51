"""Models that are no single-label classifiers, from the weights to the report."""

from __future__ import annotations

import copy
import csv
import html
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from tiny_model import disturb

from vitreport import RunSettings, build_report, explain, open_run
from vitreport.cli import main
from vitreport.errors import SettingsError
from vitreport.explanation import ClassNames
from vitreport.images.decode import decode
from vitreport.model.load import VisionModel, as_vision_model, load_model
from vitreport.store import Run

MODEL = "test_vit"
SIZE = 48
ROUNDING = 2e-5
"""How far float32 may lie from float64 on `network`.

Of 192 inputs maps differ by 9e-7 of their maximum at most, and outputs, which are of the order of 1, by 8e-7.
"""
TECHNIQUES = ("raw_attention", "gradient_rollout", "saliency", "class_attention", "qkv")


def network(outputs: int) -> torch.nn.Module:
    torch.manual_seed(outputs)
    module: torch.nn.Module = timm.create_model(MODEL, num_classes=outputs, img_size=SIZE)
    disturb(module, spread=0.1)
    return module.eval()


def checkpoint(folder: Path, outputs: int) -> Path:
    path = folder / f"outputs-{outputs}.safetensors"
    save_file(network(outputs).state_dict(), path)
    return path


@pytest.fixture
def backbone(monkeypatch: pytest.MonkeyPatch) -> VisionModel:
    """A model without a head; every name loads it."""
    model = as_vision_model(network(0), name="backbone", names=lambda count: ClassNames(()))
    monkeypatch.setattr("vitreport.plan.load_model", lambda *_, **__: model)
    return model


def settings(images: Path, **given: Any) -> RunSettings:
    fixed = {"model": MODEL, "techniques": TECHNIQUES, "metrics": ("none",), "device": "cpu", "batch_size": 2}
    return RunSettings(images=(str(images),), **{**fixed, **given})


def table(pictures: Path, labels: list[str]) -> Path:
    """A CSV that gives the pictures these labels."""
    path = pictures / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows(zip((f"{number}.png" for number in range(5)), labels, strict=True))
    return path


def outputs_of(model: VisionModel, row: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels of an image and the model's outputs for them, in float64 and open to gradients."""
    prepared, _ = model.preparation(decode(Path(row["uri"])))
    pixels = prepared.double().requires_grad_()
    return pixels, copy.deepcopy(model.module).double()(pixels[None])[0]


def check_gradient(run: Run, model: VisionModel, row: dict[str, Any], target: int) -> None:
    """The saliency map is that of the output which the report calls the explained one."""
    pixels, outputs = outputs_of(model, row)
    (gradient,) = torch.autograd.grad(outputs[target], pixels)
    found = run.map(row["id"], "saliency", target)
    rows, cols = found.shape
    patches = gradient.abs().amax(0).reshape(rows, SIZE // rows, cols, SIZE // cols).sum((1, 3)).numpy()
    assert np.abs(found - patches).max() <= ROUNDING * patches.max()


@pytest.mark.parametrize(
    ("outputs", "asked", "head"),
    [
        (4, "auto", "softmax"),
        (4, "sigmoid", "sigmoid"),
        (1, "auto", "sigmoid"),
        (1, "regression", "regression"),
        (3, "regression", "regression"),
    ],
)
def test_scores_and_targets_are_those_of_the_head(
    outputs: int, asked: str, head: str, pictures: Path, tmp_path: Path
) -> None:
    weights = checkpoint(tmp_path, outputs)
    asked_for = settings(pictures, checkpoint=str(weights), head=asked, targets=("top2",))
    run = explain(asked_for, tmp_path / "run")
    model = load_model(MODEL, checkpoint=weights, head=asked)
    record = run.manifest.model
    assert (record.head, len(record.class_names)) == (head, outputs)
    assert record.class_names[0] == ("output 0" if head == "regression" else "class 0")
    assert record.explained == model.head.explained(outputs)
    assert run.manifest.bound["head"] == head
    assert run.manifest.data.failed == 0
    assert not any(technique.skipped for technique in run.techniques)
    for row in run.images.to_pylist():
        given = outputs_of(model, row)[1].detach()
        expected = {"softmax": given.softmax(0), "sigmoid": given.sigmoid(), "regression": given}[head]
        order = given.argsort(descending=True).tolist()
        assert row["top_index"] == order[:5]
        assert row["top_probability"] == pytest.approx(expected[order][:5].tolist(), abs=ROUNDING)
        assert row["targets"] == order[:2]
        for target in row["targets"]:
            check_gradient(run, model, row, target)
    index = build_report(tmp_path / "run", pdf=False).read_text("utf-8")
    assert record.explained in html.unescape(index)


def test_a_backbone_has_the_maps_that_need_no_class_and_says_why_not_the_others(
    backbone: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    run = explain(settings(pictures, techniques=("all",)), tmp_path / "run")
    assert run.manifest.model.head == "none"
    assert run.manifest.data.failed == 0
    skipped = {record.name for record in run.techniques if record.skipped}
    ran = {record.name for record in run.techniques} - skipped
    assert {"raw_attention", "attention_rollout", "class_attention", "centre", "random"} <= ran
    assert skipped == {record.name for record in run.techniques if record.class_specific} | {"logit_lens"}
    assert all("no classifier" in str(record.skipped) for record in run.techniques if record.name in skipped)
    for row in run.images.to_pylist():
        assert row["top_index"] == row["targets"] == []
        assert run.map(row["id"], "raw_attention").shape == backbone.layout.grid
    build_report(tmp_path / "run", pdf=False)
    page = (tmp_path / f"run/report/images/{row['id']}.html").read_text("utf-8")
    assert "The model has no classifier, so nothing is predicted." in page
    for name in skipped:
        assert f'href="../techniques/{name}.html"' in page


@pytest.mark.parametrize(
    ("outputs", "head", "labels"),
    [
        (1, "auto", ["0", "1", "1", "0", ""]),
        (1, "regression", ["31", "7", "7", "80", "2.5"]),
        (3, "regression", ["0", "1", "2", "0", "1"]),
    ],
)
def test_labels_that_are_no_classes_are_groups_and_give_no_verdict(
    outputs: int, head: str, labels: list[str], pictures: Path, tmp_path: Path
) -> None:
    weights = checkpoint(tmp_path, outputs)
    chosen = settings(table(pictures, labels), checkpoint=str(weights), head=head)
    run = explain(chosen, tmp_path / "run")
    rows = {Path(row["uri"]).stem: row for row in run.images.to_pylist()}
    assert [rows[str(number)]["label"] for number in range(5)] == [None] * 5
    assert [rows[str(number)]["group"] or "" for number in range(5)] == labels
    assert "used as a group" in " ".join(run.manifest.data.notices)
    index = build_report(tmp_path / "run", pdf=False).read_text("utf-8")
    assert ">wrong<" not in index and ">correct<" not in index
    with pytest.raises(SettingsError, match="labels are no outputs of this model"):
        explain(settings(pictures, checkpoint=str(weights), head=head, targets=("label",)), tmp_path / "b")


def test_a_label_is_held_against_the_likeliest_of_several_sigmoids(pictures: Path, tmp_path: Path) -> None:
    weights = checkpoint(tmp_path, 3)
    images = table(pictures, ["0", "1", "2", "0", "1"])
    run = explain(settings(images, checkpoint=str(weights), head="sigmoid"), tmp_path / "run")
    rows = run.images.to_pylist()
    right = sum(row["label"] == row["top_index"][0] for row in rows)
    index = build_report(tmp_path / "run", pdf=False).read_text("utf-8")
    assert f"Its likeliest class is the label on {right} of 5 labelled images" in index


def test_the_command_line_takes_a_head_and_writes_both_reports(pictures: Path, tmp_path: Path) -> None:
    weights = checkpoint(tmp_path, 1)
    (tmp_path / "names.txt").write_text("age\n")
    given = ["--model", MODEL, "--checkpoint", str(weights), "--labels", str(tmp_path / "names.txt")]
    words = [
        "run",
        str(pictures),
        *given,
        "--head",
        "regression",
        "--device",
        "cpu",
        "-o",
        str(tmp_path / "run"),
    ]
    result = CliRunner().invoke(
        main, [*words, "-t", "raw_attention", "-t", "saliency"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    run = open_run(tmp_path / "run")
    assert "--head regression" in run.manifest.command
    assert run.manifest.settings["head"] == "regression"
    assert (tmp_path / "run" / "report.pdf").read_bytes().startswith(b"%PDF")
    row = run.images.to_pylist()[0]
    raw = json.loads((tmp_path / f"run/report/images/{row['id']}.json").read_text("utf-8"))
    assert raw["predictions"] == [
        {"class": 0, "name": "age", "value": pytest.approx(row["top_probability"][0])}
    ]


def test_what_a_head_cannot_be_is_one_clear_line(pictures: Path, tmp_path: Path) -> None:
    given = ["explain", str(pictures), "--model", MODEL, "--checkpoint", str(checkpoint(tmp_path, 1))]
    result = CliRunner().invoke(main, [*given, "--head", "softmax", "-o", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "vitreport: the model has one output, whose softmax is always 1; "
        "--head takes sigmoid or regression here"
    )


def test_a_backbone_has_no_class_to_ask_for(backbone: VisionModel, pictures: Path, tmp_path: Path) -> None:
    for target in ("label", "top2", "0", "cat"):
        with pytest.raises(SettingsError, match=f"target '{target}' .* no classifier"):
            explain(settings(pictures, targets=(target,)), tmp_path / "run")
