"""Models and techniques whose numbers go wrong: undefined is shown as undefined, with the reason."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from pdf_reading import Document
from tiny_model import NAMES, VARIANTS, network
from torch import Tensor, nn

from vitreport.api import build_report, explain
from vitreport.cli import main
from vitreport.errors import SettingsError
from vitreport.explanation import ClassNames
from vitreport.model.load import VisionModel, as_vision_model
from vitreport.settings import RunSettings
from vitreport.store import Run
from vitreport.techniques.attention.raw_attention import RawAttention
from vitreport.techniques.technique import Context

Change = Callable[[nn.Module], object]


def model_of(change: Change, outputs: int | None = None, head: str = "auto") -> VisionModel:
    """A tiny model that is changed; with another number of outputs where that is given."""
    module = network("class_token")
    names = NAMES
    if outputs is not None:
        module.reset_classifier(outputs)  # type: ignore[operator]
        names = ClassNames(tuple(f"output {index}" for index in range(outputs)), origin="the tests")
    change(module)
    size = VARIANTS["class_token"].size
    return as_vision_model(module.eval(), name="tiny", names=lambda count: names, image_size=size, head=head)


def as_it_is(module: nn.Module) -> None:
    pass


def larger(factor: float) -> Change:
    def change(module: nn.Module) -> None:
        with torch.no_grad():
            module.head.weight.mul_(factor)  # type: ignore[union-attr,operator]

    return change


def wrong_for_one_image(value: float) -> Change:
    """The logits of the image with the largest first pixel of its input become a value that is not finite."""

    def change(module: nn.Module) -> None:
        marked: list[Tensor] = []
        module.register_forward_pre_hook(lambda _, given: marked.append(given[0][:, 0, 0, 0] > 0.5))

        def spoil(_: nn.Module, __: Any, logits: Tensor) -> Tensor:
            chosen = marked[-1][:, None]
            return torch.where(chosen & (torch.arange(logits.shape[1]) == 1), value, logits)

        module.register_forward_hook(spoil)

    return change


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    import numpy as np
    from PIL import Image

    folder, random = tmp_path / "pictures", np.random.default_rng(2)
    folder.mkdir()
    for number in range(6):
        pixels = random.integers(0, 200, (40, 44, 3), dtype=np.uint8)
        pixels[:16, :16] = 255 if number == 3 else 0
        Image.fromarray(pixels).save(folder / f"picture_{number}.png")
    return folder


def run_of(
    model: VisionModel,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    pdf: bool = False,
    **changes: Any,
) -> Run:
    monkeypatch.setattr("vitreport.plan.load_model", lambda *_, **__: model)
    asked: dict[str, Any] = {
        "techniques": ("raw_attention", "gradient_rollout", "saliency", "logit_lens"),
        "metrics": ("relevance_gain", "class_sensitivity"),
        "score_images": "all",
        "device": "cpu",
        "batch_size": 4,
    }
    run = explain(RunSettings(images=(str(pictures),), **{**asked, **changes}), tmp_path / "run")
    build_report(tmp_path / "run", pdf=pdf)
    return run


def refuse(name: str) -> None:
    raise AssertionError(f"JSON has {name}")


def texts(root: Path) -> Iterator[tuple[Path, str]]:
    """What a reader sees of each page, and of the PDF."""
    for path in sorted((root / "report").rglob("*.html")):
        shown = re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", " ", path.read_text(), flags=re.DOTALL)
        yield path, html.unescape(shown)
    if (root / "report.pdf").exists():
        yield root / "report.pdf", Document((root / "report.pdf").read_bytes()).text


def no_number(text: str) -> re.Match[str] | None:
    """Where a text says ``nan`` or ``inf``."""
    return re.search(r"(?<![\w-])(nan|-?inf)(?![\w-])", text)


def check_report(root: Path) -> str:
    """Strict JSON everywhere, and no number that is none; gives all that a reader sees."""
    for path in root.rglob("*.json"):
        json.loads(path.read_text(), parse_constant=refuse)
    shown = ""
    for path, text in texts(root):
        assert not no_number(text), path
        shown += text
    return " ".join(shown.split())


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_an_image_for_which_the_model_gives_no_number_is_set_aside_with_the_reason(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    run = run_of(model_of(wrong_for_one_image(value)), pictures, tmp_path, monkeypatch)
    reasons = {Path(row["uri"]).name: row["reason"] for row in run.images.to_pylist()}
    said = "the model gives values that are not finite (NaN or infinite) for this image"
    assert reasons == {f"picture_{number}.png": said if number == 3 else None for number in range(6)}
    assert run.manifest.data.failed == 0
    assert said in check_report(tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "outputs", "head"),
    [
        (larger(1e4), None, "auto"),
        (larger(1e30), None, "auto"),
        (larger(0), None, "auto"),
        (as_it_is, 1, "auto"),
        (larger(1e6), 1, "sigmoid"),
        (as_it_is, 1, "regression"),
        (larger(1e30), 3, "regression"),
        (as_it_is, 2, "softmax"),
        (as_it_is, 2, "sigmoid"),
    ],
    ids=[
        "saturated",
        "near overflow",
        "flat",
        "binary",
        "saturated binary",
        "regression",
        "vast",
        "two",
        "many",
    ],
)
def test_a_model_with_odd_outputs_is_explained_and_reported(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Change,
    outputs: int | None,
    head: str,
) -> None:
    run = run_of(model_of(change, outputs, head), pictures, tmp_path, monkeypatch)
    assert [row["reason"] for row in run.images.to_pylist()] == [None] * 6
    check_report(tmp_path / "run")


def always(value: float) -> Callable[[Sequence[RawAttention], Context], Iterator[Tensor]]:
    def maps(techniques: Sequence[RawAttention], context: Context) -> Iterator[Tensor]:
        yield from [torch.full((len(context.image_ids), *context.model.layout.grid), value)] * len(techniques)

    return maps


def test_maps_that_are_constant_have_no_score_and_say_why(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RawAttention, "attribute_all", always(0.5))
    run_of(model_of(as_it_is), pictures, tmp_path, monkeypatch)
    assert "constant" in check_report(tmp_path / "run")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_maps_that_are_not_finite_have_failed_and_say_why(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    monkeypatch.setattr(RawAttention, "attribute_all", always(value))
    run = run_of(model_of(as_it_is), pictures, tmp_path, monkeypatch)
    assert run.manifest.data.failed == 6
    assert "the map has values that are not finite" in check_report(tmp_path / "run")


def constant_for(name: str) -> Callable[[Sequence[RawAttention], Context], Iterator[Tensor]]:
    return always(0.5) if name == "constant maps" else RawAttention.attribute_all


@pytest.mark.parametrize(
    ("name", "model", "said"),
    [
        ("an image without numbers", lambda: model_of(wrong_for_one_image(torch.nan)), "NaN or infinite"),
        ("constant maps", lambda: model_of(as_it_is), "constant"),
        ("one class", lambda: model_of(larger(1e6), 1, "sigmoid"), "one class, there or not (sigmoid)"),
        ("a value", lambda: model_of(larger(1e30), 1, "regression"), "one value (regression)"),
    ],
)
def test_the_command_line_and_the_pdf_say_what_is_undefined(
    name: str,
    model: Callable[[], VisionModel],
    said: str,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = model()
    monkeypatch.setattr("vitreport.plan.load_model", lambda *_, **__: loaded)
    monkeypatch.setattr(RawAttention, "attribute_all", constant_for(name))
    words = ["run", pictures, "-o", tmp_path / "run", "-t", "raw_attention", "-t", "gradient_rollout"]
    words += ["--metric", "relevance_gain", "--metric", "class_sensitivity", "--score-images", "all"]
    words += ["--device", "cpu", "--batch-size", 4, "--pdf-images", 1]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == (1 if name == "an image without numbers" else 0), result.output
    last = result.output.strip().splitlines()[-1]
    usable = 5 if name == "an image without numbers" else 6
    assert last.startswith(f"explained {usable} of 6 images") and not no_number(result.output)
    check_report(tmp_path / "run")
    words = Document((tmp_path / "run" / "report.pdf").read_bytes()).text
    assert said in " ".join(words.split())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"targets": ("99",)}, "target 99 is no class of this model; classes are 0 to 4"),
        ({"targets": ("-1",)}, "target -1 is no class of this model"),
        ({"targets": ("",)}, "unknown target ''"),
        ({"targets": ("9" * 40,)}, "is no class of this model"),
    ],
)
def test_a_target_out_of_range_is_refused(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)):
        run_of(model_of(as_it_is), pictures, tmp_path, monkeypatch, **changes)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (b"path,label\npicture_0.png,99\n", "label 99 in row 2 of .* is out of range"),
        (b"path,label\npicture_0.png,-1\n", "label -1 in row 2 of .* is out of range"),
        (b"path,label\npicture_0.png,\xff\n", "is not UTF-8 text"),
        (b"\xff\xfep\0a\0t\0h\0", "is not UTF-8 text"),
        (b"path\n\0picture_0.png\n", "none of the files .* exists|not a readable CSV"),
        (b"path\n" + b"x" * 200_000 + b"\n", "not a readable CSV file: field larger than"),
        (b'path\n"picture_0.png\n', "not a readable CSV"),
        (b"path,path\npicture_0.png,picture_1.png\n", "has the column 'path' twice"),
        (b"path\n/dev/zero/x\n/proc/nothing\n", "none of the files"),
        (b"path,label\npicture_0.png,1,2,3\n", "row 2 of .* has 4 cells"),
    ],
)
def test_a_broken_table_is_refused_in_one_line(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: bytes, said: str
) -> None:
    (pictures / "table.csv").write_bytes(rows)
    with pytest.raises(SettingsError, match=said) as caught:
        run_of(model_of(as_it_is), pictures / "table.csv", tmp_path, monkeypatch)
    assert "\n" not in str(caught.value)


def test_a_table_with_hostile_rows_quarantines_them_and_explains_the_rest(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    rows = ["picture_0.png,0", "picture_0.png,0", "picture_1.png,", "../secret.txt,1", "/dev/zero,1", ".,2"]
    rows += [
        "../pictures/picture_1.png,",
        "nowhere.png,3",
        "a\x00b.png,3",
        "~/picture_2.png,4",
        f"{'n' * 5000}.png,1",
    ]
    (pictures / "table.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    run = run_of(model_of(as_it_is), pictures / "table.csv", tmp_path, monkeypatch)
    found = {row["uri"].removeprefix(f"{pictures}/"): row["reason"] for row in run.images.to_pylist()}
    assert {name for name, reason in found.items() if reason is None} == {"picture_0.png", "picture_1.png"}
    assert found["../secret.txt"].startswith("not an image")
    assert found["nowhere.png"] == "no such file"
    assert len(found) == 9
    assert "secret\n" not in check_report(tmp_path / "run")
