"""vitreport: batch explanation reports for Vision Transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitreport.api import (
        Progress,
        RunSettings,
        build_difference,
        build_report,
        explain,
        maximize,
        open_run,
    )

__version__ = "0.1.0"

__all__ = [
    "Progress",
    "RunSettings",
    "build_difference",
    "build_report",
    "explain",
    "maximize",
    "open_run",
]


def __getattr__(name: str) -> Any:
    """Imports the API when it is first used, so that the command line starts at once."""
    if name not in __all__:
        raise AttributeError(f"module 'vitreport' has no attribute '{name}'")
    from vitreport import api

    return getattr(api, name)
