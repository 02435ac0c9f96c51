"""What the PDF says, and what it says when it cannot be drawn."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pdf_reading import CHAPTERS, HOSTILE, Document, drawn
from synthetic_run import FAILURE, write_run

from vitreport.errors import SettingsError, StoreError
from vitreport.store import Run, RunFolder, open_run


def test_the_first_page_has_the_verdict_the_caveats_and_the_contents(document: Document) -> None:
    first = " ".join(document.pages[0].split())
    assert "Explanation report" in first
    assert "tiny_vit_for_tests" in first
    assert "in 5 images" in first
    assert "labelled images" in first
    assert "1 image could not be used" in first
    assert "no causal proof" in first
    assert "claims no conformity" in first
    for chapter in CHAPTERS:
        assert chapter in first


def test_a_run_without_labels_claims_no_accuracy(tmp_path: Path) -> None:
    document = Document(drawn(open_run(write_run(tmp_path / "run", 2, quarantined=0, labelled=False))))
    assert "carry no labels" in document.words
    assert "differ from the label" not in document.words
    assert "no label" in document.words


def test_the_reviewer_finds_what_the_run_is_bound_to(document: Document, drawn_run: Run) -> None:
    model = drawn_run.manifest.model
    text = "".join(document.text.split())
    for expected in (
        model.weights_sha256,
        model.canary_sha256,
        drawn_run.manifest.run_digest,
        drawn_run.manifest.data.catalogue_sha256,
        model.readout,
        model.explained,
        "bicubic",
        "2.6.0",
        "float32",
        drawn_run.manifest.command,
        "123,456",
    ):
        assert "".join(expected.split()) in text


def test_the_data_chapter_counts_and_gives_reasons(document: Document) -> None:
    for expected in (
        "By label",
        "By group",
        "indoor",
        "outdoor",
        "the file is truncated",
        "it is used as a group",
        "Predictions that differ from the label",
    ):
        assert expected in document.words


def test_every_technique_says_what_it_shows_and_what_not(document: Document, drawn_run: Run) -> None:
    for record in drawn_run.techniques:
        assert record.title in document.words
    names = {record.name for record in drawn_run.techniques}
    assert document.words.count("Which patches the readout draws on.") == len(names)
    assert document.words.count("Why the model chose this class.") == len(names)
    assert "arXiv:2005.00928" in document.words
    assert "0.95" in document.words


def test_a_skipped_technique_gives_its_reason(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", 2)
    folder = RunFolder(root)
    manifest = folder.manifest()
    first, *others = manifest.techniques
    skipped = replace(first, skipped="this model has no token to read out")
    folder.commit_manifest(replace(manifest, techniques=(skipped, *others)))
    document = Document(drawn(open_run(root)))
    assert "Did not run: this model has no token to read out" in document.words
    assert "1 technique did not run on this model" in document.words


def test_every_explained_image_has_a_sheet_in_the_order_of_file_names(
    document: Document, drawn_run: Run
) -> None:
    explained = [row for row in drawn_run.images.to_pylist() if row["status"] == "explained"]
    explained.sort(key=lambda row: str(row["uri"]))
    sheets = document.pages[-len(explained) :]
    for page, row in zip(sheets, explained, strict=True):
        assert row["uri"].removeprefix("photos/") in page
        assert row["id"] in page
        assert f"{100 * row['top_probability'][0]:.1f} %" in page
        assert "Contact sheet" not in page
    assert "order of the files' names" in document.words
    assert "5 images, a sheet each." in document.words


def test_the_cap_is_stated_and_kept(drawn_run: Run) -> None:
    document = Document(drawn(drawn_run, image_cap=2))
    assert "2 of 5 images have a sheet; the HTML report has all." in document.words
    assert sum("Contact sheet" in str(one["/Alt"]) for one in document.figures()) == 2
    uncapped = [row for row in drawn_run.images.to_pylist() if row["status"] == "explained"][2:]
    assert not any(row["id"] in document.text for row in uncapped)


def test_a_cap_of_zero_gives_a_summary_and_a_negative_one_is_refused(drawn_run: Run) -> None:
    document = Document(drawn(drawn_run, image_cap=0))
    assert "0 of 5 images have a sheet" in document.words
    assert not any("Contact sheet" in str(one["/Alt"]) for one in document.figures())
    with pytest.raises(SettingsError, match="-1"):
        drawn(drawn_run, image_cap=-1)


def test_a_run_without_a_usable_image_still_has_a_report(tmp_path: Path) -> None:
    document = Document(drawn(open_run(write_run(tmp_path / "run", 2, quarantined=2))))
    assert "No image could be explained." in document.words
    assert "None of the 2 images could be used" in document.words
    assert "carry no labels" not in document.words
    assert "Sheets stand in the order" not in document.words
    assert document.words.count("the file is truncated") == 2


def test_a_technique_that_failed_says_on_how_many_images_and_why(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", 2, quarantined=0, failing=("qkv",)))
    document = Document(drawn(run, image_cap=0))
    assert f"Failed on 2 images. The error: {FAILURE}" in document.words


def test_an_image_without_an_explained_class_has_a_sheet(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", 2, quarantined=0, untargeted=1))
    document = Document(drawn(run))
    assert document.words.count("No class was explained, because the image has no label") == 1


def test_hostile_file_names_are_shown_and_do_no_harm(hostile: Document) -> None:
    text = "".join(hostile.text.split())
    assert r"\u5bb6.jpg" in text
    assert r"\u202egpj.exe" in text
    assert r"bell\x07line\x0abreak\ue000\xad.jpg" in text
    assert r"unassigned\u0378\U000e0fffnone\ufffe\U0010fffd.jpg" in text
    assert "<b>tags</b>&amp;{{7*7}}.jpg" in text
    assert "long" * 50 in text
    assert "\u202e" not in hostile.text
    images = json.loads(hostile.reader.attachments["results.json"][0])["images"]
    assert {image["uri"] for image in images} == set(HOSTILE)


def test_a_source_date_epoch_that_is_no_number_is_refused(
    drawn_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(SettingsError, match="SOURCE_DATE_EPOCH is 'yesterday'"):
        drawn(drawn_run, image_cap=0)


def _without_weasyprint(error: str, root: Path) -> str:
    script = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "weasyprint":
            raise {error}
sys.meta_path.insert(0, Missing())
from vitreport.errors import RenderError
from vitreport.report.pdf import write_pdf
from vitreport.report.reading import index_page
from vitreport.store import open_run
run = open_run(sys.argv[1])
try:
    write_pdf(run, index_page(run, {{}}), {{}})
except RenderError as caught:
    print(caught)
"""
    command = [sys.executable, "-c", script, str(root)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_missing_weasyprint_is_named_with_a_way_out(drawn_run: Run) -> None:
    said = _without_weasyprint("ModuleNotFoundError(\"No module named 'weasyprint'\")", drawn_run.folder.root)
    assert "needs WeasyPrint" in said
    assert "pip install weasyprint" in said
    assert "--no-pdf" in said


def test_a_missing_pango_is_named_with_a_way_out(drawn_run: Run) -> None:
    said = _without_weasyprint("OSError(\"cannot load library 'libpango-1.0-0'\")", drawn_run.folder.root)
    assert "Pango" in said
    assert "libpango-1.0-0" in said
    assert "--no-pdf" in said


def test_weasyprint_has_nothing_to_say(
    drawn_run: Run, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    drawn(drawn_run, image_cap=1)
    assert [record.getMessage() for record in caplog.records if record.name == "weasyprint"] == []
    assert capfd.readouterr() == ("", "")


def test_a_damaged_store_is_a_store_error(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", 2)
    next((root / "data" / "images").glob("*.parquet")).write_bytes(b"PAR1 no more")
    with pytest.raises(StoreError, match="part-00000"):
        drawn(open_run(root))
