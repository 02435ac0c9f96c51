"""What is printed: lines in which no name acts on the terminal, and progress bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from vitreport.visible import visible_line

STAGES = {
    "hash": "reading the image list",
    "explain": "explaining",
    "score": "scoring",
    "digest": "closing the store",
    "fetch": "fetching the run",
    "maximize": "optimising pictures",
    "pages": "drawing pages",
    "pdf": "writing the PDF",
    "send": "sending the report",
    "difference": "comparing",
    "verify": "hashing",
}
"""What a stage is called on its bar."""


def say(line: str, err: bool = False) -> None:
    """Prints a line that may hold names from files and folders: on a terminal, none of them acts."""
    click.echo(visible_line(line), err=err)


def duration(seconds: float) -> str:
    """``10 seconds or less``, ``40 seconds``, ``3 minutes``, ``2.5 hours``."""
    if seconds < 10:
        return "10 seconds or less"
    if seconds < 100:
        return f"{10 * round(seconds / 10)} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Callable[[str, float, int], None] | None]:
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
                bars[stage] = shown.add_task(STAGES.get(stage, stage), total=total)
            shown.update(bars[stage], completed=done, total=total)

        yield progress
