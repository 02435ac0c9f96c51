"""ViT-CX: masks from the last block's own channels, and what each lets the model still say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist
from torch import Tensor, nn

from vitreport.configurable import number
from vitreport.masking import every_variant, score_variants
from vitreport.model.layout import patch_means
from vitreport.model.load import VisionModel
from vitreport.model.trace import Need
from vitreport.techniques.technique import Context, Technique, Tier, register

_USUAL_MASKS = 120


@register
@dataclass(frozen=True)
class VitCx(Technique):
    """Mean causal score of the masks that show a patch, minus the mean score of all masks; any sign.

    Masks are the channels of the patches at the first norm of the last block, stretched to [0, 1]; channels
    that look alike (complete linkage by cosine distance) become one, their sum stretched again. The score of
    a mask M, with noise Z, is y(x M + Z (1 - M)) + y(x) - y(x + Z (1 - M)): what the shown part says, with
    what the noise itself does to the logit taken out. A pixel's value is the mean score, weighted by how much
    each mask shows of it, so that a pixel which many masks show has no advantage.

    Source:
        Xie et al. 2023, ViT-CX: Causal Explanation of Vision Transformers, arXiv:2211.03064 (IJCAI 2023).

    Differs:
        The score is the logit, not the probability. The mean over all masks is taken off, so that zero is a
        patch that makes no difference; the public code instead divides by the number of masks. Channels are
        stretched and compared on the patch grid, before they are enlarged. Channels without any contrast are
        left out.
    """

    name = "vit_cx"
    title = "ViT-CX"
    family = "perturbation"
    tier: ClassVar[Tier] = "all"
    needs = Need.FEATURES
    class_specific = True
    signed = True
    source = (
        "Xie et al., ViT-CX: Causal Explanation of Vision Transformers, 2023, arXiv:2211.03064 (IJCAI 2023)"
    )
    shows = (
        "Regions that keep the target's logit high when the model's own channels pick out what it may see; "
        "below zero, regions that go with a lower one."
    )
    does_not_show = (
        "Regions that no channel of the last block picks out. What is hidden is faded smoothly, not removed, "
        "and every mask shows something of most of the picture."
    )
    differs = (
        "The score is the logit, not the probability. The mean over all masks is taken off, so that zero is "
        "a patch that makes no difference; the public code instead divides by the number of masks. Channels "
        "are stretched and compared on the patch grid, before they are enlarged. Channels without any "
        "contrast are left out."
    )
    cost = "the shared forward pass, and two forward passes a mask: tens to some hundreds of masks"

    distance: float = number(0.1, 0.001, 2, "cosine distance up to which channels are one mask")
    noise: float = number(0.1, 0, 5, "standard deviation of the noise on what is hidden, after normalisation")

    def passes(self, model: VisionModel) -> float:
        """See `Explainable.passes`; the number of masks differs from image to image."""
        return 2 * _USUAL_MASKS

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        for technique in techniques:
            with torch.no_grad():
                maps = [technique._explain(alone) for alone in context.each()]
            yield patch_means(torch.cat(maps), context.model.layout.grid)

    def _explain(self, context: Context) -> Tensor:
        """The map of one image, ``(1, height, width)``."""
        assert context.trace.features is not None
        grids = masks_of(context.trace.features[0].movedim(-1, 0), self.distance)
        size = (context.trace.pixels.shape[-2], context.trace.pixels.shape[-1])
        if not len(grids):
            return context.trace.pixels.new_zeros(1, *size)
        scores = self._scores(context, grids)
        gains = scores - scores.mean()
        total = gains.new_zeros(size)
        shown = torch.zeros_like(total)
        for _, numbers in every_variant(1, len(grids), context.chunk, grids.device):
            masks = _enlarged(grids[numbers], size)
            total += torch.tensordot(gains[numbers], masks, 1)
            shown += masks.sum(0)
        return (total / shown.clamp(min=torch.finfo(shown.dtype).eps))[None]

    def _scores(self, context: Context, grids: Tensor) -> Tensor:
        """The causal score of each mask, ``(masks,)``, without y(x), which all have alike."""
        pixels, module = context.trace.pixels, context.model.module
        size = (pixels.shape[-2], pixels.shape[-1])
        generator = context.generator(context.image_ids[0], "vit_cx noise")

        def run(_images: Tensor, numbers: Tensor) -> Tensor:
            masks = _enlarged(grids[numbers], size).unsqueeze(1)
            drawn = np.stack(
                [generator.standard_normal(pixels.shape[1:], np.float32) for _ in range(len(numbers))]
            )
            noise = torch.from_numpy(drawn).to(pixels) * self.noise * (1 - masks)
            of_mask: Tensor = module(pixels * masks + noise)
            of_noise: Tensor = module(pixels + noise)
            return of_mask - of_noise

        return score_variants(len(grids), context.chunk, context.trace.targets, run).flatten()


def masks_of(channels: Tensor, distance: float) -> Tensor:
    """Makes masks of channels.

    Args:
        channels: ``(channels, rows, cols)``.
        distance: cosine distance up to which stretched channels are taken as one.

    Returns:
        Values in [0, 1], ``(masks, rows, cols)``; none where no channel has any contrast.
    """
    flat = _stretched(channels.flatten(1).cpu().double())
    if len(flat) > 1:
        tree = linkage(pdist(flat.numpy(), "cosine"), "complete")
        labels = torch.from_numpy(fcluster(tree, distance, "distance") - 1).long()
        sums = flat.new_zeros(int(labels.max()) + 1, flat.shape[1])
        flat = _stretched(sums.index_add(0, labels, flat))
    return flat.view(-1, *channels.shape[1:]).to(channels)


def _stretched(rows: Tensor) -> Tensor:
    """Rows from 0 to 1; rows that are the same all along are left out."""
    low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    uneven = (high > low)[:, 0]
    return (rows[uneven] - low[uneven]) / (high[uneven] - low[uneven])


def _enlarged(grids: Tensor, size: tuple[int, int]) -> Tensor:
    """``(masks, rows, cols)`` to ``(masks, height, width)``, bilinear."""
    return nn.functional.interpolate(grids[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
