from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from vitreport.explanation import Attribution, Explanation, ImageRef, Prediction, View
from vitreport.store.schema import (
    CATALOGUE,
    IMAGES,
    MAPS,
    catalogue_refs,
    catalogue_table,
    images_table,
    maps_table,
    observations_table,
)

REF = ImageRef("0a1b", "photos/Kätzchen 猫.png", "0a1b" * 16, 5_000_000_000, 3, "indoor", {"site": "7"}, 2)
BARE = ImageRef("x0ff", "gone.png", "", 0)


def test_a_catalogue_comes_back_as_it_was() -> None:
    table = catalogue_table([REF, BARE])
    assert table.schema == CATALOGUE
    assert catalogue_refs(table) == [REF, BARE]
    assert catalogue_refs(catalogue_table([])) == []


def test_explained_and_quarantined_images_share_a_table() -> None:
    view = View(b"\xff\xd8", 64, 32, (1.5, -2.0, 300.25, 200.0), (301, 198))
    explained = Explanation(
        REF, None, view, (Prediction(3, 0.75), Prediction(1, 0.25)), (Prediction(1, 0.25),)
    )
    table = images_table([explained, Explanation(BARE, "no such file")])
    assert table.schema == IMAGES
    first, second = table.to_pylist()
    assert (first["status"], first["reason"], first["size"]) == ("explained", None, 5_000_000_000)
    assert (first["top_index"], first["top_probability"]) == ([3, 1], [0.75, 0.25])
    assert (first["targets"], first["target_probability"]) == ([1], [0.25])
    assert first["crop"] == [1.5, -2.0, 300.25, 200.0]
    assert (first["original_width"], first["original_height"]) == (301, 198)
    assert (first["view_width"], first["view_height"], first["view"]) == (64, 32, b"\xff\xd8")
    assert (second["status"], second["reason"], second["label"]) == ("quarantined", "no such file", None)
    assert second["view"] is second["crop"] is second["view_width"] is None
    assert second["targets"] == []


def test_maps_are_raw_row_by_row_and_failures_have_none() -> None:
    values = np.array([[1.5, -2.0, 0.0], [3.0, 1e-30, 7.0]], np.float32)
    failed = Attribution("a", 4, np.zeros((0, 0), np.float32), "ValueError: no luck")
    table = maps_table([("one", Attribution("a", None, values)), ("one", failed)])
    assert table.schema == MAPS
    first, second = table.to_pylist()
    assert (first["rows"], first["cols"], first["target"], first["error"]) == (2, 3, None, None)
    assert np.array_equal(np.asarray(first["map"], np.float32), values.ravel())
    assert (second["rows"], second["map"], second["target"]) == (None, None, 4)
    assert second["error"] == "ValueError: no luck"
    assert maps_table([]).schema == MAPS


@pytest.mark.parametrize(
    ("text", "value", "kind"),
    [
        ("int32", 7, pa.int32()),
        ("float32", 0.5, pa.float32()),
        ("string", "one_way", pa.string()),
        ("float16", np.float16(0.5), pa.float16()),
        ("list<float16>", np.array([0.5, 2], np.float16), pa.list_(pa.float16())),
        ("list<float32>", np.array([0.1, 2], np.float32), pa.list_(pa.float32())),
        ("list<int32>", [1, 2], pa.list_(pa.int32())),
        ("list<list<float32>>", [[0.5], []], pa.list_(pa.list_(pa.float32()))),
    ],
)
def test_an_observation_s_column_has_the_type_that_it_names(
    text: str, value: object, kind: pa.DataType
) -> None:
    table = observations_table(
        [{"id": "one", "value": value}, {"id": "two", "error": "no luck"}], {"value": text}
    )
    assert table.schema.field("value").type == kind
    assert table.column_names == ["id", "value", "error"]
    first, second = table.to_pylist()
    assert np.array_equal(first["value"], value) if "list<list" not in text else first["value"] == value
    assert first["error"] is None
    assert (second["value"], second["error"]) == (None, "no luck")


def test_an_observation_without_rows_keeps_its_columns() -> None:
    assert observations_table([], {"value": "int32"}).column_names == ["id", "value", "error"]
