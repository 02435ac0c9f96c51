"""The PDF as a file: tags, links, fonts, identification, attachment, equal bytes."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pypdf
import pytest
from pdf_reading import CHAPTERS, HOSTILE, Document
from PIL import Image
from synthetic_run import write_run

from vitreport.analysis.audit import audit
from vitreport.analysis.findings import findings
from vitreport.report.pdf_attachment import results
from vitreport.store import Run


def test_pictures_are_jpegs_that_passed_through_untouched(document: Document) -> None:
    pictures = {}
    for page in document.reader.pages:
        for name, reference in page["/Resources"]["/XObject"].items():
            pictures[name] = reference.get_object()
    assert len(pictures) == len(document.figures()) > 5
    for picture in pictures.values():
        assert picture["/Filter"] == "/DCTDecode"
        assert picture["/Interpolate"].value is False
        assert picture["/Width"] == 1600


def test_chapters_and_sheets_have_bookmarks(document: Document) -> None:
    outline = document.outline()
    top = [label for depth, label, _ in outline if depth == 0]
    assert top[1:] == CHAPTERS
    sheets = [label for depth, label, _ in outline if depth == 1 and label.startswith("picture_")]
    assert len(sheets) == 5


def test_every_link_leads_to_a_page_and_shows_its_number(document: Document) -> None:
    links = document.links()
    assert len(links) >= len(CHAPTERS) + 5
    for page, target in links:
        assert re.search(rf"(?<!\d){target}(?!\d)", document.pages[page - 1])
    starts = {label: page for depth, label, page in document.outline() if depth == 0}
    assert {target for page, target in links if page == 1} == {starts[chapter] for chapter in CHAPTERS}


def test_pages_are_numbered_and_carry_running_titles(document: Document) -> None:
    total = len(document.pages)
    for number, page in enumerate(document.pages, start=1):
        assert f"{number} of {total}" in page
    assert all("Explanation report: tiny_vit_for_tests" in page for page in document.pages[1:])
    assert all("Image sheets" in page for page in document.pages[-5:])


def test_the_document_is_tagged_with_language_and_title(document: Document) -> None:
    assert document.root["/Lang"] == "en"
    assert document.root["/MarkInfo"]["/Marked"]
    assert document.root["/ViewerPreferences"]["/DisplayDocTitle"]
    assert document.reader.metadata is not None
    assert document.reader.metadata.title == "Explanation report: tiny_vit_for_tests"
    tags = document.tags()
    for tag in ("/H1", "/H2", "/H3", "/P", "/Table", "/TR", "/TH", "/TD", "/Figure", "/Link", "/L", "/LI"):
        assert tag in tags
    levels = [int(tag[2]) for tag in tags if re.fullmatch(r"/H[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_cell_knows_its_headers(document: Document) -> None:
    cells = [element for element in document.elements() if element["/S"] == "/TD"]
    assert cells
    assert all(cell["/A"].get("/Headers") for cell in cells)


def test_every_figure_says_what_it_shows(document: Document) -> None:
    sheets = [one for one in document.figures() if "Contact sheet" in one["/Alt"]]
    assert len(sheets) == 5
    assert all(len(one["/Alt"]) > 40 for one in document.figures())
    for figure in sheets:
        assert "Contact sheet of picture_" in figure["/Alt"]
        assert "14 maps" in figure["/Alt"]
        assert "Attention rollout, max, discard 0.95" in figure["/Alt"]
        assert "largest in row" in figure["/Alt"]


def test_all_fonts_are_embedded_and_our_own(document: Document, hostile: Document) -> None:
    for tested in (document, hostile):
        fonts = {
            str(font.get_object()["/BaseFont"])
            for page in tested.reader.pages
            for font in page["/Resources"]["/Font"].values()
        }
        families = {name.partition("+")[2] for name in fonts}
        assert families == {"Report-Sans", "Report-Sans-Bold", "Report-Mono"}


def test_it_says_that_it_is_pdf_a_3a_and_pdf_ua_1(document: Document) -> None:
    xmp = document.root["/Metadata"].get_data()
    tree = ElementTree.fromstring(xmp)
    rdf = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
    assert len(tree.findall(f"{rdf}RDF")) == 1
    attributes = {
        name: value for element in tree.iter(f"{rdf}Description") for name, value in element.attrib.items()
    }
    assert attributes["{http://www.aiim.org/pdfa/ns/id/}part"] == "3"
    assert attributes["{http://www.aiim.org/pdfa/ns/id/}conformance"] == "A"
    assert attributes["{http://www.aiim.org/pdfua/ns/id/}part"] == "1"
    assert b"pdfaExtension:schemas" in xmp


def test_the_attachment_is_data_and_equals_the_store(document: Document, drawn_run: Run) -> None:
    expected = results(drawn_run, None, findings(audit(drawn_run)))
    assert document.reader.attachments == {"results.json": [expected]}
    (reference,) = document.root["/AF"]
    described = reference.get_object()
    assert described["/AFRelationship"] == "/Data"
    assert described["/UF"] == "results.json"
    embedded = described["/EF"]["/F"].get_object()
    assert embedded["/Subtype"] == "/application/json"
    assert embedded["/Params"]["/ModDate"] == "D:19800101000000Z"


def _draw_elsewhere(root: Path, place: Path, **environment: str) -> bytes:
    script = (
        "import sys; from pathlib import Path; from vitreport.report.pdf import write_pdf;"
        "from vitreport.report.reading import index_page; from vitreport.store import open_run;"
        "run = open_run(sys.argv[1]);"
        "Path(sys.argv[2]).write_bytes(write_pdf(run, index_page(run, {}), {}, image_cap=2));"
        "assert 'torch' not in sys.modules"
    )
    given = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    command = [sys.executable, "-c", script, str(root), str(place)]
    done = subprocess.run(command, check=True, env=given | environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")
    return place.read_bytes()


def test_equal_runs_give_equal_bytes_in_any_process(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", 4, uris=HOSTILE)
    one = _draw_elsewhere(root, tmp_path / "1.pdf", PYTHONHASHSEED="1", TZ="Pacific/Kiritimati")
    two = _draw_elsewhere(root, tmp_path / "2.pdf", PYTHONHASHSEED="2", TZ="America/New_York", LANG="C")
    assert one == two
    dated = {"SOURCE_DATE_EPOCH": "1700000000"}
    three = _draw_elsewhere(root, tmp_path / "3.pdf", PYTHONHASHSEED="1", TZ="Asia/Tokyo", **dated)
    four = _draw_elsewhere(root, tmp_path / "4.pdf", PYTHONHASHSEED="2", TZ="UTC", **dated)
    assert three == four != one
    information = pypdf.PdfReader(io.BytesIO(three)).trailer["/Info"]
    assert isinstance(information, pypdf.generic.DictionaryObject)
    assert information["/CreationDate"] == "D:20231114221320Z"


def test_a_machine_without_fonts_gives_the_same_bytes_in_silence(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", 3, uris=HOSTILE)
    (tmp_path / "fonts.conf").write_text(f"<fontconfig><cachedir>{tmp_path}</cachedir></fontconfig>")
    bare = {"FONTCONFIG_FILE": str(tmp_path / "fonts.conf"), "PYTHONWARNINGS": "error"}
    assert _draw_elsewhere(root, tmp_path / "1.pdf", **bare) == _draw_elsewhere(root, tmp_path / "2.pdf")


def test_without_source_date_epoch_the_document_has_no_invented_date(document: Document) -> None:
    information = document.reader.trailer["/Info"]
    assert "/CreationDate" not in information
    assert "/ModDate" not in information


def _pages_as_pictures(content: bytes, folder: Path) -> list[Image.Image]:
    (folder / "report.pdf").write_bytes(content)
    command = ["pdftoppm", "-r", "40", "-png", str(folder / "report.pdf"), str(folder / "page")]
    subprocess.run(command, check=True)
    return [Image.open(place).convert("L") for place in sorted(folder.glob("page-*.png"))]


@pytest.mark.pdf
@pytest.mark.skipif(shutil.which("pdftoppm") is None, reason="needs poppler (pdftoppm)")
def test_no_page_is_blank_and_nothing_runs_off_the_paper(
    document: Document, hostile: Document, tmp_path: Path
) -> None:
    for number, tested in enumerate((document, hostile)):
        folder = tmp_path / str(number)
        folder.mkdir()
        pages = _pages_as_pictures(tested.content, folder)
        assert len(pages) == len(tested.pages)
        for page in pages:
            ink = np.asarray(page) < 200
            assert ink[60:-60].sum() > 100
            assert not ink[:, :20].any()
            assert not ink[:, -20:].any()
