"""The command line: the only place that prints and that chooses exit codes.

0 all done; 1 finished, but some images or techniques failed, or a file is not as it was written; 2 bad
usage or settings; 3 nothing could be done; 130 interrupted, and the same command goes on.
"""

from __future__ import annotations

import functools
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import click

from vitreport import __version__
from vitreport.errors import RenderError, SettingsError, UnsupportedModelError, VitReportError
from vitreport.visible import visible_line

if TYPE_CHECKING:
    from vitreport.engines import Engine
    from vitreport.publication.publication import Publication
    from vitreport.settings import RunSettings
    from vitreport.store import Run
    from vitreport.techniques.technique import Explainable

FAILED, USAGE, NOTHING, INTERRUPTED = 1, 2, 3, 130
_STAGES = {
    "hash": "reading the image list",
    "explain": "explaining",
    "score": "scoring",
    "digest": "closing the store",
    "maximize": "optimising pictures",
    "pages": "drawing pages",
    "pdf": "writing the PDF",
    "difference": "comparing",
    "verify": "hashing",
}
_QUARANTINED_SHOWN = 3
Command = TypeVar("Command", bound=Callable[..., Any])


class _Commands(click.Group):
    """Turns expected failures into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (SettingsError, UnsupportedModelError) as error:
            _fail(error, USAGE)
        except VitReportError as error:
            _fail(error, NOTHING)
        except KeyboardInterrupt:
            click.echo(
                "\ninterrupted; what is finished is kept: the same command goes on from there", err=True
            )
            sys.exit(INTERRUPTED)


def _fail(error: VitReportError, code: int) -> None:
    _say(f"vitreport: {error}", err=True)
    sys.exit(code)


def _say(line: str, err: bool = False) -> None:
    """Prints a line that may hold names from files and folders: on a terminal, none of them acts."""
    click.echo(visible_line(line), err=err)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Explanation reports for Vision Transformers: images and a model in, an HTML site and a PDF out."""
    warnings.filterwarnings("ignore", module="PIL")


_technique_option = click.option(
    "-t",
    "--technique",
    "techniques",
    multiple=True,
    metavar="SPEC",
    help="core, standard, all, or NAME[:key=value,…]; repeatable.  [default: core]",
)


_metric_options = (
    click.option(
        "--metric",
        "metrics",
        multiple=True,
        metavar="SPEC",
        help="Score the maps: none, core, all, or NAME[:key=value,…]; repeatable.  [default: core]",
    ),
    click.option(
        "--score-images",
        metavar="auto|all|N",
        help="Score N images, drawn by chance.  [default: 16 on the CPU, 64 on a GPU]",
    ),
)


def _engine(_context: click.Context, _option: click.Parameter, spec: str) -> Engine:
    from vitreport.engines import choose_engine

    return choose_engine(spec)


_engine_option = click.option(
    "--engine",
    default="local",
    metavar="local|ray",
    callback=_engine,
    help="Where the work runs; ray:workers=N,gpus=SHARE says how.  [default: local]",
)


def _explain_options(command: Command) -> Command:
    """The options that decide what is computed."""
    options = [
        click.argument("images", nargs=-1),
        click.option("-o", "--output", required=True, type=Path, help="The run folder."),
        click.option(
            "--model", help="timm name, hf-hub:…, local-dir:… or embedded:…  [default: vit_base_patch16_224]"
        ),
        click.option("--checkpoint", help="Weights: a safetensors or torch file; without it, the hub's."),
        click.option("--labels", help="Class names: one a line, or JSON."),
        click.option("--model-card", help="What the report should say of the model: text, JSON or TOML."),
        click.option("--image-size", metavar="HxW", help="Input size, where it is not the model's own."),
        click.option(
            "--head",
            type=click.Choice(["auto", "softmax", "sigmoid", "regression"]),
            help="How the model's outputs are to be read.  [default: auto]",
        ),
        _technique_option,
        *_metric_options,
        click.option(
            "--masks", metavar="FOLDER", help="Masks to score maps by: PNGs with the names of their images."
        ),
        click.option(
            "--target",
            "targets",
            metavar="SPEC[,SPEC…]",
            help="predicted, label, top2, a class index or a class name.  [default: predicted]",
        ),
        click.option(
            "--inspect",
            type=click.IntRange(0),
            metavar="N",
            help="Images with a patch inspector; 0 for none.  [default: 16]",
        ),
        click.option("--batch-size", metavar="auto|N", help="Images at a time.  [default: auto]"),
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="[default: auto]"),
        click.option(
            "--precision",
            type=click.Choice(["auto", "float32", "float16", "bfloat16"]),
            help="Of scoring; explaining is float32.  [default: float16 on a GPU, float32 on the CPU]",
        ),
        click.option("--seed", type=int, help="Of every random draw.  [default: 0]"),
        click.option("--limit", type=int, metavar="N", help="Explain the first N images only."),
        click.option(
            "--config",
            type=Path,
            help="Settings from a TOML file; options on the command line win.",
        ),
        click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


