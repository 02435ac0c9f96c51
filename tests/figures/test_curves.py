from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from vitreport.figures.curves import DARK, HEIGHT, LIGHT, WIDTH, Line, Panel, curves_jpeg, curves_svg, span_of
from vitreport.report.template_files import template_text

HIDDEN = np.linspace(0, 1, 11)
SVG = "{http://www.w3.org/2000/svg}"


def panel(*curves: np.ndarray, low: float = 0.0) -> Panel:
    lines = tuple(Line(style, curve) for style, curve in enumerate(curves, 1))
    return Panel(
        "Deletion", "probability", "patches hidden (%)", 100 * HIDDEN, lines, "what it shows", (low, 1.0)
    )


def test_every_line_has_its_own_colour_and_passes_through_its_values() -> None:
    text = curves_svg(panel(1 - HIDDEN, (1 - HIDDEN) ** 2)).decode()
    root = ElementTree.fromstring(text)
    paths = [path for path in root.iter(f"{SVG}path") if "var(--curve-" in path.get("style", "")]
    by_colour = {path.get("style", "").partition("--curve-")[2][0]: path.get("d", "") for path in paths}
    assert sorted(by_colour) == ["1", "2"]
    heights = np.array([float(y) for y in re.findall(r"[\d.]+ ([\d.]+)", by_colour["1"])])
    assert len(heights) == len(HIDDEN)
    assert np.allclose(np.diff(heights), np.diff(heights)[0], atol=1e-3)


def test_a_panel_follows_the_readers_scheme_and_names_its_axes() -> None:
    text = curves_svg(panel(1 - HIDDEN)).decode()
    body = text.partition("</style>")[2]
    assert not re.findall(r"#[0-9a-f]{6}", body)
    assert "prefers-color-scheme:dark" in text
    for name, colour in DARK.items():
        assert f"--{name}:{colour};" in text
    words = "".join(ElementTree.fromstring(text).itertext())
    assert "patches hidden (%)" in words and "probability" in words
    assert f'viewBox="0 0 {WIDTH} {HEIGHT}"' in text
    assert len(text) < 9000


def test_equal_panels_give_equal_bytes_and_no_date() -> None:
    assert curves_svg(panel(1 - HIDDEN)) == curves_svg(panel(1 - HIDDEN))
    assert curves_svg(panel(1 - HIDDEN)) != curves_svg(panel(1 - HIDDEN**2))
    assert curves_jpeg([panel(1 - HIDDEN)] * 2) == curves_jpeg([panel(1 - HIDDEN)] * 2)
    assert b"<metadata" not in curves_svg(panel(1 - HIDDEN))


def test_the_picture_for_paper_is_a_jpeg_with_both_panels() -> None:
    picture = Image.open(io.BytesIO(curves_jpeg([panel(1 - HIDDEN), panel(HIDDEN)])))
    assert (picture.format, picture.mode, picture.width) == ("JPEG", "RGB", 1600)
    blue = (np.abs(np.asarray(picture, int) - [0x1F, 0x5F, 0xA8]).sum(2) < 60).any(axis=0)
    assert blue[:800].any() and blue[800:].any()


def test_values_that_are_no_numbers_are_left_out() -> None:
    assert span_of([np.array([np.nan, 0.5]), np.array([0.25, np.inf])]) == (0.0, 0.52)
    assert span_of([np.array([-1.0, 0.5])])[0] < -1
    assert span_of([np.full(3, np.nan)]) == (0.0, 1.04)
    assert b"nan" not in curves_svg(panel(np.where(HIDDEN > 0.5, np.nan, HIDDEN)))


def test_a_line_at_zero_stands_where_values_fall_below_it() -> None:
    assert b"stroke: var(--soft)" in curves_svg(panel(HIDDEN - 0.5, low=-0.6))
    assert b"stroke: var(--soft)" not in curves_svg(panel(HIDDEN))


def test_the_colours_are_those_of_the_style_sheet() -> None:
    light, _, dark = template_text("css/tokens.css").partition("prefers-color-scheme: dark")
    for theme, text in ((LIGHT, light), (DARK, dark)):
        for name, colour in theme.items():
            assert f"--{name}: {colour};" in text, name
