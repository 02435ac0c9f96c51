"""The pages about a run as a whole, on the site: their links, their pictures, and real runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import finish, process
from synthetic_run import write_run
from test_site import Page, pages_of

from vitreport.analysis.audit import audit
from vitreport.analysis.heads import DISTANCE
from vitreport.report.build import build_report
from vitreport.store import open_run

SHARED = Path(__file__).parents[3] / "shared"
WEIGHTS = SHARED / "weights" / "deit_tiny_patch16_224.safetensors"
PHOTOS = SHARED / "images" / "photos.csv"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_run(tmp_path_factory.mktemp("audited") / "run", images=24)
    build_report(root, pdf=False, processes=1)
    return root


def at(pages: list[Page], path: str) -> Page:
    return next(page for page in pages if page.path == path)


def test_every_link_and_picture_of_the_analysis_is_there(root: Path) -> None:
    site = root / "report"
    pages = [page for page in pages_of(root) if page.path.startswith(("analysis/", "classes/"))]
    assert {"analysis/index.html", "analysis/evidence.html", "analysis/record.html"} <= {
        p.path for p in pages
    }
    assert any(page.path.startswith("classes/") for page in pages)
    for page in pages:
        folder = (site / page.path).parent
        targets = [str(link["href"]) for link in page.soup.select("main a[href]")]
        targets += [str(picture["src"]) for picture in page.soup.select("main img")]
        for target in targets:
            if not target.startswith(("#", "data:")):
                assert (folder / target.partition("#")[0]).resolve().is_file(), (page.path, target)


def test_the_start_page_has_findings_before_anything_else(root: Path) -> None:
    index = at(pages_of(root), "index.html")
    assert index.soup.select("h2")[0].get_text() == "Findings"
    findings = index.soup.select("ol.findings > li")
    assert findings and all(one.select_one(".severity") for one in findings)
    assert "Looked for: " in index.text


def test_an_image_for_review_says_so_on_its_page(root: Path) -> None:
    run = open_run(root)
    cases = audit(run).review.cases
    assert cases
    page = at(pages_of(root), f"images/{cases[0].id}.html")
    notice = page.soup.select_one(".notice")
    assert notice is not None and cases[0].words in notice.get_text()


def run_of(tmp_path: Path, *words: str) -> Path:
    root = tmp_path / "run"
    code, _, err = finish(process(*words, "--metric", "none", "--no-pdf", "-q", "-o", str(root)))
    assert code == 0, err
    return root


@pytest.mark.slow
def test_the_watermark_comes_first_on_the_model_that_cheats(tmp_path: Path) -> None:
    root = run_of(tmp_path, "demo", "--model", "shortcut", "--images", "120")
    first = at(pages_of(root), "index.html").soup.select("ol.findings > li")[0]
    text = first.get_text(" ", strip=True)
    assert text.startswith("severe The evidence for house lies in the lower right corner")
    assert len(first.select("img")) == 6
    assert all((root / "report" / str(link["href"])).is_file() for link in first.select(".thumbs a"))
    pictures = at(pages_of(root), "analysis/index.html").soup.select("ol.findings > li")[0].select(".layer")
    assert len(pictures) == 6


@pytest.mark.slow
def test_nothing_is_called_a_shortcut_on_the_model_that_does_not(tmp_path: Path) -> None:
    root = run_of(tmp_path, "demo", "--images", "120")
    index = at(pages_of(root), "index.html")
    assert not any("corner" in one.get_text() for one in index.soup.select("ol.findings > li"))
    assert "corners that give a class away (36 tests)" in index.text


@pytest.mark.slow
@pytest.mark.skipif(
    not (WEIGHTS.is_file() and PHOTOS.is_file()), reason="needs ../shared: weights and photos"
)
def test_photos_through_a_real_model(tmp_path: Path) -> None:
    model = ("--model", "deit_tiny_patch16_224", "--checkpoint", str(WEIGHTS))
    root = run_of(tmp_path, "run", str(PHOTOS), *model)
    found = audit(open_run(root))
    assert found.evolution is not None and found.heads is not None and found.census is not None
    assert found.evolution.gap == 0 and found.evolution.same == len(found.evolution.ids) == 120
    distance = [one.value for one in found.heads.blocks[DISTANCE]]
    assert sum(distance[6:]) > 1.3 * sum(distance[:6]) and found.heads.growth.value > 0.8
    assert 0.02 < found.census.patches[-1].value < 0.08
    pages = pages_of(root)
    assert "equals the stored prediction exactly" in at(pages, "analysis/emergence.html").text
    cases = at(pages, "analysis/review.html").soup.select("tbody tr")
    assert len(cases) == len(found.review.cases) > 0
    (atlas,) = [
        part for part in at(pages, "analysis/heads.html").soup.select("section") if part.find(id="atlas")
    ]
    assert len(atlas.select(".tiles img")) == 4
