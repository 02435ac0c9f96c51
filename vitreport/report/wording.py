"""How numbers and names are written for readers, the same in the site and in the PDF."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vitreport.settings import format_parameter
from vitreport.store import MetricRecord, TechniqueRecord


def number(value: float) -> str:
    """Three significant digits: ``0.0123``, ``1.20e-07``, ``1,230``."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("−∞" if value < 0 else "∞")
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1000 and size < 1e6:
        text = f"{value:,.0f}"
    elif size >= 1e6 or size < 1e-4:
        text = f"{value:.2e}"
    else:
        exponent = int(f"{size:.2e}".partition("e")[2])
        text = f"{value:.{max(0, 2 - exponent)}f}"
    return text.replace("-", "−", 1) if text.startswith("-") else text


def decimal(value: float, digits: int = 3) -> str:
    """A score with as many digits behind the point as its neighbours: ``0.412``, ``−0.030``, ``1,230``."""
    if not math.isfinite(value) or abs(value) >= 1000 or 0 < abs(value) < 0.5 * 10**-digits:
        return number(value)
    return f"{value:.{digits}f}".replace("-", "−", 1)


def range_of_scores(low: float, high: float) -> str:
    """``0.120 to 0.431``; ends that are both tiny keep their digits."""
    if max(abs(low), abs(high)) < 0.005:
        return f"{number(low)} to {number(high)}"
    return " to ".join("0.000" if abs(end) < 0.0005 else decimal(end) for end in (low, high))


def percent(share: float) -> str:
    """``37.2 %``, on one line; shares that would round to 0 or 100 say so honestly."""
    if not math.isfinite(share):
        return number(share)
    if 0 < share < 0.0005:
        return "<\xa00.1\xa0%"
    if 0.9995 <= share < 1:
        return ">\xa099.9\xa0%"
    return f"{100 * share:.1f}\xa0%"


def count(amount: int, noun: str, plural: str | None = None) -> str:
    """``1 image``, ``1,000 images``."""
    return f"{amount:,} {noun if amount == 1 else plural or noun + 's'}"


def first_images(most: int) -> str:
    """``asked for the first 4 images of the run only, in the order of their files' checksums``."""
    which = "the first image" if most == 1 else f"the first {most:,} images"
    return f"asked for {which} of the run only, in the order of their files' checksums"


def tier_text(record: TechniqueRecord) -> str:
    """``core tier``, or ``opt-in`` where no tier runs it."""
    return "opt-in" if record.opt_in else f"{record.tier} tier"


def file_size(size: int) -> str:
    """``812 B``, ``14.2 kB``, ``3.1 MB``."""
    if size < 1000:
        return f"{size} B"
    return f"{size / 1e3:.1f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"


def short_class(name: str) -> str:
    """The first of a class's synonyms: ``tench`` for ``tench, Tinca tinca``."""
    return name.split(",")[0].strip() or name


def file_name(uri: str) -> str:
    """The last part of a path or address; a backslash is part of a name, as in ``new\\x0aline.png``."""
    return uri.rstrip("/").rpartition("/")[2] or uri


def setting(record: TechniqueRecord | MetricRecord) -> str:
    """The parameters of a technique or metric: ``fusion max, discard ratio 0.9``; empty without any."""
    return ", ".join(
        f"{name.replace('_', ' ')} {format_parameter(value)}" for name, value in record.parameters.items()
    )


def changed(record: TechniqueRecord | MetricRecord) -> str:
    """The parameters that differ from their defaults, in words; empty where none does."""
    return ", ".join(
        f"{name.replace('_', ' ')} {format_parameter(value)}"
        for name, value in record.parameters.items()
        if name not in record.defaults or record.defaults[name] != value
    )


def plain(value: Any) -> str:
    """Any JSON value on one line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {plain(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(plain(inner) for inner in value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
