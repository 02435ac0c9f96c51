"""Leaderboards and the scorecard as tables: from analysis to views."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vitreport.analysis.leaderboard import Gap, Leaderboard, Row
from vitreport.analysis.sentence import SIGNIFICANT, in_words
from vitreport.analysis.statistics import FEWEST
from vitreport.analysis.trust import Measured, Trust
from vitreport.report.board_view import BoardRow, BoardView, TieGroup, Whisker
from vitreport.report.trust_names import Names
from vitreport.report.trust_page import Scorecard, ScoreCell, ScoreRow
from vitreport.report.wording import count, decimal, first_images, range_of_scores
from vitreport.store import MetricRecord

RIGHT, WRONG = "Where the model is right", "Where the model is wrong"


@dataclass(frozen=True)
class Boards:
    """The tables of a run's scores."""

    trust: Trust
    names: Names

    def boards(self, one: Measured) -> Iterator[BoardView]:
        """Of all images, then of those predicted right and wrong; none where nothing can be ranked."""
        if one is not self.trust.headline and not self.says_something(one):
            return
        parts = (("All scored images", one.board), (RIGHT, one.correct), (WRONG, one.wrong))
        for title, board in parts:
            if board is None:
                continue
            images = count(board.images, "image")
            where = "On this model" if board is one.board else title
            if one is not self.trust.headline or not board.groups:
                sentence = self._plain_sentence(board, where)
            elif board is one.board:
                by = setting_of_test(one.record)
                start = f"On this model, scored on {images}{by},"
                sentence = in_words(board, self.names.in_sentences, start)
            else:
                sentence = in_words(board, self.names.in_sentences, f"{title} ({images}),")
            yield self._board(one, board, title, sentence)

    def _plain_sentence(self, board: Leaderboard, where: str) -> str:
        """Who is ahead by a metric that does not measure faithfulness alone."""
        if not board.groups:
            return in_words(board, self.names.in_sentences, where)
        leader, *tied = board.groups[0]
        said = f"{where} {self.names.in_sentences[leader.key]} is ahead by its mean"
        if tied:
            verb = "is" if len(tied) == 1 else "are"
            said += f"; {count(len(tied), 'technique')} {verb} not significantly behind"
        elif board.ranked > 1:
            said += ", and all others are significantly behind"
        if leader.ahead_of_controls is False:
            said += "; it is not shown to be ahead of every control"
        return f"{said}."

    def _board(self, one: Measured, board: Leaderboard, title: str, sentence: str) -> BoardView:
        ends = [value for row in board.rows for value in (row.low, row.high, row.mean) if value is not None]
        span = (min([0.0, *ends]), max([0.0, *ends]))
        ranked = {row.key for group in board.groups for row in group}
        rows = {row.key: self.row(one, row, span) for row in board.rows}
        return BoardView(
            title=title,
            sentence=sentence,
            groups=tuple(
                TieGroup(str(number), tuple(rows[row.key] for row in group))
                for number, group in enumerate(board.groups, 1)
            ),
            unranked=tuple(rows[row.key] for row in board.rows if not row.control and row.key not in ranked),
            controls=tuple(rows[row.key] for row in board.rows if row.control),
            images=board.images,
            low=decimal(span[0], 2),
            high=decimal(span[1], 2),
            tested=any(row.better_than_random is not None for row in board.rows),
            compared=any(row.control and row.better_than_random is not None for row in board.rows),
        )

    def row(self, one: Measured, row: Row, span: tuple[float, float] | None = None) -> BoardRow:
        """A place in words; drawn on an axis with these ends."""
        record = self.trust.records[row.key]
        interval = "" if row.low is None or row.high is None else range_of_scores(row.low, row.high)
        better = {True: "yes", False: "not shown", None: ""}[row.better_than_random]
        if row.better_than_random is False and row.p_random is not None and row.p_random < SIGNIFICANT:
            better = "worse"
        return BoardRow(
            key=row.key,
            title=record.title,
            setting=self.names.setting(row.key),
            page=self.names.page_of(row.key),
            control=row.control,
            group="" if row.group is None else str(row.group),
            mean="" if row.mean is None else decimal(row.mean),
            interval=interval,
            n=row.n,
            better=better,
            ahead={True: "yes", False: "not shown", None: ""}[row.ahead_of_controls],
            verdict=row.verdict or "",
            beyond="" if row.beyond is None else _with_range(row.beyond),
            reason=self._reason(one, row),
            whisker=_whisker(row, span) if span is not None and row.mean is not None else None,
        )

    def _reason(self, one: Measured, row: Row) -> str:
        record = self.trust.records[row.key]
        if not row.n and record.most_images is not None:
            return f"not scored: {first_images(record.most_images)}"
        why = self.trust.why_most_missing(one, row.key)
        if not row.n:
            return why or "no image was scored"
        said = []
        if row.n < FEWEST:
            said.append(f"{count(row.n, 'image')} with a score: too few for an interval")
        most = max(other.n for other in one.rows)
        if why and row.n < most:  # others have a score where this has none
            said.append(f"{count(most - row.n, 'image')} without: {why}")
        return "; ".join(said)

    def scorecard(self) -> Scorecard:
        """All techniques by all metrics, in the order of the headline."""
        measured, first = [one for one in self.trust.measured if self.says_something(one)], self.trust.first
        silent = [one.record.title for one in self.trust.measured if one not in measured]
        footnotes: dict[str, int] = {}
        rows = []
        for row in first.rows if first else ():
            cells = []
            for one in measured:
                found = one.row(row.key)
                reason = self._reason(one, found) if found else ""
                note = footnotes.setdefault(reason, len(footnotes) + 1) if reason else 0
                text = "undefined" if found is None or found.mean is None else decimal(found.mean)
                leads = found is not None and found.group == 1
                cells.append(ScoreCell(text, note, leads, (found.verdict or "") if found else ""))
            rows.append(
                ScoreRow(self.names.subject(row.key), self.names.page_of(row.key), row.control, tuple(cells))
            )
        return Scorecard(
            heads=tuple(self.names.head(one.record) for one in measured),
            techniques=tuple(row for row in rows if not row.control),
            controls=tuple(row for row in rows if row.control),
            footnotes=tuple(footnotes),
            note=f"No technique of this run has a value by: {', '.join(silent)}." if silent else "",
        )

    def says_something(self, one: Measured) -> bool:
        """Whether any technique has a score by a metric."""
        return any(row.n for row in one.rows if not row.control)


def setting_of_test(record: MetricRecord) -> str:
    """What stood in for hidden patches, in brackets after a space; empty where nothing is hidden."""
    occluder = record.parameters.get("occluder")
    return f" (occluder: {str(occluder).replace('_', ' ')})" if occluder else ""


def _with_range(gap: Gap) -> str:
    return f"{decimal(gap.mean)} ({range_of_scores(gap.low, gap.high)})"


def _whisker(row: Row, span: tuple[float, float]) -> Whisker:
    reach = (span[1] - span[0]) or 1.0

    def place(value: float | None) -> str:
        return f"{2 + 96 * ((row.mean or 0.0 if value is None else value) - span[0]) / reach:.1f}"

    return Whisker(place(row.mean), place(row.low), place(row.high), place(0.0))
