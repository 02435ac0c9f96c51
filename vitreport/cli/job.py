"""The main job: explain images, and report on them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from vitreport.cli.console import STAGES, duration, progress_bars, say
from vitreport.cli.group import FAILED, NOTHING, main
from vitreport.cli.options import (
    SHOWN,
    engine_option,
    explain_options,
    metric_options,
    report_options,
    technique_option,
)
from vitreport.errors import RenderError

if TYPE_CHECKING:
    from vitreport.engines import Engine
    from vitreport.settings import RunSettings
    from vitreport.store import Run

_QUARANTINED_SHOWN = 3


@main.command()
@explain_options
@report_options
@engine_option
def run(output: Path, engine: Engine, quiet: bool, **options: Any) -> None:
    """Explain IMAGES (files, folders, CSV manifests, tars, URLs), then write the report."""
    shown = {name: options.pop(name) for name in SHOWN}
    settings = _settings(options)
    with _working(output):
        finished = _explain(settings, output, quiet, engine)
        _report_and_close(finished, output, quiet, {**shown, "engine": engine})


@main.command()
@explain_options
@engine_option
def explain(output: Path, engine: Engine, quiet: bool, **options: Any) -> None:
    """Explain IMAGES into a run folder, without a report."""
    _close(_explain(_settings(options), output, quiet, engine), quiet)


@main.command()
@click.option("-o", "--output", required=True, type=Path, help="The run folder.")
@click.option(
    "--model",
    type=click.Choice(["honest", "shortcut"]),
    default="honest",
    show_default=True,
    help="shortcut was taught to cheat: see what the report says of it.",
)
@click.option(
    "--images", default=24, show_default=True, type=click.IntRange(1), metavar="N", help="How many."
)
@technique_option
@metric_options[0]
@metric_options[1]
@report_options
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def demo(
    output: Path,
    model: str,
    images: int,
    techniques: tuple[str, ...],
    metrics: tuple[str, ...],
    score_images: str | None,
    quiet: bool,
    **shown: Any,
) -> None:
    """Do the main job on an embedded model and generated images: no network, nothing to prepare."""
    from vitreport.demo.demonstration import prepare

    given = {"techniques": techniques, "metrics": metrics, "score_images": score_images}
    options = {name: value for name, value in given.items() if value}
    with _working(output):
        finished = _explain(prepare(output, model, images, options), output, quiet)
        _report_and_close(finished, output, quiet, shown)


@main.command()
@click.argument("run_folder", metavar="RUN", type=Path)
@report_options
@engine_option
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def report(run_folder: Path, quiet: bool, **shown: Any) -> None:
    """Write the HTML site and the PDF of RUN from its store."""
    _report(run_folder, quiet, shown)


@contextmanager
def _working(output: Path) -> Iterator[None]:
    """Keeps the run folder from other processes from the first image to the last page."""
    from vitreport.store import RunFolder

    folder = RunFolder(output)
    folder.claim()
    with folder.working():
        yield


def _explain(settings: RunSettings, output: Path, quiet: bool, engine: Engine | None = None) -> Run:
    from vitreport import api

    def expect(stage: str, seconds: float, images: int) -> None:
        if not quiet:
            pictures = "1 image" if images == 1 else f"{images} images"
            click.echo(f"{STAGES[stage]} {pictures} takes about {duration(seconds)}", err=True)

    def warn(sentence: str) -> None:
        say(f"vitreport: {sentence}", err=True)

    with progress_bars(quiet) as progress:
        finished = api.explain(settings, output, engine=engine, progress=progress, expect=expect, notice=warn)
    if not quiet:
        for notice in finished.manifest.data.notices:
            say(f"note: {notice}")
        for record in finished.techniques:
            if record.skipped:
                say(f"skipped {record.key}: {record.skipped}")
    return finished


def _settings(options: dict[str, Any]) -> RunSettings:
    """The config file's settings, and over them what the command line gives."""
    from vitreport.settings import RunSettings, read_config

    config = options.pop("config")
    values = read_config(config) if config else {}
    if options["targets"]:
        options["targets"] = [word.strip() for word in options["targets"].split(",") if word.strip()]
    given = {name: value for name, value in options.items() if value not in (None, (), [])}
    return RunSettings.from_mapping({"images": (), **values, **given})


def _report(run_folder: Path, quiet: bool, shown: Mapping[str, Any]) -> None:
    from vitreport import api

    parts = run_folder / "pdf"
    earlier = set(parts.glob("*.pdf"))
    with progress_bars(quiet) as progress:
        index = api.build_report(run_folder, progress=progress, **shown)
    if quiet:
        return
    if gone := earlier.difference(parts.glob("*.pdf")):
        say(
            f"removed {len(gone)} {'PDF' if len(gone) == 1 else 'PDFs'} of an earlier report from {parts}; "
            "--pdf-volumes and --pdf-per-image write them"
        )
    if shown["publish"] is not None:
        say(f"to be published: all of {index.parent}" + (", the PDF is in it" if shown["pdf"] else ""))
        return
    places = [index, *((run_folder / name) for name in ("report.pdf", "pdf") if shown["pdf"])]
    say("report: " + " and ".join(str(place) for place in places if place.exists()))


def _report_and_close(finished: Run, output: Path, quiet: bool, shown: Mapping[str, Any]) -> NoReturn:
    """Writes the report; where that fails, what was computed is still good."""
    try:
        _report(output, quiet, shown)
    except RenderError as error:
        say(f"vitreport: {error}", err=True)
        site = output / "report" / "index.html"
        if site.is_file() and not quiet:
            say(f"report: {site}")
        _close(finished, quiet, code=FAILED)
    _close(finished, quiet)


def _close(finished: Run, quiet: bool, code: int = 0) -> NoReturn:
    """The last line, and the exit code; `code` is that of a run without failures."""
    data = finished.manifest.data
    explained = data.images - data.quarantined
    if not quiet:
        line = f"explained {explained} of {data.images} images"
        if data.failed:
            results = "1 result" if data.failed == 1 else f"{data.failed} results"
            line += f"; {results} failed, the report lists them"
        if data.quarantined:
            bad = [row for row in finished.images.to_pylist() if row["status"] == "quarantined"]
            shown = "; ".join(f"{row['uri']} ({row['reason']})" for row in bad[:_QUARANTINED_SHOWN])
            more = len(bad) - _QUARANTINED_SHOWN
            line += f"; {data.quarantined} quarantined: {shown}" + (f"; and {more} more" if more > 0 else "")
        say(line)
    if explained == 0:
        sys.exit(NOTHING)
    sys.exit(FAILED if data.quarantined or data.failed else code)
