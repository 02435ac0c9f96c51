"""From the scores of a run to what the page of one image says of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from vitreport.analysis.agreement import rank_agreement
from vitreport.analysis.trust import CURVES, Trust
from vitreport.report.image_page import MapView
from vitreport.report.trust_agreement import agreement_sentences
from vitreport.report.trust_curves import curves_view, image_lines
from vitreport.report.trust_names import Names
from vitreport.report.trust_page import ImageScore, ImageScores
from vitreport.report.wording import decimal
from vitreport.store import Run


@dataclass(frozen=True)
class ImageReading:
    """Puts the scores of single images into words."""

    run: Run
    trust: Trust

    def scores(self, image_id: str, views: Sequence[MapView]) -> ImageScores | None:
        """What the scores say of an image; None where it was not scored.

        Args:
            image_id: of the image.
            views: its maps.
        """
        place = self.trust.places.get(image_id)
        if place is None:
            return None
        names = Names(self.run, self.trust)
        tables = [one.scores.merged(self.trust.random) for one in self.trust.measured]
        known = [
            (one.record, table)
            for one, table in zip(self.trust.measured, tables, strict=True)
            if any(isfinite(value) for value in table.values[:, place])
        ]
        first = self.trust.first
        rows = [
            ImageScore(
                names.subject(row.key),
                names.page_of(row.key),
                row.control,
                tuple(_text(float(table.of(row.key)[place])) for _, table in known),
            )
            for row in (first.rows if first else ())
        ]
        return ImageScores(
            heads=tuple(names.head(record) for record, _ in known),
            rows=tuple(sorted(rows, key=lambda row: row.control)),
            curves=curves_view(image_lines(self.run, self.trust, image_id, names.subject)),
            agreement=self._agreement(names, views, self.trust.targets[image_id]),
            missing=tuple(self._missing(names, image_id)),
            raw=tuple(self._raw(place, self.trust.targets[image_id])),
        )

    def _agreement(self, names: Names, views: Sequence[MapView], target: int | None) -> tuple[str, ...]:
        chosen = [
            view
            for view in views
            if view.state == "drawn"
            and view.record.key in self.trust.records
            and (view.target is None or view.target.index == target)
            and not self.trust.is_control(view.record.key)
        ]
        return agreement_sentences(
            rank_agreement([view.values for view in chosen]),
            [names.subject(view.record.key) for view in chosen],
            [view.record.name for view in chosen],
        )

    def _missing(self, names: Names, image_id: str) -> Iterator[str]:
        """Why scores are missing: ``Mosaic: …`` for all techniques, ``Sum, Raw attention and 2 more: …``."""
        place = self.trust.places[image_id]
        for one in self.trust.measured:
            if image_id not in one.scored:
                continue
            reasons: dict[str, list[str]] = defaultdict(list)
            keys = [row.key for row in one.rows if self.trust.records[row.key].most_images is None]
            for key in keys:
                if not isfinite(one.scores.of(key)[place]):
                    reasons[self.trust.why_missing(one, key, image_id)].append(names.subject(key))
            for reason, subjects in reasons.items():
                more = f" and {len(subjects) - 1} more" if len(subjects) > 1 else ""
                who = "" if len(subjects) == len(keys) else f", {subjects[0]}{more}"
                yield f"{one.record.short}{who}: {reason}"

    def _raw(self, place: int, target: int | None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for one in self.trust.measured:
            for key in one.scores.keys:
                value = float(one.scores.of(key)[place])
                if not isfinite(value):
                    continue
                entry: dict[str, Any] = {
                    "metric": one.record.key,
                    "technique": key,
                    "target": target,
                    "value": value,
                }
                if one.curves is not None and key in one.curves.keys and self.trust.random[:1] != (key,):
                    row = one.curves.keys.index(key)
                    curves = (
                        one.curves.hidden,
                        one.curves.most_first[row, place],
                        one.curves.least_first[row, place],
                    )
                    entry |= {
                        name: [float(value) for value in curve]
                        for name, curve in zip(CURVES, curves, strict=True)
                    }
                found.append(entry)
        return found


def _text(value: float) -> str:
    return decimal(value) if isfinite(value) else "undefined"
