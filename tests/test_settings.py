from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from vitreport.errors import SettingsError
from vitreport.settings import (
    RunSettings,
    TechniqueSpec,
    digest,
    format_parameter,
    parse_image_size,
    parse_parameter,
    read_config,
)


@pytest.mark.parametrize(
    ("text", "name", "parameters"),
    [
        ("raw_attention", "raw_attention", {}),
        ("raw_attention:", "raw_attention", {}),
        (" rollout : fusion = max , ratio=0.9 ", "rollout", {"fusion": "max", "ratio": 0.9}),
        (
            "a:x=1,y=-2.5e-3,z=true,w=False,v=word",
            "a",
            {"x": 1, "y": -0.0025, "z": True, "w": False, "v": "word"},
        ),
        ("a:x=", "a", {"x": ""}),
        ("a:x=b=c", "a", {"x": "b=c"}),
    ],
)
def test_a_technique_is_read_with_its_parameters(text: str, name: str, parameters: dict[str, Any]) -> None:
    spec = TechniqueSpec.parse(text)
    assert spec.name == name
    assert dict(spec.parameters) == parameters
    assert [type(value) for _, value in spec.parameters] == [
        type(parameters[key]) for key in sorted(parameters)
    ]


@pytest.mark.parametrize("text", ["a:max", "a:=max", "a:x=1,max", "a: =1"])
def test_a_parameter_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is not key=value; write it like attention_rollout:fusion=max"):
        TechniqueSpec.parse(text)


def test_a_parameter_given_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match="'fusion' is given twice"):
        TechniqueSpec.parse("a:fusion=max,fusion=min")


def test_the_order_of_parameters_does_not_matter() -> None:
    one, other = TechniqueSpec.parse("a:x=1,b=2"), TechniqueSpec.parse("a:b=2,x=1")
    assert one == other
    assert str(one) == str(other) == "a:b=2,x=1"
    assert TechniqueSpec.parse(str(one)) == one


@pytest.mark.parametrize("value", [True, False, 0, -7, 0.1, 1e-7, 2.0, 1e300, "word", "patches"])
def test_a_parameter_is_written_as_it_is_read(value: Any) -> None:
    again = parse_parameter(format_parameter(value))
    assert again == value
    assert type(again) is type(value)


def test_digests_are_of_values_and_not_of_their_order() -> None:
    assert digest({"a": 1, "b": [2, "ü"]}) == digest({"b": [2, "ü"], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2}) != digest({"a": "2"})
    assert digest("x", 8) == digest("x")[:8]
    assert len(digest(None)) == 64


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("224", (224, 224)),
        ("224x320", (224, 320)),
        ("224X320", (224, 320)),
        (224, (224, 224)),
        ([2, 3], (2, 3)),
    ],
)
def test_an_image_size_is_read_as_height_and_width(value: object, expected: tuple[int, int]) -> None:
    assert parse_image_size(value) == expected


