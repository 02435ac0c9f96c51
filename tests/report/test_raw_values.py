"""What can be downloaded of an image, against the store."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from synthetic_run import BLOCKS, COLS, HEADS, ROWS, write_run

from vitreport.report.image_page import ImagePage
from vitreport.report.image_reading import image_pages, neighbours
from vitreport.report.raw_values import raw_values
from vitreport.report.reading import image_rows
from vitreport.report.scale_reading import dataset_scales
from vitreport.store import Run, open_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return open_run(write_run(tmp_path_factory.mktemp("values") / "run"))


@pytest.fixture(scope="module")
def page(run: Run) -> ImagePage:
    return next(image_pages(run, dataset_scales(run), neighbours(image_rows(run))))


@pytest.fixture(scope="module")
def body(page: ImagePage) -> dict[str, Any]:
    given: dict[str, Any] = json.loads(raw_values(page))
    return given


def stored(run: Run, page: ImagePage, name: str) -> list[dict[str, Any]]:
    rows = run.observations(run.technique(name), page.row.shard).to_pylist()
    return [row for row in rows if row["id"] == page.row.id]


def test_maps_are_the_values_of_the_store(run: Run, page: ImagePage, body: dict[str, Any]) -> None:
    assert body["id"] == page.row.id
    assert body["targets"] == [1, 3]
    assert len(body["maps"]) == 14
    scales = dataset_scales(run)
    for entry in body["maps"]:
        held = run.map(page.row.id, entry["technique"], entry["target"])
        assert np.array_equal(np.float32(entry["values"]).reshape(entry["rows"], entry["cols"]), held)
        scale = scales[entry["technique"]]
        assert entry["fixed_scale"] == pytest.approx([scale.low, scale.high])


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("class_attention", {"blocks": BLOCKS, "heads": HEADS, "rows": ROWS, "cols": COLS}),
        ("token_norms", {"blocks": BLOCKS, "rows": ROWS, "cols": COLS}),
    ],
)
def test_observations_are_the_values_of_the_store_to_four_digits(
    name: str, shape: dict[str, int], run: Run, page: ImagePage, body: dict[str, Any]
) -> None:
    (row,) = stored(run, page, name)
    found = body["observations"][name]
    assert {key: found[key] for key in shape} == shape
    assert found["values"] == pytest.approx(np.float64(row["values"]).tolist(), rel=1e-3)


def test_the_rollout_between_patches_is_there_byte_by_byte(
    run: Run, page: ImagePage, body: dict[str, Any]
) -> None:
    (row,) = stored(run, page, "patch_rollout")
    found = body["observations"]["patch_rollout"]
    assert found["values"] == row["values"]
    for name in ("readout", "own", "scales"):
        assert np.array_equal(np.float32(found[name]), np.float32(row[name]))
    assert found["prefix"] == ["class token"]


def test_the_lens_and_every_channel_of_a_pattern_are_there(
    run: Run, page: ImagePage, body: dict[str, Any]
) -> None:
    (row,) = stored(run, page, "logit_lens")
    lens = body["observations"]["logit_lens"]
    assert (lens["classes"], lens["first"]) == (row["classes"], row["first"])
    assert lens["scores"] == pytest.approx(row["scores"])
    channels = {
        (one["pattern"], one["block"], one["head"], one["channel"]): one for one in stored(run, page, "qkv")
    }
    found = body["observations"]["qkv"]
    assert len(found) == len(channels)
    for one in found:
        held = channels[one["pattern"], one["block"], one["head"], one["channel"]]
        for name in "qkv":
            assert one[name] == pytest.approx(held[name], rel=1e-3)
