"""How far a long piece of work is, told to whoever asked."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float, int], None]
"""Called with a stage (``hash``, ``explain``, ``pages`` …), units done, and units in all."""


def of_stage(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    """What is told of one stage: units done, and units in all; None where nobody asked."""
    return None if progress is None else lambda done, total: progress(stage, done, total)
