from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitreport.errors import SettingsError
from vitreport.model.class_names import class_names

NAMES = ("red fox", "grey wolf", "otter")


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return tmp_path / "labels.json"


def test_imagenet_classes_have_names_and_wordnet_ids() -> None:
    classes = class_names(1000, None, None)
    assert classes.names[282] == "tiger cat"
    assert classes.wordnet_ids[282] == "n02123159"
    assert classes.index_of("n02123159") == classes.index_of("Tiger cat") == 282
    assert len(classes.names) == len(classes.wordnet_ids) == 1000
    assert "imagenet-1k" in classes.origin


def test_classes_of_another_number_are_numbered() -> None:
    classes = class_names(3, None, None)
    assert classes.names == ("class 0", "class 1", "class 2")
    assert "numbered" in classes.origin


@pytest.mark.parametrize(
    "text",
    [
        "red fox\ngrey wolf\notter\n",
        "\ufeff\n  red fox \r\ngrey wolf\r\n\r\notter",
    ],
)
def test_a_text_file_has_one_name_a_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(text, encoding="utf-8")
    classes = class_names(3, tmp_path / "names.txt", None)
    assert classes.names == NAMES
    assert classes.origin == "the file names.txt"


@pytest.mark.parametrize(
    "content",
    [
        list(NAMES),
        {"2": "otter", "0": "red fox", "1": "grey wolf"},
        {"id2label": {"0": "red fox", "1": "grey wolf", "2": "otter"}, "hidden_size": 3},
        {"class_names": list(NAMES)},
        {"label_names": list(NAMES)},
        {"pretrained_cfg": {"label_names": list(NAMES), "crop_pct": 0.9}},
        {"label_names": ["f", "w", "o"], "label_descriptions": dict(zip("fwo", NAMES, strict=True))},
    ],
    ids=["list", "by-index", "transformers", "names", "timm", "timm-nested", "timm-described"],
)
def test_json_in_every_usual_form_is_read(content: object, labels: Path) -> None:
    labels.write_text(json.dumps(content))
    assert class_names(3, labels, None).names == NAMES


def test_wordnet_ids_get_their_words(labels: Path) -> None:
    labels.write_text(json.dumps(["n02123159", "n99999999"]))
    classes = class_names(2, labels, None)
    assert classes.wordnet_ids == ("n02123159", "n99999999")
    assert "tiger cat" in classes.names[0]
    assert classes.names[1] == "n99999999"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('["one", "two"]', "has 2 names, the model has 3 classes"),
        ("{broken", "not valid JSON"),
        ('{"3": "x"}', "holds no class names"),
        ('{"learning_rate": 1}', "holds no class names"),
        ("7", "holds no class names"),
        ("[]", "holds no class names"),
    ],
)
def test_a_labels_file_that_does_not_fit_is_refused(text: str, said: str, labels: Path) -> None:
    labels.write_text(text)
    with pytest.raises(SettingsError, match=said):
        class_names(3, labels, None)


def test_a_labels_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    for name in ("nowhere.txt", "latin.txt"):
        with pytest.raises(SettingsError, match=f"cannot read class names from .*{name}"):
            class_names(3, tmp_path / name, None)


@pytest.mark.parametrize(
    "name", ["model.labels.txt", "model.json", "config.json", "labels.txt", "class_names.txt", "classes.txt"]
)
def test_a_file_beside_the_checkpoint_gives_names(name: str, tmp_path: Path) -> None:
    text = json.dumps(NAMES) if name.endswith("json") else "\n".join(NAMES)
    (tmp_path / name).write_text(text)
    classes = class_names(3, None, tmp_path / "model.safetensors")
    assert classes.names == NAMES
    assert classes.origin == f"the file {name} beside the checkpoint"


def test_a_neighbour_with_another_number_of_names_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('["one", "two"]')
    (tmp_path / "classes.txt").write_text("\n".join(NAMES))
    assert class_names(3, None, tmp_path / "model.pt").names == NAMES


def test_the_users_file_goes_before_the_neighbours(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    (tmp_path / "mine.txt").write_text("\n".join(NAMES))
    assert class_names(3, tmp_path / "mine.txt", tmp_path / "model.pt").names == NAMES


def test_a_model_without_a_classifier_has_no_names(tmp_path: Path) -> None:
    assert class_names(0, None, None).names == ()
    (tmp_path / "names.txt").write_text("cat\n")
    with pytest.raises(SettingsError, match=r"no classifier, .* leave .*names\.txt out"):
        class_names(0, tmp_path / "names.txt", None)


def test_the_outputs_of_a_regression_are_numbered_as_outputs() -> None:
    assert class_names(2, None, None, noun="output").names == ("output 0", "output 1")
