"""The plain pages of the table of images, for those who read without scripts: how many, and their links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vitreport.report.pages import ImageRow

ROWS_A_LIST = 200
"""Images on a list page."""

LISTS_NEARBY = 5
"""List pages that a list page links before and after itself, besides the first and the last."""


@dataclass(frozen=True)
class ListLink:
    """A link from one page of images to another; `gap`: whether some are left out before it."""

    name: str
    number: int
    here: bool
    gap: bool


def lists_of(rows: Sequence[ImageRow]) -> int:
    """How many plain pages the table of all images takes."""
    return max(1, -(-len(rows) // ROWS_A_LIST))


def list_name(number: int) -> str:
    """File name of a plain page of images; `number` counts from 0."""
    return "index.html" if number == 0 else f"list-{number + 1}.html"


def nearby(here: int, lists: int) -> list[ListLink]:
    """The first page, the last, and those around this one: a page that linked all would be all links."""
    near = range(max(0, here - LISTS_NEARBY), min(lists, here + LISTS_NEARBY + 1))
    numbers = sorted({0, *near, lists - 1})
    before = [-1, *numbers]
    return [
        ListLink(list_name(number), number + 1, number == here, number > before[place] + 1)
        for place, number in enumerate(numbers)
    ]