_SHOWN = ("pdf", "pdf_images", "pdf_volumes", "pdf_per_image", "publish")
"""What `_report_options` gives."""


def _report_options(command: Command) -> Command:
    """The options that decide how it is shown."""
    options = [
        click.option("--pdf/--no-pdf", default=True, help="Write report.pdf too.  [default: yes]"),
        click.option(
            "--pdf-images",
            default=60,
            show_default=True,
            type=click.IntRange(0),
            metavar="N",
            help="Images with a sheet of their own in report.pdf.",
        ),
        click.option(
            "--pdf-volumes/--no-pdf-volumes",
            default=False,
            help="Of more images: sheets of all, in pdf/volume-001.pdf and so on, 50 each.  [default: no]",
        ),
        click.option("--pdf-per-image", is_flag=True, help="A PDF of every image too: pdf/ID.pdf."),
        click.option(
            "--publish",
            is_flag=True,
            help="Report on a copy in RUN/publish that can be put on the web: numbers instead of names.",
        ),
        click.option(
            "--photos",
            type=click.Choice(["full", "thumbnails", "blurred", "none"]),
            help="What a published copy shows of the pictures.  [default: full]",
        ),
        click.option(
            "--publish-column",
            "columns",
            multiple=True,
            metavar="NAME",
            help="Publish this metadata column, or 'group', too; repeatable.",
        ),
    ]

    @functools.wraps(command)
    def given(publish: bool, photos: str | None, columns: tuple[str, ...], **others: Any) -> Any:
        return command(publish=_publication(publish, photos, columns), **others)

    decorated: Any = given
    for option in reversed(options):
        decorated = option(decorated)
    return cast(Command, decorated)


def _publication(publish: bool, photos: str | None, columns: tuple[str, ...]) -> Publication | None:
    """What the public may see; None where nothing is published."""
    from vitreport.publication.publication import Photos, Publication

    if publish:
        return Publication(Photos(photos or "full"), columns)
    if photos is not None or columns:
        raise SettingsError("--photos and --publish-column say what is published; add --publish")
    return None


@main.command()
@_explain_options
@_report_options
@_engine_option
def run(output: Path, engine: Engine, quiet: bool, **options: Any) -> None:
    """Explain IMAGES (files, folders, CSV manifests, tars, URLs), then write the report."""
    shown = {name: options.pop(name) for name in _SHOWN}
    settings = _settings(options)
    with _working(output):
        finished = _explain(settings, output, quiet, engine)
        _report_and_close(finished, output, quiet, {**shown, "engine": engine})


@main.command()
@_explain_options
@_engine_option
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
@_technique_option
@_metric_options[0]
@_metric_options[1]
@_report_options
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
@_report_options
@_engine_option
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def report(run_folder: Path, quiet: bool, **shown: Any) -> None:
    """Write the HTML site and the PDF of RUN from its store."""
    _report(run_folder, quiet, shown)


@main.command()
@click.argument("run_folder", metavar="RUN", type=Path)
@click.option("-q", "--quiet", is_flag=True, help="Print what is wrong only.")
def verify(run_folder: Path, quiet: bool) -> None:
    """Re-hash every file of RUN: the store, the report, the PDFs, the optimised pictures."""
    from vitreport import api

    with _progress(quiet) as progress:
        found = api.verify(run_folder, progress=progress)
    for fault in found.faults:
        _say(f"vitreport: {fault}", err=True)
    if found.faults:
        sys.exit(FAILED)
    if not quiet:
        _say(
            f"all {found.files} files of {run_folder} are as they were written; "
            f"the SHA-256 of its manifest.json is {found.manifest_sha256}"
        )


