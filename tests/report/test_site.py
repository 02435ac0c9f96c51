"""What every page of the site keeps to, read by parsing it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import html5lib
import numpy as np
import pytest
from bs4 import BeautifulSoup, Tag
from PIL import Image
from synthetic_run import COLS, ROWS, write_run

from vitreport.report.build import build_report

POLICY = {
    "default-src 'none'",
    "img-src 'self' data:",
    "style-src 'self'",
    "script-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
}
HOSTILE = (
    "photos/<script>alert(1)<script>.jpg",
    "photos/\"quoted\" & 'single'.jpg",
    "photos/\U0001f600 日本語.jpg",
    "photos/two\nlines \u2028.jpg",
    "photos/{{ 7 * 7 }}.jpg",
    "photos/" + "long" * 60 + ".jpg",
)


@dataclass(frozen=True)
class Page:
    path: str
    text: str
    soup: BeautifulSoup


def pages_of(root: Path) -> list[Page]:
    site = root / "report"
    found = []
    for place in sorted(site.rglob("*.html")):
        text = place.read_text(encoding="utf-8")
        found.append(Page(place.relative_to(site).as_posix(), text, BeautifulSoup(text, "html5lib")))
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_run(tmp_path_factory.mktemp("site") / "run", images=9, quarantined=2, uris=HOSTILE)
    build_report(root, pdf=False, processes=1)
    return root


@pytest.fixture(scope="module")
def pages(root: Path) -> list[Page]:
    return pages_of(root)


def tags(page: Page, name: str) -> list[Tag]:
    return page.soup.find_all(name)


def test_the_site_has_an_index_lists_and_a_page_for_everything(pages: list[Page]) -> None:
    paths = [page.path for page in pages]
    assert "index.html" in paths
    assert "images/index.html" in paths
    assert sum(path.startswith("images/") for path in paths) == 7 + 1
    assert sum(path.startswith("techniques/") for path in paths) == 11


def test_pages_parse_without_errors(pages: list[Page]) -> None:
    for page in pages:
        html5lib.HTMLParser(strict=True).parse(page.text)


def test_every_page_has_the_policy_and_keeps_it(pages: list[Page]) -> None:
    for page in pages:
        meta = page.soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})
        assert isinstance(meta, Tag)
        assert set(str(meta["content"]).split("; ")) == POLICY
        assert not tags(page, "style")
        for tag in page.soup.find_all(True):
            assert "style" not in tag.attrs
            assert not [name for name in tag.attrs if name.startswith("on")]
        for script in tags(page, "script"):
            assert script.get("src")
            assert not script.get_text()


def test_every_page_has_a_head(pages: list[Page]) -> None:
    for page in pages:
        assert page.soup.html and page.soup.html["lang"] == "en"
        assert page.soup.title and page.soup.title.get_text().strip()
        assert page.soup.find("meta", charset="utf-8")
        assert page.soup.find("meta", attrs={"name": "viewport"})
        description = page.soup.find("meta", attrs={"name": "description"})
        assert isinstance(description, Tag) and description["content"]
        icon = page.soup.find("link", rel="icon")
        assert isinstance(icon, Tag) and icon["href"] == "data:,"


def test_links_are_relative_and_lead_somewhere(root: Path, pages: list[Page]) -> None:
    site = root / "report"
    by_path = {page.path: page for page in pages}
    for page in pages:
        for tag in page.soup.find_all(True):
            for name in ("href", "src"):
                address = tag.get(name)
                if not isinstance(address, str) or address.startswith("data:"):
                    continue
                parts = urlsplit(address)
                assert not parts.scheme and not parts.netloc and not address.startswith("/"), address
                path = unquote(parts.path)
                target = (site / page.path).parent / path if path else site / page.path
                assert target.is_file(), (page.path, address)
                if parts.fragment:
                    there = by_path[target.resolve().relative_to(site.resolve()).as_posix()]
                    assert there.soup.find(id=parts.fragment), (page.path, address)


def test_every_picture_has_alt_and_one_that_takes_room_width_and_height(pages: list[Page]) -> None:
    for page in pages:
        for image in tags(page, "img"):
            assert "alt" in image.attrs
            if image.find_previous_sibling("img", class_="photo"):  # it lies on the photo
                continue
            assert int(str(image["width"])) > 0
            assert int(str(image["height"])) > 0


def test_pictures_say_what_they_show_and_the_numbers_that_matter(pages: list[Page]) -> None:
    page = next(
        page for page in pages if page.path.startswith("images/") and page.path != "images/index.html"
    )
    alts = [str(image["alt"]) for image in page.soup.select("img.layer.own")]
    assert any(
        "Gradient rollout for square" in alt and "strongest at row" in alt and "(from 0)" in alt
        for alt in alts
    )
    assert all(any(character.isdigit() for character in alt) for alt in alts)


def test_ids_are_unique_and_headings_do_not_skip(pages: list[Page]) -> None:
    for page in pages:
        ids = [str(tag["id"]) for tag in page.soup.find_all(id=True)]
        assert len(ids) == len(set(ids))
        assert not [name for name in ids if " " in name]
        levels = [int(tag.name[1]) for tag in page.soup.find_all(["h1", "h2", "h3", "h4", "h5", "h6"])]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels)), page.path


def test_regions_have_names_of_their_own(pages: list[Page]) -> None:
    for page in pages:
        names = [str(region["aria-label"]) for region in page.soup.select("[role=region]")]
        for section in page.soup.select("section[aria-labelledby]"):
            heading = page.soup.find(id=str(section["aria-labelledby"]))
            assert isinstance(heading, Tag)
            names.append(heading.get_text().strip())
        assert len(names) == len(set(names)), page.path


def test_hostile_file_names_are_only_text(pages: list[Page]) -> None:
    joined = "".join(page.text for page in pages)
    assert "<script>alert" not in joined
    assert "{{ 7 * 7 }}" in joined
    index = next(page for page in pages if page.path == "index.html")
    cells = [tag.get_text() for tag in index.soup.select("table.images th[scope=row]")]
    assert {uri.rpartition("/")[2] for uri in HOSTILE} <= set(cells)


def test_an_image_page_shows_both_figures_of_the_study(pages: list[Page]) -> None:
    page = next(
        page for page in pages if page.path.startswith("images/") and page.path != "images/index.html"
    )
    titles = [tag.get_text() for tag in tags(page, "h4")]
    assert "Head fusion: mean, min, max" in titles
    assert "Discard sweep: 0, 0.5, 0.8, 0.9, 0.95" in titles
    names = [tag.get_text() for tag in page.soup.select("figure .name")]
    assert names.count("Gradient rollout") == 2
    blocks = [f"block {block}" for block in range(4)]
    assert [name for name in names if name.startswith("block ")] == [*blocks, *blocks]
    assert "Two-way patterns" in page.soup.get_text()


def test_every_map_comes_on_its_own_and_on_the_fixed_scale(pages: list[Page]) -> None:
    for page in pages:
        for figure in page.soup.select(".technique figure.map"):
            assert figure.select_one("img.own") and figure.select_one("img.fixed")
            assert figure.select_one(".ramp.own") and figure.select_one(".ramp.fixed")


def test_maps_that_are_kept_in_pixels_come_so_too(tmp_path: Path, pages: list[Page]) -> None:
    root = write_run(tmp_path / "run", 2, quarantined=0, in_pixels=("signed_example",))
    build_report(root, pdf=False, processes=1)
    drawn = [
        page for page in pages_of(root) if page.path.startswith("images/") and "edges-pixels" in page.text
    ]
    assert len(drawn) == 2
    for page in drawn:
        figures = page.soup.select("figure.in-pixels")
        assert [figure.select_one(".name").get_text() for figure in figures] == ["Signed example"] * 2
        for figure in figures:
            layer, patches = figure.select_one("img.pixels"), figure.select_one("img.own")
            assert layer["loading"] == "lazy" and "pixel by pixel" in layer["alt"]
            assert patches["src"].startswith("data:") and figure.select_one(".ramp.pixels")
            with Image.open(root / "report/images" / layer["src"]) as picture:
                assert picture.size == (COLS * 16, ROWS * 16)
                shades = np.asarray(picture.convert("L"), float)
            stripes = np.abs(np.diff(shades, axis=1)).mean() / np.abs(np.diff(shades, axis=0)).mean()
            assert stripes > 2, "the map varies from column to column, and hardly from row to row"
    assert not any(page.soup.select(".pixels, .in-pixels, #edges-pixels") for page in pages)


def test_pictures_of_one_technique_for_several_targets_stand_in_one_set(pages: list[Page]) -> None:
    page = next(page for page in pages if page.soup.select_one(".sets"))
    found = []
    for group in page.soup.select(".sets.by-2 > .grid"):
        captions = group.select("figcaption")
        found.append([caption.get_text(" ", strip=True).split(",")[0] for caption in captions])
        assert len(captions) <= 2
    assert ["Gradient rollout for square", "Gradient rollout for star"] in found
    assert ["Signed example for square", "Signed example for star"] in found


def test_the_technique_page_of_the_lens_has_its_sentences(pages: list[Page]) -> None:
    page = next(page for page in pages if page.path == "techniques/logit_lens.html")
    assert len(page.soup.select("ul.strip li .note")) == len(page.soup.select("ul.strip li")) == 7
    assert "The final prediction, " in page.soup.get_text()
    norms = next(page for page in pages if page.path == "techniques/token_norms.html")
    assert len(norms.soup.select("ul.strip img.layer")) == 7


def test_quarantined_images_have_a_reason_and_no_page(root: Path, pages: list[Page]) -> None:
    index = next(page for page in pages if page.path == "index.html")
    assert index.soup.get_text().count("the file is truncated") == 4
    data = next((root / "report" / "assets").glob("images-0000-*.js")).read_text(encoding="utf-8")
    entries = json.loads(data.partition("]=")[2].rstrip(";\n"))
    verdicts = [entry[5] for entry in entries]
    assert verdicts.count("quarantined") == 2
    for entry in entries:
        assert (root / "report" / "images" / f"{entry[0]}.html").is_file() is (entry[5] != "quarantined")


def test_technique_pages_say_what_it_does_not_show(pages: list[Page]) -> None:
    page = next(page for page in pages if page.path == "techniques/attention_rollout.html")
    text = page.soup.get_text()
    for words in (
        "Why the model chose this class.",
        "arXiv:2005.00928",
        "discard_ratio",
        "What the parameter does.",
    ):
        assert words in text
    assert len(page.soup.select("ul.strip li")) == 7


def test_runs_without_labels_groups_or_usable_images_have_a_report_too(tmp_path: Path) -> None:
    for number, given in enumerate(({"labelled": False}, {"images": 2, "quarantined": 2})):
        root = write_run(tmp_path / str(number), **given)
        build_report(root, pdf=False, processes=1)
        assert BeautifulSoup((root / "report/index.html").read_text(), "html5lib").h1


@pytest.mark.parametrize("name", ["class_attention", "qkv", "logit_lens", "token_norms"])
def test_an_observation_that_failed_is_named_with_its_error(name: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 2, quarantined=0, failing=(name,))
    build_report(run, pdf=False)
    (page, *_) = (run / "report" / "images").glob("????????????????.html")
    text = BeautifulSoup(page.read_text("utf-8"), "html5lib").get_text(" ", strip=True)
    assert "the technique met its match" in text
    for path in ("index.html", f"techniques/{name}.html"):
        page = run / "report" / path
        text = BeautifulSoup(page.read_text("utf-8"), "html5lib").get_text(" ", strip=True)
        assert "ailed on 2 images" in text


def test_an_image_without_an_explained_class_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 1, quarantined=0, untargeted=1)
    build_report(run, pdf=False, processes=1)
    (page,) = (run / "report" / "images").glob("????????????????.html")
    text = BeautifulSoup(page.read_text("utf-8"), "html5lib").get_text(" ", strip=True)
    assert "No class was explained, because the image has no label" in text
    assert "Explained:" not in text


def test_a_scale_from_a_sample_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitreport.report.scale_reading.SAMPLES", 10)
    build_report(write_run(tmp_path / "run", 2), pdf=False, processes=1)
    for page in pages_of(tmp_path / "run"):
        of_maps = page.soup.select_one(".note.fixed") or "Fixed scale" in page.text
        assert ("even sample" in page.text) is bool(of_maps)


def test_nothing_is_said_of_a_sample_where_there_is_none(pages: list[Page]) -> None:
    assert not any("even sample" in page.text for page in pages)
