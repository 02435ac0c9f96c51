"""The numbers behind the page of an image, to download: JSON with all maps, scores and observations."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitreport.figures.scale import Scale
from vitreport.report.image_data import digits
from vitreport.report.image_page import ChannelView, ImagePage, LensView, MapView

FINE, COARSE = 9, 4
"""Digits of a float32, and of what is stored as float16 or shown as a small picture only."""

_MARK = secrets.token_hex()
"""Stands for a list of numbers; nobody can have written it into a name."""

_PLACE = re.compile(rf'"{_MARK} (\d+)"')


class _Lists:
    """Lists of numbers as text: the encoder of JSON would take most time for them."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def add(self, values: NDArray[Any], kept: int) -> str:
        """Keeps numbers to so many digits; returns what stands for them until `put_into`."""
        flat = values.ravel()
        if np.isfinite(flat).all():
            text = f"[{','.join([f'%.{kept}g'] * flat.size) % tuple(flat.tolist())}]"
        else:
            known = [digits(value, kept) for value in flat.tolist()]
            text = json.dumps(known, separators=(",", ":"))
        self._texts.append(text)
        return f"{_MARK} {len(self._texts) - 1}"

    def put_into(self, text: str) -> str:
        """The JSON with every list in its place."""
        return _PLACE.sub(lambda found: self._texts[int(found[1])], text)


def raw_values(page: ImagePage) -> bytes:
    """All that the page of an image shows, as JSON; arrays row by row, null where not a number.

    Maps and scores have nine digits, observations four.
    """
    lists = _Lists()
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
        "maps": [_map(view, lists) for section in page.sections for view in section.maps],
    }
    if page.scores is not None:
        body["scores"] = [
            {name: _rounded(value) for name, value in score.items()} for score in page.scores.raw
        ]
    observations = _observations(page, lists)
    if observations:
        body["observations"] = observations
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return (lists.put_into(text) + "\n").encode()


def _map(view: MapView, lists: _Lists) -> dict[str, Any]:
    return {
        "technique": view.record.key,
        "target": view.target.index if view.target else None,
        "rows": view.values.shape[0],
        "cols": view.values.shape[1],
        "values": lists.add(view.values, FINE),
        "error": view.error,
        "fixed_scale": _ends(view.fixed),
    }


def _observations(page: ImagePage, lists: _Lists) -> dict[str, Any]:
    """Those that the image has, by technique."""
    found: dict[str, Any] = {}
    if page.atlas:
        shape = dict(zip(("blocks", "heads", "rows", "cols"), page.atlas.values.shape, strict=True))
        found[page.atlas.name] = {**shape, "values": lists.add(page.atlas.values, COARSE)}
    if page.lens:
        found[page.lens.name] = _lens(page.lens)
    if page.norms:
        shape = dict(zip(("blocks", "rows", "cols"), page.norms.values.shape, strict=True))
        found[page.norms.name] = {
            **shape,
            "values": lists.add(page.norms.values, COARSE),
            "prefix": page.norms.prefix,
            "prefix_values": lists.add(page.norms.prefix_values, COARSE),
        }
    if page.patches:
        found[page.patches.name] = {
            "rows": page.patches.rows,
            "cols": page.patches.cols,
            "prefix": page.patches.prefix,
            "readout": lists.add(page.patches.readout, FINE),
            "own": lists.add(page.patches.own, FINE),
            "scales": lists.add(page.patches.scales, FINE),
            "values": lists.add(page.patches.values, FINE),
        }
    for pattern in page.patterns:
        target = pattern.target.index if pattern.target else None
        found.setdefault(pattern.technique, []).extend(
            {"pattern": pattern.name, "target": target, **_channel(channel, lists)}
            for channel in pattern.channels
        )
    return found


def _lens(view: LensView) -> dict[str, Any]:
    return {
        "blocks": len(view.rows),
        "first": [row.first.index for row in view.rows],
        "classes": [kept.index for kept in view.rows[-1].kept],
        "scores": [digits(kept.score) for row in view.rows for kept in row.kept],
    }


def _channel(view: ChannelView, lists: _Lists) -> dict[str, Any]:
    return {
        "block": view.block,
        "head": view.head,
        "channel": view.channel,
        "score": digits(view.score),
        "rows": view.query.shape[0],
        "cols": view.query.shape[1],
        "q": lists.add(view.query, COARSE),
        "k": lists.add(view.key, COARSE),
        "v": lists.add(view.value, COARSE),
    }


def _ends(scale: Scale | None) -> list[float | None] | None:
    return None if scale is None else [digits(scale.low), digits(scale.high)]


def _rounded(value: object) -> object:
    if isinstance(value, list):
        return [digits(number) for number in value]
    return digits(value) if isinstance(value, float) else value
