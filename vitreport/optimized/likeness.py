"""Whether patches look alike where their position embeddings are alike, as the 2020 study suspected."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from vitreport.model.load import VisionModel


def position_similarity(model: VisionModel) -> Tensor | None:
    """Cosines between the position embeddings of all patches, ``(patches, patches)``.

    None where the model has no learned position embedding of its input's size, one vector a patch.
    """
    embedding = getattr(model.module, "pos_embed", None)
    layout = model.layout
    if not isinstance(embedding, Tensor) or embedding.dim() != 3:
        return None
    if embedding.shape[1] not in (layout.num_tokens, layout.num_patches):
        return None
    patches = embedding[0, embedding.shape[1] - layout.num_patches :].detach().float()
    return _cosines(patches)


def likeness(model: VisionModel, pictures: Tensor) -> list[float | None]:
    """Correlation between how alike patches look and how alike their position embeddings are.

    Two patches look alike by the cosine of their pixels, less the picture's mean patch. The correlation is
    Pearson's, over all pairs of different patches.

    Args:
        model: whose position embeddings they are.
        pictures: pixels, ``(pictures, 3, height, width)``, of the model's input size.

    Returns:
        One number in [-1, 1] a picture; None where the model has no such embedding or all pairs are alike.
    """
    positions = position_similarity(model)
    if positions is None:
        return [None] * len(pictures)
    patches = functional.unfold(pictures, model.layout.patch_size, stride=model.layout.patch_size).mT
    if patches.shape[1] != len(positions):  # patches that overlap or leave a border
        return [None] * len(pictures)
    rows, cols = torch.triu_indices(len(positions), len(positions), 1, device=positions.device)
    wanted = positions[rows, cols]
    found: list[float | None] = []
    for picture in patches.to(positions.device):
        pairs = torch.stack([_cosines(picture - picture.mean(0))[rows, cols], wanted])
        correlation = float(torch.corrcoef(pairs)[0, 1]) if bool((pairs.std(1) > 0).all()) else float("nan")
        found.append(correlation if correlation == correlation else None)
    return found


def _cosines(vectors: Tensor) -> Tensor:
    directions = functional.normalize(vectors, dim=1)
    return directions @ directions.T
