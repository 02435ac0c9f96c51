"""What a Libra gradient gains over the plain one, by the symmetric relevance gain (SRG), on photos.

    python -m tests.benchmarks.libra_gain --images FOLDER --checkpoint FILE [--occluder blur]

Each Libra technique stands against its plain form, for the predicted class. A gain is the mean difference,
Libra less plain, over the photos for which both have a score, with its paired bootstrap interval. Deletion is
the area under the target's score while the most relevant patches are hidden first: there a negative
difference speaks for Libra. Plain FullGrad has the same terms with the plain gradient; it is no technique of
vitreport, because these terms do not sum to the logit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tests.benchmarks.photos import (
    maps_of_prediction,
    open_model,
    parser,
    read_photos,
    scores,
    techniques_of,
)
from vitreport.analysis.statistics import Bootstrap, Scores
from vitreport.faithfulness.metric import Row
from vitreport.faithfulness.relevance_gain import RelevanceGain
from vitreport.model.trace import Backward
from vitreport.techniques.gradient.full_grad import LibraFullGrad

PAIRS = (
    ("libra_input_x_gradient", "input_x_gradient"),
    ("libra_attcat", "attcat"),
    ("libra_grad_cam", "grad_cam"),
    ("libra_full_grad", "full_grad"),
)
STEPS = RelevanceGain.defaults()["steps"]


@dataclass(frozen=True)
class FullGrad(LibraFullGrad):
    """Embedded token times gradient and what every bias adds at each patch, with the plain gradient."""

    name = "full_grad"
    backward: ClassVar[Backward] = Backward.PLAIN


def deletion(row: Row) -> float:
    """The area under the curve of hiding the most relevant patches first; NaN where it is undefined."""
    area = np.trapezoid(row["most_first"], row["hidden"])
    return float("nan") if row["value"] is None else float(area)


def main(
    arguments: list[str] | None = None, say: Callable[[str], None] = print
) -> dict[tuple[str, str], float]:
    """Prints the tables; returns the mean gain in SRG by pair."""
    options = parser(__doc__)
    options.add_argument("--occluder", default="token_drop")
    options.add_argument("--steps", type=int, default=STEPS)
    given = options.parse_args(arguments)
    model = open_model(given)
    photos = read_photos(model, given.images, given.limit)
    keys = list(dict.fromkeys(key for pair in PAIRS for key in pair))
    plain_full_grad = FullGrad()
    techniques = [*techniques_of([key for key in keys if key != plain_full_grad.key]), plain_full_grad]
    maps = maps_of_prediction(model, techniques, photos)
    rows = scores(RelevanceGain(occluder=given.occluder, steps=given.steps), model, photos, maps)
    shown = f"{given.model}, {len(photos.pixels)} photos, {given.occluder}, {given.steps} steps"
    say(f"{shown}; intervals of 95 %")
    tables = {
        "SRG": [[np.nan if row["value"] is None else row["value"] for row in rows[key]] for key in keys],
        "deletion": [[deletion(row) for row in rows[key]] for key in keys],
    }
    gains: dict[str, list[float]] = {}
    for name, values in tables.items():
        table = Scores(tuple(keys), np.array(values))
        gaps = Bootstrap().paired(table, PAIRS)
        gains[name] = gaps.mean.tolist()
        say(f"{f'{name} x 100':24} {'Libra':>8} {'plain':>8} {'gain':>8} {'interval':>18} {'photos':>6}")
        for place, (libra, plain) in enumerate(PAIRS):
            means = " ".join(f"{100 * np.nanmean(table.of(key)):8.2f}" for key in (libra, plain))
            ends = f"{100 * gaps.low[place]:.2f} to {100 * gaps.high[place]:.2f}"
            say(f"{libra:24} {means} {100 * gaps.mean[place]:+8.2f} {ends:>18} {gaps.n[place]:6}")
    return dict(zip(PAIRS, gains["SRG"], strict=True))


if __name__ == "__main__":
    main()
