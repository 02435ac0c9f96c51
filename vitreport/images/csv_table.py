"""Images from a CSV table: ``path,label,group,…``."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from vitreport.errors import ImageError, SettingsError
from vitreport.explanation import ClassNames
from vitreport.images.file import open_regular, printable
from vitreport.images.item import SourceItem, class_of, integer_of

Row = tuple[int, dict[str, str]]
"""A row's number, as a spreadsheet counts (the header is row 1), and its cells by column, stripped."""

_OWN = ("path", "label", "group")


def read_csv(table: Path, classes: ClassNames) -> tuple[list[SourceItem], list[str]]:
    """Lists the images that a CSV table names, in its order, and what the user should know of it.

    Paths are relative to the folder of the table. A label is a class index, a WordNet id or a class name;
    an empty cell is no label. If a text in the column is no class, the whole column is the group,
    or `meta` where the table has a group column. Further columns are `meta`.

    Raises:
        SettingsError: the table cannot be read, has no `path` column, names no image or only images that
            do not exist, or has a label out of range.
    """
    name = printable(table)
    header, rows = _rows(table, name)
    labels, notice = _labels(rows, classes, name) if "label" in header else ({}, None)
    stranger = notice is not None
    further = {column for column in header if column and column not in _OWN}
    label_as = "label"
    if stranger:
        label_as = "meta" if "group" in header else "group"
        further |= {"label"} if label_as == "meta" else set()
    items = []
    paths = [table.parent / cells["path"] for _, cells in rows]
    for path, (number, cells) in zip(paths, rows, strict=True):
        group = cells.get("label" if label_as == "group" else "group", "")
        meta = {column: cells[column] for column in sorted(further) if cells.get(column)}
        items.append(SourceItem(printable(path), path, labels.get(number), group or None, meta))
    if not any(map(_exists, paths)):
        raise SettingsError(
            f"none of the files that {name} names exists, for example '{items[0].uri}'; "
            f"write paths relative to the folder of the CSV file, '{printable(table.parent)}'"
        )
    if notice is not None:
        use = "it is used as a group" if label_as == "group" else "it is kept as a further column"
        return items, [f"{notice}; {use}"]
    return items, []


def _rows(table: Path, name: str) -> tuple[list[str], list[Row]]:
    """The columns in order, and every row that is not blank."""
    try:
        with io.TextIOWrapper(open_regular(table), encoding="utf-8-sig", newline="") as text:
            lines = list(csv.reader(text, strict=True))
    except ImageError as error:
        raise SettingsError(f"cannot read {name}: {error}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{name} is not UTF-8 text; save it as 'CSV UTF-8'") from None
    except (csv.Error, OSError) as error:
        raise SettingsError(f"{name} is not a readable CSV file: {error}") from None
    header = _header(lines, name)
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        values = [value.strip() for value in line]
        if not any(values):
            continue
        if any(values[len(header) :]):
            raise SettingsError(
                f"row {number} of {name} has {len(values)} cells, its header {len(header)}; "
                'put a value that holds a comma in quotes ("…")'
            )
        cells = dict(zip(header, values, strict=False))
        if not cells.get("path"):
            raise SettingsError(f"row {number} of {name} names no path; fill it in or remove the row")
        rows.append((number, cells))
    if not rows:
        raise SettingsError(f"{name} names no image; write one row an image below the header")
    return header, rows


def _header(lines: Sequence[Sequence[str]], name: str) -> list[str]:
    columns = [column.strip() for column in lines[0]] if lines else []
    header = [column.lower() if column.lower() in _OWN else column for column in columns]
    if "path" not in header:
        separator = next((mark for mark in ";\t" if any(mark in column for column in header)), None)
        advice = "its columns are path, label, group and any others, of which only path must be there"
        if separator is not None:
            advice = f"its columns seem to be separated by {separator!r}; separate them by commas"
        raise SettingsError(f"{name} has no column 'path' in its first row; {advice}")
    for column in header:
        if column and header.count(column) > 1:
            raise SettingsError(f"{name} has the column '{column}' twice; rename one of them")
    return header


def _labels(rows: Sequence[Row], classes: ClassNames, name: str) -> tuple[dict[int, int], str | None]:
    """The label of every row that has one; or none, and why the column holds no labels."""
    texts = {number: cells["label"] for number, cells in rows if cells.get("label")}
    labels = {number: class_of(text, classes) for number, text in texts.items()}
    strangers = [number for number, label in labels.items() if label is None]
    if not strangers:
        return {number: label for number, label in labels.items() if label is not None}, None
    number = strangers[0]
    if len(classes) and all(integer_of(text) is not None for text in texts.values()):
        raise SettingsError(
            f"label {texts[number]} in row {number} of {name} is out of range; this model has the classes "
            f"0 to {len(classes) - 1}; leave the cell empty where an image has no label"
        )
    return {}, (
        f"the column 'label' of {name} holds no class of this model ('{texts[number]}' in row {number})"
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
