"""The whole table to download."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from tests.table_site import table_rows
from vitreport.report.image_table import FORMATS, table_downloads

ROWS = table_rows(200)
HOSTILE = ('=HYPERLINK("http://a.b")', "+1", "-2", "@SUM(A1)", "\tx", "\rx", 'quote", comma\nline')


def test_all_formats_hold_the_same_table() -> None:
    found = dict(table_downloads(ROWS))
    assert list(found) == list(FORMATS.values())
    stored = pq.read_table(pa.BufferReader(found[FORMATS["Parquet"]])).to_pylist()
    assert stored == json.loads(found[FORMATS["JSON"]])
    written = list(csv.DictReader(io.StringIO(found[FORMATS["CSV"]].decode(), newline="")))
    assert written == [
        {name: "" if cell is None else str(cell) for name, cell in row.items()} for row in stored
    ]


def test_the_table_holds_what_the_pages_say() -> None:
    stored = json.loads(dict(table_downloads(ROWS))[FORMATS["JSON"]])
    assert [row["file"] for row in stored] == [row.uri for row in ROWS]
    first, aside = stored[0], stored[49]
    assert (first["label_name"], first["predicted_name"], first["verdict"]) == ("disc", "square", "wrong")
    assert first["probability"] == 0.2 and first["page"] == "images/0000000000000000.html"
    assert aside["set_aside"] == "the file is truncated"
    assert aside["page"] is aside["probability"] is aside["verdict"] is None


def test_no_cell_of_the_csv_file_is_a_formula() -> None:
    rows = [replace(ROWS[0], uri=text, group=text) for text in HOSTILE]
    written = dict(table_downloads(rows))[FORMATS["CSV"]].decode()
    for row, text in zip(csv.DictReader(io.StringIO(written, newline="")), HOSTILE, strict=True):
        expected = text if text.startswith("quote") else "'" + text
        assert row["file"] == row["group"] == expected
        assert float(row["probability"]) == 0.2


def test_equal_tables_give_equal_bytes() -> None:
    assert list(table_downloads(ROWS)) == list(table_downloads(table_rows(200)))
