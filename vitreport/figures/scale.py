"""Which numbers a picture's darkest and brightest colour stand for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vitreport.explanation import FloatArray

MapState = Literal["drawn", "constant", "undefined", "failed"]
"""``constant``: all values equal; ``undefined``: some value is not a number; ``failed``: there is no map."""


@dataclass(frozen=True)
class Scale:
    """The values at the two ends of a colour scale; a signed one is centred on zero.

    `sampled` says that they come from a sample of the values that they stand for.
    """

    low: float
    high: float
    sampled: bool = False


def state_of(values: FloatArray) -> MapState:
    """Whether a map can be drawn, and if not, why."""
    if values.size == 0:
        return "failed"
    if not np.isfinite(values).all():
        return "undefined"
    return "constant" if float(values.min()) == float(values.max()) else "drawn"


def own_scale(values: FloatArray, signed: bool) -> Scale:
    """From the smallest to the largest finite value; for signed maps as far below zero as above.

    Without any finite value, zero to zero.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return Scale(0.0, 0.0)
    low, high = float(finite.min()), float(finite.max())
    if signed:
        reach = max(abs(low), abs(high))
        return Scale(-reach, reach)
    return Scale(low, high)


def common_scale(samples: Iterable[FloatArray], signed: bool) -> Scale | None:
    """From the 1st to the 99th percentile of all samples; for signed maps ± the 99th of the sizes.

    Returns:
        The scale, or None where there is no finite value.
    """
    pieces = [sample[np.isfinite(sample)] for sample in samples]
    values = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    if values.size == 0:
        return None
    if signed:
        reach = float(np.percentile(np.abs(values), 99))
        return Scale(-reach, reach)
    low, high = np.percentile(values, (1, 99))
    return Scale(float(low), float(high))
