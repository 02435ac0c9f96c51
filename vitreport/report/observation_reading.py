"""From the parts of observation techniques to views: atlas of heads, Q/K/V patterns, lens, norms, patches."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pyarrow as pa

from vitreport.explanation import FloatArray
from vitreport.report.image_page import (
    AtlasView,
    ChannelView,
    LensRow,
    LensView,
    NormsView,
    PatchView,
    PatternView,
)
from vitreport.report.outputs import Outputs
from vitreport.report.pages import ClassView
from vitreport.report.reading import class_view
from vitreport.store import ModelRecord, TechniqueRecord

PATTERNS = {
    "one_way": (
        "One-way patterns",
        "The query is high nearly everywhere, the key on the object: every patch asks, the object answers.",
    ),
    "two_way": (
        "Two-way patterns",
        "Query and key mark different parts of the object: one part asks, another answers.",
    ),
}
"""Title and note of every pattern, in the order shown."""

PREFIXES = {
    "class token": ("class token",),
    "mean of class and distillation token": ("class token", "distillation token"),
}
"""The prefix tokens that are known by name, by the model's readout; they come first."""


def array_of(part: pa.Table, column: str, row: int, shape: tuple[int, ...]) -> FloatArray:
    """One cell of a list column as float32 of this shape; zeros where the cell is empty."""
    cell = part[column][row]
    if not cell.is_valid:
        return np.zeros(shape, np.float32)
    return np.asarray(cell.values.to_numpy(zero_copy_only=False), np.float32).reshape(shape)


def atlas_view(record: TechniqueRecord, part: pa.Table) -> AtlasView:
    """The readout attention of the image that `part` holds one row of."""
    shape = tuple(part[name][0].as_py() for name in ("blocks", "heads", "rows", "cols"))
    values = array_of(part, "values", 0, shape)
    means = values.mean(1)
    flat = means.reshape(len(means), -1)
    return AtlasView(
        name=record.name,
        title=record.title,
        shows=record.shows,
        values=values,
        means=means,
        likeness=tuple(_correlation(one, two) for one, two in pairwise(flat)),
    )


def _correlation(one: FloatArray, two: FloatArray) -> float | None:
    one, two = one - one.mean(), two - two.mean()
    size = float(np.linalg.norm(one) * np.linalg.norm(two))
    return float(one @ two) / size if np.isfinite(size) and size > 0 else None


def pattern_views(
    record: TechniqueRecord, part: pa.Table, targets: Mapping[int, ClassView]
) -> tuple[PatternView, ...]:
    """The best channels of every pattern and target, the best first."""
    found: dict[tuple[str, int], list[ChannelView]] = {}
    fields = ["target", "pattern", "rank", "block", "head", "channel", "score", "rows", "cols"]
    rows = enumerate(part.select(fields).to_pylist())
    for position, row in sorted(rows, key=lambda pair: pair[1]["rank"]):
        shape = (row["rows"], row["cols"])
        channel = ChannelView(
            row["block"],
            row["head"],
            row["channel"],
            row["score"],
            *(array_of(part, name, position, shape) for name in "qkv"),
        )
        found.setdefault((row["pattern"], row["target"]), []).append(channel)
    order = {target: position for position, target in enumerate(targets)}
    views = []
    for pattern, (title, note) in PATTERNS.items():
        for target in sorted({t for p, t in found if p == pattern}, key=lambda t: order.get(t, len(order))):
            channels = tuple(found[pattern, target])
            views.append(PatternView(pattern, title, note, record.name, targets.get(target), channels))
    return tuple(views)


def lens_view(record: TechniqueRecord, part: pa.Table, model: ModelRecord) -> LensView:
    """The logit lens of the image that `part` holds one row of."""
    blocks, kept, first = (part[name][0].as_py() for name in ("blocks", "classes", "first"))
    scores = array_of(part, "scores", 0, (blocks, len(kept))).tolist()
    return LensView(
        name=record.name,
        title=record.title,
        shows=record.shows,
        does_not_show=record.does_not_show,
        outputs=Outputs.of(model),
        rows=tuple(
            LensRow(
                class_view(model, ahead),
                tuple(class_view(model, *pair) for pair in zip(kept, row, strict=True)),
            )
            for ahead, row in zip(first, scores, strict=True)
        ),
    )


def norms_view(record: TechniqueRecord, part: pa.Table, model: ModelRecord) -> NormsView:
    """The token norms of the image that `part` holds one row of."""
    blocks, prefix, rows, cols = (part[name][0].as_py() for name in ("blocks", "prefix", "rows", "cols"))
    return NormsView(
        name=record.name,
        title=record.title,
        shows=record.shows,
        does_not_show=record.does_not_show,
        values=array_of(part, "values", 0, (blocks, rows, cols)),
        prefix=_prefix_names(model, prefix),
        prefix_values=array_of(part, "prefix_values", 0, (blocks, prefix)),
    )


def patch_view(record: TechniqueRecord, part: pa.Table, model: ModelRecord) -> PatchView:
    """The rollout between the tokens of the image that `part` holds one row of."""
    prefix, rows, cols = (part[name][0].as_py() for name in ("prefix", "rows", "cols"))
    tokens = prefix + rows * cols
    values = part["values"][0].values.to_numpy(zero_copy_only=False)
    return PatchView(
        name=record.name,
        title=record.title,
        shows=record.shows,
        does_not_show=record.does_not_show,
        prefix=_prefix_names(model, prefix),
        rows=rows,
        cols=cols,
        readout=array_of(part, "readout", 0, (tokens,)),
        own=array_of(part, "own", 0, (tokens,)),
        scales=array_of(part, "scales", 0, (tokens,)),
        values=np.asarray(values, np.uint8).reshape(tokens, tokens),
    )


def _prefix_names(model: ModelRecord, count: int) -> tuple[str, ...]:
    """The names of so many prefix tokens; those that nothing is known of are numbered from 0."""
    known = PREFIXES.get(model.readout, ())[:count]
    return (*known, *(f"prefix token {position}" for position in range(len(known), count)))
