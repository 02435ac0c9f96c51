"""The tables of a run: their Arrow schemas, and rows from the seam types.

Maps are stored raw, row by row from the top left, as lists of float32: any Parquet reader can open them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from vitreport.explanation import Attribution, Explanation, ImageRef, PixelMap

CATALOGUE = pa.schema(
    [
        ("id", pa.string()),
        ("uri", pa.string()),
        ("size", pa.int64()),
        ("sha256", pa.string()),
        ("label", pa.int32()),
        ("group", pa.string()),
        ("meta", pa.string()),
        ("shard", pa.int32()),
    ]
)

IMAGES = pa.schema(
    [
        ("id", pa.string()),
        ("uri", pa.string()),
        ("sha256", pa.string()),
        ("size", pa.int64()),
        ("label", pa.int32()),
        ("group", pa.string()),
        ("meta", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("top_index", pa.list_(pa.int32())),
        ("top_probability", pa.list_(pa.float32())),
        ("targets", pa.list_(pa.int32())),
        ("target_probability", pa.list_(pa.float32())),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("crop", pa.list_(pa.float32())),
        ("view_width", pa.int32()),
        ("view_height", pa.int32()),
        ("view", pa.binary()),
    ]
)

MAPS = pa.schema(
    [
        ("id", pa.string()),
        ("target", pa.int32()),
        ("rows", pa.int32()),
        ("cols", pa.int32()),
        ("map", pa.list_(pa.float32())),
        ("error", pa.string()),
    ]
)

PIXELS = {
    kind: pa.schema(
        [
            ("pixel_rows", pa.int32()),
            ("pixel_cols", pa.int32()),
            ("pixels", pa.list_(values)),
            ("pixel_scale", pa.float32()),
        ]
    )
    for kind, values in (("float16", pa.float16()), ("float32", pa.float32()))
}
"""What comes after `MAPS` where maps are kept pixel by pixel too, by the kind of numbers."""


def catalogue_table(refs: Iterable[ImageRef]) -> pa.Table:
    """The catalogue, one row an image."""
    return pa.Table.from_pylist([_ref_row(ref) | {"shard": ref.shard} for ref in refs], schema=CATALOGUE)


def catalogue_refs(table: pa.Table) -> list[ImageRef]:
    """What `catalogue_table` stored."""
    return [ImageRef(**{**row, "meta": json.loads(row["meta"])}) for row in table.to_pylist()]


def images_table(explanations: Iterable[Explanation]) -> pa.Table:
    """One row an image, explained or quarantined."""
    return pa.Table.from_pylist([_image_row(explanation) for explanation in explanations], schema=IMAGES)


def maps_table(rows: Sequence[tuple[str, Attribution]]) -> pa.Table:
    """One row an image and target; `rows` are image ids with their attributions.

    There are columns for pixels where some map has them.
    """
    kinds = {str(one.pixels.stored.dtype) for _, one in rows if one.pixels is not None}
    fields = [*MAPS, *(field for kind in kinds for field in PIXELS[kind])]
    return pa.Table.from_pylist(
        [{"id": image_id, **_map_row(attribution)} for image_id, attribution in rows],
        schema=pa.schema(fields),
    )


def pixel_map(maps: pa.Table, row: int) -> PixelMap | None:
    """The map of a row of a table of maps pixel by pixel; None where it is not kept."""
    if "pixels" not in maps.column_names or not maps["pixels"][row].is_valid:
        return None
    stored = maps["pixels"][row].values.to_numpy(zero_copy_only=False)
    shape = (maps["pixel_rows"][row].as_py(), maps["pixel_cols"][row].as_py())
    return PixelMap(stored.reshape(shape), maps["pixel_scale"][row].as_py())


def observations_table(rows: Sequence[Mapping[str, object]], columns: Mapping[str, str]) -> pa.Table:
    """The rows of an observation technique.

    Args:
        rows: image ``id`` and one value a column; or ``id`` and ``error``, where the technique failed.
        columns: name to Arrow type: ``int32``, ``float32``, ``string``, ``list<float16>`` …
    """
    fields = [("id", pa.string()), *((name, _arrow_type(text)) for name, text in columns.items())]
    fields.append(("error", pa.string()))
    return pa.Table.from_pylist([dict(row) for row in rows], schema=pa.schema(fields))


def scores_table(rows: Sequence[Mapping[str, object]], columns: Mapping[str, str]) -> pa.Table:
    """The scores of one technique by one metric.

    Args:
        rows: image ``id``, ``target``, ``value`` (None where it is undefined) and one value a column.
        columns: name to Arrow type.
    """
    fields = [("id", pa.string()), ("target", pa.int32()), ("value", pa.float64())]
    fields += [(name, _arrow_type(text)) for name, text in columns.items()]
    return pa.Table.from_pylist([dict(row) for row in rows], schema=pa.schema(fields))


def _arrow_type(text: str) -> pa.DataType:
    if text.startswith("list<"):
        return pa.list_(_arrow_type(text.removeprefix("list<").removesuffix(">")))
    return pa.float16() if text == "float16" else pa.type_for_alias(text)


def _map_row(attribution: Attribution) -> dict[str, object]:
    if attribution.error:
        return {"target": attribution.target, "error": attribution.error}
    row = {
        "target": attribution.target,
        "rows": attribution.values.shape[0],
        "cols": attribution.values.shape[1],
        "map": attribution.values.astype(np.float32).ravel(),
    }
    pixels = attribution.pixels
    if pixels is not None:
        row |= {
            "pixel_rows": pixels.stored.shape[0],
            "pixel_cols": pixels.stored.shape[1],
            "pixels": pixels.stored.ravel(),
            "pixel_scale": pixels.scale,
        }
    return row


def _ref_row(ref: ImageRef) -> dict[str, object]:
    return {
        "id": ref.id,
        "uri": ref.uri,
        "size": ref.size,
        "sha256": ref.sha256,
        "label": ref.label,
        "group": ref.group,
        "meta": json.dumps(dict(ref.meta), sort_keys=True, ensure_ascii=False),
    }


def _image_row(explanation: Explanation) -> dict[str, object]:
    row = _ref_row(explanation.ref) | {
        "status": "quarantined" if explanation.reason else "explained",
        "reason": explanation.reason,
        "top_index": [prediction.index for prediction in explanation.predictions],
        "top_probability": [prediction.probability for prediction in explanation.predictions],
        "targets": [target.index for target in explanation.targets],
        "target_probability": [target.probability for target in explanation.targets],
    }
    view = explanation.view
    if view is not None:
        row |= {
            "original_width": view.original[0],
            "original_height": view.original[1],
            "crop": list(view.crop),
            "view_width": view.width,
            "view_height": view.height,
            "view": view.jpeg,
        }
    return row
