"""From the scores of a run to what the report says of them (images: `trust_image_reading`)."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from vitreport.analysis.sentence import in_words
from vitreport.analysis.statistics import FEWEST
from vitreport.analysis.trust import HEADLINE, Measured, Trust
from vitreport.report.pages import Fact
from vitreport.report.trust_agreement import agreement_view
from vitreport.report.trust_boards import Boards
from vitreport.report.trust_checks import check_view, details_view
from vitreport.report.trust_curves import curves_view, mean_lines
from vitreport.report.trust_names import Names, metric_title
from vitreport.report.trust_page import MetricView, SkippedMetric, TechniqueScore, TrustPage
from vitreport.report.wording import changed, count, setting
from vitreport.settings import format_parameter
from vitreport.store import MetricRecord, Run

LIMITS = (
    "A map is no causal proof, and a good score does not make it one: the score says that hiding what the "
    "map calls relevant changes what the model says, not why.",
    "Faithfulness depends on the occluder: what stands in for a hidden patch is itself a change that the "
    "model reacts to. Another occluder can give another order.",
    "Localisation is not faithfulness: a map may lie on the object and still not be what the model goes by, "
    "and a faithful map may lie beside it.",
    "The order holds for this model, these images and these settings. It is no property of a technique.",
)

DIRECTIONS = {
    True: "Higher is better.",
    False: "Lower is better.",
    None: "It describes and ranks nothing.",
}
REASONS = 3
"""Reasons why images have no score that a metric's facts give, the commonest first."""
CHECK = "A check: it ranks nothing."


def trust_page(run: Run, trust: Trust | None) -> TrustPage | None:
    """What the report says of the scores; None where the run was asked for none."""
    return None if trust is None else Reading(run, trust).page()


