"""Data that scripts of the site read: the table of images, and the rollout between an image's patches."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence

from vitreport.explanation import FloatArray
from vitreport.report.image_page import PatchView
from vitreport.report.pages import ImageRow
from vitreport.visible import visible

ROWS_A_SCRIPT = 2000
"""Images in one data script."""


def table_scripts(rows: Sequence[ImageRow], small: Mapping[str, str]) -> list[bytes]:
    """The table of all images as classic scripts, since pages opened from a disk may not fetch data.

    Each adds one list to ``window.vitreport_images``; an image is ``[id, name, label, predicted,
    probability or value, verdict, group, small picture or reason]``, and after that the value as text.

    Args:
        rows: the images, in order.
        small: file names of small pictures among the assets, by image id.
    """
    scripts = []
    for number, start in enumerate(range(0, len(rows), ROWS_A_SCRIPT)):
        entries = [_entry(row, small) for row in rows[start : start + ROWS_A_SCRIPT]]
        body = script_safe(json.dumps(entries, ensure_ascii=False, separators=(",", ":")))
        text = f"(window.vitreport_images=window.vitreport_images||[])[{number}]={body};\n"
        scripts.append(text.encode())
    return scripts


def patch_script(view: PatchView) -> bytes:
    """The rollout between an image's tokens as a classic script, which the page loads when it is asked for.

    It sets ``window.vitreport_patches``; its ``values`` are the bytes of `PatchView.values` in base 64.
    """
    body = {
        "prefix": view.prefix,
        "rows": view.rows,
        "cols": view.cols,
        "readout": _numbers(view.readout),
        "own": _numbers(view.own),
        "scales": _numbers(view.scales),
        "values": base64.b64encode(view.values.tobytes()).decode("ascii"),
    }
    text = script_safe(json.dumps(body, ensure_ascii=False, separators=(",", ":")))
    return f"window.vitreport_patches={text};\n".encode()


def _entry(row: ImageRow, small: Mapping[str, str]) -> list[object]:
    entry: list[object] = [
        row.id,
        visible(row.name),
        visible(row.label.short) if row.label else "",
        visible(row.says),
        digits(row.predicted.score) if row.predicted else None,
        row.verdict,
        visible(row.group or ""),
        small.get(row.id, "") if row.reason is None else visible(row.reason),
    ]
    return [*entry, row.predicted.text] if row.predicted and row.outputs.are_values else entry


def script_safe(text: str) -> str:
    """JSON that may stand in a script: no ``<``, no ``>``, no ``&``, no line separators of Unicode."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _numbers(values: FloatArray) -> list[float | None]:
    return [digits(value) for value in values.ravel().tolist()]


def digits(value: float | None, kept: int = 9) -> float | None:
    """`value` to so many digits, nine for a float32; None where it is not a number."""
    return float(f"{value:.{kept}g}") if value is not None and math.isfinite(value) else None
