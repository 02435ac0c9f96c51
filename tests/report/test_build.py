from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_run import write_run

from vitreport.errors import RenderError, StoreError
from vitreport.report.build import build_report
from vitreport.report.html import SitePages
from vitreport.report.image_data import table_scripts
from vitreport.report.image_list import list_name, lists_of
from vitreport.report.reading import index_page
from vitreport.report.scale_reading import dataset_scales
from vitreport.report.site_record import read_record
from vitreport.report.template_files import BUNDLES
from vitreport.store import RunFolder, open_run


def contents(root: Path) -> dict[str, bytes]:
    return {
        place.relative_to(root).as_posix(): place.read_bytes() for place in root.rglob("*") if place.is_file()
    }


def change(root: Path, **given: object) -> None:
    folder = RunFolder(root)
    folder.commit_manifest(replace(folder.manifest(), **given))  # type: ignore[arg-type]


def test_equal_runs_give_equal_bytes_whatever_the_number_of_processes(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", images=40)
    two = write_run(tmp_path / "two", images=40)
    build_report(one, pdf=False, processes=1)
    build_report(two, pdf=False, processes=2)
    assert contents(one) == contents(two)
    build_report(one, pdf=False, processes=1)
    assert contents(one) == contents(two)


def test_the_record_lists_every_file_with_its_digest(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    before = contents(root)
    build_report(root, pdf=False, processes=1)
    record = json.loads((root / "report.json").read_text())
    written = {path: body for path, body in contents(root).items() if path not in {*before, "report.json"}}
    assert record["files"] == {path: hashlib.sha256(body).hexdigest() for path, body in written.items()}


def test_a_file_that_is_as_it_should_be_is_not_touched(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    build_report(root, pdf=False, processes=1)
    times = {place: place.stat().st_mtime_ns for place in root.rglob("*") if place.is_file()}
    build_report(root, pdf=False, processes=1)
    assert {place: place.stat().st_mtime_ns for place in root.rglob("*") if place.is_file()} == times


def test_stale_files_go_and_foreign_files_stay(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    build_report(root, pdf=False, processes=1)
    foreign = [
        root / "report" / "notes.txt",
        root / "report" / "assets" / "mine.css",
        root / "report" / "CNAME",
    ]
    for place in foreign:
        place.write_text("mine")
    techniques = RunFolder(root).manifest().techniques
    change(root, techniques=tuple(record for record in techniques if record.name != "gradient_rollout"))
    build_report(root, pdf=False, processes=1)
    assert not (root / "report/techniques/gradient_rollout.html").exists()
    assert (root / "report/techniques/raw_attention.html").exists()
    assert all(place.read_text() == "mine" for place in foreign)


def test_a_record_that_names_other_places_removes_nothing_there(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    build_report(root, pdf=False, processes=1)
    victim = tmp_path / "victim.txt"
    victim.write_text("keep me")
    (root / "report" / "elsewhere").symlink_to(tmp_path)
    record = json.loads((root / "report.json").read_text())
    names = [
        "../victim.txt",
        "report/../../victim.txt",
        "report/elsewhere/victim.txt",
        str(victim),
        "manifest.json",
    ]
    for name in names:
        RunFolder(root).write_json("report.json", _text({**record, "files": {**record["files"], name: "0"}}))
        with pytest.raises(StoreError, match=r"report\.json cannot be read .*is no file of a report"):
            build_report(root, pdf=False, processes=1)
        assert victim.read_text() == "keep me"
        assert (root / "manifest.json").is_file()


def _text(record: dict[str, object]) -> str:
    return json.dumps({name: value for name, value in record.items() if name != "seal"}, indent=1)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{\n "format": "vitreport report", "files": 3}'])
@pytest.mark.parametrize("sealed", [True, False])
def test_a_damaged_record_is_refused_with_what_to_do(text: str, sealed: bool, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (folder.write_json if sealed else lambda path, text: folder.write(path, text.encode()))(
        "report.json", text
    )
    with pytest.raises(StoreError, match="delete it and run 'vitreport report' again"):
        read_record(RunFolder(tmp_path))


def test_an_earlier_pdf_stays_while_the_run_is_the_same(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    build_report(root, pdf=False, processes=1)
    record = json.loads((root / "report.json").read_text())
    (root / "report.pdf").write_bytes(b"%PDF")
    record["files"]["report.pdf"] = hashlib.sha256(b"%PDF").hexdigest()
    record["pages"]["report.pdf"] = {"digest": "0", "files": ["report.pdf"]}
    RunFolder(root).write_json("report.json", _text(record))
    build_report(root, pdf=False, processes=1)
    assert (root / "report.pdf").is_file()
    change(root, command="another command")
    build_report(root, pdf=False, processes=1)
    assert not (root / "report.pdf").exists()


def test_a_site_is_on_record_even_where_the_pdf_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **named: object) -> bytes:
        raise RenderError("no Pango")

    root = write_run(tmp_path / "run")
    monkeypatch.setattr("vitreport.report.pdf.Summary.draw", fail)
    with pytest.raises(RenderError, match="no Pango"):
        build_report(root, processes=1)
    assert "report/index.html" in read_record(RunFolder(root)).files


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    change(root, complete=False)
    before = contents(root)
    with pytest.raises(StoreError, match="explain' command again"):
        build_report(root, pdf=False)
    assert contents(root) == before


def test_names_that_would_leave_the_site_are_refused(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    techniques = RunFolder(root).manifest().techniques
    odd = replace(techniques[0], name="../escape", skipped="not here")
    change(root, techniques=(*techniques, odd))
    with pytest.raises(StoreError, match="escape"):
        build_report(root, pdf=False)
    assert not (root / "report").exists()


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    build_report(
        write_run(tmp_path / "run"),
        pdf=False,
        processes=1,
        progress=lambda stage, done, total: told.append((stage, done, total)),
    )
    assert told == [("pages", done, 4) for done in range(5)]


def test_a_site_needs_neither_torch_nor_weasyprint(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    program = (
        "import sys; from pathlib import Path; from vitreport.report.build import build_report; "
        f"build_report(Path({str(root)!r}), pdf=False, processes=1); "
        "print(sorted({'torch', 'timm', 'weasyprint', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_thousand_images_have_a_light_index(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", images=1000, quarantined=60))
    page = index_page(run, dataset_scales(run))
    small = {row.id: f"{row.id}-small-00000000.jpg" for row in page.rows}
    scripts = table_scripts(page.rows, small)
    drawn = SitePages({name: f"00000000-{name}" for name in BUNDLES}, page.title)
    assert len(drawn.index(page, small, ["images-0-00000000.js"])) <= 60_000
    assert sum(map(len, scripts)) <= 300_000
    assert [list_name(number) for number in range(lists_of(page.rows))] == [
        "index.html",
        *(f"list-{number}.html" for number in (2, 3, 4, 5)),
    ]


def test_image_pages_are_light(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    build_report(root, pdf=False, processes=1)
    assert all(place.stat().st_size <= 110_000 for place in (root / "report/images").glob("*.html"))


def test_large_sets_leave_their_raw_values_in_the_run_and_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_run(tmp_path / "run", images=3)
    build_report(root, pdf=False, processes=1)
    folder = root / "report/images"
    rows = list(folder.glob("*.json"))
    assert len(rows) == len(list(folder.glob("*.html"))) - 1 == 2  # less the list of all
    assert all(f'href="{place.name}"' in place.with_suffix(".html").read_text() for place in rows)
    (root / "report.json").unlink()
    monkeypatch.setattr("vitreport.report.site.RAW_IMAGES", 1)
    for place in rows:
        place.unlink()
    build_report(root, pdf=False, processes=1)
    assert not list(folder.glob("*.json"))
    for place in rows:
        page = place.with_suffix(".html").read_text()
        assert place.name not in page and "in the run's folder only" in page
