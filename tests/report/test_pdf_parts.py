"""Volumes and documents of one image: each is a whole document about its images."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pdf_reading import HOSTILE, Document, drawn_parts
from synthetic_run import write_run

from vitreport.report import pdf_parts
from vitreport.report.image_reading import neighbours
from vitreport.report.pdf_attachment import Results, results
from vitreport.report.pdf_parts import Origin, singles, volume_of, volumes
from vitreport.report.reading import index_page
from vitreport.store import Run, open_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Seven images that can be explained and one that cannot."""
    return open_run(write_run(tmp_path_factory.mktemp("parts") / "run", 8, uris=HOSTILE[:1]))


@pytest.fixture(scope="module")
def books(run: Run) -> list[Document]:
    """Its volumes, of three images each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pdf_parts, "VOLUME", 3)
        return [Document(content) for content in drawn_parts(run, "volumes")]


@pytest.fixture(scope="module")
def leaves(run: Run) -> list[Document]:
    """Its documents of one image."""
    return [Document(content) for content in drawn_parts(run, "singles")]


def explained(run: Run) -> list[dict[str, Any]]:
    rows = [row for row in run.images.to_pylist() if row["status"] == "explained"]
    return sorted(rows, key=lambda row: str(row["uri"]))


def test_volumes_hold_every_explained_image_once_in_the_order_of_file_names(
    run: Run, books: list[Document]
) -> None:
    assert len(books) == 3
    found = [re.findall(r"Identity: ([0-9a-f]{16})", book.text) for book in books]
    assert [len(ids) for ids in found] == [3, 3, 1]
    assert [one for ids in found for one in ids] == [row["id"] for row in explained(run)]


def test_a_volume_says_what_it_is_and_where_its_limits_are_on_the_first_two_pages(
    books: list[Document],
) -> None:
    for number, book in enumerate(books, start=1):
        first = " ".join(" ".join(book.pages[:2]).split())
        assert f"Image sheets, volume {number} of 3" in first
        assert "of the 7 that were explained" in first
        assert "no causal proof" in first
        assert "What the maps do not prove" in first
        assert "results.json is attached" in first
    assert "Sheets of images 4 to 6" in books[1].words
    assert "Sheets of image 7 of" in books[2].words


def test_every_part_has_title_language_tags_running_titles_and_page_numbers(
    books: list[Document], leaves: list[Document]
) -> None:
    for document in (*books, *leaves):
        assert document.root["/Lang"] == "en"
        assert document.root["/MarkInfo"]["/Marked"]
        assert document.reader.metadata is not None
        assert str(document.reader.metadata.title).endswith(": tiny_vit_for_tests")
        total = len(document.pages)
        for number, page in enumerate(document.pages, start=1):
            assert f"{number} of {total}" in page
        assert {"/H1", "/H2", "/P", "/Table", "/TH", "/TD", "/Figure"} <= set(document.tags())
    for number, book in enumerate(books, start=1):
        assert all(f"Image sheets, volume {number} of 3" in page for page in book.pages)


def test_every_sheet_of_a_volume_has_a_bookmark_and_a_link_with_its_page(books: list[Document]) -> None:
    for book in books:
        labels = [label for _, label, _ in book.outline()]
        sheets = [(label, page) for _, label, page in book.outline() if label.endswith(".jpg")]
        assert len(sheets) == len(book.figures())
        assert "Images" in labels and "How to read the sheets, and their limits" in labels
        targets = {target for _, target in book.links()}
        assert {page for _, page in sheets} <= targets
        for page, target in book.links():
            assert re.search(rf"(?<!\d){target}(?!\d)", book.pages[page - 1])


def test_the_document_of_an_image_is_a_sheet_and_its_limits_on_two_pages(
    run: Run, leaves: list[Document]
) -> None:
    for leaf, row in zip(leaves, explained(run), strict=True):
        assert len(leaf.pages) == 2
        assert f"Identity: {row['id']}" in leaf.pages[0]
        assert len(leaf.figures()) == 1
        assert "What the maps do not prove" in leaf.words
        assert run.manifest.run_digest in leaf.words


def test_the_attachment_of_a_part_has_its_images_as_the_store_has_them(
    run: Run, books: list[Document], leaves: list[Document]
) -> None:
    whole = json.loads(results(run))
    images = {image["id"]: image for image in whole["images"]}
    assert whole["part"] is None
    for number, book in enumerate(books, start=1):
        body = json.loads(book.reader.attachments["results.json"][0])
        assert body["part"] == {"volume": number, "volumes": 3}
        ids = re.findall(r"Identity: ([0-9a-f]{16})", book.text)
        assert body["images"] == [images[image_id] for image_id in sorted(ids)]
        assert {name: whole[name] for name in ("run_digest", "model", "techniques")}.items() <= body.items()
    for leaf, row in zip(leaves, explained(run), strict=True):
        body = json.loads(leaf.reader.attachments["results.json"][0])
        assert body["part"] == {"image": row["id"]}
        assert body["images"] == [images[row["id"]]]


def test_parts_are_where_the_summary_says(run: Run) -> None:
    index = index_page(run, {})
    members = neighbours(index.rows)
    origin, written = Origin.of(run, index), Results(run)
    where = volume_of(members)
    for number, part in enumerate(volumes(origin, written, members), start=1):
        assert part.path == f"pdf/volume-{number:03d}.pdf"
        assert all(where[image_id] == number for image_id in part.ids)
    assert [part.path for part in singles(origin, written, members)] == [
        f"pdf/{row['id']}.pdf" for row in explained(run)
    ]


def test_a_run_without_a_usable_image_has_no_parts(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", 2, quarantined=2))
    assert drawn_parts(run, "volumes") == drawn_parts(run, "singles") == []
