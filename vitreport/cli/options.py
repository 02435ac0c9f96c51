"""The options that commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from vitreport.errors import SettingsError

if TYPE_CHECKING:
    from vitreport.engines import Engine
    from vitreport.publication.publication import Publication

Command = TypeVar("Command", bound=Callable[..., Any])

technique_option = click.option(
    "-t",
    "--technique",
    "techniques",
    multiple=True,
    metavar="SPEC",
    help="core, standard, all, or NAME[:key=value,…]; repeatable.  [default: core]",
)


metric_options = (
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


engine_option = click.option(
    "--engine",
    default="local",
    metavar="local|ray",
    callback=_engine,
    help="Where the work runs; ray:workers=N,gpus=SHARE says how.  [default: local]",
)


def explain_options(command: Command) -> Command:
    """The options that decide what is computed."""
    options = [
        click.argument("images", nargs=-1),
        click.option("-o", "--output", required=True, help="The run folder: a path or a URL."),
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
        technique_option,
        *metric_options,
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
        click.option(
            "--pixel-maps",
            type=click.Choice(["none", "float16", "float32"]),
            help="Keep maps of gradients and relevance pixel by pixel too, to look at details or to compute "
            "with them: of 224 x 224 some 95 kB a map in float16, 190 kB in float32.  [default: none]",
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


SHOWN = ("pdf", "pdf_images", "pdf_volumes", "pdf_per_image", "publish")
"""What `report_options` gives."""


def report_options(command: Command) -> Command:
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
