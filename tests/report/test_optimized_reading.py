"""The chapter on optimised pictures, against the records that it is drawn from."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from PIL import Image
from synthetic_run import write_run

from vitreport.report.audit_reading import audit_page
from vitreport.report.build import build_report
from vitreport.report.chapter import Chapter, Section
from vitreport.report.reading import image_rows
from vitreport.store import RunFolder, open_run
from vitreport.store.optimized import (
    CONTROLS,
    Audited,
    CrossControl,
    Gate,
    Look,
    OptimizedPicture,
    OptimizedRecord,
    picture_path,
    record_path,
)

PATH = "analysis/learned.html"


def look(score: float | None, predicted: int) -> Look:
    return Look(activation=4.5, predicted=predicted, score=score, rank=1 if score else None)


def picture(folder: RunFolder, slug: str, name: str, score: float | None, seam: float) -> OptimizedPicture:
    path = picture_path(slug, "0123abcd", name)
    encoded = io.BytesIO()
    Image.new("RGB", (48, 48), (200, 120, 40)).save(encoded, "PNG")
    folder.write(path, encoded.getvalue())
    gates = (
        Gate("seam", 0.9 <= seam <= 1.1, seam, "seam ratio between 0.9 and 1.1"),
        Gate("clean", None if score is None else score > 0.5, score, "the target is the likeliest class"),
    )
    looks = {kind: look(score, 1) for kind in ("clean", "shifted", "blurred")}
    return OptimizedPicture(name, path, seam, 0.25, looks, gates, folder.sha256(path))


def write_record(root: Path, target: str, scores: list[float | None], seam: float = 1.0) -> OptimizedRecord:
    folder, slug = RunFolder(root), target.replace(":", "-")
    ids = [ref.id for ref in open_run(root).catalogue]
    kind = target.partition(":")[0]
    record = OptimizedRecord(
        target=target,
        title=f"{kind} {target.rpartition(':')[2]}: square",
        kind=kind,
        index=1,
        block=None,
        digest="0123abcd",
        parametrisation="fourier",
        recipe={"steps": 2},
        weights_sha256="0" * 64,
        device="cpu",
        statistics="measured on 5 audited images",
        audited=Audited(
            images=5,
            from_views=2,
            mean=0.5,
            deviation=0.1,
            most=2.0,
            bound=2.0,
            rule="above the maximum",
            top=((ids[2], 2.0), (ids[3], 1.5)),
            likeness=0.21,
        ),
        pictures=tuple(picture(folder, slug, f"seed {n}", score, seam) for n, score in enumerate(scores)),
        noise=picture(folder, slug, "noise", 0.001 if scores[0] else None, 1.02),
        gates=(Gate("seeds", True, 1.0, "all seeds lead to the target"),),
        feature_cosine=0.83,
    )
    folder.write_json(record_path(slug, "0123abcd"), record.to_json())
    return record


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_run(tmp_path_factory.mktemp("learned") / "run", images=6, quarantined=0)
    write_record(root, "class:1", [0.97, 0.94])
    write_record(root, "class:2", [0.91, 0.99], seam=1.5)
    write_record(root, "unit:3:7", [None, None])
    cross = CrossControl(
        "0123abcd", ("class:1", "class:2"), ((0.97, 2e-5), (1e-5, 0.91)), ((True, False), (False, True))
    )
    RunFolder(root).write_json(CONTROLS, cross.to_json())
    return root


@pytest.fixture(scope="module")
def chapter(root: Path) -> Chapter:
    run = open_run(root)
    page = audit_page(run, None, image_rows(run))
    assert page is not None
    return next(one for one in page.chapters if one.path == PATH)


def section(chapter: Chapter, name: str) -> Section:
    return next(one for one in chapter.sections if one.id.startswith(name))


def test_the_chapter_says_what_pictures_prove_before_it_shows_any(chapter: Chapter) -> None:
    assert "does not show" in chapter.sections[0].words[1] and not chapter.sections[0].pictures
    assert chapter.lead == "6 pictures of 3 targets; 2 of the targets pass all gates that could be tested."


def test_a_target_has_its_pictures_its_control_and_the_images_that_excite_it(
    root: Path, chapter: Chapter
) -> None:
    first = section(chapter, "class-1")
    assert [one.title for one in first.pictures] == ["seed 0", "seed 1", "control: noise"]
    assert first.pictures[0].note == "score 0.970, seam ratio 1.00"
    assert first.words[0].startswith("It passes its gates.")
    assert [row.id for row in first.images] == [ref.id for ref in open_run(root).catalogue][2:4]
    (gates,) = first.tables
    assert [cell.text for cell in gates.rows[1]][2:] == ["passed, 0.970", "passed, 0.940", "failed, 0.00100"]
    for shown in first.pictures:
        with Image.open(io.BytesIO(shown.jpeg)) as opened:
            assert opened.format == "JPEG" and opened.size == (shown.width, shown.height)


def test_failed_and_untested_gates_are_named(chapter: Chapter) -> None:
    assert section(chapter, "class-2").words[0].startswith("It fails: seam.")
    assert "Not tested: clean." in section(chapter, "unit-3-7").words[0]


def test_pictures_judged_for_another_class_and_likeness_have_their_numbers(chapter: Chapter) -> None:
    cross = section(chapter, "controls")
    assert "of 2 judged for another, 0 pass" in cross.words[0]
    assert [cell.text for cell in cross.tables[0].rows[0]] == ["class 1: square", "0.97", "2e-05"]
    assert [cell.text for cell in section(chapter, "likeness").tables[0].rows[0]][1:] == [
        "0.25 to 0.25",
        "0.25",
        "0.21",
    ]


def test_the_python_of_the_chapter_prints_its_numbers(
    root: Path, chapter: Chapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(f"{chapter.setup}\n{chapter.code}".replace('"RUN"', '"run"'), PATH, "exec"), {})
    assert "class:1 seed 0 1.0 0.25" in out.getvalue() and "('seam', False, 1.5)" in out.getvalue()


def test_the_page_and_the_document_show_the_pictures(root: Path) -> None:
    build_report(root, pdf_images=0, processes=1)
    site = root / "report"
    soup = BeautifulSoup((site / PATH).read_text(encoding="utf-8"), "html5lib")
    sources = [str(one["src"]) for one in soup.select(".shown img")]
    assert len(sources) == 9 and all((site / "analysis" / source).resolve().is_file() for source in sources)
    assert all(one["alt"] for one in soup.select(".shown img"))
    assert "learned.html" in (site / "analysis" / "index.html").read_text(encoding="utf-8")
    assert (root / "report.pdf").stat().st_size > 10_000


def test_a_run_without_pictures_has_no_such_chapter(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", 3))
    page = audit_page(run, None, image_rows(run))
    assert page is not None and PATH not in [one.path for one in page.chapters]
