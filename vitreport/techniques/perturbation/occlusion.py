"""Occlusion: what the target's logit loses when a patch is hidden."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from vitreport.configurable import count, number
from vitreport.errors import SettingsError
from vitreport.masking import blurred, hide, score_variants, token_drop, why_no_token_drop
from vitreport.model.load import VisionModel
from vitreport.model.trace import Need
from vitreport.techniques.technique import Context, Technique, Tier, register

Run = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Occlusion(Technique):
    """What the maps share: the target's logit of the picture minus that of the picture with a part hidden."""

    family = "perturbation"
    tier: ClassVar[Tier] = "all"
    needs = Need.NOTHING
    class_specific = True
    signed = True
    cost = "one forward pass a patch"

    def passes(self, model: VisionModel) -> float:
        """See `Explainable.passes`."""
        return model.layout.num_patches + 1

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        for technique in techniques:
            yield technique._lost(context)

    def _lost(self, context: Context) -> Tensor:
        grid, pixels, targets = context.model.layout.grid, context.trace.pixels, context.trace.targets
        with torch.no_grad():
            whole = score_variants(
                1, context.chunk, targets, lambda images, _numbers: context.model.module(pixels[images])
            )
            with self.hiding(context) as run:
                rest = score_variants(grid[0] * grid[1], context.chunk, targets, run)
            return self.share((whole - rest).view(-1, *grid))

    @abstractmethod
    def hiding(self, context: Context) -> AbstractContextManager[Run]:
        """Gives what runs pictures with a patch hidden in each: see `score_variants`."""

    def share(self, lost: Tensor) -> Tensor:
        """The map, from what the logit loses with each patch, ``(batch, rows, cols)``."""
        return lost


@register
@dataclass(frozen=True)
class OcclusionTokenDrop(Occlusion):
    """What the target's logit loses when one patch token is left out of the sequence; any sign.

    Source:
        Zeiler and Fergus 2014, arXiv:1311.2901, section 4.2, with the hidden patch left out of a Vision
        Transformer's sequence, as in Jain et al. 2022, Missingness Bias, arXiv:2204.08945.
    """

    name = "occlusion_token_drop"
    title = "Occlusion by token drop"
    source = (
        "Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, 2014, arXiv:1311.2901, "
        "section 4.2; tokens left out as in Jain et al., Missingness Bias in Model Debugging, 2022, "
        "arXiv:2204.08945"
    )
    shows = (
        "What the model misses when it never sees one patch: nothing else stands in its place. Below zero, "
        "the logit is higher without the patch."
    )
    does_not_show = (
        "What several patches say together: where two show the same, hiding one of them costs little."
    )

    def supports(self, model: VisionModel) -> str | None:
        """See `Explainable.supports`."""
        return super().supports(model) or why_no_token_drop(model)

    @contextmanager
    def hiding(self, context: Context) -> Iterator[Run]:
        """See `Occlusion.hiding`."""
        pixels = context.trace.pixels
        others = torch.arange(context.model.layout.num_patches - 1, device=pixels.device)
        with token_drop(context.model) as run:
            yield lambda images, left_out: run(pixels[images], others + (others >= left_out[:, None]))


@register
@dataclass(frozen=True)
class OcclusionBlur(Occlusion):
    """What the target's logit loses when a window of patches is blurred; any sign.

    One window is centred on each patch, and cut off at the picture's edge. A patch has the mean over the
    windows that it lies in.

    Source:
        Zeiler and Fergus 2014, arXiv:1311.2901, section 4.2; blur as in Fong and Vedaldi 2017,
        arXiv:1704.03296.

    Differs:
        Zeiler and Fergus hide a grey square, and show the score of the rest rather than what is lost.
    """

    name = "occlusion_blur"
    title = "Occlusion by blur"
    source = (
        "Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, 2014, arXiv:1311.2901, "
        "section 4.2; blur as in Fong and Vedaldi, 2017, arXiv:1704.03296"
    )
    shows = (
        "What the target's logit loses with the detail of a patch, while its colour and brightness stay. "
        "Below zero, the logit is higher without."
    )
    does_not_show = (
        "What a smooth patch says: blurring it changes nothing. A sharp patch among blurred ones is a "
        "picture that the model may never have seen."
    )
    differs = (
        "The paper hides a grey square and shows the score of what is left; this blurs the square and shows "
        "what is lost."
    )

    window: int = count(1, 1, 15, "side of the square that is blurred, in patches; odd")
    sigma: float = number(0.05, 0.001, 1, "standard deviation of the blur, as a share of the shorter side")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window % 2 == 0:
            raise SettingsError(f"{self.name}: window is {self.window}; it must be odd, to have a middle")

    @contextmanager
    def hiding(self, context: Context) -> Iterator[Run]:
        """See `Occlusion.hiding`."""
        pixels = context.trace.pixels
        filling = blurred(pixels, self.sigma)
        yield lambda images, middles: context.model.module(
            hide(pixels[images], self._windows(middles, context.model.layout.grid), filling[images])
        )

    def _windows(self, middles: Tensor, grid: tuple[int, int]) -> Tensor:
        """Which patches lie in the windows around some patches, ``(windows, rows, cols)``."""
        near = [
            (torch.arange(side, device=middles.device) - middle[:, None]).abs() <= self.window // 2
            for side, middle in zip(grid, (middles // grid[1], middles % grid[1]), strict=True)
        ]
        return near[0][:, :, None] & near[1][:, None, :]

    def share(self, lost: Tensor) -> Tensor:
        """See `Occlusion.share`."""
        return nn.functional.avg_pool2d(
            lost, self.window, stride=1, padding=self.window // 2, count_include_pad=False
        )
