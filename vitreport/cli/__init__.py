"""The command line: the only place that prints and that chooses exit codes.

`group` is the command that holds all others; `job` has those that make a run and its report, `finished` those
for a run that is there, `listing` those that say what there is; `options` are shared, `console` prints.
"""

from vitreport.cli import finished, job, listing
from vitreport.cli.group import main

__all__ = ["finished", "job", "listing", "main"]
