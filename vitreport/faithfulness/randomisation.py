"""Sanity check: does a map change when the model has learned nothing?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vitreport.configurable import count
from vitreport.draws import generator
from vitreport.faithfulness.metric import Case, Metric, Row, explaining_passes, register
from vitreport.model.load import VisionModel
from vitreport.ranks import Floats, centred_ranks, spearman
from vitreport.store import Check
from vitreport.techniques.technique import Technique

BINS = 100


@register
@dataclass(frozen=True)
class Randomisation(Metric):
    """Mean size, in [0, 1], of the rank correlation of a map and those of the model with random weights.

    Every weight tensor is drawn anew from a normal distribution of the same mean and spread. The size does
    not reach 0: smooth maps have some likeness by chance, in either direction. How much is in the column
    ``chance``: the mean size over all shifts of the one map against the other on a torus, which keep the
    smoothness of both and nothing else that they share. The check is whether the value exceeds it.

    The column ``others`` has the mean size of the rank correlation with the technique's maps of the other
    images that are scored together, by the model's own weights. It is no level of chance: what all maps of a
    technique share, such as a weight on the middle, belongs to it, and a map that is the same for every image
    has 1. ``correlation`` has the mean with its sign, ``emprt`` the relative rise of the map's entropy,
    (H(random) - H(map)) / H(map), of a histogram of 100 bins: random weights should make a map more complex.

    Source:
        Adebayo et al. 2018, Sanity Checks for Saliency Maps, arXiv:1810.03292, section 3; Hedström et al.
        2024, Sanity Checks Revisited, arXiv:2401.06465 (all weights at once, and the entropy); chance:
        Lotwick and Silverman 1982, Methods for analysing spatial processes of several types of points,
        Journal of the Royal Statistical Society B 44(3) (shifts on a torus).

    Differs:
        Neither paper holds the likeness against a level of chance.
    """

    version: ClassVar[int] = 2

    name = "randomisation"
    title = "Likeness after randomising all weights (MPRT)"
    short = "Random weights"
    source = (
        "Adebayo et al., Sanity Checks for Saliency Maps, 2018, arXiv:1810.03292, section 3; "
        "Hedström et al., Sanity Checks Revisited, 2024, arXiv:2401.06465"
    )
    measures = (
        "Whether a map hangs on what the model has learned: with random weights it should have no more in "
        "common with the map than any two maps as smooth have by chance, in either direction."
    )
    does_not_measure = (
        "Whether the map is right. Noise passes, and a picture's own edges can make two maps alike for good "
        "reason."
    )
    higher_is_better: ClassVar[bool | None] = None
    check: ClassVar[Check | None] = Check(
        0.1,
        "A rank correlation of 0.1 is the least that is called even a small effect (Cohen 1988).",
        above="chance",
    )
    columns: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("chance", "others", "correlation", "emprt"), "float"
    )
    details: ClassVar[Mapping[str, str]] = {
        "chance": "by chance (shifted maps)",
        "others": "maps of other images",
        "correlation": "with its sign",
        "emprt": "rise of entropy (eMPRT)",
    }
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
        chance: dict[str, list[Floats]] = {key: [] for key in maps}
        rise: dict[str, list[Floats]] = {key: [] for key in maps}
        for number in range(self.seeds):
            with random_weights(case.model, case.seed, number):
                (found,) = case.explain(maps, case.pixels, case.targets)
            for key, values in found.items():
                other = values.flatten(1).cpu().numpy()
                likeness[key].append(spearman(flat[key], other))
                chance[key].append(likeness_by_chance(maps[key].cpu().numpy(), values.cpu().numpy()))
                before = entropy(flat[key])
                with np.errstate(divide="ignore", invalid="ignore"):
                    rise[key].append((entropy(other) - before) / before)
        return {
            key: [
                {"value": size, "chance": level, "others": others, "correlation": mean, "emprt": emprt}
                for size, level, others, mean, emprt in zip(
                    _means([np.abs(draw) for draw in likeness[key]]),
                    _means(chance[key]),
                    _likeness_of_others(case, key, flat[key]),
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


def likeness_by_chance(one: ArrayLike, other: ArrayLike) -> Floats:
    """Mean size of the rank correlation of two maps over all shifts of one of them on a torus.

    Args:
        one: ``(batch, rows, cols)``.
        other: as `one`.

    Returns:
        ``(batch,)`` in [0, 1]; NaN where a map is constant or not finite.
    """
    shape = np.shape(one)
    first, second = (centred_ranks(np.reshape(maps, (len(maps), -1))) for maps in (one, other))  # type: ignore[arg-type]
    size = np.sqrt((first * first).sum(-1) * (second * second).sum(-1))
    spectra = [np.fft.fft2(ranks.reshape(shape)) for ranks in (first, second)]
    products = np.abs(np.fft.ifft2(spectra[0] * spectra[1].conj()).real).mean((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(size > 0, products / size, np.nan)
    return found


def _likeness_of_others(case: Case, key: str, flat: Floats) -> list[float | None]:
    """Each map's mean size of the rank correlation with the same technique's maps of other images."""
    everyone, names = flat, case.image_ids
    if case.gallery is not None and key in case.gallery.maps:
        everyone, names = case.gallery.maps[key].flatten(1).cpu().numpy(), case.gallery.image_ids
    own = [spearman(np.broadcast_to(one, everyone.shape), everyone) for one in flat]
    sizes = np.reshape(np.abs(own), (len(flat), len(names)))
    sizes[np.array(case.image_ids)[:, None] == np.array(names)[None]] = np.nan
    return _means(list(sizes.T))


def _means(draws: Sequence[Floats]) -> list[float | None]:
    """Each image's mean of the draws that are defined; None where none is."""
    columns = (column[np.isfinite(column)] for column in np.stack(draws, 1))
    return [float(column.mean()) if len(column) else None for column in columns]
