"""Scores on the site, read by parsing it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import html5lib
import numpy as np
import pytest
from bs4 import BeautifulSoup, Tag
from scipy.stats import spearmanr
from synthetic_run import metrics, technique_record, write_run, write_scores
from test_site import HOSTILE, Page, pages_of
from test_site import (
    test_every_page_has_a_head as check_heads,
)
from test_site import (
    test_every_page_has_the_policy_and_keeps_it as check_policy,
)
from test_site import (
    test_every_picture_has_alt_and_one_that_takes_room_width_and_height as check_pictures,
)
from test_site import (
    test_ids_are_unique_and_headings_do_not_skip as check_headings,
)
from test_site import (
    test_links_are_relative_and_lead_somewhere as check_links,
)
from test_site import (
    test_regions_have_names_of_their_own as check_regions,
)

from vitreport.analysis.statistics import Bootstrap
from vitreport.analysis.trust import trust
from vitreport.report.build import build_report
from vitreport.report.html import SitePages
from vitreport.report.reading import index_page
from vitreport.report.template_files import BUNDLES
from vitreport.store import open_run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_run(tmp_path_factory.mktemp("scored") / "run", 34, quarantined=2, uris=HOSTILE, seed=2)
    write_scores(root, most=24)
    build_report(root, pdf=False, processes=1)
    return root


@pytest.fixture(scope="module")
def pages(root: Path) -> list[Page]:
    return pages_of(root)


def page_at(pages: list[Page], path: str) -> Page:
    return next(page for page in pages if page.path == path)


def image_pages(pages: list[Page]) -> list[Page]:
    return [page for page in pages if page.path.startswith("images/") and "index" not in page.path]


def words(page: Page) -> str:
    return " ".join(page.soup.get_text(" ", strip=True).split())


def test_scored_pages_keep_to_what_every_page_keeps_to(root: Path, pages: list[Page]) -> None:
    for page in pages:
        html5lib.HTMLParser(strict=True).parse(page.text)
    check_policy(pages)
    check_heads(pages)
    check_links(root, pages)
    check_pictures(pages)
    check_headings(pages)
    check_regions(pages)


def test_every_page_links_the_page_about_scores(pages: list[Page]) -> None:
    for page in pages:
        links = [str(link["href"]) for link in page.soup.select("header a")]
        assert any(link.endswith("analysis/trust.html") for link in links), page.path


def test_a_run_without_metrics_has_no_word_of_them(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", 3)
    build_report(root, pdf=False, processes=1)
    assert not (root / "report/analysis/trust.html").exists()
    for page in pages_of(root):
        assert "trust" not in page.text
        assert not page.soup.select("table.board, .whisker, .leads")
    assert not list((root / "report/assets").glob("curves*.svg"))


def test_the_index_says_which_technique_to_trust_after_its_summary(pages: list[Page]) -> None:
    index = page_at(pages, "index.html")
    heads = [head.get_text() for head in index.soup.select("h2")]
    assert heads[:2] == ["Findings", "Which technique to trust"]
    assert any(
        said.get_text().startswith(
            "On this model, scored on 24 images (occluder: token drop), Gradient rollout is the most faithful"
        )
        for said in index.soup.select(".opening p")
    )
    table = index.soup.select_one("table.board")
    assert isinstance(table, Tag)
    first = table.select("tbody")[0].get_text(" ", strip=True)
    assert first.startswith("1 Gradient rollout 0.")
    assert first.endswith("24 yes yes")
    assert isinstance(table.select_one("tbody a[href='techniques/gradient_rollout.html']"), Tag)
    assert "drawn by chance from 32" in words(index)
    assert "occluder token_drop, steps 4" in words(index)
    assert "No score proves a cause." in words(index)


def test_controls_are_set_apart_and_the_undefined_say_why(pages: list[Page]) -> None:
    for path in ("index.html", "analysis/trust.html"):
        table = page_at(pages, path).soup.select_one("table.board")
        assert isinstance(table, Tag)
        apart = table.select_one("tbody.yardsticks")
        assert isinstance(apart, Tag)
        assert [row.select("th")[-1].get_text(" ", strip=True) for row in apart.select("tr")] == [
            row.select("th")[-1].get_text(" ", strip=True) for row in apart.select("tr")
        ]
        names = apart.get_text(" ", strip=True)
        assert all(name in names for name in ("Centre", "Edges", "Random mean of 3 draws"))
        last = table.select("tbody")[-1].get_text(" ", strip=True)
        assert "Attention rollout fusion min undefined its map is constant" in last


def test_every_mean_is_drawn_with_its_interval(pages: list[Page]) -> None:
    page = page_at(pages, "analysis/trust.html")
    for table in page.soup.select("table.board:has(.span)"):
        for row in table.select("tbody tr"):
            mean = row.select_one("td.number")
            assert isinstance(mean, Tag)
            assert bool(row.select_one(".whisker")) is (mean.get_text() != "undefined")


def test_the_page_about_scores_has_all_of_it(pages: list[Page]) -> None:
    page = page_at(pages, "analysis/trust.html")
    text = words(page)
    for expected in (
        "Where the model is wrong",
        "Deletion and insertion",
        "Scorecard",
        "Do the techniques agree?",
        "Least alike:",
        "What each metric says",
        "It does not say: what a person would point at.",
        "arXiv:2401.06654",
        "what the parameter does",
        "It did not run: no image has a <label> .",
        "A map is no causal proof",
        "Faithfulness depends on the occluder",
        "Localisation is not faithfulness",
        "run.metric('relevance_gain')",
        "The mask shows <nothing>.",
    ):
        assert expected in text or expected.replace(" .", ".") in text, expected
    opened = page.soup.select("details.metric[open] h3")
    assert [head.get_text() for head in opened] == ["Relevance gain (SRG)"]
    boards = [head.get_text() for head in page.soup.select("#boards ~ details h3")]
    assert len(boards) == 3 and "Concentration (Gini)" not in boards
    checks = page.soup.select("#checks ~ details")
    assert len(checks) == 1 and "Group" not in checks[0].get_text()
    assert "Gradient rollout" in checks[0].get_text() and "chance + 0.2" in checks[0].get_text()
    means = [cell.get_text() for cell in page.soup.select("#metrics ~ section table.board thead th")]
    assert "Rise of <entropy>" in means


def test_curves_are_pictures_that_say_their_numbers(root: Path, pages: list[Page]) -> None:
    page = page_at(pages, "analysis/trust.html")
    pictures = page.soup.select("figure.curves img")
    assert len(pictures) == 2
    for picture in pictures:
        asset = (root / "report/analysis" / str(picture["src"])).resolve()
        assert asset.is_file() and asset.suffix == ".svg"
        assert hashlib.sha256(asset.read_bytes()).hexdigest()[:8] in asset.name
        assert "Gradient rollout: 0.90 with nothing hidden" in str(picture["alt"])
    legend = [row.get_text(" ", strip=True) for row in page.soup.select("table.legend tbody tr")]
    assert legend[0].startswith("Gradient rollout first by its mean")
    assert legend[-1].startswith("Random (mean of 3 draws) random control")


def test_cells_of_the_scorecard_link_their_reasons(pages: list[Page]) -> None:
    page = page_at(pages, "analysis/trust.html")
    missing = page.soup.select("table.card td.missing")
    assert missing
    for cell in missing:
        link = cell.select_one("a")
        assert isinstance(link, Tag)
        assert page.soup.find(id=str(link["href"]).removeprefix("#"))
    rows = page.soup.select("table.card tbody tr")
    assert {len(row.select("td")) for row in rows} == {5}


def test_a_technique_has_its_own_scores(pages: list[Page]) -> None:
    page = page_at(pages, "techniques/gradient_rollout.html")
    rows = [row.get_text(" ", strip=True) for row in page.soup.select("table.scores tbody tr")]
    assert rows[0].startswith("Relevance gain (SRG) 0.") and rows[0].endswith("24 1 yes yes")
    assert rows[1].startswith("Randomisation (Random weights) 0.") and rows[1].endswith("24 fails")
    assert "its map is defined, but not what Completeness compares it with" in rows[2]
    assert not page_at(pages, "techniques/qkv.html").soup.select("table.scores")


def test_scored_images_have_their_scores_and_others_have_none(root: Path, pages: list[Page]) -> None:
    run = open_run(root)
    metric = run.metric("relevance_gain")
    stored = {
        row["id"]: row["value"] for row in run.scores(metric, run.technique("raw_attention")).to_pylist()
    }
    assert len(stored) == 24
    for page in image_pages(pages):
        image_id = page.path.removeprefix("images/").removesuffix(".html")
        table = page.soup.select_one("table.card")
        assert bool(table) is (image_id in stored)
        assert len(page.soup.select("figure.curves img")) == (2 if table else 0)
        body = json.loads((root / f"report/images/{image_id}.json").read_text())
        assert ("scores" in body) is (image_id in stored)
        if not table:
            continue
        rows = {row.select("th")[0].get_text(): row.select("td") for row in table.select("tbody tr")}
        assert rows["Raw attention"][0].get_text() == f"{stored[image_id]:.3f}".replace("-", "−")
        assert rows["Attention rollout (fusion min)"][0].get_text() == "undefined"
        lines = [line.get_text() for line in page.soup.select("#scores ~ details li")]
        assert (
            "SRG, Attention rollout (fusion min): its map is constant or holds values that are not numbers"
            in lines
        )
        assert any(line.startswith("Completeness, ") and line.endswith("compares it with") for line in lines)
        assert "Masks, Attention rollout (fusion min): the mask shows <nothing>" in lines
        assert len(page.text) < 110_000


def test_raw_values_have_every_score_and_its_curves(root: Path) -> None:
    run = open_run(root)
    metric, technique = run.metric("relevance_gain"), run.technique("raw_attention")
    row = run.scores(metric, technique).to_pylist()[0]
    body = json.loads((root / f"report/images/{row['id']}.json").read_text())
    by_key = {(score["metric"], score["technique"]): score for score in body["scores"]}
    score = by_key["relevance_gain", "raw_attention"]
    assert score["value"] == pytest.approx(row["value"], rel=1e-8)
    assert score["target"] == row["target"]
    for name in ("hidden", "most_first", "least_first"):
        assert score[name] == pytest.approx(row[name], rel=1e-6)
    assert {("relevance_gain", f"random:draw={draw}") for draw in (1, 2)} <= set(by_key)
    assert ("relevance_gain", "attention_rollout:fusion=min") not in by_key


def test_an_image_names_the_maps_that_agree_least(root: Path, pages: list[Page]) -> None:
    run = open_run(root)
    image_id = run.scores(run.metric("relevance_gain"), run.technique("raw_attention"))["id"][0].as_py()
    target = run.images.filter(run.images["id"].to_numpy() == image_id)["targets"][0][0].as_py()
    keys = [record.key for record in run.techniques if record.kind == "map" and record.family != "control"]
    maps = {key: run.map(image_id, key, target).ravel() for key in keys}
    pairs = {
        (one, other): spearmanr(maps[one], maps[other]).statistic
        for one in keys
        for other in keys
        if one.partition(":")[0] != other.partition(":")[0]
    }
    least = f"{min(pairs.values()):.2f}".replace("-", "−")
    page = page_at(pages, f"images/{image_id}.html")
    said = words(page).partition("Least alike: ")[2].partition(")")[0]
    assert least in said + words(page).partition("Least alike: ")[2].split(";")[0]


def test_equal_scored_runs_give_equal_bytes_whatever_the_number_of_processes(tmp_path: Path) -> None:
    found = []
    for processes in (1, 2):
        root = write_scores(write_run(tmp_path / str(processes), 40))
        build_report(root, pdf=False, processes=processes)
        found.append(
            {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        )
    assert found[0] == found[1]


def test_hostile_titles_and_names_are_only_text(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", 8)
    folder = open_run(root).folder
    manifest = folder.manifest()
    bad = "<script>alert('$x$')</script> & \"q\" 日本"
    records = tuple(
        replace(record, title=f"{record.title} {bad}") if record.kind == "map" else record
        for record in manifest.techniques
    )
    folder.commit_manifest(replace(manifest, techniques=records))
    by = [replace(record, title=f"{record.title} {bad}", short=bad) for record in metrics()]
    write_scores(root, by=by)
    build_report(root, pdf=False, processes=1)
    for page in pages_of(root):
        html5lib.HTMLParser(strict=True).parse(page.text)
        assert "<script>alert" not in page.text
    assert bad in words(page_at(pages_of(root), "analysis/trust.html"))
    assert not any(b"alert" in svg.read_bytes() for svg in (root / "report/assets").glob("*.svg"))


def test_forty_settings_have_a_light_index(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", images=1000, quarantined=60)
    folder = open_run(root).folder
    manifest = folder.manifest()
    first = next(record for record in manifest.techniques if record.name == "raw_attention")
    more = []
    for number in range(30):
        record = replace(
            first, key=f"raw_{number}", name=f"raw_{number}", title=f"Raw attention number {number}"
        )
        more.append(replace(record, digest=f"{number:08x}", shows="Which patches the readout draws on. " * 3))
    for record in more:
        for shard in range(manifest.data.shards):
            part = f"part-{shard:05d}.parquet"
            table = folder.read_table(f"data/maps/{first.folder}/{part}")
            folder.write_table(f"data/maps/{record.folder}/{part}", table)
    wider = replace(manifest, techniques=(*manifest.techniques, *more))
    folder.commit_manifest(wider)
    write_scores(root, most=16, by=metrics()[:1])
    run = open_run(root)
    page = index_page(run, {}, trust(run, Bootstrap(resamples=200)))
    assert page.trust is not None and page.trust.headline is not None
    board = page.trust.headline.board
    assert board is not None and board.ranked >= 38 and board.further > 20
    small = {row.id: f"{row.id}-small-00000000.jpg" for row in page.rows}
    drawn = SitePages({name: f"00000000-{name}" for name in BUNDLES}, page.title, scored=True)
    content = drawn.index(page, small, ["images-0-00000000.js"])
    assert len(content) <= 60_000
    table = BeautifulSoup(content, "html5lib").select_one("table.board")
    assert isinstance(table, Tag)
    assert f"and {board.further} further technique settings" in table.get_text()
    assert len(table.select(".whisker")) == 12 + 3
    assert np.isfinite([float(row.mean) for group in board.first for row in group.rows]).all()
    assert technique_record("raw_attention").title in table.get_text()


def test_a_scored_site_needs_neither_torch_nor_weasyprint_nor_pyplot(tmp_path: Path) -> None:
    root = write_scores(write_run(tmp_path / "run", 6))
    program = (
        "import sys; from pathlib import Path; from vitreport.report.build import build_report; "
        f"build_report(Path({str(root)!r}), pdf=False, processes=1); "
        "print(sorted({'torch', 'timm', 'weasyprint', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert (root / "report/analysis/trust.html").is_file()
