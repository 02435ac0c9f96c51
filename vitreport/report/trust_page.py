"""What the report says of scores: view dataclasses, the same for the site and the PDF.

`vitreport.report.trust_reading` fills them from `vitreport.analysis.trust`.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitreport.figures.curves import Panel
from vitreport.report.pages import Fact
from vitreport.report.wording import count

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


@dataclass(frozen=True)
class MetricView:
    """A metric that ran.

    Attributes:
        id: for links to it.
        title: with the parameters that differ from their defaults.
        direction: which way is better, as a sentence.
        facts: source, settings, sample.
        boards: for all images, then for those predicted right and wrong; none where it ranks nothing, or no
            technique has a score.
        check: None where it is no check.
        details: means of every technique, where it only describes or stores further numbers; None where no
            technique has a score.
        silent: why no technique has a score; empty where one has.
        apart: why right and wrong predictions are not told apart; empty where they are.
    """

    id: str
    key: str
    title: str
    short: str
    measures: str
    does_not_measure: str
    direction: str
    facts: tuple[Fact, ...]
    boards: tuple[BoardView, ...]
    apart: str
    check: CheckView | None
    details: DetailsView | None
    silent: str

    @property
    def board(self) -> BoardView | None:
        """That of all images."""
        return self.boards[0] if self.boards else None


@dataclass(frozen=True)
class SkippedMetric:
    """A metric that did not run, and why."""

    key: str
    title: str
    reason: str
    measures: str


@dataclass(frozen=True)
class ScoreCell:
    """One technique by one metric: the mean, or why there is none.

    Attributes:
        text: the mean, or ``undefined``, or ``–`` where nothing was scored.
        footnote: number of the reason; 0 without one.
        leads: whether it is in the first tie group.
        verdict: of a check; else empty.
    """

    text: str
    footnote: int
    leads: bool
    verdict: str = ""


@dataclass(frozen=True)
class ScoreRow:
    """One technique by all metrics; `page` is the name of its page, empty where it has none."""

    subject: str
    page: str
    control: bool
    cells: tuple[ScoreCell, ...]


@dataclass(frozen=True)
class Scorecard:
    """All techniques by all metrics that have something to say of one.

    Attributes:
        heads: short title and direction (``higher is better``) of every metric.
        footnotes: why something is undefined; the first has the number 1.
        note: which metrics have no column, because they have no value; or empty.
    """

    heads: tuple[Fact, ...]
    techniques: tuple[ScoreRow, ...]
    controls: tuple[ScoreRow, ...]
    footnotes: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class CurveLine:
    """A technique in the figures of curves, for their legend.

    Attributes:
        style: number of its colour and dashes, from 1; 0 is the control's.
        role: why it is drawn.
        most: area below its deletion curve.
        least: area below its insertion curve.
    """

    style: int
    subject: str
    role: str
    most: str
    least: str


@dataclass(frozen=True)
class CurvesView:
    """Mean curves of hiding patches along the maps' order.

    Attributes:
        panels: most relevant first (deletion), least relevant first (insertion).
        note: how to read them.
    """

    lines: tuple[CurveLine, ...]
    panels: tuple[Panel, Panel]
    note: str


@dataclass(frozen=True)
class AgreementCell:
    """How alike two techniques' maps are.

    Attributes:
        text: ``0.42``, or ``–`` where no image has both.
        shade: 0 to 5, how dark; the same for equal sizes on both sides of zero.
        opposed: whether it is below zero.
    """

    text: str
    shade: int
    opposed: bool


@dataclass(frozen=True)
class AgreementRow:
    """A technique against those before it."""

    number: int
    subject: str
    page: str
    cells: tuple[AgreementCell, ...]


@dataclass(frozen=True)
class AgreementView:
    """Which techniques agree: the lower half of a matrix.

    Attributes:
        rows: one a technique.
        sentences: the extremes, in words.
        images: how many images were compared.
    """

    rows: tuple[AgreementRow, ...]
    sentences: tuple[str, ...]
    images: int


@dataclass(frozen=True)
class TechniqueScore:
    """All settings of a technique by one metric, for the technique's own page."""

    metric: str
    metric_id: str
    rows: tuple[BoardRow, ...]


@dataclass(frozen=True)
class TrustPage:
    """Which technique to trust.

    Attributes:
        sentences: what the scores say, the headline first; at least one.
        notes: what the headline hangs on: sample, settings, ties.
        headline: by which techniques are ranked; None where that metric did not run.
        ranking: the further metrics that rank.
        describing: the metrics that only describe.
        curves: of the headline; None where it has none.
        limits: what scores do not prove.
        code: Python that reads a number back from the store.
        scored: how many images are scored.
    """

    sentences: tuple[str, ...]
    notes: tuple[str, ...]
    headline: MetricView | None
    ranking: tuple[MetricView, ...]
    checking: tuple[MetricView, ...]
    describing: tuple[MetricView, ...]
    skipped: tuple[SkippedMetric, ...]
    scorecard: Scorecard
    curves: CurvesView | None
    agreement: AgreementView | None
    limits: tuple[str, ...]
    code: str
    scored: int
    by_technique: dict[str, tuple[TechniqueScore, ...]]

    @property
    def metrics(self) -> tuple[MetricView, ...]:
        """Every metric that ran, the headline first."""
        first = (self.headline,) if self.headline else ()
        return (*first, *self.ranking, *self.checking, *self.describing)

    @property
    def measured(self) -> str:
        """How faithfulness was measured: ``by SRG on 16 images``; empty where it was not."""
        if self.headline is None or self.headline.board is None:
            return ""
        return f"by {self.headline.title} on {count(self.headline.board.images, 'image')}"


@dataclass(frozen=True)
class ImageScore:
    """One technique by all metrics, for one image; texts."""

    subject: str
    page: str
    control: bool
    values: tuple[str, ...]


@dataclass(frozen=True)
class ImageScores:
    """The scores of one image.

    Attributes:
        heads: as `Scorecard.heads`.
        rows: techniques in the order of the run, then controls.
        curves: None without a metric that hides patches.
        agreement: the extremes of this image's maps, in words.
        missing: why scores are missing, a line a metric and reason.
        raw: all numbers, for the file of raw values.
    """

    heads: tuple[Fact, ...]
    rows: tuple[ImageScore, ...]
    curves: CurvesView | None
    agreement: tuple[str, ...]
    missing: tuple[str, ...]
    raw: tuple[dict[str, object], ...]
