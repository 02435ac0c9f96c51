"""What the report says of leaderboards and checks: view dataclasses, the same for the site and the PDF.

`vitreport.report.trust_boards` and `trust_checks` fill them."""

from __future__ import annotations

from dataclasses import dataclass

FURTHER = 12
"""Ranked rows of the table on the start page; more are on the page about scores."""


@dataclass(frozen=True)
class Whisker:
    """A mean with its interval on an axis from 0 to 100, as texts for a drawing.

    Attributes:
        low: of the interval; the mean where there is none.
        high: of the interval; the mean where there is none.
        zero: where the score 0 lies.
    """

    mean: str
    low: str
    high: str
    zero: str


@dataclass(frozen=True)
class BoardRow:
    """A technique's or a control's place on a leaderboard, as readers see it.

    Attributes:
        page: name of its page on the site; empty where it has none.
        setting: its parameters that differ from their defaults; empty where none does.
        group: number of its tie group; empty where it has none.
        mean: empty where it is undefined.
        interval: ``0.12 to 0.43``; empty without one.
        better: ``yes``, ``not shown`` or ``worse``: better than random; empty where that was not tested.
        ahead: ``yes`` or ``not shown``: ahead of every control; empty where that was not tested.
        reason: why something is missing, in words; empty where nothing is.
        verdict: of a check: ``passes``, ``fails`` or ``undecided``; else empty.
        beyond: of a check that counts from chance: how far it lies above, ``0.081 (0.020 to 0.144)``.
    """

    key: str
    title: str
    setting: str
    page: str
    control: bool
    group: str
    mean: str
    interval: str
    n: int
    better: str
    ahead: str
    reason: str
    whisker: Whisker | None
    verdict: str = ""
    beyond: str = ""

    @property
    def subject(self) -> str:
        """Title and setting in one."""
        return f"{self.title}, {self.setting}" if self.setting else self.title


@dataclass(frozen=True)
class TieGroup:
    """Techniques of which nothing says that the first is better."""

    number: str
    rows: tuple[BoardRow, ...]


@dataclass(frozen=True)
class BoardView:
    """A leaderboard.

    Attributes:
        title: what it is about: all images, or some.
        sentence: what it says.
        groups: the tie groups, best first.
        unranked: techniques of too few images, then undefined ones.
        controls: what knows nothing of the model, best first.
        images: how many images have a score.
        low: the score at the left end of the drawings, as text.
        high: the score at the right end.
        tested: whether anything was compared with random.
        compared: whether anything was compared with all controls, and there is more than random.
    """

    title: str
    sentence: str
    groups: tuple[TieGroup, ...]
    unranked: tuple[BoardRow, ...]
    controls: tuple[BoardRow, ...]
    images: int
    low: str
    high: str
    tested: bool
    compared: bool

    @property
    def ranked(self) -> int:
        """How many techniques have a place."""
        return sum(len(group.rows) for group in self.groups)

    @property
    def first(self) -> tuple[TieGroup, ...]:
        """The groups, cut after `FURTHER` rows."""
        left, kept = FURTHER, []
        for group in self.groups:
            if left > 0:
                kept.append(TieGroup(group.number, group.rows[:left]))
            left -= len(group.rows)
        return tuple(kept)

    @property
    def further(self) -> int:
        """How many ranked techniques `first` leaves out."""
        return max(0, self.ranked - FURTHER)


@dataclass(frozen=True)
class CheckView:
    """What a check says of every technique.

    Attributes:
        sentence: how many pass and fail, and which.
        rule: what passes, and why the limit lies there.
        chance: whether it counts from chance.
        rows: techniques, those that fail first.
        controls: what knows nothing of the model.
    """

    sentence: str
    rule: str
    chance: bool
    rows: tuple[BoardRow, ...]
    controls: tuple[BoardRow, ...]


@dataclass(frozen=True)
class DetailsRow:
    """A technique's means of a metric's further numbers, beside that of its value; empty where none is."""

    row: BoardRow
    means: tuple[str, ...]


@dataclass(frozen=True)
class DetailsView:
    """All means of a metric.

    Attributes:
        heads: of the further numbers, in words.
        rows: techniques, then controls.
    """

    heads: tuple[str, ...]
    rows: tuple[DetailsRow, ...]
