"""Whole runs on URLs: the bytes of a run on a disk, whatever happens on the way, and nothing sent twice."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import MODEL, contents, options, write_checkpoint, write_pictures
from killing import Commands, Moment, commands

from vitreport import RunSettings, build_report, explain, open_run
from vitreport.api import build_difference, maximize, verify
from vitreport.cli import main
from vitreport.errors import StoreError
from vitreport.publication.pseudonym import KEY
from vitreport.publication.publication import Publication
from vitreport.store import RunFolder

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402

URL = "memory://bucket/run"
PDF = {"pdf_images": 1, "pdf_per_image": True}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> RunSettings:
    place = tmp_path_factory.mktemp("inputs")
    return RunSettings(
        images=(str(write_pictures(place / "pictures", 5)),),
        model=MODEL,
        checkpoint=str(write_checkpoint(place / "tiny.safetensors")),
        techniques=("raw_attention", "gradient_rollout", "logit_lens"),
        metrics=("relevance_gain:steps=2",),
        score_images=2,
        batch_size=3,
        device="cpu",
    )


@pytest.fixture(scope="module")
def local(settings: RunSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a disk, with its report; tests must leave it as it is."""
    root = tmp_path_factory.mktemp("local") / "run"
    explain(settings, root)
    build_report(root, **PDF)  # type: ignore[arg-type]
    return root


@pytest.fixture
def bucket() -> Iterator[MemoryFileSystem]:
    memory = fsspec.filesystem("memory")
    yield memory
    if memory.exists("/bucket"):
        memory.rm("/bucket", recursive=True)


@pytest.fixture
def copy(local: Path, bucket: MemoryFileSystem) -> str:
    """The local run with its report, at a URL."""
    for path in RunFolder(local).files_below(""):
        bucket.pipe_file(f"/bucket/run/{path}", (local / path).read_bytes())
    return URL


