"""What the report says of scores: view dataclasses, the same for the site and the PDF.

`vitreport.report.trust_reading` fills them from `vitreport.analysis.trust`.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitreport.figures.curves import Panel
from vitreport.report.board_view import BoardRow, BoardView, CheckView, DetailsView
from vitreport.report.pages import Fact
from vitreport.report.wording import count


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
