"""Tables as CSV files that a spreadsheet can open without running what a cell says."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""With one of these first a cell is a formula to some spreadsheet."""


def csv_text(heads: Sequence[str], rows: Iterable[Sequence[str | int | float | None]]) -> str:
    """A table as CSV.

    A text that a spreadsheet could take for a formula gets an apostrophe before it, as spreadsheets
    themselves mark text, and so does one that begins with an apostrophe: drop the first apostrophe of a cell
    to have what the store holds. None is an empty cell, and numbers stay numbers.
    """
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")  # so that cells with either are quoted
    writer.writerow([_cell(head) for head in heads])
    writer.writerows([_cell(cell) for cell in row] for row in rows)
    return written.getvalue()


def _cell(value: str | int | float | None) -> str | int | float | None:
    if isinstance(value, str) and value.lstrip(" ").startswith((*_FORMULA, "'")):
        return f"'{value}"
    return value