@pytest.fixture
def changes(bucket: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the file system is told to write and to remove, in order."""
    told: list[str] = []
    write, remove = MemoryFileSystem.pipe_file, MemoryFileSystem.rm_file
    monkeypatch.setattr(
        MemoryFileSystem,
        "pipe_file",
        lambda system, path, *rest: told.append(f"+{_below(path)}") or write(system, path, *rest),  # type: ignore[func-returns-value]
    )
    monkeypatch.setattr(
        MemoryFileSystem,
        "rm_file",
        lambda system, path: told.append(f"-{_below(path)}") or remove(system, path),  # type: ignore[func-returns-value]
    )
    return told


def _below(path: str) -> str:
    return path.removeprefix("/bucket/run/")


def at(url: str) -> dict[str, str]:
    """SHA-256 of every file below a URL, timings apart: as `contents` of a folder."""
    system, base = fsspec.core.url_to_fs(url)
    return {
        path.removeprefix(f"{base}/"): hashlib.sha256(system.cat_file(path)).hexdigest()
        for path in system.find(base)
        if not path.endswith("/timings.json")
    }


def flip(bucket: MemoryFileSystem, path: str) -> None:
    content = bytearray(bucket.cat_file(f"/bucket/run/{path}"))
    content[len(content) // 3] ^= 4
    bucket.pipe_file(f"/bucket/run/{path}", bytes(content))


def test_store_site_and_pdf_have_the_bytes_of_a_run_on_a_disk(
    settings: RunSettings, local: Path, bucket: MemoryFileSystem
) -> None:
    run = explain(settings, URL)
    stored = {path: sha256 for path, sha256 in contents(local).items() if path.startswith(("data", "mani"))}
    assert at(URL) == stored
    assert build_report(URL, **PDF) == f"{URL}/report/index.html"  # type: ignore[arg-type]
    assert at(URL) == contents(local)
    assert verify(URL).faults == ()
    image = run.images["id"][0].as_py()
    expected = open_run(local).map(image, "gradient_rollout")
    assert (open_run(URL).map(image, "gradient_rollout") == expected).all()


def test_what_has_not_changed_is_not_sent(settings: RunSettings, copy: str, changes: list[str]) -> None:
    build_report(copy, **PDF)  # type: ignore[arg-type]
    explain(settings, copy)
    assert verify(copy).faults == ()
    assert changes == []


def test_a_page_that_somebody_changed_is_the_only_one_that_is_sent(
    local: Path, copy: str, bucket: MemoryFileSystem, changes: list[str]
) -> None:
    (page,) = (path for path in contents(local) if path.startswith("report/techniques/raw"))
    flip(bucket, page)
    changes.clear()
    assert [fault.partition(" is not")[0] for fault in verify(copy).faults] == [f"{URL}/{page}"]
    build_report(copy, **PDF)  # type: ignore[arg-type]
    assert changes == ["+report.json", f"+{page}", "+report.json"]
    assert at(copy) == contents(local)


def test_what_a_report_no_longer_has_is_removed_and_the_rest_is_left(
    local: Path, copy: str, changes: list[str], tmp_path: Path
) -> None:
    singles = sorted(path for path in contents(local) if path.startswith("pdf/"))
    assert len(singles) == 5
    build_report(copy, pdf_images=1)
    assert sorted(changes[1:-1]) == [f"-{path}" for path in singles]
    assert changes[0] == changes[-1] == "+report.json"
    shutil.copytree(local, tmp_path / "run")
    build_report(tmp_path / "run", pdf_images=1)
    assert at(copy) == contents(tmp_path / "run")


def test_damaged_and_lost_parts_are_named_and_nothing_else_is_computed_again(
    settings: RunSettings, local: Path, copy: str, bucket: MemoryFileSystem, changes: list[str]
) -> None:
    parts = sorted(path for path in contents(local) if path.startswith("data/maps/"))
    flip(bucket, parts[0])
    bucket.rm_file(f"/bucket/run/{parts[1]}")
    changes.clear()
    faults = [fault.partition(" is ")[0] for fault in verify(copy).faults]
    assert faults == [f"{URL}/{path}" for path in parts]
    said: list[str] = []
    explain(settings, copy, notice=said.append)
    assert said == [f"{parts[0]} and 1 more of the run were damaged or missing; computed again"]
    assert {change[1:] for change in changes if change[1:].startswith("data/")} == {
        "data/catalogue.parquet",
        *parts,
    }
    assert at(copy) == contents(local)


def test_a_technique_that_is_added_is_all_that_is_computed(
    settings: RunSettings, copy: str, changes: list[str], tmp_path: Path, local: Path
) -> None:
    more = replace(settings, techniques=("saliency",), metrics=("none",))
    explain(more, copy)
    parts = {change.split("/")[2].partition("-")[0] for change in changes if change.startswith("+data/maps")}
    assert parts == {"saliency"}
    assert not any(change.startswith("+data/images") for change in changes)


def test_a_published_copy_is_made_beside_it_with_the_same_bytes(
    local: Path, copy: str, bucket: MemoryFileSystem, changes: list[str], tmp_path: Path
) -> None:
    shutil.copytree(local, tmp_path / "run")
    assert build_report(copy, pdf_images=1, publish=Publication()) == f"{URL}/publish/report/index.html"
    (tmp_path / "run" / KEY).write_bytes(bucket.cat_file(f"/bucket/run/{KEY}"))
    build_report(tmp_path / "run", pdf_images=1, publish=Publication())
    assert at(copy) == contents(tmp_path / "run")
    changes.clear()
    build_report(copy, pdf_images=1, publish=Publication())
    assert changes == []


def test_differences_and_optimised_pictures_are_made_at_urls(
    settings: RunSettings, local: Path, copy: str, tmp_path: Path
) -> None:
    shutil.copytree(local, tmp_path / "run")
    for place in (copy, tmp_path / "run"):
        maximize(place, ["class:1", "class:2"], steps=2, seeds=1, device="cpu")
        build_report(place, **PDF)  # type: ignore[arg-type]
    assert at(copy) == contents(tmp_path / "run")
    explain(replace(settings, seed=1, metrics=("none",)), tmp_path / "other")
    build_difference(copy, tmp_path / "other", "memory://bucket/difference", pdf=False)
    with pytest.raises(StoreError, match=f"^{URL}/difference is a run folder, or inside one; choose another"):
        build_difference(copy, tmp_path / "other", f"{URL}/difference", pdf=False)
    build_difference(tmp_path / "run", tmp_path / "other", tmp_path / "difference", pdf=False)
    assert at("memory://bucket/difference") == contents(tmp_path / "difference")


def test_the_command_line_names_urls(copy: str, changes: list[str]) -> None:
    def said(*words: str) -> str:
        result = CliRunner().invoke(main, [*words, "-q"] if words[0] == "demo" else words)
        assert result.exit_code == (2 if words[0] == "demo" else 0), result.output
        return result.output.strip().splitlines()[-1]

    assert said("verify", copy).startswith(f"all {len(at(copy)) + 1} files of {URL} are as they were written")
    assert said("report", copy, "--pdf-images", "1") == (
        f"report: {URL}/report/index.html and {URL}/report.pdf"
    )
    assert said("report", copy, "--no-pdf") == f"report: {URL}/report/index.html"
    assert said("demo", "-o", f"{URL}2").endswith(f"draws its images on a disk, not on {URL}2")


def test_two_commands_at_once_with_equal_settings_do_no_harm(
    settings: RunSettings, local: Path, changes: list[str]
) -> None:
    others: list[str] = []

    def progress(stage: str, done: float, total: int) -> None:
        if stage == "explain" and not others:  # the one has a whole other one in its middle
            others.append(stage)
            explain(settings, URL)

    explain(settings, URL, progress=progress)
    parts = [path for path in contents(local) if path.startswith(("data/images", "data/maps"))]
    assert parts and {changes.count(f"+{part}") for part in parts} == {2}
    build_report(URL, **PDF)  # type: ignore[arg-type]
    assert at(URL) == contents(local)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Commands whose working copies lie in a folder of this test: what is killed leaves its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("copies")))
        with commands() as ready:
            yield ready


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
def test_a_killed_command_goes_on_at_the_url_and_ends_with_the_same_bytes(
    settings: RunSettings, command: Commands, tmp_path: Path
) -> None:
    words = ["run", *settings.images, *options(Path(str(settings.checkpoint))), "-q", "--pdf-images", 1]
    words += ["-t", "raw_attention", "-t", "gradient_rollout", "--batch-size", 3]
    counted = command(*words, "-o", tmp_path / "local", root=tmp_path / "local").events
    root, url = tmp_path / "run", f"file://{tmp_path}/run"
    chance = random.Random(7)
    for stage in ("catalogue", "explain", "pages", "pdf"):
        ended = command(*words, "-o", url, root=root, at=Moment(stage, chance.randrange(2), torn=True))
        assert ended.code == -9, (stage, counted, ended.errors)
        for path in RunFolder(root).files_below("data"):
            assert RunFolder(root).is_whole(path)
        for left in root.rglob("*.writing"):
            os.utime(left, (0, 0))  # an hour later it is swept
    ended = command(*words, "-o", url, root=root)
    assert (ended.code, ended.errors) == (0, "")
    assert contents(root) == contents(tmp_path / "local")
    again = command("report", "-q", "--pdf-images", 1, url, root=root)
    assert (again.code, again.events.total()) == (0, 0)
