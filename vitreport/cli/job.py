"""The main job: explain images, and report on them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    from vitreport.store import Run, RunFolder

_QUARANTINED_SHOWN = 3


@main.command()
@explain_options
@report_options
@engine_option
def run(output: str, engine: Engine, quiet: bool, **options: Any) -> None:
    """Explain IMAGES (files, folders, CSV manifests, tars, URLs), then write the report."""
    shown = {name: options.pop(name) for name in SHOWN}
    settings = _settings(options)
    with _working(output) as folder:
        finished = _explain(settings, folder, quiet, engine)
        _report_and_close(finished, quiet, {**shown, "engine": engine})


@main.command()
@explain_options
@engine_option
def explain(output: str, engine: Engine, quiet: bool, **options: Any) -> None:
    """Explain IMAGES into a run folder, without a report."""
    from vitreport.store import run_folder

    _close(_explain(_settings(options), run_folder(output), quiet, engine), quiet)


@main.command()
@click.option("-o", "--output", required=True, help="The run folder.")
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
    output: str,
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
    with _working(output) as folder:
        finished = _explain(prepare(folder, model, images, options), folder, quiet)
        _report_and_close(finished, quiet, shown)


@main.command()
@click.argument("place", metavar="RUN")
@report_options
@engine_option
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def report(place: str, quiet: bool, **shown: Any) -> None:
    """Write the HTML site and the PDF of RUN, a path or a URL, from its store."""
    from vitreport.store import run_folder

    _report(run_folder(place), quiet, shown)


@contextmanager
def _working(output: str) -> Iterator[RunFolder]:
    """Keeps the run folder from other processes from the first image to the last page."""
    from vitreport.store import run_folder

    folder = run_folder(output)
    folder.claim()
    with folder.working():
        yield folder


def _explain(settings: RunSettings, folder: RunFolder, quiet: bool, engine: Engine | None = None) -> Run:
    from vitreport import api

    def expect(stage: str, seconds: float, images: int) -> None:
        if not quiet:
            pictures = "1 image" if images == 1 else f"{images} images"
            click.echo(f"{STAGES[stage]} {pictures} takes about {duration(seconds)}", err=True)

    def warn(sentence: str) -> None:
        say(f"vitreport: {sentence}", err=True)

    with progress_bars(quiet) as progress:
        finished = api.explain(settings, folder, engine=engine, progress=progress, expect=expect, notice=warn)
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


def _report(folder: RunFolder, quiet: bool, shown: Mapping[str, Any]) -> None:
    from vitreport import api

    earlier = set(folder.files_below("pdf"))
    with progress_bars(quiet) as progress:
        index = api.build_report(folder, progress=progress, **shown)
    if quiet:
        return
    parts = set(folder.files_below("pdf"))
    if gone := earlier - parts:
        say(
            f"removed {len(gone)} {'PDF' if len(gone) == 1 else 'PDFs'} of an earlier report from "
            f"{folder.place('pdf')}; --pdf-volumes and --pdf-per-image write them"
        )
    if shown["publish"] is not None:
        site = folder.place("publish/report")
        say(f"to be published: all of {site}" + (", the PDF is in it" if shown["pdf"] else ""))
        return
    pdfs = [name for name, there in (("report.pdf", folder.has("report.pdf")), ("pdf", parts)) if there]
    say(" and ".join([f"report: {index}", *(str(folder.place(name)) for name in pdfs if shown["pdf"])]))


def _report_and_close(finished: Run, quiet: bool, shown: Mapping[str, Any]) -> NoReturn:
    """Writes the report; where that fails, what was computed is still good."""
    try:
        _report(finished.folder, quiet, shown)
    except RenderError as error:
        say(f"vitreport: {error}", err=True)
        site = "report/index.html"
        if finished.folder.has(site) and not quiet:
            say(f"report: {finished.folder.place(site)}")
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
