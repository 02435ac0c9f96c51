"""The report of a difference: its page, its PDF, its numbers, and the command."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pypdf
import pytest
from bs4 import BeautifulSoup
from click.testing import CliRunner
from command_line import finish, process
from synthetic_run import write_run, write_scores

from vitreport.cli import main


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two scored runs on images that partly are the same."""
    root = tmp_path_factory.mktemp("runs")
    before = write_scores(write_run(root / "before", images=12, quarantined=0))
    after = write_scores(write_run(root / "after", images=10, quarantined=0), quality={"raw_attention": 0.6})
    return before, after


def diff(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["diff", *map(str, words)], catch_exceptions=False)
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def written(runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("difference") / "out"
    code, said = diff(*runs, "-o", output, "--quiet")
    assert (code, said) == (0, "")
    return output


def test_the_page_shows_findings_pictures_and_tables_without_a_foreign_reference(written: Path) -> None:
    text = (written / "index.html").read_text(encoding="utf-8")
    soup = BeautifulSoup(text, "html5lib")
    heads = [head.get_text() for head in soup.select("h2")]
    assert heads[0] == "Findings" and "What this does not prove" in heads
    assert [head.get_text() for head in soup.select("#findings ~ h3")][:3] == ["New", "Vanished", "In both"]
    assert soup.select(".stack .layer")
    places = [str(one["src"]) for one in soup.select("img, script[src]")]
    places += [str(one["href"]) for one in soup.select("link[rel=stylesheet]")]
    for place in places:
        assert place.startswith("data:image/webp") or (written / place).is_file(), place
    assert all(one["alt"] or "photo" in one["class"] for one in soup.select("img"))
    assert "http" not in text.replace("http-equiv", "")


def test_the_numbers_say_what_the_page_says(written: Path) -> None:
    numbers = json.loads((written / "difference.json").read_text())
    text = (written / "index.html").read_text(encoding="utf-8")
    assert numbers["format"] == "vitreport difference"
    assert f"Compared on {numbers['shared']} images" in text
    assert numbers["accuracy"]["images"] == numbers["shared"]
    raw = next(one for one in numbers["scores"] if one["key"] == "raw_attention")
    assert raw["difference"]["value"] == pytest.approx(raw["after"] - raw["before"])
    assert raw["difference"]["value"] > 0.2
    for finding in numbers["findings"]["new"]:
        assert finding["sentence"] in BeautifulSoup(text, "html5lib").get_text()


def test_the_pdf_has_the_numbers_attached(written: Path) -> None:
    reader = pypdf.PdfReader(io.BytesIO((written / "difference.pdf").read_bytes()))
    assert reader.attachments["difference.json"][0] == (written / "difference.json").read_bytes()
    words = " ".join(" ".join(page.extract_text() for page in reader.pages).split())
    for expected in ("Findings", "What changed", "What differs between the runs", "What this does not prove"):
        assert expected in words
    assert reader.trailer["/Root"]["/MarkInfo"]["/Marked"]


def test_a_second_time_gives_the_same_bytes(runs: tuple[Path, Path], written: Path, tmp_path: Path) -> None:
    assert diff(*runs, "-o", tmp_path / "again", "-q")[0] == 0

    def contents(root: Path) -> dict[str, str]:
        files = (path for path in root.rglob("*") if path.is_file())
        return {str(one.relative_to(root)): hashlib.sha256(one.read_bytes()).hexdigest() for one in files}

    assert contents(tmp_path / "again") == contents(written)


def test_the_command_says_what_changed_and_where_it_is(runs: tuple[Path, Path], tmp_path: Path) -> None:
    code, said = diff(*runs, "-o", tmp_path / "out", "--no-pdf")
    assert code == 0
    assert "Compared on" in said and "Accuracy" in said
    assert said.splitlines()[-1] == f"report: {tmp_path / 'out' / 'index.html'}"
    assert not (tmp_path / "out" / "difference.pdf").exists()


def test_what_cannot_be_compared_is_one_line(runs: tuple[Path, Path], tmp_path: Path) -> None:
    before, _ = runs
    for words, expected in (
        ((before, before, "-o", tmp_path / "a"), "the same run"),
        ((before, tmp_path, "-o", tmp_path / "a"), "vitreport:"),
        ((before, runs[1], "-o", before), "choose another -o"),
    ):
        code, said = diff(*words)
        assert code == 3 and expected in said and len(said.strip().splitlines()) == 1
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_the_watermark_is_new_from_the_honest_to_the_cheating_model(tmp_path: Path) -> None:
    words = ("--images", "120", "--metric", "none", "-q", "-o")
    for model in ("honest", "shortcut"):
        code, _, err = finish(process("demo", "--model", model, "--no-pdf", *words, str(tmp_path / model)))
        assert code == 0, err
    code, said = diff(tmp_path / "honest", tmp_path / "shortcut", "-o", tmp_path / "out", "--no-pdf")
    assert code == 0 and "The first: The evidence for house lies in the lower right corner" in said
    numbers = json.loads((tmp_path / "out" / "difference.json").read_text())
    assert numbers["findings"]["new"][0]["subject"] == "house, lower right corner"
    assert not [one for one in numbers["findings"]["vanished"] if one["kind"] == "shortcut"]
