"""The error tree. Every failure that a user can cause or mend is one of these.

VitReportError
├── SettingsError          an option, a name or a number that cannot be used
├── UnsupportedModelError  a model whose attention cannot be read
├── ImageError             one image that cannot be used; the run goes on
├── TechniqueError         one technique that failed; the run goes on
├── StoreError             a run folder that cannot be written or read
└── RenderError            a report that cannot be drawn

A message says what is wrong, where, what was allowed, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VitReportError(Exception):
    """Base of everything that vitreport raises on purpose."""


class SettingsError(VitReportError):
    """An option, a name or a number that cannot be used."""


class UnsupportedModelError(VitReportError):
    """A model whose attention cannot be read."""


class ImageError(VitReportError):
    """One image that cannot be used: it is quarantined with this reason and the run goes on."""


class TechniqueError(VitReportError):
    """One technique that could not explain one batch: it is recorded as failed and the run goes on."""


class StoreError(VitReportError):
    """A run folder that cannot be written or read."""


class RenderError(VitReportError):
    """A report that cannot be drawn."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns ``"; did you mean 'x'?"`` for the known name nearest to `name`, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""
