"""Text of strangers shows and does nothing: on a terminal, in a table, in a line."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from pathlib import Path

from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from site_reading import is_formula
from synthetic_run import write_run

from vitreport.cli import main
from vitreport.report.csv_file import csv_text
from vitreport.store import RunFolder
from vitreport.visible import visible, visible_line

EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\nvitreport: all is well\u202eexe\u2066"


@given(st.text(st.characters()))
def test_visible_text_can_be_written_and_holds_nothing_that_acts(text: str) -> None:
    for shown, breaks in ((visible(text), True), (visible_line(text), False)):
        shown.encode()
        for character in shown:
            ours = "\t\n" if breaks else "\t"
            assert unicodedata.category(character) not in {"Cc", "Cs"} or character in ours
            assert unicodedata.bidirectional(character) not in {"RLO", "LRO", "RLE", "LRE", "PDF"}
        assert breaks or len(shown.splitlines()) <= 1


@given(st.text(st.characters(categories=("L", "N", "P", "S"), exclude_characters="\u061c")))
def test_what_is_visible_already_stays(text: str) -> None:
    assert visible(text) == text


def test_controls_are_shown_as_their_codes() -> None:
    assert visible("a\x1b[31m\u202eb\nc\ud800") == "a\\x1b[31m\\u202eb\nc\\ud800"
    assert visible_line("a\nb") == "a\\x0ab"


CELLS = st.one_of(
    st.none(), st.integers(), st.text(), st.sampled_from(["=1+1", " @x", "'quoted", "\t=1", "-"])
)


@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=4))
def test_no_cell_is_a_formula_and_every_text_can_be_had_back(rows: list[list[str | int | None]]) -> None:
    read = list(csv.reader(io.StringIO(csv_text(["a", "b", "c"], rows), newline="")))
    assert len(read) == 1 + len(rows)
    for given_row, row in zip(rows, read[1:], strict=True):
        for cell, text in zip(given_row, row, strict=True):
            assert not is_formula(text)
            assert text.removeprefix("'") == ("" if cell is None else str(cell)) or text == cell


def test_the_command_line_prints_a_hostile_name_on_one_line(tmp_path: Path) -> None:
    missing = CliRunner().invoke(main, ["report", str(tmp_path / EVIL)])
    assert missing.exit_code == 3
    assert "\\x1b[2J" in missing.output and not set(missing.output) & set("\x1b\x07\x9b\r\u202e\u2066")
    assert "\n" not in missing.output.strip()


def test_an_error_about_a_hostile_manifest_is_one_harmless_line(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", 2)
    folder = RunFolder(root)
    folder.write("manifest.json", json.dumps({"format": "vitreport run", "version": EVIL}).encode())
    result = CliRunner().invoke(main, ["report", str(root), "--no-pdf"])
    assert result.exit_code == 3
    assert not set(result.output) & set("\x1b\x07\x9b\r\u202e\u2066")
    assert "\n" not in result.output.strip()
