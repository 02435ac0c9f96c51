"""The fonts of the PDF, and text that they can show.

DejaVu comes with matplotlib, so every machine sets the same document in the same letters. A character that
these fonts lack would print as an empty box, or be set in whatever font a machine happens to have; it is
written as its code instead.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path

from vitreport.errors import RenderError
from vitreport.visible import code

FILES = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf")
"""Regular, bold and fixed-width; text in the last falls back to the first."""

FACES = """
@font-face { font-family: "Report Sans"; src: url(report:fonts/DejaVuSans.ttf) }
@font-face { font-family: "Report Sans"; font-weight: bold; src: url(report:fonts/DejaVuSans-Bold.ttf) }
@font-face { font-family: "Report Mono"; src: url(report:fonts/DejaVuSansMono.ttf) }
"""
"""The families that a style sheet of the PDF can name."""

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories that a font cannot show honestly: controls, direction marks, private use, …"""


@cache
def font_bytes() -> dict[str, bytes]:
    """The font files by name, from matplotlib's own folder.

    Raises:
        RenderError: one is missing or cannot be read.
    """
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    try:
        return {name: (folder / name).read_bytes() for name in FILES}
    except OSError as error:
        raise RenderError(
            f"the PDF's fonts come with matplotlib, but {error.filename} cannot be read: {error.strerror}; "
            "reinstall matplotlib, or render without --pdf"
        ) from error


def printable(text: str) -> str:
    r"""Writes `text` with the characters that the fonts cannot show as their codes.

    ``cat😀.jpg`` becomes ``cat\U0001f600.jpg``; marks that turn the direction of writing, controls and
    private-use characters are written as codes too, because they would show something else than is there.
    """
    return _NOT_PLAIN.sub(_shown, text)


_NOT_PLAIN = re.compile(r"[^ -~]")


def _shown(found: re.Match[str]) -> str:
    return _written(found[0])


@cache
def _written(character: str) -> str:
    seen = ord(character) in _covered() and unicodedata.category(character) not in _UNSEEN
    return character if seen else code(ord(character))


@cache
def _covered() -> frozenset[int]:
    """Code points that the regular and the bold face both have."""
    from io import BytesIO

    from fontTools.ttLib import TTFont

    regular, bold = (set(TTFont(BytesIO(font_bytes()[name]), lazy=True).getBestCmap()) for name in FILES[:2])
    return frozenset(regular & bold)
