"""Commands for a finished run: is it whole, what changed since another one, what does its model like."""

from __future__ import annotations

import sys
from typing import Any

import click

from vitreport.cli.console import progress_bars, say
from vitreport.cli.group import FAILED, main


@main.command()
@click.argument("place", metavar="RUN")
@click.option("-q", "--quiet", is_flag=True, help="Print what is wrong only.")
def verify(place: str, quiet: bool) -> None:
    """Re-hash every file of RUN, a path or a URL: the store, the report, the PDFs, the optimised pictures."""
    from vitreport import api
    from vitreport.store import run_folder

    folder = run_folder(place)
    with progress_bars(quiet) as progress:
        found = api.verify(folder, progress=progress)
    for fault in found.faults:
        say(f"vitreport: {fault}", err=True)
    if found.faults:
        sys.exit(FAILED)
    if not quiet:
        say(
            f"all {found.files} files of {folder.place()} are as they were written; "
            f"the SHA-256 of its manifest.json is {found.manifest_sha256}"
        )


@main.command()
@click.argument("before", metavar="RUN_A")
@click.argument("after", metavar="RUN_B")
@click.option("-o", "--output", required=True, help="The folder of the report: a path or a URL.")
@click.option("--pdf/--no-pdf", default=True, help="Write difference.pdf too.  [default: yes]")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def diff(before: str, after: str, output: str, pdf: bool, quiet: bool) -> None:
    """Report what changed from RUN_A to RUN_B: two models or two releases on the same images.

    Each is a path or a URL.
    """
    from vitreport import api
    from vitreport.store import run_folder

    folder = run_folder(output)
    with progress_bars(quiet) as progress:
        page = api.build_difference(before, after, folder, pdf=pdf, progress=progress)
    if not quiet:
        for sentence in page.summary:
            say(sentence)
        names = ["index.html", *(["difference.pdf"] if pdf else [])]
        say("report: " + " and ".join(str(folder.place(name)) for name in names))


@main.command()
@click.option("-o", "--output", required=True, help="The folder of a finished run: a path or a URL.")
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
def maximize(output: str, quiet: bool, **options: Any) -> None:
    """Make the pictures that classes, units, heads or channels of a run's model like best."""
    from vitreport import api
    from vitreport.store import run_folder

    folder = run_folder(output)
    with progress_bars(quiet) as progress:
        records = api.maximize(folder, progress=progress, **options)
    for record in () if quiet else records:
        seams = ", ".join(f"{picture.seam_ratio:.2f}" for picture in record.pictures)
        failed = ", ".join(record.failed_gates)
        verdict = f"fails {failed}" if failed else "passes its gates"
        if record.untested_gates:
            verdict += f", {', '.join(record.untested_gates)} untested"
        say(f"{record.target}  {record.title}: {verdict}; seam ratio {seams}")
    if not quiet:
        say(f"pictures: {folder.place('optimized')}")
