"""What a source says of one image, before anything of the image is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from vitreport.explanation import ClassNames
from vitreport.images.place import Place

_INTEGER = re.compile(r"([+-]?\d{1,18})(\.0+)?", re.ASCII)


@dataclass(frozen=True)
class SourceItem:
    """One image that the user named.

    Attributes:
        uri: the path as the user named it, printable, with ``/`` between its parts.
        path: what opens it: for a file its path, which may hold bytes that are not UTF-8.
        label: ground-truth class index, or None.
        group: a slice that the image belongs to, or None.
        meta: further CSV columns, as text.
    """

    uri: str
    path: Place
    label: int | None = None
    group: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)


def integer_of(text: str) -> int | None:
    """Reads ``243``, or ``243.0`` as tables write it whose column once had gaps; otherwise None."""
    match = _INTEGER.fullmatch(text.strip())
    return int(match[1]) if match else None


def class_of(text: str, classes: ClassNames) -> int | None:
    """Returns the class that a label names: an index in range, a WordNet id or a class name; else None."""
    index = integer_of(text)
    if index is not None:
        return index if 0 <= index < len(classes) else None
    return classes.index_of(text)