@pytest.mark.parametrize("value", ["big", "1x2x3", "", "x", [], [1, 2, 3], "22.5", None])
def test_what_is_no_image_size_is_refused(value: object) -> None:
    with pytest.raises(SettingsError, match="write it like 224 or 224x320"):
        parse_image_size(value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"images": []}, "no images given"),
        ({"model": ""}, "no model given"),
        ({"techniques": []}, "no technique given"),
        ({"targets": []}, "no target given"),
        ({"batch_size": 0}, "batch size is 0; it must be 'auto' or at least 1"),
        ({"batch_size": "many"}, "batch size is 'many'; it must be a whole number"),
        ({"batch_size": 2.5}, "batch size is '2.5'; it must be a whole number"),
        ({"batch_size": True}, "batch size is 'True'; it must be a whole number"),
        ({"batch_size": None}, "batch size is 'None'; it must be a whole number"),
        ({"limit": 0}, "limit is 0; it must be at least 1"),
        ({"limit": "auto"}, "limit is 'auto'; it must be a whole number"),
        ({"seed": "auto"}, "seed is 'auto'; it must be a whole number"),
        ({"seed": None}, "seed is 'None'; it must be a whole number"),
        ({"image_size": "0"}, "write it like 224x320"),
        ({"image_size": "big"}, "write it like 224"),
        ({"device": "tpu"}, "device is 'tpu'; allowed: auto, cpu, cuda"),
        ({"device": 3}, "device is '3'; allowed"),
        ({"pixel_maps": "float64"}, "pixel maps is 'float64'; allowed: none, float16, float32"),
        ({"precision": "half"}, "precision is 'half'; allowed: auto, float32, float16, bfloat16"),
        ({"head": "probit"}, "head is 'probit'; allowed: auto, softmax, sigmoid, regression"),
        ({"model": 5}, "model is 5; it must be a text"),
        ({"checkpoint": ["a.pt"]}, "checkpoint is ['a.pt']; it must be a text"),
        ({"model_card": 1}, "model card is 1; it must be a text"),
        ({"techniques": ["rollout:max"]}, "'max' is not key=value"),
        ({"modle": "x"}, "unknown setting 'modle'; did you mean 'model'?"),
        ({"§": 1}, "unknown setting '§'"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_used_is_refused_in_words(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        RunSettings.from_mapping({"images": ["photos"], **values})
    assert said in str(caught.value)


def test_settings_without_images_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"settings do not fit: .*images"):
        RunSettings.from_mapping({})


def test_one_value_stands_for_a_list_of_one() -> None:
    settings = RunSettings.from_mapping({"images": "photos", "techniques": "random", "targets": 243})
    assert (settings.images, settings.techniques, settings.targets) == (("photos",), ("random",), ("243",))


def test_paths_and_numbers_in_a_notebook_become_texts() -> None:
    settings = RunSettings(images=(Path("photos"),), checkpoint=Path("a.pt"), targets=[1, "label"])  # type: ignore[arg-type]
    assert (settings.images, settings.checkpoint, settings.targets) == (("photos",), "a.pt", ("1", "label"))
    assert RunSettings(images="photos").images == ("photos",)  # type: ignore[arg-type]
    json.dumps(settings.to_mapping())


FULL: dict[str, Any] = {
    "images": ["photos", "more photos/it's.csv"],
    "model": "deit_tiny_patch16_224",
    "checkpoint": "weights.safetensors",
    "labels": "names.txt",
    "model_card": "card.toml",
    "image_size": [224, 320],
    "head": "sigmoid",
    "metrics": ["relevance_gain:steps=5"],
    "score_images": 40,
    "masks": "masks",
    "inspect": 3,
    "techniques": ["core", "attention_rollout:fusion=max"],
    "targets": ["predicted", "tiger cat"],
    "pixel_maps": "float16",
    "batch_size": 8,
    "device": "cpu",
    "precision": "bfloat16",
    "seed": 3,
    "limit": 10,
}


def test_settings_come_back_from_plain_values() -> None:
    settings = RunSettings.from_mapping(FULL)
    assert json.loads(json.dumps(settings.to_mapping())) == FULL
    assert RunSettings.from_mapping(settings.to_mapping()) == settings
    assert settings.image_size == (224, 320)


def test_the_default_settings_come_back_from_plain_values() -> None:
    settings = RunSettings(images=("photos",))
    assert RunSettings.from_mapping(settings.to_mapping()) == settings


def test_the_command_names_all_that_is_not_default_and_survives_a_shell() -> None:
    words = shlex.split(RunSettings.from_mapping(FULL).command())
    assert words[:4] == ["vitreport", "run", "photos", "more photos/it's.csv"]
    for option, value in (
        ("--model", "deit_tiny_patch16_224"),
        ("--checkpoint", "weights.safetensors"),
        ("--image-size", "224x320"),
        ("--head", "sigmoid"),
        ("--target", "predicted,tiger cat"),
        ("--batch-size", "8"),
        ("--pixel-maps", "float16"),
        ("--precision", "bfloat16"),
        ("--seed", "3"),
        ("--limit", "10"),
        ("--model-card", "card.toml"),
        ("--metric", "relevance_gain:steps=5"),
        ("--score-images", "40"),
    ):
        assert words[words.index(option) + 1] == value
    assert [words[place + 1] for place, word in enumerate(words) if word == "--technique"] == FULL[
        "techniques"
    ]
    assert words[-2:] == ["-o", "RUN"]


def test_the_command_of_default_settings_is_short() -> None:
    assert RunSettings(images=("photos",)).command() == (
        "vitreport run photos --model vit_base_patch16_224 -o RUN"
    )


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunSettings(images=("photos",)).seed = 4  # type: ignore[misc]


def test_a_config_is_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(
        'images = ["photos"]\nbatch_size = "auto"\nimage_size = "32x48"\nseed = 4\npixel_maps = "float32"\n'
    )
    settings = RunSettings.from_mapping(read_config(path))
    assert (settings.batch_size, settings.image_size, settings.seed) == ("auto", (32, 48), 4)
    assert settings.pixel_maps == "float32"


def test_a_config_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("images = [")
    (tmp_path / "latin.toml").write_bytes(b'model = "caf\xe9"')
    with pytest.raises(SettingsError, match=r"cannot read the config .*nowhere"):
        read_config(tmp_path / "nowhere.toml")
    for name in ("bad", "latin"):
        with pytest.raises(SettingsError, match=rf"{name}\.toml is not valid TOML"):
            read_config(tmp_path / f"{name}.toml")
    with pytest.raises(SettingsError, match="cannot read the config"):
        read_config(tmp_path)
