"""Text that the fonts cannot show is written as codes."""

from __future__ import annotations

import unicodedata

import matplotlib
import pytest

from vitreport.errors import RenderError
from vitreport.report import pdf_font
from vitreport.report.pdf_font import font_bytes, printable


@pytest.mark.parametrize("text", ["tabby.jpg", "naïve café № 5 – “x”", "жук", "σκύλος", "עברית", "±0.5 …"])
def test_what_the_fonts_have_stays(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("漢字", r"\u6f22\u5b57"),
        ("a\x07b", r"a\x07b"),
        ("a\nb\tc", r"a\x0ab\x09c"),
        ("gpj\u202eexe", r"gpj\u202eexe"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("\ue000", r"\ue000"),
        ("🦮", r"\U0001f9ae"),
        ("\u2028", r"\u2028"),
        ("\udc80", r"\udc80"),
        ("soft\u00adhyphen", r"soft\xadhyphen"),
    ],
)
def test_what_the_fonts_lack_or_hide_is_written_as_its_code(text: str, written: str) -> None:
    assert printable(text) == written


def test_everything_printable_is_covered_by_both_faces_and_seen() -> None:
    for point in (*range(0x3000), *range(0xD7F0, 0xFFFF), *range(0x1F000, 0x1FA00)):
        character = chr(point)
        if printable(character) == character:
            assert point in pdf_font._covered()
            assert unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def test_a_missing_font_says_where_it_should_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matplotlib, "get_data_path", lambda: "/nowhere")
    font_bytes.cache_clear()
    try:
        with pytest.raises(RenderError, match=r"come with matplotlib.*DejaVuSans\.ttf"):
            font_bytes()
    finally:
        font_bytes.cache_clear()
