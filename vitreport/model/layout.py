"""How a Vision Transformer's tokens lie: prefix tokens, patch grid, and how the head reads them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, nn

from vitreport.errors import UnsupportedModelError


class Readout(Enum):
    """How a model's head reads the tokens of the last block."""

    CLASS_TOKEN = "class token"
    CLASS_DISTILLATION_MEAN = "mean of class and distillation token"
    PATCH_MEAN = "mean of the patch tokens"
    TOKEN_MEAN = "mean of all tokens"
    ATTENTION_POOL = "attention pool"
    FEATURES = "features of the last stage"


@dataclass(frozen=True)
class TokenLayout:
    """Where the tokens of a model lie.

    Attributes:
        num_prefix_tokens: class, distillation and register tokens, which come before the patches.
        grid: (rows, cols) of the patch grid.
        patch_size: (height, width) of a patch in pixels of the model's input.
        readout: how the head reads the tokens; features, where the model is no plain sequence of blocks.
    """

    num_prefix_tokens: int
    grid: tuple[int, int]
    patch_size: tuple[int, int]
    readout: Readout

    @property
    def num_patches(self) -> int:
        """Patches of an image."""
        return self.grid[0] * self.grid[1]

    @property
    def num_tokens(self) -> int:
        """Tokens of an image: prefix and patches."""
        return self.num_prefix_tokens + self.num_patches

    @property
    def read_in_front(self) -> int | None:
        """How many tokens at the front are all that the head reads; None where it reads others too."""
        return {Readout.CLASS_TOKEN: 1, Readout.CLASS_DISTILLATION_MEAN: 2}.get(self.readout)

    def to_grid(self, values: Tensor) -> Tensor:
        """Drops the prefix tokens of ``(…, tokens)`` and returns ``(…, rows, cols)``."""
        return values[..., self.num_prefix_tokens :].reshape(*values.shape[:-1], *self.grid)

    def readout_weights(self, like: Tensor) -> Tensor:
        """Returns the share ``(tokens,)`` that each token has in what the head reads; the sum is 1.

        An attention pool weighs each image's tokens anew: there the trace measures the shares.

        Args:
            like: a tensor with the wanted device and dtype.

        Raises:
            UnsupportedModelError: the readout is an attention pool, or features.
        """
        weights = torch.zeros(self.num_tokens, device=like.device, dtype=like.dtype)
        match self.readout:
            case Readout.CLASS_TOKEN:
                weights[0] = 1
            case Readout.CLASS_DISTILLATION_MEAN:
                weights[:2] = 0.5
            case Readout.PATCH_MEAN:
                weights[self.num_prefix_tokens :] = 1 / self.num_patches
            case Readout.TOKEN_MEAN:
                weights[:] = 1 / self.num_tokens
            case Readout.ATTENTION_POOL | Readout.FEATURES:
                raise UnsupportedModelError(f"{self.readout.value}: the readout has no fixed shares")
        return weights

    def readout_row(self, readout: Tensor, matrix: Tensor) -> Tensor:
        """Reads the readout row: the readout's shares times the rows of a token-by-token matrix.

        Args:
            readout: shares ``(batch, tokens)``, as a trace has them.
            matrix: ``(batch, …, tokens, tokens)``, rows are the tokens that receive.

        Returns:
            ``(batch, …, tokens)``.
        """
        read = self.num_tokens  # where the head reads the first tokens only, the other rows are not touched
        if self.readout is Readout.CLASS_TOKEN:
            read = 1
        elif self.readout is Readout.CLASS_DISTILLATION_MEAN:
            read = 2
        shape = (readout.shape[0],) + (1,) * (matrix.dim() - 3) + (1, read)
        return (readout[:, :read].reshape(shape) @ matrix[..., :read, :]).squeeze(-2)


def patch_sums(pixels: Tensor, grid: tuple[int, int]) -> Tensor:
    """Sums ``(batch, height, width)`` over each patch of a grid; what is on the grid already stays as it is.

    Where the grid does not divide the picture, patches overlap and are weighted by their size.
    """
    if tuple(pixels.shape[1:]) == tuple(grid):
        return pixels
    return patch_means(pixels, grid) * (pixels[0].numel() / (grid[0] * grid[1]))


def patch_means(pixels: Tensor, grid: tuple[int, int]) -> Tensor:
    """The mean of ``(batch, height, width)`` over each patch of a grid, ``(batch, rows, cols)``."""
    return nn.functional.adaptive_avg_pool2d(pixels, grid)


def layout_of(module: nn.Module, input_size: tuple[int, int]) -> TokenLayout:
    """Derives the layout from a timm model's own attributes, never from the number of tokens.

    Args:
        module: the model.
        input_size: (height, width) of its input in pixels.

    Raises:
        UnsupportedModelError: the model does not say how its tokens lie, or the input does not fit the grid.
    """
    embed = getattr(module, "patch_embed", None) or getattr(module, "embeds", None)
    patch_size = getattr(embed, "patch_size", None)
    if embed is None or patch_size is None or not hasattr(module, "num_prefix_tokens"):
        raise UnsupportedModelError(
            f"{type(module).__name__} has no flat grid of patch tokens (no patch_embed or prefix count)"
        )
    grid = _grid(embed, input_size)
    return TokenLayout(
        num_prefix_tokens=int(module.num_prefix_tokens),  # type: ignore[arg-type]
        grid=grid,
        patch_size=(input_size[0] // grid[0], input_size[1] // grid[1]),
        readout=_readout(module),
    )


def _grid(embed: nn.Module, input_size: tuple[int, int]) -> tuple[int, int]:
    if hasattr(embed, "dynamic_feat_size"):
        size = embed.dynamic_feat_size(input_size)  # type: ignore[operator]
    else:
        size = getattr(embed, "grid_size", None)
    if size is None:
        raise UnsupportedModelError(f"{type(embed).__name__} does not say its patch grid")
    return int(size[0]), int(size[1])


def _readout(module: nn.Module) -> Readout:
    pool = getattr(module, "global_pool", None)
    if getattr(module, "attn_pool", None) is not None:
        if pool == "map":
            return Readout.ATTENTION_POOL
        raise UnsupportedModelError(f"the head pools by '{pool}', which no technique here can follow")
    if getattr(module, "head_dist", None) is not None:
        return Readout.CLASS_DISTILLATION_MEAN
    if pool == "token":
        return Readout.CLASS_TOKEN
    if pool == "avg":
        return Readout.TOKEN_MEAN if getattr(module, "pool_include_prefix", False) else Readout.PATCH_MEAN
    raise UnsupportedModelError(
        f"the head reads tokens by '{pool}' pooling; known are token, avg and map (attention pool)"
    )