@main.command()
@click.argument("before", metavar="RUN_A", type=Path)
@click.argument("after", metavar="RUN_B", type=Path)
@click.option("-o", "--output", required=True, type=Path, help="The folder of the report.")
@click.option("--pdf/--no-pdf", default=True, help="Write difference.pdf too.  [default: yes]")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def diff(before: Path, after: Path, output: Path, pdf: bool, quiet: bool) -> None:
    """Report what changed from RUN_A to RUN_B: two models or two releases on the same images."""
    from vitreport import api

    with _progress(quiet) as progress:
        page = api.build_difference(before, after, output, pdf=pdf, progress=progress)
    if not quiet:
        for sentence in page.summary:
            _say(sentence)
        _say(f"report: {output / 'index.html'}" + (f" and {output / 'difference.pdf'}" if pdf else ""))


@main.command()
@click.option("-o", "--output", required=True, type=Path, help="The folder of a finished run.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="SPEC",
    help="class:243, a class name, unit:BLOCK:UNIT, head:BLOCK:HEAD or channel:BLOCK:CHANNEL; repeatable.  "
    "[default: the run's commonest classes and most active units]",
)
@click.option(
    "--parametrisation",
    type=click.Choice(["fourier", "maco", "pixels"]),
    default="fourier",
    show_default=True,
    help="How a picture is written; pixels is free of all constraints, to see what they are good for.",
)
@click.option("--steps", default=256, show_default=True, type=click.IntRange(1), metavar="N")
@click.option(
    "--seeds", default=4, show_default=True, type=click.IntRange(1), metavar="N", help="Pictures a target."
)
@click.option(
    "--copies",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    metavar="N",
    help="Changed copies that the model is shown in each step.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--checkpoint", help="The run's weights, where they are no longer where the run had them.")
@click.option("--judge", metavar="MODEL", help="Another model, for an independent look at the pictures.")
@click.option("--judge-checkpoint", metavar="FILE", help="Its weights; without it, the hub's.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def maximize(output: Path, quiet: bool, **options: Any) -> None:
    """Make the pictures that classes, units, heads or channels of a run's model like best."""
    from vitreport import api

    with _progress(quiet) as progress:
        records = api.maximize(output, progress=progress, **options)
    for record in () if quiet else records:
        seams = ", ".join(f"{picture.seam_ratio:.2f}" for picture in record.pictures)
        failed = ", ".join(record.failed_gates)
        verdict = f"fails {failed}" if failed else "passes its gates"
        if record.untested_gates:
            verdict += f", {', '.join(record.untested_gates)} untested"
        _say(f"{record.target}  {record.title}: {verdict}; seam ratio {seams}")
    if not quiet:
        _say(f"pictures: {output / 'optimized'}")


@main.command()
@click.option("--model", help="Say which of them this model can have, and why not the others.")
@click.option("--json", "as_json", is_flag=True, help="All that is known of each, as JSON.")
def techniques(model: str | None, as_json: bool) -> None:
    """List the techniques: what each shows, and what it does not."""
    from vitreport.techniques.technique import TECHNIQUES

    known = [cls() for cls in TECHNIQUES.values()]
    if model is not None:
        _techniques_for(model, known, as_json)
        return
    if as_json:
        click.echo(json.dumps([technique.describe() for technique in known], indent=1, ensure_ascii=False))
        return
    for technique in known:
        click.echo(click.style(technique.name, bold=True) + f"  {technique.title} · {_tier(technique)}")
        about = {
            "shows": technique.shows,
            "does not show": technique.does_not_show,
            "source": technique.source,
            "costs": technique.describe()["cost"],
            **{f"{name}=": text for name, text in technique.parameter_help().items()},
        }
        for title, text in about.items():
            click.echo(click.wrap_text(f"{title}: {text}", 100, "    ", "      "))
        click.echo()


def _tier(technique: Explainable) -> str:
    return "opt-in" if technique.opt_in else f"{technique.tier} tier"


def _techniques_for(model: str, known: Sequence[Explainable], as_json: bool) -> None:
    """Says which techniques a model can have, and why not the others."""
    from vitreport.model.load import load_architecture

    loaded = load_architecture(model)
    reasons = {technique.name: technique.supports(loaded) for technique in known}
    if as_json:
        described = [{**technique.describe(), "skipped": reasons[technique.name]} for technique in known]
        click.echo(json.dumps(described, indent=1, ensure_ascii=False))
        return
    fitting = [technique for technique in known if reasons[technique.name] is None]
    _say(f"{model} can have {len(fitting)} of {len(known)} techniques:")
    for technique in fitting:
        click.echo(f"    {technique.name:24}{technique.title} · {_tier(technique)}")
    for reason in dict.fromkeys(filter(None, reasons.values())):
        others = [name for name, given in reasons.items() if given == reason]
        click.echo(click.wrap_text(f"not {', '.join(others)}: {reason}", 100, "", "    "))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="All that is known of each, as JSON.")
