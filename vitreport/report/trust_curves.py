"""Which deletion and insertion curves are drawn, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vitreport.analysis.statistics import Floats
from vitreport.analysis.trust import Trust
from vitreport.figures.curves import STYLES, Line, Panel, span_of
from vitreport.report.outputs import Outputs
from vitreport.report.trust_page import CurveLine, CurvesView
from vitreport.report.wording import count, decimal
from vitreport.store import Run

BEST = 3
"""Techniques that the mean curves show from the top of the leaderboard."""

Subject = Callable[[str], str]
"""Gives the name of a technique."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """Curves to draw.

    Attributes:
        axis: what they are values of.
        hidden: ``(steps,)`` in [0, 1].
        lines: role, name, deletion and insertion curve of each; the control, if any, last.
        control: whether the last one is the random control.
        over: what they are of, in words.
    """

    axis: str
    hidden: Floats
    lines: Sequence[tuple[str, str, Floats, Floats]]
    control: bool
    over: str


def mean_lines(run: Run, trust: Trust, subject: Subject) -> Drawn | None:
    """The headline's mean curves: of the best techniques, the last one and the random control."""
    headline = trust.headline
    if headline is None or headline.curves is None:
        return None
    curves = headline.curves
    ranked = [row.key for row in headline.rows if not row.control and row.n]
    roles = dict(zip(ranked[:BEST], ("first", "second", "third"), strict=False))
    if len(ranked) > BEST:
        roles[ranked[-1]] = "last"
    chosen = [(f"{role} by its mean", subject(key), *curves.mean(key)) for key, role in roles.items()]
    control = _random(trust)
    if control:
        chosen.append(("random control", subject(control), *curves.mean(control)))
    images = int(np.isfinite(curves.most_first).all(axis=2).any(axis=0).sum())
    axis = Outputs.of(run.manifest.model).score
    over = f"mean over {count(images, 'image')}"
    return Drawn(axis, curves.hidden, chosen, bool(control), over) if chosen else None


def image_lines(run: Run, trust: Trust, image_id: str, subject: Subject) -> Drawn | None:
    """An image's own curves: of the technique that is first over all images, the best, the worst, random."""
    headline = trust.headline
    if headline is None or headline.curves is None:
        return None
    curves, place = headline.curves, trust.places[image_id]
    values = headline.scores.merged(trust.random)
    sign = -1.0 if headline.record.higher_is_better is False else 1.0
    own = {
        row.key: sign * float(values.of(row.key)[place])
        for row in headline.rows
        if not row.control and np.isfinite(values.of(row.key)[place])
    }
    if not own:
        return None
    roles = {
        max(own, key=lambda key: own[key]): "best on this image",
        min(own, key=lambda key: own[key]): "worst on this image",
    }
    first = next((row.key for row in headline.rows if row.key in own), None)
    if first is not None:
        said = "first over all images"
        roles = {first: f"{said}, {roles.pop(first)}" if first in roles else said} | roles

    def pair(key: str) -> tuple[Floats, Floats]:
        row = curves.keys.index(key)
        return curves.most_first[row, place], curves.least_first[row, place]

    chosen = [(role, subject(key), *pair(key)) for key, role in roles.items()]
    control = _random(trust)
    if control:
        chosen.append(("random control", subject(control), *pair(control)))
    return Drawn(Outputs.of(run.manifest.model).score, curves.hidden, chosen, bool(control), "on this image")


def curves_view(drawn: Drawn | None) -> CurvesView | None:
    """The two panels and their legend."""
    if drawn is None:
        return None
    plain = len(drawn.lines) - drawn.control
    styles = [1 + number % (STYLES - 1) for number in range(plain)] + [0] * drawn.control
    span = span_of([curve for _, _, *curves in drawn.lines for curve in curves])
    orders = (("Most relevant first (deletion)", 2), ("Least relevant first (insertion)", 3))
    panels = tuple(
        Panel(
            title=title,
            axis=drawn.axis,
            across="patches hidden (%)",
            places=100 * drawn.hidden,
            lines=tuple(
                Line(style, line[column])  # type: ignore[arg-type]
                for style, line in zip(styles, drawn.lines, strict=True)
            ),
            alt=_alt(title, drawn, column),
            span=span,
        )
        for title, column in orders
    )
    return CurvesView(
        lines=tuple(
            CurveLine(style, name, role, _area(drawn, most), _area(drawn, least))
            for style, (role, name, most, least) in zip(styles, drawn.lines, strict=True)
        ),
        panels=(panels[0], panels[1]),
        note=f"The {drawn.axis} of the explained class, {drawn.over}, while patches are hidden in the order "
        "of the map. A faithful map makes deletion fall fast and keeps insertion up; the score is the area "
        "below insertion less the area below deletion.",
    )


def _random(trust: Trust) -> str:
    """The random control's key, where it has curves."""
    headline = trust.headline
    row = headline.row(trust.random[0]) if headline and trust.random else None
    return row.key if row is not None and row.n else ""


def _area(drawn: Drawn, curve: Floats) -> str:
    return decimal(float(np.trapezoid(curve, drawn.hidden)))


def _alt(title: str, drawn: Drawn, column: int) -> str:
    half = int(np.abs(drawn.hidden - 0.5).argmin())
    parts = [
        f"{title}: {drawn.axis} of the explained class against the share of hidden patches, {drawn.over}."
    ]
    for line in drawn.lines:
        curve = np.asarray(line[column], np.float64)
        parts.append(
            f"{line[1]}: {decimal(float(curve[0]), 2)} with nothing hidden, "
            f"{decimal(float(curve[half]), 2)} with {100 * drawn.hidden[half]:.0f} % hidden, "
            f"{decimal(float(curve[-1]), 2)} at the end; "
            f"area {_area(drawn, curve)}."
        )
    return " ".join(parts)
