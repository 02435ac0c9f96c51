"""A report is drawn again only where something changed, and survives being ended at any moment."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic_run import write_run, write_scores

from vitreport.report import image_press, site_folder, template_files
from vitreport.report.build import build_report
from vitreport.report.template_files import BUNDLES, template_folder, used_files
from vitreport.store import RunFolder


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the templates that a test may change."""
    copy = tmp_path / "templates"
    shutil.copytree(Path(str(template_folder())), copy)
    monkeypatch.setattr(template_files, "template_folder", lambda: copy)
    return copy


def contents(root: Path) -> dict[str, bytes]:
    return {
        place.relative_to(root).as_posix(): place.read_bytes() for place in root.rglob("*") if place.is_file()
    }


def times(root: Path) -> dict[str, int]:
    places = (place for place in root.rglob("*") if place.is_file())
    return {place.relative_to(root).as_posix(): place.stat().st_mtime_ns for place in places}


def touched(before: dict[str, int], after: dict[str, int]) -> set[str]:
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def test_without_change_nothing_is_read_or_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_scores(write_run(tmp_path / "run"))
    build_report(root, pdf=False, processes=1)
    before = times(root)

    def refuse(*given: object, **named: object) -> Any:
        raise AssertionError("the run was read again")

    monkeypatch.setattr("vitreport.report.run_reading.RunReading", refuse)
    build_report(root, pdf=False, processes=1)
    assert times(root) == before


def test_without_change_neither_analysis_nor_figures_are_imported(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    program = (
        "import sys; from pathlib import Path; from vitreport.report.build import build_report; "
        f"build_report(Path({str(root)!r}), pdf=False, processes=1); "
        "print(sorted({'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program]
    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)
    )
    assert "scipy" in first
    assert second.strip() == "[]"


@pytest.mark.parametrize(
    ("template", "pages"),
    [
        ("technique.html", {"report/techniques/*.html"}),
        ("_lens.html", {"report/images/????????????????.html"}),
        ("images.html", {"report/images/index.html"}),
        ("_images_table.html", {"report/images/index.html", "report/index.html"}),
        ("trust.html", {"report/analysis/trust.html"}),
    ],
)
def test_a_changed_template_touches_only_the_pages_that_use_it(
    template: str, pages: set[str], tmp_path: Path, templates: Path
) -> None:
    root = write_scores(write_run(tmp_path / "run"))
    build_report(root, pdf=False, processes=1)
    before = times(root)
    text = (templates / template).read_text()
    changed = text + "<!-- new -->\n"
    if "{% endblock %}" in text:
        head, _, tail = text.rpartition("{% endblock %}")
        changed = f"{head}<!-- new -->\n{{% endblock %}}{tail}"
    (templates / template).write_text(changed)
    build_report(root, pdf=False, processes=1)
    expected = {place.relative_to(root).as_posix() for glob in pages for place in root.glob(glob)}
    assert expected
    assert touched(before, times(root)) == expected | {"report.json"}
    after = contents(root)
    shutil.rmtree(root / "report")
    (root / "report.json").unlink()
    build_report(root, pdf=False, processes=1)
    assert contents(root) == after


