"""The gradient of the picture itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from vitreport.model.load import VisionModel
from vitreport.model.trace import Need
from vitreport.techniques.gradient.libra import SOURCE, Libra, pixel_reason_against
from vitreport.techniques.technique import Context, Technique, register


@dataclass(frozen=True)
class PixelGradient(Technique):
    """What the maps share: one value a pixel of the model's input."""

    family = "gradient"
    needs = Need.PIXEL_GRADIENT
    class_specific = True

    @classmethod
    @abstractmethod
    def combine(cls, pixels: Tensor, gradient: Tensor) -> Tensor:
        """From ``(batch, 3, height, width)``, twice, to ``(batch, height, width)``."""

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        gradient = context.trace.pixel_gradient
        assert gradient is not None
        for _ in techniques:
            yield cls.combine(context.trace.pixels, gradient)


@register
@dataclass(frozen=True)
class InputXGradient(PixelGradient):
    """Pixel, as normalised for the model, times the target's gradient, summed over the colours; any sign.

    Source:
        Shrikumar et al. 2016, Not Just a Black Box, arXiv:1605.01713.
    """

    name = "input_x_gradient"
    title = "Input × gradient"
    signed = True
    source = "Shrikumar et al., Not Just a Black Box, 2016, arXiv:1605.01713"
    shows = "What each pixel would add to the target's logit if the model were linear around this picture."
    does_not_show = (
        "What happens when a pixel is truly changed: a Vision Transformer is far from linear, and a grey "
        "pixel counts as nothing because it is near zero after normalisation."
    )

    @classmethod
    def combine(cls, pixels: Tensor, gradient: Tensor) -> Tensor:
        """See `PixelGradient.combine`."""
        return (pixels * gradient).sum(1)


@register
@dataclass(frozen=True)
class Saliency(PixelGradient):
    """Largest absolute gradient of the target over the colours of a pixel; not negative.

    Source:
        Simonyan et al. 2013, Deep Inside Convolutional Networks, arXiv:1312.6034, section 3.1.
    """

    name = "saliency"
    title = "Saliency"
    source = "Simonyan et al., Deep Inside Convolutional Networks, 2013, arXiv:1312.6034, section 3.1"
    shows = "Where a small change of the picture would move the target's logit the most, up or down."
    does_not_show = (
        "Whether what is there speaks for the target or against it. Gradients of Vision Transformers are "
        "noisy."
    )

    @classmethod
    def combine(cls, pixels: Tensor, gradient: Tensor) -> Tensor:
        """See `PixelGradient.combine`."""
        return gradient.abs().amax(1)


@register
@dataclass(frozen=True)
class LibraInputXGradient(Libra, InputXGradient):
    """Input times Libra gradient, summed over the colours; any sign.

    Source:
        Libra gradients 2024, arXiv:2411.16760.
    """

    name = "libra_input_x_gradient"
    title = "Libra input × gradient"
    source = SOURCE
    shows = "What each pixel adds to the target's logit when the gates of the model stay as they are."
    does_not_show = (
        "What moves the gates: attention's choice of where to look is taken as given. What biases and "
        "position embeddings add is left out."
    )

    def supports(self, model: VisionModel) -> str | None:
        """See `Explainable.supports`; gates before the blocks must be held too."""
        return super().supports(model) or pixel_reason_against(model)
