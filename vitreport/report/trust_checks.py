"""What checks say, and the further numbers of metrics: from analysis to views."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from vitreport.analysis.trust import Measured
from vitreport.report.board_view import BoardRow, CheckView, DetailsRow, DetailsView
from vitreport.report.trust_boards import Boards
from vitreport.report.trust_names import below
from vitreport.report.wording import count, decimal

NAMED = 4
"""Techniques that a sentence about a check names; of more it gives the number."""


def check_view(one: Measured, boards: Boards) -> CheckView | None:
    """What a check says; None where the metric is none, or no technique has a score."""
    check = one.record.check
    if check is None or not boards.says_something(one):
        return None
    rows = [boards.row(one, row) for row in one.rows]
    techniques = [row for row in rows if not row.control]
    said = [
        _clause([boards.names.in_sentences[row.key] for row in techniques if row.verdict == verdict], words)
        for verdict, words in (("fails", "fail"), ("undecided", "stay undecided"))
    ]
    passing = sum(row.verdict == "passes" for row in techniques)
    judged = sum(bool(row.verdict) for row in techniques)
    pass_words = "passes" if passing == 1 else "pass"
    start = f"{passing} of {count(judged, 'technique setting')} {pass_words}"
    return CheckView(
        sentence="; ".join(filter(None, (start, *said))) + ".",
        rule=(
            f"A technique passes where the whole 95 % interval lies {below(check)}, and fails where it lies "
            f"above; between, the images do not decide. {check.reason} The intervals are not corrected for "
            "the number of techniques."
        ),
        chance=bool(check.above),
        rows=tuple(techniques),
        controls=tuple(row for row in rows if row.control),
    )


def details_view(one: Measured, boards: Boards) -> DetailsView | None:
    """All means of a metric that describes or has further numbers; None where there are none."""
    record = one.record
    describes = record.higher_is_better is None and record.check is None
    if not (record.details or describes) or not boards.says_something(one):
        return None
    rows = [boards.row(one, row) for row in one.rows]
    ordered = sorted(rows, key=lambda row: row.control)
    return DetailsView(
        heads=tuple(record.details.values()),
        rows=tuple(DetailsRow(row, _means(one, row)) for row in ordered),
    )


def _means(one: Measured, row: BoardRow) -> tuple[str, ...]:
    values = (one.details[name][row.key] for name in one.record.details)
    return tuple(decimal(value) if isfinite(value) else "" for value in values)


def _clause(names: Sequence[str], words: str) -> str:
    """``4 fail: a, b, c and d``; empty without any."""
    if not names:
        return ""
    listed = list(names[:NAMED])
    if len(names) > NAMED:
        listed.append(f"{len(names) - NAMED} more")
    last = listed.pop()
    verb = {"fail": "fails", "stay undecided": "stays undecided"}[words] if len(names) == 1 else words
    return f"{len(names)} {verb}: {' and '.join(filter(None, (', '.join(listed), last)))}"
