"""Positive and negative perturbation, the test of the Transformer Attribution paper, on photos.

    python -m tests.benchmarks.published_protocol --images FOLDER --checkpoint FILE

Pixels turn black, 10, 20, … 90 % of them, and each time it is seen whether the prediction is kept: of the
most relevant pixels first (positive, lower is better) or of the least relevant first (negative, higher is
better). A number is the mean of nine levels and of all photos, in percent; that of random maps is also the
mean of five draws. Grad-CAM stands here with its sign and, as published code has it, with its negative part
cut off: then many pixels tie, and turn black in the order of their numbers.

Differs:
    The paper's numbers are areas under the accuracy by the labels, from 0 to 90 %, by the trapezoid rule.

Source:
    Chefer et al. 2021, Transformer Interpretability Beyond Attention Visualization, arXiv:2012.09838,
    section 4.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.benchmarks.photos import (
    maps_of_prediction,
    open_model,
    parser,
    read_photos,
    scores,
    techniques_of,
)
from vitreport.faithfulness.black_pixels import BlackPixels

TECHNIQUES = (
    "gradient_rollout",
    "generic_attention",
    "transformer_attribution:start_block=1",
    "grad_cam",
    "raw_attention",
    "attention_rollout",
)
RANDOM = tuple(f"random:draw={draw}" for draw in range(5))


def main(
    arguments: list[str] | None = None, say: Callable[[str], None] = print
) -> dict[str, tuple[float, float]]:
    """Prints the table; returns positive and negative, in percent, by technique."""
    options = parser(__doc__)
    options.add_argument("--technique", nargs="+", default=list(TECHNIQUES))
    given = options.parse_args(arguments)
    model = open_model(given)
    photos = read_photos(model, given.images, given.limit)
    maps = maps_of_prediction(model, techniques_of([*given.technique, *RANDOM]), photos)
    if "grad_cam" in maps:
        maps["grad_cam, cut at 0"] = np.maximum(maps["grad_cam"], 0)
    rows = scores(BlackPixels(), model, photos, maps)
    table: dict[str, list[tuple[float, float, int]]] = {}
    for key, found in rows.items():
        defined = [row for row in found if row["value"] is not None]
        name = "random" if key.split(":")[0] == "random" else key
        positive, negative = (
            100 * float(np.mean([row[side] for row in defined] or [np.nan]))
            for side in ("positive", "negative")
        )
        table.setdefault(name, []).append((positive, negative, len(defined)))
    say(f"{given.model}, {len(photos.pixels)} photos, positive (lower is better) and negative in percent")
    say(f"{'technique':48} {'positive':>8} {'negative':>8} {'photos':>6}")
    means = {name: tuple(np.mean(draws, axis=0)) for name, draws in table.items()}
    for name, (positive, negative, count) in means.items():
        say(f"{name:48} {positive:8.1f} {negative:8.1f} {count:6.0f}")
    return {name: (float(positive), float(negative)) for name, (positive, negative, _) in means.items()}


if __name__ == "__main__":
    main()
