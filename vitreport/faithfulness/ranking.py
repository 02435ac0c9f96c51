"""Maps as orders in which patches are hidden."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vitreport.draws import generator


def is_defined(maps: Tensor) -> Tensor:
    """Whether a map says anything: ``(batch, rows, cols)`` to ``(batch,)``; no NaN, and not constant."""
    flat = maps.flatten(1)
    finite = flat.isfinite().all(1)
    return finite & (flat.amax(1) > flat.amin(1))


def most_relevant_first(maps: Tensor, image_ids: tuple[str, ...], seed: int) -> Tensor:
    """Numbers of the patches, most relevant first; the reverse is the order of least relevant first.

    Ties are broken by chance, for all techniques alike: patches that are all zero come in no pattern.

    Args:
        maps: ``(batch, rows, cols)``.
        image_ids: of the batch.
        seed: of the run.

    Returns:
        ``(batch, patches)``.
    """
    flat = maps.flatten(1)
    chance = np.stack([generator(seed, name, "ties").permutation(flat.shape[1]) for name in image_ids])
    shuffled = torch.from_numpy(chance).to(flat.device)
    order = flat.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    return shuffled.gather(1, order)
