"""The maps of an image as they stand on its page: families side by side, figures of one technique."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from vitreport.report.image_page import MapFigure, MapSection, MapView
from vitreport.report.pictures import Keep, MapPicture, in_pixels, map_picture, technique_picture

FEW_MAPS = 10
"""Up to so many maps stand side by side; more are parted by family."""


@dataclass(frozen=True)
class Family:
    """Techniques side by side.

    Attributes:
        across: how many pictures a set holds at most: one a target.
        sets: the pictures; where there are several targets, a set has one map for each, or so many of the
            maps that depend on none.
    """

    name: str
    sections: tuple[MapSection, ...]
    across: int
    sets: tuple[tuple[MapPicture, ...], ...]


@dataclass(frozen=True)
class Study:
    """A technique with figures of its own."""

    section: MapSection
    figures: tuple[tuple[MapFigure, list[MapPicture]], ...]


def families(sections: Sequence[MapSection], targets: int, keep: Keep) -> list[Family]:
    """The techniques that make no figures of their own, those of a family side by side.

    Args:
        sections: of an image.
        targets: how many classes are explained.
        keep: puts pictures that are too large to embed among the assets.
    """
    members: dict[str, list[MapSection]] = defaultdict(list)
    plain = [section for section in sections if not section.is_study]
    few = sum(len(section.maps) for section in plain) <= FEW_MAPS
    for section in plain:
        members["side by side" if few else section.family].append(section)
    return [
        Family(
            name,
            tuple(group),
            targets,
            tuple(
                tuple(in_pixels(technique_picture(view, keep), view, keep) for view in views)
                for views in _sets([view for section in group for view in section.maps], targets)
            ),
        )
        for name, group in members.items()
    ]


def _sets(views: Sequence[MapView], targets: int) -> Iterator[Sequence[MapView]]:
    """Cut so that each set has one target in each place; with one target there is nothing to cut."""
    if targets < 2:
        yield views
        return
    for _, group in groupby(views, lambda view: view.record.key if view.target else ""):
        members = list(group)
        for start in range(0, len(members), targets):
            yield members[start : start + targets]


def study(section: MapSection, keep: Keep) -> Study:
    """A technique whose maps make figures of their own, with their pictures."""
    figures = (
        (figure, [in_pixels(map_picture(view, keep), view, keep) for view in figure.maps])
        for figure in section.figures
    )
    return Study(section, tuple(figures))