@dataclass(frozen=True)
class Reading:
    """A run and its scores, being put into words."""

    run: Run
    trust: Trust

    def page(self) -> TrustPage:
        """All of it."""
        trust, headline = self.trust, self.trust.headline
        views = {one.record.key: self._metric(one) for one in trust.measured}
        others = [views[one.record.key] for one in trust.measured if one is not headline]
        ranks = {one.record.key for one in trust.measured if one.record.higher_is_better is not None}
        return TrustPage(
            sentences=self._sentences(views),
            notes=self._notes(),
            headline=views[headline.record.key] if headline else None,
            ranking=tuple(view for view in others if view.key in ranks),
            checking=tuple(view for view in others if view.check),
            describing=tuple(view for view in others if view.key not in ranks and not view.check),
            skipped=tuple(_skipped(record) for record in trust.skipped),
            scorecard=self._boards.scorecard(),
            curves=curves_view(mean_lines(self.run, trust, self._names.subject)) if headline else None,
            agreement=agreement_view(trust, self._names),
            limits=LIMITS,
            code=self._code(),
            scored=len(trust.images),
            by_technique=self._by_technique(views),
        )

    @cached_property
    def _names(self) -> Names:
        return Names(self.run, self.trust)

    @cached_property
    def _boards(self) -> Boards:
        return Boards(self.trust, self._names)

    def _sentences(self, views: dict[str, MetricView]) -> tuple[str, ...]:
        headline = self.trust.headline
        if headline is None:
            return (self._unranked(),)
        boards = views[headline.record.key].boards
        sentences = [board.sentence for board in boards]
        for one in self.trust.measured:
            if one.record.name == HEADLINE and one is not headline and one.board:
                words = changed(one.record) or "the default settings"
                sentences.append(in_words(one.board, self._names.in_sentences, f"With {words},"))
        return tuple(sentences)

    def _unranked(self) -> str:
        why = next((record.skipped for record in self.trust.skipped if record.name == HEADLINE), None)
        if self.trust.measured:
            named = ", ".join(one.record.short for one in self.trust.measured)
            because = f": {why}" if why else ""
            return (
                f"The maps were scored ({named}), but not by the symmetric relevance gain{because}; "
                "so no technique is ranked first."
            )
        reason = why or next((record.skipped for record in self.trust.skipped), None) or "no reason given"
        return f"No map could be scored, so nothing says which technique to trust: {reason}."

    def _notes(self) -> tuple[str, ...]:
        headline = self.trust.headline
        if headline is None or headline.board is None:
            return ()
        record, board = headline.record, headline.board
        explained = self.run.manifest.data.images - self.run.manifest.data.quarantined
        drawn = f", drawn by chance from {explained:,}" if board.images < explained else ""
        words = [f"Scored: {count(board.images, 'image')}{drawn}, by {metric_title(record)}."]
        if record.parameters:
            words.append(f"Its settings: {setting(record)}. With others the order may differ.")
        if board.groups:
            words.append(
                "Techniques of one group are tied: the images do not say that the first of the group is "
                "better than any of the others, which are compared with it alone. Comparisons between "
                "techniques are not corrected for their number; those with random maps and with the controls "
                "are (Holm)."
            )
        if board.groups and board.images < 4 * FEWEST:
            words.append("So few images tell only large differences apart.")
        words.append("No score proves a cause.")
        return tuple(words)

    def _metric(self, one: Measured) -> MetricView:
        record = one.record
        images = int(np.isfinite(one.scores.values).any(axis=0).sum())
        direction = CHECK if record.check else DIRECTIONS[record.higher_is_better]
        facts = [Fact("Source", record.source), Fact("Direction", direction)]
        facts += [
            Fact(f"Setting: {name.replace('_', ' ')}", _parameter(record, name)) for name in record.parameters
        ]
        facts.append(Fact("Images with a score", f"{images:,} of {len(self.trust.images):,} scored"))
        without = self._without(one)
        if without:
            facts.append(Fact("Images without one", without))
        return MetricView(
            id=f"metric-{record.digest}",
            key=record.key,
            title=metric_title(record),
            short=record.short,
            measures=record.measures,
            does_not_measure=record.does_not_measure,
            direction=direction,
            facts=tuple(facts),
            boards=tuple(self._boards.boards(one)),
            apart=self._apart(one),
            check=check_view(one, self._boards),
            details=details_view(one, self._boards),
            silent=self._silent(one),
        )

    def _silent(self, one: Measured) -> str:
        if self._boards.says_something(one):
            return ""
        keys = [key for key in self.trust.records if not self.trust.is_control(key)]
        reasons = Counter(filter(None, (self.trust.why_most_missing(one, key) for key in keys)))
        why = f": {min(reasons, key=lambda note: (-reasons[note], note))}" if reasons else ""
        return f"No technique of this run has a value by it{why}."

    def _without(self, one: Measured) -> str:
        """Why images that a metric scored have no value by any technique: ``6: …; 3: …``."""
        keys = [key for key in self.trust.records if not self.trust.is_control(key)]
        without = np.flatnonzero(~np.isfinite(one.scores.values).any(axis=0))
        missing = [name for name in (self.trust.images[place] for place in without) if name in one.scored]
        reasons: Counter[str] = Counter()
        for name in missing if keys else ():
            said = Counter(self.trust.why_missing(one, key, name) for key in keys)
            reasons[min(said, key=lambda reason: (-said[reason], reason))] += 1
        ordered = sorted(reasons, key=lambda reason: (-reasons[reason], reason))
        return "; ".join(f"{reasons[reason]}: {reason}" for reason in ordered[:REASONS])

    def _apart(self, one: Measured) -> str:
        trust = self.trust
        if one.board is None or one.correct is not None or not self._boards.says_something(one):
            return ""
        if trust.correct is None or trust.wrong is None:
            return ""
        labelled = f"{count(trust.correct + trust.wrong, 'scored image')} with a label"
        if not trust.wrong or not trust.correct:
            which = "wrong" if trust.correct else "right"
            known = "right" if trust.correct else "wrong"
            return f"The model is {known} on all of {labelled}, so there is no {which} one to set apart."
        return (
            f"Of {labelled} the model is right on {trust.correct} and wrong on {trust.wrong}; telling them "
            f"apart takes at least {FEWEST} of each."
        )

    def _code(self) -> str:
        one = self.trust.first
        stored = {record.key for record in self.run.techniques}
        keys = [row.key for row in one.rows if row.key in stored] if one else []
        if one is None or not keys:
            return ""
        return (
            "import pyarrow.compute as pc\n"
            "from vitreport import open_run\n\n"
            'run = open_run("RUN")\n'
            f"metric = run.metric({one.record.key!r})\n"
            f"scores = run.scores(metric, run.technique({keys[0]!r}))  # one row an image\n"
            'print(len(scores), pc.mean(scores["value"]))'
        )

    def _by_technique(self, views: dict[str, MetricView]) -> dict[str, tuple[TechniqueScore, ...]]:
        found: dict[str, list[TechniqueScore]] = defaultdict(list)
        keys: dict[str, list[str]] = defaultdict(list)
        for key, record in self.trust.records.items():
            keys[record.name].append(key)
        for one in self.trust.measured:
            view = views[one.record.key]
            for name, some in keys.items():
                rows = [self._boards.row(one, row) for row in map(one.row, some) if row is not None]
                if len(rows) > 1 and len({(row.mean, row.reason) for row in rows}) == 1 and not rows[0].n:
                    rows = [replace(rows[0], setting="all settings")]
                found[name].append(TechniqueScore(view.title, view.id, tuple(rows)))
        return {name: tuple(scores) for name, scores in found.items()}


def _parameter(record: MetricRecord, name: str) -> str:
    value = format_parameter(record.parameters[name])
    words = record.parameter_help.get(name, "")
    return f"{value} ({words})" if words else value


def _skipped(record: MetricRecord) -> SkippedMetric:
    return SkippedMetric(
        record.key, metric_title(record), record.skipped or "no reason given", record.measures
    )
