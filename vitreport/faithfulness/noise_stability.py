"""Sanity check: does a map stay as it is when the picture hardly changes?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from vitreport.configurable import count, number
from vitreport.draws import generator
from vitreport.faithfulness.metric import Case, Metric, Row, explaining_passes, register
from vitreport.faithfulness.ranking import is_defined
from vitreport.model.load import VisionModel
from vitreport.store import Check
from vitreport.techniques.technique import Technique


@register
@dataclass(frozen=True)
class NoiseStability(Metric):
    """Largest relative change of a map over pictures with a little uniform noise; 0 or more.

    The change is norm(map(x + d) - map(x)) / norm(map(x)), d uniform in ±`noise` × (max - min of x). Draws
    that change the prediction are left out; ``kept`` counts the others, and ``note`` says where there are
    none. It is a check and ranks nothing: the
    limit lets maps turn by 30 degrees at most, whose sine it is.

    Source:
        Yeh et al. 2019, On the (In)fidelity and Sensitivity of Explanations, arXiv:1901.09392, definition
        3.1 (maximum sensitivity), divided by the norm of the map.
    """

    name = "noise_stability"
    title = "Largest change under noise"
    short = "Noise"
    source = (
        "Yeh et al., On the (In)fidelity and Sensitivity of Explanations, 2019, arXiv:1901.09392, definition "
        "3.1, relative to the map's norm"
    )
    measures = (
        "How much a map can change although picture and prediction stay the same to the eye. Below 0.1 the "
        "pictures look alike; at 1 the change is as large as the map."
    )
    does_not_measure = (
        "Whether the map is right: a map that never changes, such as the middle of the picture, has 0."
    )
    higher_is_better: ClassVar[bool | None] = None
    check: ClassVar[Check | None] = Check(
        0.5, "A change of half the map's norm turns it by 30 degrees at most: their cosine stays above 0.86."
    )
    columns: ClassVar[Mapping[str, str]] = {"kept": "int32", "note": "string"}
    version: ClassVar[int] = 2
    tier = "core"
    most_images: ClassVar[int | None] = 32

    draws: int = count(10, 1, 1000, "noisy copies of a picture")
    noise: float = number(0.02, 0, 1, "largest change of a pixel, as a share of the picture's range")

    def passes(self, model: VisionModel, techniques: Sequence[Technique]) -> float:
        """See `Metric.passes`."""
        return self.draws * (1 + explaining_passes(model, techniques))

    def score(self, case: Case, maps: Mapping[str, Tensor]) -> dict[str, list[Row]]:
        """See `Metric.score`."""
        noisy = torch.cat(
            [self._copies(*one, case.seed) for one in zip(case.pixels, case.image_ids, strict=True)]
        )
        kept = self._kept(case, noisy).cpu().numpy()
        names = [name for name in case.image_ids for _ in range(self.draws)]
        targets = case.targets.repeat_interleave(self.draws)
        (found,) = case.explain(maps, noisy, targets, image_ids=names)
        rows: dict[str, list[Row]] = {}
        for key, values in maps.items():
            own = values.flatten(1).double()
            others = found[key].flatten(1).double().view(len(own), self.draws, -1)
            change = ((others - own[:, None]).norm(dim=2) / own.norm(dim=1)[:, None]).cpu().numpy()
            defined = is_defined(values).tolist()
            rows[key] = [
                {
                    "value": _largest(changes[left]) if known else None,
                    "kept": int(left.sum()),
                    "note": None if left.any() else "every noisy copy changes the prediction",
                }
                for changes, left, known in zip(change, kept, defined, strict=True)
            ]
        return rows

    def _copies(self, pixels: Tensor, image_id: str, seed: int) -> Tensor:
        """``(3, height, width)`` to ``(draws, 3, height, width)``."""
        chance = generator(seed, image_id, "noise").random((self.draws, *pixels.shape), dtype=np.float32)
        reach = self.noise * (pixels.max() - pixels.min())
        return pixels + reach * (2 * torch.from_numpy(chance).to(pixels) - 1)

    def _kept(self, case: Case, noisy: Tensor) -> Tensor:
        """Whether the model still says the same of a copy, ``(batch, draws)``."""
        if len(case.model.classes) < 2:
            return torch.ones(len(case.pixels), self.draws, dtype=torch.bool)
        before, after = case.logits(case.pixels).argmax(1), case.logits(noisy).argmax(1)
        return after.view(-1, self.draws) == before[:, None]


def _largest(changes: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float | None:
    """The largest change; None where there is none, or where one is no number."""
    return float(changes.max()) if len(changes) and np.isfinite(changes).all() else None
