"""Numbers with their uncertainty as they stand in the sentences of findings."""

from __future__ import annotations

import math

from vitreport.analysis.intervals import Interval
from vitreport.store import TechniqueRecord


def titled(technique: TechniqueRecord) -> str:
    """The technique's title with what differs from its defaults: ``Attention rollout (fusion max)``."""
    setting = technique.key.partition(":")[2].replace("=", " ").replace("_", " ").replace(",", ", ")
    return f"{technique.title} ({setting})" if setting else technique.title


def ends(name: str, interval: Interval) -> dict[str, float]:
    """An interval's numbers by name, for `Finding.numbers`."""
    found = {name: interval.value}
    if interval.low is not None and interval.high is not None:
        found |= {f"{name}, low": interval.low, f"{name}, high": interval.high}
    return found


def percent(value: float) -> str:
    """``42 %``; below a tenth with one more digit; what would round to 0 or 100 says so."""
    if 0 < value < 0.0005:
        return "<0.1\xa0%"
    if 0.995 <= value < 1:
        return ">99\xa0%"
    return f"{100 * value:.0f}\xa0%" if value >= 0.1 or value == 0 else f"{100 * value:.1f}\xa0%"


def range_of(interval: Interval) -> str:
    """``95 % interval 31 to 55 %``."""
    if interval.low is None or interval.high is None:
        return "too few for an interval"
    low, high = percent(interval.low).removesuffix("\xa0%"), percent(interval.high)
    return f"95\xa0% interval {low} to {high}"


def with_range(interval: Interval) -> str:
    """``42 %, 95 % interval 31 to 55 %``."""
    return f"{percent(interval.value)}, {range_of(interval)}"


def times(ratio: Interval) -> str:
    """``3.1 times (95 % interval 2.0 to 4.8)``."""
    if math.isinf(ratio.value):
        return "infinitely many times"
    words = f"{figure(ratio.value)} times"
    if ratio.low is not None and ratio.high is not None:
        words += f" (95\xa0% interval {figure(ratio.low)} to {figure(ratio.high)})"
    return words


def figure(value: float) -> str:
    """``3.1``, ``31``, ``3,100``."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def p_value(p: float) -> str:
    """``p = 0.0021``; tiny ones ``p < 0.0001``."""
    return "p\xa0<\xa00.0001" if p < 0.0001 else f"p\xa0=\xa0{p:.2g}"


def images_of(n: int) -> str:
    """``1 image``, ``1,000 images``."""
    return f"{n:,} image{'' if n == 1 else 's'}"


def have(n: int) -> str:
    """The verb that goes with so many images."""
    return "has" if n == 1 else "have"
