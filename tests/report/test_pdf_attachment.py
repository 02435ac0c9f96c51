"""``results.json`` equals the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from synthetic_run import FAILURE, write_run

from vitreport.report.pdf_attachment import results
from vitreport.store import Run, open_run
from vitreport.store.folder import technique_part


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(write_run(tmp_path / "run", 5, uris=("photos/名 😀.jpg",)))


def read(run: Run) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(results(run))
    return body


def test_every_image_has_the_predictions_and_targets_of_the_store(run: Run) -> None:
    body = read(run)
    stored = run.images.to_pylist()
    assert [image["id"] for image in body["images"]] == [row["id"] for row in stored]
    for image, row in zip(body["images"], stored, strict=True):
        for name in ("uri", "sha256", "label", "group", "status", "reason"):
            assert image[name] == row[name]
        assert [entry["class"] for entry in image["predictions"]] == row["top_index"]
        assert [entry["probability"] for entry in image["predictions"]] == row["top_probability"]
        assert [entry["class"] for entry in image["targets"]] == row["targets"]
        assert [entry["probability"] for entry in image["targets"]] == row["target_probability"]
        names = run.manifest.model.class_names
        assert all(entry["name"] == names[entry["class"]] for entry in image["predictions"])


def test_every_image_lists_the_techniques_that_gave_a_result(run: Run) -> None:
    keys = [record.key for record in run.techniques]
    for image in read(run)["images"]:
        assert image["techniques"] == ([] if image["status"] == "quarantined" else keys)
        assert image["failed"] == []


def test_a_failed_map_is_listed_as_failed_and_not_as_given(run: Run) -> None:
    record = run.technique("gradient_rollout")
    path = technique_part(record, 0)
    rows = run.folder.read_table(path).to_pylist()
    for row in rows[:2]:
        row.update(map=None, rows=None, cols=None, error="out of memory")
    run.folder.write_table(path, pa.Table.from_pylist(rows, schema=run.folder.read_table(path).schema))
    image = next(image for image in read(run)["images"] if image["id"] == rows[0]["id"])
    assert record.key not in image["techniques"]
    assert image["failed"] == [
        {"technique": record.key, "target": row["target"], "error": "out of memory"} for row in rows[:2]
    ]


@pytest.mark.parametrize("name", ["class_attention", "qkv"])
def test_a_failed_observation_is_listed_as_failed_and_not_as_given(name: str, tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "failed", 2, quarantined=0, failing=(name,)))
    for image in read(run)["images"]:
        assert name not in image["techniques"]
        assert image["failed"] == [{"technique": name, "target": None, "error": FAILURE}]


def test_it_names_the_run_the_model_and_the_settings_of_every_technique(run: Run) -> None:
    body = read(run)
    assert (body["format"], body["version"]) == ("vitreport results", 1)
    assert body["run_digest"] == run.manifest.run_digest
    assert body["command"] == run.manifest.command
    assert body["model"]["weights_sha256"] == run.manifest.model.weights_sha256
    assert [entry["key"] for entry in body["techniques"]] == [record.key for record in run.techniques]
    assert [entry["parameters"] for entry in body["techniques"]] == [
        dict(record.parameters) for record in run.techniques
    ]


def test_it_is_ascii_and_the_same_every_time(run: Run) -> None:
    content = results(run)
    assert content.isascii()
    assert content == results(open_run(run.folder.root))
