from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from synthetic_run import technique_record, write_run

from vitreport.errors import StoreError
from vitreport.settings import TechniqueSpec
from vitreport.store import Manifest, RunFolder


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return RunFolder(write_run(tmp_path_factory.mktemp("run") / "run")).manifest()


def test_a_manifest_comes_back_as_it_was_written(manifest: Manifest) -> None:
    changed = dataclasses.replace(
        manifest,
        command="vitreport run 'Bilder/Kätzchen 猫'",
        data=dataclasses.replace(manifest.data, notices=("one", "two"), failed=3),
    )
    for one in (manifest, changed):
        assert Manifest.from_json(one.to_json(), "here") == one
        assert Manifest.from_json(one.to_json(), "here").to_json() == one.to_json()


def test_a_manifest_is_readable_and_in_a_fixed_order(manifest: Manifest) -> None:
    text = manifest.to_json()
    assert text.endswith("}\n")
    body = json.loads(text)
    assert (body["format"], body["version"]) == ("vitreport run", 2)
    assert list(body) == sorted(body)
    shuffled = dataclasses.replace(manifest, bound=dict(reversed(manifest.bound.items())))
    assert shuffled.to_json() == text


def test_the_classes_of_the_model_come_back(manifest: Manifest) -> None:
    assert manifest.model.classes.names == manifest.model.class_names
    assert manifest.model.classes.origin == manifest.model.class_names_origin


def test_a_manifest_of_before_heads_were_recorded_is_one_of_a_softmax(manifest: Manifest) -> None:
    body = _body(manifest)
    del body["model"]["head"]
    assert Manifest.from_json(json.dumps(body), "here").model.head == "softmax"


@pytest.mark.parametrize(
    ("head", "classes", "tells"),
    [
        ("softmax", 2, True),
        ("sigmoid", 2, True),
        ("sigmoid", 1, False),
        ("regression", 2, False),
        ("none", 0, False),
    ],
)
def test_only_several_classes_can_be_told_apart(
    head: Any, classes: int, tells: bool, manifest: Manifest
) -> None:
    model = dataclasses.replace(manifest.model, head=head, class_names=("a", "b")[:classes])
    assert model.tells_classes is tells


def _body(manifest: Manifest) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(manifest.to_json())
    return body


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "7", "null", '"vitreport run"', "{}", '{"format": "other"}']
)
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(
        StoreError, match=r"/run/manifest.json is not (valid JSON|the manifest of a vitreport run)"
    ):
        Manifest.from_json(text, "/run/manifest.json")


@pytest.mark.parametrize("version", [0, 1, 3, None, "2"])
def test_another_version_is_refused_with_both(version: object, manifest: Manifest) -> None:
    text = json.dumps(_body(manifest) | {"version": version})
    with pytest.raises(StoreError, match=f"here has version {version}; this vitreport reads version 2"):
        Manifest.from_json(text, "here")


@pytest.mark.parametrize("name", ["model", "data", "techniques", "run_digest", "bound", "environment"])
def test_a_missing_field_is_refused(name: str, manifest: Manifest) -> None:
    body = _body(manifest)
    del body[name]
    with pytest.raises(StoreError, match=f"here cannot be read: {name} is missing"):
        Manifest.from_json(json.dumps(body), "here")


@pytest.mark.parametrize(
    "change",
    [
        {"colour": 1},
        {"model": None},
        {"model": []},
        {"model": {"name": "x"}},
        {"data": {}},
        {"data": 3},
        {"techniques": None},
        {"techniques": [1]},
        {"techniques": ["key"]},
        {"techniques": [{"key": "x"}]},
        {"techniques": 5},
    ],
    ids=str,
)
def test_a_field_of_the_wrong_shape_is_refused(change: dict[str, Any], manifest: Manifest) -> None:
    with pytest.raises(StoreError, match="here cannot be read: "):
        Manifest.from_json(json.dumps(_body(manifest) | change), "here")


def test_unknown_fields_inside_are_refused(manifest: Manifest) -> None:
    for name in ("model", "data"):
        body = _body(manifest)
        body[name]["colour"] = "red"
        with pytest.raises(StoreError, match="colour"):
            Manifest.from_json(json.dumps(body), "here")


def test_a_record_answers_to_its_parameters_given_or_not() -> None:
    default = technique_record("attention_rollout")
    maximum = technique_record("attention_rollout", fusion="max")
    for text, expected in (
        ("attention_rollout", default),
        ("attention_rollout:fusion=mean", default),
        ("attention_rollout:discard_ratio=0", default),
        ("attention_rollout:fusion=max", maximum),
        ("attention_rollout:fusion=max,discard_ratio=0.0,discard=patches", maximum),
    ):
        answering = [one for one in (default, maximum) if one.answers(TechniqueSpec.parse(text))]
        assert answering == [expected], text
    for text in ("attention_rollout:fusion=min", "rollout", "attention_rollout:colour=1"):
        assert not default.answers(TechniqueSpec.parse(text))
