"""Class activation maps on the patch tokens of the last block."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np
import scipy.linalg
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

from vitreport.model.trace import Need
from vitreport.techniques.gradient.libra import SOURCE, Libra
from vitreport.techniques.technique import Context, Technique, register

_SITE = (
    "read at the first norm of the last block, because behind it no gradient reaches the patches; where a "
    "model has no such norm, at its last feature map"
)

SQUARINGS = 20
"""How often a matrix is squared until only its first eigenvector is left: where the second eigenvalue is the
first but for 1 part in 50,000, 10^-9 of its vector remains."""


@dataclass(frozen=True)
class TokenCAM(Technique):
    """What the maps share: a weighted sum over the channels of each patch, of any sign."""

    family = "gradient"
    needs = Need.FEATURES | Need.FEATURE_GRADIENT
    class_specific = True
    signed = True

    @classmethod
    @abstractmethod
    def combine(cls, features: Tensor, gradient: Tensor) -> Tensor:
        """From ``(batch, rows, cols, channels)``, twice, to ``(batch, rows, cols)``."""

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        features, gradient = context.trace.features, context.trace.feature_gradient
        assert features is not None and gradient is not None
        for _ in techniques:
            yield cls.combine(features, gradient)


@register
@dataclass(frozen=True)
class GradCAM(TokenCAM):
    """Channels of the last block's patches, weighted by the mean of their gradient over the patches.

    Source:
        Selvaraju et al. 2017, Grad-CAM, arXiv:1610.02391, equations 1 and 2.

    Differs:
        The map before its negative part is cut off.
    """

    name = "grad_cam"
    title = "Grad-CAM on tokens"
    source = f"Selvaraju et al., Grad-CAM, 2017, arXiv:1610.02391, equations 1 and 2; {_SITE}"
    shows = (
        "Patches whose features point in the direction that, on average over the picture, raises the target."
    )
    does_not_show = (
        "How a single patch is used: the weights are the same everywhere. By the last block a token speaks "
        "of more than its own patch."
    )
    differs = "The map before its negative part is cut off."

    @classmethod
    def combine(cls, features: Tensor, gradient: Tensor) -> Tensor:
        """See `TokenCAM.combine`."""
        return (features * gradient.mean((1, 2), keepdim=True)).sum(-1)


@register
@dataclass(frozen=True)
class HiResCAM(TokenCAM):
    """Gradient times activation of the last block's patches, summed over the channels.

    Source:
        Draelos and Carin 2020, HiResCAM, arXiv:2011.08891, equation 7.

    Differs:
        The map before its negative part is cut off.
    """

    name = "hires_cam"
    title = "HiResCAM on tokens"
    source = f"Draelos and Carin, HiResCAM, 2020, arXiv:2011.08891; {_SITE}"
    shows = "Patches that the last block uses for the target, each weighted by its own gradient."
    does_not_show = "Where the information in these tokens came from in the blocks before."
    differs = "The map before its negative part is cut off."

    @classmethod
    def combine(cls, features: Tensor, gradient: Tensor) -> Tensor:
        """See `TokenCAM.combine`."""
        return (features * gradient).sum(-1)


@register
@dataclass(frozen=True)
class LayerCAM(TokenCAM):
    """Positive gradient times activation of the last block's patches, summed over the channels.

    Source:
        Jiang et al. 2021, LayerCAM, IEEE Transactions on Image Processing 30, equation 6.

    Differs:
        The map before its negative part is cut off.
    """

    name = "layer_cam"
    title = "LayerCAM on tokens"
    source = f"Jiang et al., LayerCAM, 2021, IEEE Transactions on Image Processing 30; {_SITE}"
    shows = "Patches with features that would raise the target if they were larger."
    does_not_show = "Features that speak against the target; and tokens' activations have no natural zero."
    differs = "The map before its negative part is cut off."

    @classmethod
    def combine(cls, features: Tensor, gradient: Tensor) -> Tensor:
        """See `TokenCAM.combine`."""
        return (features * gradient.clamp(min=0)).sum(-1)


@register
@dataclass(frozen=True)
class LibraGradCAM(Libra, GradCAM):
    """Grad-CAM on tokens with a Libra gradient.

    Source:
        Libra gradients 2024, arXiv:2411.16760; Selvaraju et al. 2017, Grad-CAM, arXiv:1610.02391.
    """

    name = "libra_grad_cam"
    title = "Libra Grad-CAM on tokens"
    source = f"{SOURCE}; {GradCAM.source}"
    differs = f"{Libra.differs} {GradCAM.differs}"


@register
@dataclass(frozen=True)
class EigenCAM(Technique):
    """The last block's patches, centred, along their first principal direction.

    Its sign is arbitrary: the value of largest size is made positive.

    Source:
        Muhammad and Yeasin 2020, Eigen-CAM, arXiv:2008.00299, equations 2 and 3.

    Differs:
        Features are centred first, as in the public code, and the sign is fixed.
    """

    name = "eigen_cam"
    title = "EigenCAM on tokens"
    family = "activation"
    needs = Need.FEATURES
    signed = True
    source = f"Muhammad and Yeasin, Eigen-CAM, 2020, arXiv:2008.00299; {_SITE}"
    shows = "What tells the patches of the last block apart the most, mostly an object from its background."
    does_not_show = "Anything of a class or of the prediction: it looks at the features alone."
    differs = "Features are centred first, as in the public code, and the value of largest size is positive."

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        features = context.trace.features
        assert features is not None
        values = _first_component(features.flatten(1, 2).double().nan_to_num()).view(features.shape[:3])
        for _ in techniques:
            yield values.to(features.dtype)


def _first_component(rows: Tensor) -> Tensor:
    """Rows ``(batch, patches, channels)``, centred, along their first singular direction."""
    rows = rows - rows.mean(1, keepdim=True)
    along: Tensor
    if rows.shape[1] <= rows.shape[2]:
        values, vectors = _first_eigenvector(rows @ rows.mT)
        along = vectors * values.clamp(min=0).sqrt()
    else:
        along = (rows @ _first_eigenvector(rows.mT @ rows)[1].unsqueeze(2)).squeeze(2)
    return along * along.gather(1, along.abs().argmax(1, keepdim=True)).sign()


def _first_eigenvector(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """The largest eigenvalue ``(batch, 1)`` and its vector ``(batch, size)`` of symmetric matrices.

    None has an eigenvalue below zero. On the CPU LAPACK is asked for these alone, which takes a quarter of
    the time, and in one thread: at this size several of them wait for each other ten times as long.
    """
    if matrices.device.type != "cpu":
        return _by_squaring(matrices)
    last = matrices.shape[1] - 1
    with _numpy_threads().limit(limits=1):
        pairs = [
            scipy.linalg.eigh(matrix, subset_by_index=(last, last), check_finite=False)
            for matrix in matrices.numpy()
        ]
    first = [torch.from_numpy(np.stack(part)) for part in zip(*pairs, strict=True)]
    return first[0], first[1].squeeze(2)


@cache
def _numpy_threads() -> ThreadpoolController:
    """Threads of numpy's and scipy's products; torch has others."""
    return ThreadpoolController().select(internal_api="openblas")


def _by_squaring(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """As `_first_eigenvector`, by products alone, which a GPU does faster than anything else.

    Squared again and again, a matrix becomes the outer product of its first eigenvector with itself.
    """
    power = matrices
    for _ in range(SQUARINGS):
        trace = power.diagonal(dim1=1, dim2=2).sum(1).clamp(min=torch.finfo(power.dtype).tiny)
        power = power / trace[:, None, None]
        power = power @ power
    longest = power.diagonal(dim1=1, dim2=2).argmax(1)
    vector = power.gather(2, longest[:, None, None].expand(-1, power.shape[1], 1)).squeeze(2)
    vector = nn.functional.normalize(vector, dim=1, eps=torch.finfo(power.dtype).tiny)
    value = (vector.unsqueeze(1) @ matrices @ vector.unsqueeze(2)).flatten(1)
    return value, vector
