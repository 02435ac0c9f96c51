"""What a finding is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

SHORTCUT, SLICE, EMERGENCE, STRATEGY, PLACE, OUTLIERS, REVIEW, HEADS = (
    "shortcut",
    "slice",
    "emergence",
    "strategy",
    "place",
    "outlier tokens",
    "review",
    "heads",
)
KINDS = (SHORTCUT, SLICE, EMERGENCE, STRATEGY, PLACE, OUTLIERS, REVIEW, HEADS)
"""Kinds of findings; of equal severity the earlier come first."""


LEVEL = 0.01
"""P value, after Holm's correction within a kind of finding, below which something is flagged."""
EXAMPLES = 6
"""Images that a finding names."""


class Severity(IntEnum):
    """How much a finding matters."""

    NOTE = 1
    """Worth knowing when the maps are read."""
    WARNING = 2
    """Something that a reviewer should look into."""
    SEVERE = 3
    """The model may be right for the wrong reason, or is wrong for some images much more often."""


@dataclass(frozen=True)
class Finding:
    """Something that the run shows.

    Attributes:
        kind: one of `KINDS`.
        severity: how much it matters.
        headline: what was found, in one whole sentence, with its uncertainty.
        numbers: what the sentence rests on, by name.
        images: ids of the images that show it, the clearest first.
        technique: key of the one whose maps show it; None where it does not rest on maps.
        subject: what it is about, in a few words that are the same in another run of the same images.
        effect: its size among findings of its kind; larger is worse.
        further: what else is to be said of it, in sentences; or empty.
    """

    kind: str
    severity: Severity
    headline: str
    numbers: Mapping[str, float]
    images: tuple[str, ...]
    technique: str | None
    subject: str
    effect: float = field(default=0.0, repr=False)
    further: str = ""

    @property
    def sentence(self) -> str:
        """All that is to be said of it."""
        return f"{self.headline} {self.further}".rstrip()

    def as_json(self) -> dict[str, Any]:
        """The finding for machines; numbers that are not finite are None."""
        return {
            "kind": self.kind,
            "severity": self.severity.name.lower(),
            "subject": self.subject,
            "headline": self.headline,
            "sentence": self.sentence,
            "numbers": {
                name: value if math.isfinite(value) else None for name, value in self.numbers.items()
            },
            "images": list(self.images),
            "technique": self.technique,
        }
