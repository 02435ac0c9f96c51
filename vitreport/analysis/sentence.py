"""What a leaderboard says, in one sentence that claims no more than was compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vitreport.analysis.leaderboard import Leaderboard, Row
from vitreport.analysis.statistics import FEWEST

SIGNIFICANT = 0.05
"""A corrected p value below this is no chance."""
_NAMED = 3
"""Techniques that a list in a sentence names; of more it gives the number."""
_EVERY = "every control that knows nothing of the model"


def in_words(board: Leaderboard, titles: Mapping[str, str], where: str = "On this model") -> str:
    """What a leaderboard says, as one sentence.

    Only a technique that is ahead of every control is called the most faithful; ties are with it alone.

    Args:
        board: the leaderboard.
        titles: of the techniques by key, as they stand in the middle of a sentence.
        where: how the sentence begins; what it holds for.
    """
    ranked = [row for row in board.rows if row.group is not None]
    if not ranked:
        return _why_unranked(board, where)
    words = _Words(board, titles)
    if len(ranked) == 1:
        only = titles[ranked[0].key]
        return f"{where} {only}, the only technique ranked, is {words.standing(ranked[0])}."
    trusted = [row for row in ranked if row.ahead_of_controls or not words.tested]
    if trusted:
        clauses = words.leader(ranked, trusted)
    elif any(row.better_than_random for row in ranked):
        clauses = [f"no technique is shown to be ahead of {_EVERY} (the best of them: {words.best_control})"]
        clauses.append(f"{titles[ranked[0].key]} has the best mean")
    else:
        return f"{where} no technique is shown to be better than random."
    clauses += words.doubts([row for row in ranked if row not in trusted])
    return f"{where} {'; '.join(clauses)}."


class _Words:
    """The clauses about a leaderboard.

    Attributes:
        tested: whether any technique was compared with a control.
        others: whether there is another control than the random one.
    """

    def __init__(self, board: Leaderboard, titles: Mapping[str, str]) -> None:
        self._board, self._titles = board, titles
        self.tested = any(row.ahead_of_controls is not None for row in board.rows)
        self._controls = [row for row in board.rows if row.control and row.n >= FEWEST]
        self.others = any(row.better_than_random is not None for row in self._controls)

    def standing(self, row: Row) -> str:
        """How a technique stands to the controls, as it goes on after *is*."""
        if row.ahead_of_controls is None:
            return "not compared with random"
        if row.ahead_of_controls:
            return f"ahead of {_EVERY}" if self.others else "better than random"
        if row.better_than_random is False:
            worse = row.p_random is not None and row.p_random < SIGNIFICANT
            return "worse than random" if worse else "not shown to be better than random"
        than = "better than random, but " if row.better_than_random else ""
        return f"{than}not shown to be ahead of every control (the best of them: {self.best_control})"

    @property
    def best_control(self) -> str:
        """The name of the control that has the best mean."""
        return self._titles[self._controls[0].key]

    def leader(self, ranked: Sequence[Row], trusted: Sequence[Row]) -> list[str]:
        """Who is first, and what that was compared with."""
        first = trusted[0]
        name = self._titles[first.key]
        ahead = f"ahead of {_EVERY}" if self.others else "better than random"
        higher = ranked[: ranked.index(first)]
        if higher:
            names, several = _listed([self._titles[row.key] for row in higher])
            verb = "have better means, but are" if several else "has a better mean, but is"
            return [f"{name} has the best mean of the techniques that are {ahead}", f"{names} {verb} not"]
        tied = self._board.groups[0][1:]
        if not tied:
            every = f", and it is {ahead}" if self.tested else ""
            return [f"{name} is the most faithful: all others are significantly behind it{every}"]
        names, several = _listed([self._titles[row.key] for row in tied])
        first_clause = f"{name} is the most faithful by its mean"
        if self.tested:
            first_clause += f" and {ahead}"
        return [first_clause, f"{names} {'are' if several else 'is'} not significantly behind it"]

    def doubts(self, rows: Sequence[Row]) -> list[str]:
        """What keeps techniques from being trusted, by kind; the best technique of a kind comes first."""
        if not any(row.ahead_of_controls for row in self._board.rows):  # that they are not is said already
            rows = [row for row in rows if row.better_than_random is False]
        kinds: dict[str, list[str]] = {}
        for row in rows:
            kinds.setdefault(self.standing(row), []).append(self._titles[row.key])
        said = []
        for standing, titles in kinds.items():
            names, several = _listed(titles)
            said.append(f"{names} {'are' if several else 'is'} {standing}")
        return said


def _why_unranked(board: Leaderboard, where: str) -> str:
    most = max((row.n for row in board.rows if not row.control), default=0)
    if not most:
        return f"{where} no technique has a defined score, so none can be ranked."
    scored = f"{most} image{' was' if most == 1 else 's were'} scored"
    return f"{where} {scored}: too few to rank techniques, which takes at least {FEWEST}."


def _listed(names: Sequence[str]) -> tuple[str, bool]:
    """``a``, ``a and b``, ``a, b and c``, ``a, b, c and 4 more``; and whether that is a plural."""
    listed = list(names[:_NAMED])
    if len(names) > _NAMED:
        listed.append(f"{len(names) - _NAMED} more")
    return " and ".join(filter(None, (", ".join(listed[:-1]), listed[-1]))), len(names) > 1
