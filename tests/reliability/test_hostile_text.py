"""Text that strangers wrote is only ever text: in HTML, scripts, JSON, CSV, paths and the PDF."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pypdf
from click.testing import CliRunner
from hostile_run import EXAMPLES, PAYLOADS, TEXTS, Texts, hostile_run
from hypothesis import HealthCheck, example, given, settings
from site_reading import assert_inert, csv_cells, data_scripts, is_formula, strict_json, texts_in

from vitreport.cli import main
from vitreport.report.build import build_report
from vitreport.report.pdf_font import printable
from vitreport.report.wording import file_name
from vitreport.store import Run, open_run
from vitreport.visible import visible

property_of_reports = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES <= 2,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def worst(start: int) -> Texts:
    """Every payload stands somewhere in a few runs: this is the one from payload `start` on."""
    some = [text for text in PAYLOADS if text.strip()]
    words = [some[(start + offset) % len(some)] for offset in range(22)]
    return Texts(
        files=(words[0], words[1], words[2]),
        groups=(words[3], words[4], words[5]),
        columns=((words[6], words[7]), (words[8], words[9])),
        reason=words[10],
        classes=(words[11], words[12], words[13], words[14], words[15]),
        model=words[16],
        card=((words[17], words[18]),),
        notice=words[19],
        error=words[20],
        title=words[21],
    )


@contextmanager
def reported(texts: Texts, *, pdf: bool) -> Iterator[Run]:
    """The run of these texts with its report; nothing else may appear beside it."""
    with tempfile.TemporaryDirectory() as folder:
        root = hostile_run(Path(folder) / "run", texts)
        build_report(root, pdf=pdf, processes=1)
        assert [place.name for place in Path(folder).iterdir()] == ["run"]
        yield open_run(root)


@property_of_reports
@example(worst(0))
@example(worst(22))
@given(TEXTS)
def test_no_text_becomes_markup_script_address_formula_or_path(texts: Texts) -> None:
    with reported(texts, pdf=False) as run:
        site = run.folder.root / "report"
        found = {page.path: page.soup for page in assert_inert(site)}
        names = {ref.id: visible(file_name(ref.uri)) for ref in run.catalogue}

        said = set().union(*map(texts_in, data_scripts(site)))
        assert set(names.values()) <= said
        index = found["index.html"].get_text()
        assert all(name in index for name in names.values())
        for image_id, group in zip(names, run.images["group"].to_pylist(), strict=True):
            if f"images/{image_id}.html" in found:
                page = found[f"images/{image_id}.html"].get_text()
                assert names[image_id] in page and visible(group) in page

        for place in site.rglob("*.json"):
            strict_json(place.read_text(encoding="utf-8"))
        files = {row["id"]: row for row in run.images.to_pylist()}
        for place in site.rglob("*.csv"):
            rows = csv_cells(place.read_bytes())
            assert not [cell for row in rows for cell in row if is_formula(cell)]
            if place.name == "files.csv":
                assert {row[0]: row[1].removeprefix("'") for row in rows[1:]} == {
                    name: row["uri"].removeprefix("'") for name, row in files.items()
                }
        for place in site.rglob("*"):
            assert all(part.isascii() and part.isprintable() for part in place.relative_to(site).parts)
            assert not place.is_symlink()


@settings(property_of_reports, max_examples=max(1, EXAMPLES // 4))
@example(worst(11))
@given(TEXTS)
def test_no_text_acts_in_the_pdf(texts: Texts) -> None:
    with reported(texts, pdf=True) as run:
        reader = pypdf.PdfReader(run.folder.root / "report.pdf")
        assert_no_action(reader)
        assert list(reader.attachments) == ["results.json"]
        (attached,) = reader.attachments["results.json"]
        strict_json(attached.decode("ascii"))
        assert reader.xmp_metadata is not None  # it is well-formed XML, whatever the model is called
        text = "".join(page.extract_text() for page in reader.pages)
        assert printable(texts.model).replace(" ", "")[:10] in "".join(text.split())


@settings(property_of_reports, max_examples=max(1, EXAMPLES // 4))
@example(worst(22))
@given(TEXTS)
def test_no_text_acts_in_a_difference(texts: Texts) -> None:
    others = replace(texts, classes=texts.classes[::-1], model=texts.title, notice=texts.notice + "!")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        before, after = hostile_run(place / "before", texts), hostile_run(place / "after", others)
        told = CliRunner().invoke(main, ["diff", str(before), str(after), "-o", str(place / "difference")])
        assert told.exit_code == 0, told.output
        assert not set(told.output) & set("\x1b\x07\x9b\u202e\u2066")
        (page,) = assert_inert(place / "difference")
        assert visible(texts.model) in page.soup.get_text()
        assert_no_action(pypdf.PdfReader(place / "difference" / "difference.pdf"))
        assert {one.name for one in place.iterdir()} == {"before", "after", "difference"}


def assert_no_action(reader: pypdf.PdfReader) -> None:
    acting = {"/JavaScript", "/JS", "/Launch", "/URI", "/SubmitForm", "/GoToR", "/ImportData", "/RichMedia"}
    for number in range(1, len(reader.xref_objStm) + sum(map(len, reader.xref.values())) + 1):
        found = pypdf.generic.IndirectObject(number, 0, reader).get_object()
        if isinstance(found, dict):
            assert not acting & set(found), found
            assert found.get("/S") not in acting and found.get("/Subtype") not in acting
