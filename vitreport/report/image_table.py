"""The whole table of images to download: CSV, Parquet and JSON. Equal tables give equal bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from vitreport.report.csv_file import csv_text
from vitreport.report.image_data import digits
from vitreport.report.pages import ImageRow

Cell = str | int | float | None

_TEXT, _WHOLE, _NUMBER = pa.string(), pa.int32(), pa.float64()


FORMATS = {
    "CSV": "table/images.csv",
    "Parquet": "table/images.parquet",
    "JSON": "table/images.json",
}
"""Paths of the downloads, below the site."""


def table_downloads(rows: Sequence[ImageRow]) -> Iterator[tuple[str, bytes]]:
    """Path and content of the table in every one of `FORMATS`.

    What there is nothing to say of is null, or an empty cell.

    Args:
        rows: the images, in order.
    """
    columns = _columns(rows)
    names = [name for name, _ in columns]
    cells = [_cells(row) for row in rows]
    yield FORMATS["CSV"], csv_text(names, cells).encode()
    yield FORMATS["Parquet"], _parquet(columns, cells)
    yield FORMATS["JSON"], _json(names, cells)


def _columns(rows: Sequence[ImageRow]) -> list[tuple[str, pa.DataType]]:
    score = rows[0].outputs.score if rows else ""
    return [
        ("id", _TEXT),
        ("file", _TEXT),
        ("page", _TEXT),
        ("label", _WHOLE),
        ("label_name", _TEXT),
        ("predicted", _WHOLE),
        ("predicted_name", _TEXT),
        (score or "score", _NUMBER),
        ("verdict", _TEXT),
        ("group", _TEXT),
        ("set_aside", _TEXT),
    ]


def _cells(row: ImageRow) -> list[Cell]:
    label, predicted = row.label, row.predicted
    return [
        row.id,
        row.uri,
        None if row.reason else f"images/{row.id}.html",
        label.index if label else None,
        label.name if label else None,
        predicted.index if predicted else None,
        predicted.name if predicted else None,
        digits(predicted.score) if predicted else None,
        None if row.correct is None else row.verdict,
        row.group,
        row.reason,
    ]


def _parquet(columns: Sequence[tuple[str, pa.DataType]], cells: Sequence[Sequence[Cell]]) -> bytes:
    arrays = [pa.array([row[place] for row in cells], kind) for place, (_, kind) in enumerate(columns)]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(arrays, pa.schema(columns)), sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _json(names: Sequence[str], cells: Sequence[Sequence[Cell]]) -> bytes:
    lines = (json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in cells)
    return ("[\n" + ",\n".join(lines) + "\n]\n").encode()
