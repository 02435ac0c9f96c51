"""Images from a dataset of the Hugging Face hub, named as timm names it: ``hfds/NAME:SPLIT``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vitreport.errors import ImageError, SettingsError
from vitreport.explanation import ClassNames
from vitreport.images.file import printable
from vitreport.images.item import SourceItem, class_of
from vitreport.images.place import PIECE, pieces

PREFIX = "hfds/"
SPLIT = "validation"
"""What is read where the user names no split, as in timm."""
_LABELS = ("label", "labels", "fine_label")


@dataclass(frozen=True)
class DatasetRow:
    """An image in a dataset.

    Attributes:
        name: of the dataset, or a folder that ``Dataset.save_to_disk`` wrote.
        split: part of the dataset.
        column: that has the images.
        index: row number.
    """

    name: str
    split: str
    column: str
    index: int

    def pieces(self) -> Iterator[bytes]:
        """See `Stored.pieces`."""
        try:
            row = _images(self.name, self.split, self.column)[self.index][self.column]
        except Exception as error:  # storage, memory, a damaged table: the library has no tree of its own
            raise ImageError(f"its row cannot be read ({type(error).__name__})") from None
        if row is None:
            raise ImageError("its row has no image")
        if row["bytes"] is None:
            yield from pieces(Path(row["path"]))
            return
        for start in range(0, len(row["bytes"]), PIECE):
            yield row["bytes"][start : start + PIECE]


def read_dataset(argument: str, classes: ClassNames) -> tuple[list[SourceItem], list[str]]:
    """Lists the images of a dataset, in its order, and what the user should know of it.

    A label's name, or its number where it has no name, is the label; if one is no class of the model, they
    are all groups. A text column ``group`` is the group.

    Raises:
        SettingsError: the library is missing, the dataset cannot be loaded, or it has no column of images.
    """
    name, _, split = argument.removeprefix(PREFIX).partition(":")
    split = split or SPLIT
    try:
        import datasets
    except ImportError:
        raise SettingsError(
            f"'{argument}' needs the library datasets; install it with: pip install 'vitreport[datasets]'"
        ) from None
    try:
        table = _table(name, split)
    except Exception as error:  # network, names, rights, formats: the library has no tree of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SettingsError(
            f"cannot load '{argument}': {reason}; without a network, name a dataset that is in the cache or "
            f"a folder that Dataset.save_to_disk wrote, and the split as in {PREFIX}NAME:{SPLIT}"
        ) from None
    columns = [key for key, feature in table.features.items() if isinstance(feature, datasets.Image)]
    if not columns:
        raise SettingsError(
            f"'{argument}' has no column of images; its columns are {', '.join(table.features)}"
        )
    texts = _labels(table)
    labels = {text: class_of(text, classes) for text in set(texts) if text}
    strangers = sorted(text for text, label in labels.items() if label is None)
    notices = []
    if strangers:
        notices.append(
            f"not all labels of '{argument}' are classes of this model "
            f"('{printable(strangers[0])}' is none); they are used as groups"
        )
    groups = table["group"] if "group" in table.features else [None] * len(table)
    items = []
    for index, (text, group) in enumerate(zip(texts, groups, strict=True)):
        uri = printable(f"{PREFIX}{name}/{split}/{index:08}")
        kept = str(group) if group else (text if strangers else "")
        label = None if strangers or not text else labels[text]
        items.append(SourceItem(uri, DatasetRow(name, split, columns[0], index), label, kept or None))
    return items, notices


@cache
def _table(name: str, split: str) -> Any:
    import datasets

    datasets.disable_progress_bars()
    if not Path(name).is_dir():
        return datasets.load_dataset(name, split=split)
    loaded = datasets.load_from_disk(name)
    return loaded[split] if isinstance(loaded, dict) else loaded


@cache
def _images(name: str, split: str, column: str) -> Any:
    import datasets

    table = _table(name, split).select_columns([column])
    return table.cast_column(column, datasets.Image(decode=False))


def _labels(table: Any) -> Sequence[str]:
    column = next((name for name in _LABELS if name in table.features), None)
    if column is None:
        return [""] * len(table)
    names = getattr(table.features[column], "names", None)
    return [
        "" if value is None or value == -1 else str(names[value] if names else value)
        for value in table[column]
    ]