def test_pages_whose_template_is_as_before_are_not_even_drawn(
    tmp_path: Path, templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_run(tmp_path / "run")
    build_report(root, pdf=False, processes=1)

    def refuse(*given: object) -> Any:
        raise AssertionError("an image page was drawn")

    monkeypatch.setattr(image_press, "_draw", refuse)
    (templates / "technique.html").write_text((templates / "technique.html").read_text() + "{# new #}")
    build_report(root, pdf=False, processes=1)


def test_a_changed_style_sheet_reaches_every_page(tmp_path: Path, templates: Path) -> None:
    root = write_run(tmp_path / "run")
    build_report(root, pdf=False, processes=1)
    before = contents(root)
    (templates / "css/site.css").write_text((templates / "css/site.css").read_text() + "b { color: red }\n")
    build_report(root, pdf=False, processes=1)
    after = contents(root)
    (style,) = (path for path in after.keys() - before.keys() if path.endswith(".css"))
    pages = [path for path in after if path.endswith(".html")]
    assert all(Path(style).name.encode() in after[path] for path in pages)
    assert sum(path.endswith(".css") for path in after) == 1


def test_a_page_that_somebody_changed_or_removed_is_drawn_again(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    build_report(root, pdf=False, processes=1)
    before = contents(root)
    (root / "report/index.html").write_text("mine")
    next((root / "report/images").glob("?" * 16 + ".html")).unlink()
    next((root / "report/assets").glob("*-small-*.jpg")).unlink()
    build_report(root, pdf=False, processes=1)
    assert contents(root) == before


def test_changed_data_is_drawn_again(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    build_report(root, pdf=False, processes=1)
    write_scores(root)
    build_report(root, pdf=False, processes=1)
    other = write_scores(write_run(tmp_path / "other"))
    build_report(other, pdf=False, processes=1)
    assert contents(root) == contents(other)


def test_a_template_uses_what_it_extends_includes_imports_and_links() -> None:
    used = used_files("image.html")
    assert {"image.html", "base.html", "_macros.html", "_lens.html", "css/tokens.css"} <= used.keys()
    assert "technique.html" not in used
    assert set(used_files("index.html")) >= {*BUNDLES["table.js"], "_images_table.html"}


class Killed(BaseException):
    """The process is no more."""


class Disk:
    """Lets the process die at one of its changes to the disk; the dead change nothing."""

    CHANGES = ("write_bytes", "replace", "unlink", "rmdir", "mkdir")

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.changes = 0
        self.last: int | None = None
        for name in self.CHANGES:
            monkeypatch.setattr(Path, name, self._counted(name, getattr(Path, name)))
        monkeypatch.setattr(site_folder.os, "sync", lambda: None)

    def _counted(self, name: str, change: Any) -> Any:
        def counted(place: Path, *given: Any, **named: Any) -> Any:
            self.changes += 1
            if self.last is not None and self.changes >= self.last:
                if name == "write_bytes" and self.changes == self.last:
                    change(place, given[0][: len(given[0]) // 2])
                raise Killed
            return change(place, *given, **named)

        return counted


def moments(changes: int) -> Iterator[int]:
    """Some moments early and late, where things are decided, and some between."""
    yield from (1, 2, 3, changes // 4)
    yield from range(changes // 2, changes + 1, max(1, changes // 24))
    yield changes


def test_a_report_that_is_killed_at_any_moment_ends_as_if_it_had_not_been(
    tmp_path: Path, templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier report stands; a new template and less to tell replace some files and remove others."""
    root = write_run(tmp_path / "first", 3)
    build_report(root, pdf=False, processes=1)
    (root / "report/mine.txt").write_text("mine")
    folder = RunFolder(root)
    page = templates / "technique.html"
    page.write_text(page.read_text().replace("{% block main %}", "{% block main %}<!-- new -->"))
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(root, undisturbed)
    disk = Disk(monkeypatch)
    techniques = tuple(one for one in folder.manifest().techniques if one.name != "gradient_rollout")
    for place in (root, undisturbed):
        change_techniques(place, techniques)
    disk.changes = 0
    build_report(undisturbed, pdf=False, processes=1)
    changes = disk.changes
    assert changes > 40
    expected = contents(undisturbed)
    for moment in moments(changes):
        disk.last = None
        copy = tmp_path / f"killed-{moment}"
        shutil.copytree(root, copy, dirs_exist_ok=True)
        disk.changes, disk.last = 0, moment
        with pytest.raises(Killed):
            build_report(copy, pdf=False, processes=1)
        disk.last = None
        with RunFolder(copy).working():  # as every command does
            build_report(copy, pdf=False, processes=1)
        assert contents(copy) == expected, moment
        assert not [place for place in copy.rglob("*") if place.is_dir() and not any(place.iterdir())]
        shutil.rmtree(copy)


def change_techniques(root: Path, techniques: Any) -> None:
    folder = RunFolder(root)
    folder.commit_manifest(replace(folder.manifest(), techniques=techniques))


def test_a_killed_report_is_on_record_before_its_first_file_is_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_run(tmp_path / "run", 2)

    def die(place: Path, target: Path) -> Any:
        if target.name != "report.json":
            raise Killed
        return original(place, target)

    original = Path.replace
    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(Killed):
        build_report(root, pdf=False, processes=1)
    record = json.loads((root / "report.json").read_text())
    assert record["site"] == ""
    assert "report/index.html" in record["files"]
    assert not [place for place in (root / "report").rglob("*") if place.is_file()]
