"""Curves in panels: SVG for pages, which follows their colour scheme, JPEG for paper."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 360, 250
"""Of a panel as SVG, in its own units."""

LIGHT = {
    "paper": "#fdfdfc",
    "ink": "#1c2430",
    "soft": "#55606e",
    "line": "#d5dae0",
    "curve-0": "#76808c",
    "curve-1": "#1f5fa8",
    "curve-2": "#b8470f",
    "curve-3": "#14795a",
    "curve-4": "#8a3f8f",
}
"""Colours on light paper, by name; ``curve-0`` is the control's. ``css/tokens.css`` has the same."""

DARK = {
    "paper": "#14171b",
    "ink": "#e7eaee",
    "soft": "#a5afbb",
    "line": "#343b44",
    "curve-0": "#98a2ae",
    "curve-1": "#8dbcf0",
    "curve-2": "#f0a07c",
    "curve-3": "#6fcfa8",
    "curve-4": "#d79ade",
}
"""Colours on dark paper."""

DASHES: tuple[tuple[float, ...], ...] = ((), (), (5, 2), (5, 1.5, 1, 1.5), (1.5, 1.5))
"""On and off lengths of every style in line widths, so that lines differ without colour too."""

STYLES = len(DASHES)
"""How many lines can be told apart, the control's included."""

LETTERS = "ABCDEFGH"
"""What lines are called on paper, in their order."""

_FONTS = "system-ui, sans-serif"
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vitreport",
    "font.family": ["DejaVu Sans"],
    "text.parse_math": False,
    "path.simplify": False,
}


@dataclass(frozen=True, eq=False)
class Line:
    """One curve.

    Attributes:
        style: number of its colour and dashes, below `STYLES`; 0 is the control's.
        values: ``(steps,)``; values that are not finite are left out.
        low: of its interval, ``(steps,)``; None without one.
        high: of its interval.
    """

    style: int
    values: NDArray[np.float64]
    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Panel:
    """Curves over one quantity.

    Attributes:
        title: what the panel is about.
        axis: what the curves are values of.
        across: what the horizontal axis is.
        places: on it, ``(steps,)``, rising.
        lines: the curves, the most important first.
        alt: what the panel shows, with the numbers that matter.
        span: the ends of the vertical axis, so that panels compare.
    """

    title: str
    axis: str
    across: str
    places: NDArray[np.float64]
    lines: tuple[Line, ...]
    alt: str
    span: tuple[float, float]


def span_of(curves: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Ends of an axis that holds all curves and 0."""
    values = np.concatenate([np.ravel(curve) for curve in curves]) if curves else np.zeros(1)
    values = values[np.isfinite(values)]
    low, high = min(0.0, *values, 0.0), max(0.0, *values, 0.0)
    return low * 1.04, (high or 1.0) * 1.04


def curves_svg(panel: Panel) -> bytes:
    """A panel as SVG of some 5 kB, in the colours of the reader's scheme; equal panels give equal bytes."""
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
        axes = figure.add_axes((0.15, 0.19, 0.805, 0.77))
        _draw(axes, panel, LIGHT, 11)
        figure.patch.set_facecolor(LIGHT["paper"])
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None})
    return _themed(buffer.getvalue()).encode()


def curves_jpeg(panels: Sequence[Panel], names: Sequence[str] = LETTERS) -> bytes:
    """Panels side by side as JPEG, 1600 pixels wide; by default a line is named by its letter."""
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(8, 3.3 if len(panels) > 1 else 2.6), dpi=200, facecolor="white")
        FigureCanvasAgg(figure)
        width = 1 / len(panels)
        for number, panel in enumerate(panels):
            axes = figure.add_axes((number * width + 0.07, 0.24, width - 0.1, 0.66))
            handles = _draw(axes, panel, LIGHT | {"paper": "#ffffff"}, 9)
            axes.set_title(panel.title, fontsize=9.5, color=LIGHT["ink"], loc="left")
        figure.legend(
            handles,
            list(names)[: len(handles)],
            loc="lower center",
            ncols=max(1, len(handles)),
            fontsize=9,
            frameon=False,
            handlelength=3.6,
        )
        buffer = io.BytesIO()
        figure.savefig(buffer, format="rgba")
    size = (1600, 660 if len(panels) > 1 else 520)
    picture = Image.frombytes("RGBA", size, buffer.getvalue()).convert("RGB")
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=92, subsampling=0)
    return encoded.getvalue()


def _draw(axes: Any, panel: Panel, colours: Mapping[str, str], size: float) -> list[Any]:
    """Draws a panel and returns its lines, in their order."""
    axes.set_facecolor(colours["paper"])
    if panel.span[0] < 0:
        axes.axhline(0, color=colours["soft"], linewidth=0.6)
    drawn = []
    for order, line in enumerate(panel.lines):
        if line.low is not None and line.high is not None:
            shade = colours[f"curve-{line.style}"]
            axes.fill_between(panel.places, line.low, line.high, color=shade, alpha=0.18, linewidth=0)
        drawn += axes.plot(
            panel.places,
            line.values,
            color=colours[f"curve-{line.style}"],
            linewidth=1.6,
            dashes=DASHES[line.style] or (None, None),
            solid_capstyle="round",
            zorder=3 + len(panel.lines) - order,
        )
    axes.set_xlim(float(panel.places[0]), float(panel.places[-1]) or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_ylim(*panel.span)
    axes.set_xlabel(panel.across, fontsize=size, color=colours["soft"])
    axes.set_ylabel(panel.axis, fontsize=size, color=colours["soft"])
    axes.tick_params(labelsize=size, colors=colours["soft"], length=0, pad=4)
    axes.locator_params(axis="y", nbins=5)
    axes.grid(axis="y", color=colours["line"], linewidth=0.6)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(colours["line"])
    return drawn


def _themed(svg: str) -> str:
    """Matplotlib's SVG without its preamble, its colours as properties that have two values each."""
    body = svg[svg.index("<svg") :]
    start, end = body.find("<metadata>"), body.find("</metadata>")
    if start >= 0:
        body = body[:start] + body[end + len("</metadata>") :]
    for name, colour in LIGHT.items():
        body = body.replace(colour, f"var(--{name})")
    body = body.replace("'DejaVu Sans'", _FONTS)
    head = body.index(">") + 1
    light, dark = (
        ":root{" + "".join(f"--{name}:{colour};" for name, colour in theme.items()) + "}"
        for theme in (LIGHT, DARK)
    )
    themes = f"{light}@media(prefers-color-scheme:dark){{{dark}}}"
    lines = (line.strip() for line in f"{body[:head]}<style>{themes}</style>{body[head:]}".splitlines())
    return "\n".join(filter(None, lines)) + "\n"
