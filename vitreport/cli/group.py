"""The command that holds all others, and the exit codes.

0 all done; 1 finished, but some images or techniques failed, or a file is not as it was written; 2 bad
usage or settings; 3 nothing could be done; 130 interrupted, and the same command goes on.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import click

from vitreport import __version__
from vitreport.cli.console import say
from vitreport.errors import SettingsError, UnsupportedModelError, VitReportError

FAILED, USAGE, NOTHING, INTERRUPTED = 1, 2, 3, 130


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
    say(f"vitreport: {error}", err=True)
    sys.exit(code)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Explanation reports for Vision Transformers: images and a model in, an HTML site and a PDF out."""
    warnings.filterwarnings("ignore", module="PIL")
