"""What is read of observations, and how it is put into words and pictures."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_run import CLASSES, technique_record, write_run

from vitreport.report.image_data import patch_script
from vitreport.report.image_page import LensView
from vitreport.report.observation_reading import lens_view, norms_view, patch_view
from vitreport.report.pictures import norm_pictures
from vitreport.store import ModelRecord, RunFolder
from vitreport.store.schema import observations_table


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelRecord:
    return RunFolder(write_run(tmp_path_factory.mktemp("model") / "run", 1)).manifest().model


def lens(model: ModelRecord, *first: int, scores: tuple[float, ...] = (0.5,)) -> LensView:
    """One that keeps one class; these are ahead after each block."""
    record = technique_record("logit_lens", "observation")
    kept = np.resize(np.float32(scores), len(first))
    row = {"id": "0", "blocks": len(first), "classes": [first[-1]], "logits": kept, "scores": kept}
    return lens_view(record, observations_table([{**row, "first": list(first)}], record.columns), model)


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ((3, 3, 3), "ahead after every block"),
        ((1, 1, 3), "ahead only after the last block, block 2"),
        ((1, 3, 3), "ahead from block 1 on"),
        ((3, 1, 3), "first ahead after block 0, and again after the last block, block 2"),
        ((1, 3, 1, 3, 3), "first ahead after block 1 and stays ahead from block 3 on"),
        ((3,), "ahead after every block"),
    ],
)
def test_where_the_prediction_emerges_is_a_sentence(
    first: tuple[int, ...], words: str, model: ModelRecord
) -> None:
    assert lens(model, *first).emergence == f"The final prediction, {CLASSES[3]}, is {words}."


def test_values_have_no_prediction(model: ModelRecord) -> None:
    values = replace(model, head="regression")
    said = lens(values, 1, 3).emergence
    assert said == "The output that is largest in the end, star, is ahead only after the last block, block 1."
    one = replace(values, class_names=("age",))
    said = lens(one, 0, 0, scores=(3, 42.5)).emergence
    assert said == "The value of age is 3.00 after block 0 and 42.5 after the last block, block 1."


@pytest.mark.parametrize(
    ("readout", "prefix", "names"),
    [
        ("class token", 1, ("class token",)),
        ("class token", 3, ("class token", "prefix token 1", "prefix token 2")),
        ("mean of class and distillation token", 2, ("class token", "distillation token")),
        ("mean of the patch tokens", 2, ("prefix token 0", "prefix token 1")),
        ("mean of the patch tokens", 0, ()),
    ],
)
def test_prefix_tokens_have_the_names_that_are_known(
    readout: str, prefix: int, names: tuple[str, ...], model: ModelRecord, tmp_path: Path
) -> None:
    record = technique_record("token_norms", "observation")
    shape = {"blocks": 2, "prefix": prefix, "rows": 2, "cols": 3}
    norms = {"prefix_values": np.arange(2 * prefix), "values": [0.5] * 6 + [1, 2, 3, 9, 5, 6]}
    part = observations_table([{"id": "0", **shape, **norms}], record.columns)
    view = norms_view(record, part, replace(model, readout=readout))
    assert view.prefix == names
    assert view.prefix_text(1).count(";") == max(0, prefix - 1)
    flat, drawn = norm_pictures(view, lambda suffix, content: pytest.fail(suffix))
    assert flat.own is None and flat.trouble == "No picture: constant."
    assert drawn.own is not None and drawn.note == view.prefix_text(1)
    assert drawn.own.alt.startswith("Token norms after block 1: longest at row 1, column 0 (from 0)")
    assert (drawn.own.low, drawn.own.high) == ("1.00", "9.00")


def test_a_score_that_is_no_number_has_no_bar(model: ModelRecord) -> None:
    (row,) = lens(model, 3, scores=(float("nan"),)).rows
    assert not row.kept[0].is_seen
    assert row.kept[0].text == "not a number"


def test_a_rollout_between_tokens_is_read_back_byte_by_byte(model: ModelRecord) -> None:
    record = technique_record("patch_rollout", "observation")
    row = {"id": "0", "prefix": 2, "rows": 1, "cols": 2, "readout": [0.5, 0.5, 0, 0]}
    numbers = {"own": [0.1, 0.2, 0.3, 0.4], "scales": [0.5, 0.6, 0.7, 0.8], "values": range(240, 256)}
    distilled = replace(model, readout="mean of class and distillation token")
    view = patch_view(record, observations_table([{**row, **numbers}], record.columns), distilled)
    assert view.prefix == ("class token", "distillation token")
    assert view.values.dtype == np.uint8
    assert view.values.tolist() == np.arange(240, 256).reshape(4, 4).tolist()
    assert view.own.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    script = patch_script(view).decode()
    body = json.loads(script.removeprefix("window.vitreport_patches=").removesuffix(";\n"))
    assert (body["rows"], body["cols"], body["readout"]) == (1, 2, [0.5, 0.5, 0, 0])
    assert list(base64.b64decode(body["values"])) == list(range(240, 256))
