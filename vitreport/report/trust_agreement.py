"""Which techniques agree, as a table and in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from vitreport.analysis.trust import Trust
from vitreport.report.trust_names import Names, with_setting
from vitreport.report.trust_page import AgreementCell, AgreementRow, AgreementView
from vitreport.report.wording import changed, decimal

PAIRS = 3
"""Pairs of techniques that a sentence about agreement names."""

SHADES = 5
"""Of a cell in the table of agreement."""


def agreement_view(trust: Trust, names: Names) -> AgreementView | None:
    """The agreement of the scored images; None where there is nothing to compare."""
    agreement = trust.agreement
    if len(agreement.keys) < 2 or not trust.images:
        return None
    rows = [
        AgreementRow(
            number=place + 1,
            subject=with_setting(trust.records[key].title, changed(trust.records[key])),
            page=trust.records[key].name,
            cells=tuple(_agreement_cell(value) for value in agreement.mean[place, :place]),
        )
        for place, key in enumerate(agreement.keys)
    ]
    kinds = ["" if trust.is_control(key) else trust.records[key].name for key in agreement.keys]
    return AgreementView(
        rows=tuple(rows),
        sentences=agreement_sentences(
            agreement.mean, [names.in_sentences[key] for key in agreement.keys], kinds
        ),
        images=int(agreement.images.max(initial=0)),
    )


def agreement_sentences(
    matrix: NDArray[np.float64], names: Sequence[str], kinds: Sequence[str]
) -> tuple[str, ...]:
    """The pairs that agree least and most, in words.

    Args:
        matrix: rank correlations ``(techniques, techniques)``, NaN where undefined.
        names: of the techniques.
        kinds: of the techniques: settings of one kind are not compared, nor is what has none.
    """
    pairs = [
        (float(matrix[one, other]), names[one], names[other])
        for one in range(len(names))
        for other in range(one)
        if kinds[one] and kinds[other] and kinds[one] != kinds[other] and isfinite(matrix[one, other])
    ]
    if not pairs:
        return ()
    pairs.sort(key=lambda pair: pair[0])
    few = min(PAIRS, max(1, len(pairs) // 2))
    said = ["Least alike: " + _pairs(pairs[:few]) + "."]
    if len(pairs) > 1:
        said.append("Most alike: " + _pairs(pairs[::-1][:few]) + ".")
    return tuple(said)


def _pairs(pairs: Iterable[tuple[float, str, str]]) -> str:
    return "; ".join(f"{second} and {first} ({decimal(value, 2)})" for value, first, second in pairs)


def _agreement_cell(value: float) -> AgreementCell:
    if not isfinite(value):
        return AgreementCell("–", 0, False)
    text = decimal(value, 2) if abs(value) >= 0.005 else "0.00"
    return AgreementCell(text, min(SHADES, int(abs(value) * (SHADES + 1))), value <= -0.005)
