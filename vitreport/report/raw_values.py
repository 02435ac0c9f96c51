"""The numbers behind the page of an image, to download: JSON with all maps, scores and observations."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitreport.figures.scale import Scale
from vitreport.report.image_data import digits
from vitreport.report.image_page import ChannelView, ImagePage, LensView, MapView

FINE, COARSE = 9, 4
"""Digits of a float32, and of what is stored as float16 or shown as a small picture only."""

_ARRAY = re.compile(r'"\\u0000(\[[-+.,\deinlu]*\])\\u0000"')
"""A list of numbers that stands as a string in JSON."""


def raw_values(page: ImagePage) -> bytes:
    """All that the page of an image shows, as JSON; arrays row by row, null where not a number.

    Maps and scores have nine digits, observations four.
    """
    body: dict[str, Any] = {
        "id": page.row.id,
        "file": page.row.uri,
        "label": page.row.label.index if page.row.label else None,
        "group": page.row.group,
        "predictions": [
            {"class": view.index, "name": view.name, page.row.outputs.score: digits(view.score)}
            for view in page.predictions
        ],
        "targets": [target.index for target in page.targets],
        "maps": [_map(view) for section in page.sections for view in section.maps],
    }
    if page.scores is not None:
        body["scores"] = [
            {name: _rounded(value) for name, value in score.items()} for score in page.scores.raw
        ]
    observations = _observations(page)
    if observations:
        body["observations"] = observations
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return (_ARRAY.sub(r"\1", text) + "\n").encode()


def _map(view: MapView) -> dict[str, Any]:
    return {
        "technique": view.record.key,
        "target": view.target.index if view.target else None,
        "rows": view.values.shape[0],
        "cols": view.values.shape[1],
        "values": _numbers(view.values, FINE),
        "error": view.error,
        "fixed_scale": _ends(view.fixed),
    }


def _observations(page: ImagePage) -> dict[str, Any]:
    """Those that the image has, by technique."""
    found: dict[str, Any] = {}
    if page.atlas:
        shape = dict(zip(("blocks", "heads", "rows", "cols"), page.atlas.values.shape, strict=True))
        found[page.atlas.name] = {**shape, "values": _numbers(page.atlas.values, COARSE)}
    if page.lens:
        found[page.lens.name] = _lens(page.lens)
    if page.norms:
        shape = dict(zip(("blocks", "rows", "cols"), page.norms.values.shape, strict=True))
        found[page.norms.name] = {
            **shape,
            "values": _numbers(page.norms.values, COARSE),
            "prefix": page.norms.prefix,
            "prefix_values": _numbers(page.norms.prefix_values, COARSE),
        }
    if page.patches:
        found[page.patches.name] = {
            "rows": page.patches.rows,
            "cols": page.patches.cols,
            "prefix": page.patches.prefix,
            "readout": _numbers(page.patches.readout, FINE),
            "own": _numbers(page.patches.own, FINE),
            "scales": _numbers(page.patches.scales, FINE),
            "values": page.patches.values.ravel().tolist(),
        }
    for pattern in page.patterns:
        target = pattern.target.index if pattern.target else None
        found.setdefault(pattern.technique, []).extend(
            {"pattern": pattern.name, "target": target, **_channel(channel)} for channel in pattern.channels
        )
    return found


def _lens(view: LensView) -> dict[str, Any]:
    return {
        "blocks": len(view.rows),
        "first": [row.first.index for row in view.rows],
        "classes": [kept.index for kept in view.rows[-1].kept],
        "scores": [digits(kept.score) for row in view.rows for kept in row.kept],
    }


def _channel(view: ChannelView) -> dict[str, Any]:
    return {
        "block": view.block,
        "head": view.head,
        "channel": view.channel,
        "score": digits(view.score),
        "rows": view.query.shape[0],
        "cols": view.query.shape[1],
        "q": _numbers(view.query, COARSE),
        "k": _numbers(view.key, COARSE),
        "v": _numbers(view.value, COARSE),
    }


def _ends(scale: Scale | None) -> list[float | None] | None:
    return None if scale is None else [digits(scale.low), digits(scale.high)]


def _numbers(values: NDArray[Any], kept: int) -> str:
    """A list of numbers as a string that `raw_values` unwraps: one by one they would take most time."""
    flat = values.ravel()
    if not np.isfinite(flat).all():
        known = [digits(value, kept) for value in flat.tolist()]
        return f"\0{json.dumps(known, separators=(',', ':'))}\0"
    return f"\0[{','.join([f'%.{kept}g'] * flat.size) % tuple(flat.tolist())}]\0"


def _rounded(value: object) -> object:
    if isinstance(value, list):
        return [digits(number) for number in value]
    return digits(value) if isinstance(value, float) else value