def metrics(as_json: bool) -> None:
    """List the metrics: what each measures, and what it does not."""
    from vitreport.faithfulness.metric import METRICS

    known = [cls() for cls in METRICS.values()]
    if as_json:
        click.echo(json.dumps([metric.describe() for metric in known], indent=1, ensure_ascii=False))
        return
    for metric in known:
        click.echo(click.style(metric.name, bold=True) + f"  {metric.title} · {metric.tier}")
        about = {
            "measures": metric.measures,
            "does not measure": metric.does_not_measure,
            "source": metric.source,
            **{f"{name}=": text for name, text in metric.parameter_help().items()},
        }
        for title, text in about.items():
            click.echo(click.wrap_text(f"{title}: {text}", 100, "    ", "      "))
        click.echo()


@main.command()
def doctor() -> None:
    """Check whether this machine is ready: device, model hub, PDF, disk."""
    from vitreport.doctor import checks

    ready = True
    for check in checks():
        ready = ready and (check.good or not check.needed)
        mark = click.style("ok", fg="green") if check.good else click.style("no", fg="red", bold=True)
        click.echo(f"{mark}  {check.title}: {check.finding}")
    sys.exit(0 if ready else NOTHING)


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
            click.echo(f"{_STAGES[stage]} {pictures} takes about {_duration(seconds)}", err=True)

    def warn(sentence: str) -> None:
        _say(f"vitreport: {sentence}", err=True)

    with _progress(quiet) as progress:
        finished = api.explain(settings, output, engine=engine, progress=progress, expect=expect, notice=warn)
    if not quiet:
        for notice in finished.manifest.data.notices:
            _say(f"note: {notice}")
        for record in finished.techniques:
            if record.skipped:
                _say(f"skipped {record.key}: {record.skipped}")
    return finished


def _duration(seconds: float) -> str:
    """``10 seconds or less``, ``40 seconds``, ``3 minutes``, ``2.5 hours``."""
    if seconds < 10:
        return "10 seconds or less"
    if seconds < 100:
        return f"{10 * round(seconds / 10)} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"


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

    with _progress(quiet) as progress:
        index = api.build_report(run_folder, progress=progress, **shown)
    if quiet:
        return
    if shown["publish"] is not None:
        _say(f"to be published: all of {index.parent}" + (", the PDF is in it" if shown["pdf"] else ""))
        return
    places = [index, *((run_folder / name) for name in ("report.pdf", "pdf") if shown["pdf"])]
    _say("report: " + " and ".join(str(place) for place in places if place.exists()))


def _report_and_close(finished: Run, output: Path, quiet: bool, shown: Mapping[str, Any]) -> NoReturn:
    """Writes the report; where that fails, what was computed is still good."""
    try:
        _report(output, quiet, shown)
    except RenderError as error:
        _say(f"vitreport: {error}", err=True)
        site = output / "report" / "index.html"
        if site.is_file() and not quiet:
            _say(f"report: {site}")
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
        _say(line)
    if explained == 0:
        sys.exit(NOTHING)
    sys.exit(FAILED if data.quarantined or data.failed else code)


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, float, int], None] | None]:
    """One bar a stage, with the time that remains, on standard error."""
    if quiet:
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bars: dict[str, TaskID] = {}
    columns = (
        TextColumn("{task.description:22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=120) as shown:

        def progress(stage: str, done: float, total: int) -> None:
            if stage not in bars:
                bars[stage] = shown.add_task(_STAGES.get(stage, stage), total=total)
            shown.update(bars[stage], completed=done, total=total)

        yield progress
