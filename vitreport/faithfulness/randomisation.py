"""Sanity check: does a map change when the model has learned nothing?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from vitreport.configurable import count
from vitreport.draws import generator
from vitreport.faithfulness.metric import Case, Metric, Row, explaining_passes, register
from vitreport.model.load import VisionModel
from vitreport.ranks import Floats, spearman
from vitreport.techniques.technique import Technique

BINS = 100


@register
@dataclass(frozen=True)
class Randomisation(Metric):
    """Mean size, in [0, 1], of the rank correlation of a map and those of the model with random weights.

    Every weight tensor is drawn anew from a normal distribution of the same mean and spread. The size does
    not reach 0: smooth maps have some likeness by chance, in either direction. The column ``correlation`` has
    the mean with its sign, ``emprt`` the relative rise of the map's entropy, (H(random) - H(map)) / H(map),
    of a histogram of 100 bins: random weights should make a map more complex.

    Source:
        Adebayo et al. 2018, Sanity Checks for Saliency Maps, arXiv:1810.03292, section 3; Hedström et al.
        2024, Sanity Checks Revisited, arXiv:2401.06465 (all weights at once, and the entropy).
    """

    name = "randomisation"
    title = "Likeness after randomising all weights (MPRT)"
    short = "Random weights"
    source = (
        "Adebayo et al., Sanity Checks for Saliency Maps, 2018, arXiv:1810.03292, section 3; "
        "Hedström et al., Sanity Checks Revisited, 2024, arXiv:2401.06465"
    )
    measures = (
        "Whether a map hangs on what the model has learned: with random weights it should have nothing in "
        "common with the map, a rank correlation near 0 in either direction."
    )
    does_not_measure = (
        "Whether the map is right. Noise passes, and a picture's own edges can make two maps alike for good "
        "reason."
    )
    higher_is_better: ClassVar[bool | None] = False
    columns: ClassVar[Mapping[str, str]] = {"correlation": "float", "emprt": "float"}
    tier = "core"
    most_images: ClassVar[int | None] = 32

    seeds: int = count(5, 1, 100, "models with random weights")

    def passes(self, model: VisionModel, techniques: Sequence[Technique]) -> float:
        """See `Metric.passes`."""
        return self.seeds * explaining_passes(model, techniques)

    def score(self, case: Case, maps: Mapping[str, Tensor]) -> dict[str, list[Row]]:
        """See `Metric.score`."""
        flat = {key: values.flatten(1).cpu().numpy() for key, values in maps.items()}
        likeness: dict[str, list[Floats]] = {key: [] for key in maps}
        rise: dict[str, list[Floats]] = {key: [] for key in maps}
        for number in range(self.seeds):
            with random_weights(case.model, case.seed, number):
                (found,) = case.explain(maps, case.pixels, case.targets)
            for key, values in found.items():
                other = values.flatten(1).cpu().numpy()
                likeness[key].append(spearman(flat[key], other))
                before = entropy(flat[key])
                with np.errstate(divide="ignore", invalid="ignore"):
                    rise[key].append((entropy(other) - before) / before)
        return {
            key: [
                {"value": size, "correlation": mean, "emprt": emprt}
                for size, mean, emprt in zip(
                    _means([np.abs(draw) for draw in likeness[key]]),
                    _means(likeness[key]),
                    _means(rise[key]),
                    strict=True,
                )
            ]
            for key in maps
        }


@contextmanager
def random_weights(model: VisionModel, seed: int, number: int) -> Iterator[None]:
    """The model with weights that know nothing, and after that with its own again.

    Args:
        model: whose every weight tensor is drawn from a normal distribution of its own mean and spread.
        seed: of the run.
        number: of the draw.
    """
    weights = [(weight, weight.detach().clone()) for weight in model.module.parameters()]
    chance = torch.Generator(device=model.device)
    chance.manual_seed(int(generator(seed, "weights", f"draw {number}").integers(2**63)))
    try:
        with torch.no_grad():
            for weight, own in weights:
                weight.normal_(float(own.mean()), float(own.std(correction=0)), generator=chance)
        yield
    finally:
        with torch.no_grad():
            for weight, own in weights:
                weight.copy_(own)


def entropy(maps: Floats) -> Floats:
    """Entropy in nats of the histogram of each map, 100 bins from its least to its largest value.

    Args:
        maps: ``(batch, patches)``.

    Returns:
        ``(batch,)`` in [0, log 100]; NaN where a map is constant or not finite.
    """
    found = []
    for values in maps:
        if not np.isfinite(values).all() or values.min() == values.max():
            found.append(np.nan)
            continue
        share = np.histogram(values.astype(np.float64), BINS)[0] / len(values)
        found.append(-float((share[share > 0] * np.log(share[share > 0])).sum()))
    return np.array(found)


def _means(draws: Sequence[Floats]) -> list[float | None]:
    """Each image's mean of the draws that are defined; None where none is."""
    columns = (column[np.isfinite(column)] for column in np.stack(draws, 1))
    return [float(column.mean()) if len(column) else None for column in columns]
