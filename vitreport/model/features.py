"""Where class activation maps read a model: the patches at the first norm of the last block.

In a plain sequence of blocks that is what the last attention is given. Other models (windows, pyramids,
class attention) are looked at as they run: the block whose output is the last feature map that timm knows.
Where that block does not begin with a norm, the feature map itself is read, or what the block is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vitreport.errors import UnsupportedModelError


@dataclass(frozen=True)
class FeatureSite:
    """A tensor inside a model that has one vector a patch.

    Attributes:
        module: the module that is given the tensor, or gives it.
        given: whether the module is given it.
        num_prefix_tokens: vectors before the patches.
        channels_first: whether the tensor is ``(batch, channels, rows, cols)``.
    """

    module: nn.Module
    given: bool
    num_prefix_tokens: int
    channels_first: bool = False

    def to_grid(self, values: Tensor, grid: tuple[int, int]) -> Tensor:
        """``(batch, tokens, channels)`` or a picture of channels to ``(batch, rows, cols, channels)``.

        Only patches are kept.
        """
        patches = self._patches(values)
        return patches.reshape(len(patches), *grid, patches.shape[-1])

    def fits(self, values: Any, grid: tuple[int, int]) -> bool:
        """Whether `values` is a tensor with the prefix and the patches of a grid."""
        return (
            isinstance(values, Tensor)
            and values.dim() in (3, 4)
            and self._patches(values).shape[1] == grid[0] * grid[1]
        )

    def _patches(self, values: Tensor) -> Tensor:
        last = values.movedim(1, -1) if self.channels_first else values
        return last.flatten(1, -2)[:, self.num_prefix_tokens :]


def plain_site(attention: nn.Module, num_prefix_tokens: int) -> FeatureSite:
    """Returns what an attention module of a plain block is given."""
    norm = getattr(attention, "in_norm", None)  # a parallel block, which is its own attention module
    if norm is not None:
        return FeatureSite(norm, given=False, num_prefix_tokens=num_prefix_tokens)
    return FeatureSite(attention, given=True, num_prefix_tokens=num_prefix_tokens)


def last_feature_map(module: nn.Module, pixels: Tensor) -> Tensor:
    """Returns timm's last feature map, ``(batch, channels, rows, cols)``.

    Raises:
        UnsupportedModelError: timm has none for this model.
    """
    if not hasattr(module, "forward_intermediates"):
        raise UnsupportedModelError(f"timm has no feature maps of {type(module).__name__}")
    try:
        maps = module.forward_intermediates(  # type: ignore[operator]
            pixels, indices=1, output_fmt="NCHW", intermediates_only=True
        )
    except (AssertionError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise UnsupportedModelError(
            f"timm has no feature maps of {type(module).__name__}: {error}"
        ) from error
    found = maps[-1] if isinstance(maps, list | tuple) and maps else None
    if not isinstance(found, Tensor) or found.dim() != 4:
        raise UnsupportedModelError(f"timm has no feature maps of {type(module).__name__}")
    return found


@torch.no_grad()
def find_sites(module: nn.Module, pixels: Tensor) -> tuple[list[FeatureSite], tuple[int, int]]:
    """Finds the last block by what it gives: the last feature map, patch by patch in the same order.

    Returns:
        Where maps can be read, best first - at the norm with which the block begins, at its output, at what
        it is given - and the grid.

    Raises:
        UnsupportedModelError: no module gives the feature map as it is.
    """
    wanted = last_feature_map(module, pixels)
    grid = (int(wanted.shape[-2]), int(wanted.shape[-1]))
    found: list[FeatureSite] = []

    def look(part: nn.Module, _inputs: Any, output: Any) -> None:
        if not found:
            found.extend(_giving(part, _first(output), wanted))

    _run_watched(module, pixels, list(module.modules()), look)
    if not found:
        raise UnsupportedModelError(
            f"no block of {type(module).__name__} gives its feature map patch by patch, so class activation "
            "maps cannot be placed"
        )
    block = found[0].module
    norm = getattr(block, "norm1", None)
    seen: dict[nn.Module, tuple[Any, Any]] = {}
    watched = [part for part in (block, norm) if isinstance(part, nn.Module)]
    _run_watched(
        module,
        pixels,
        watched,
        lambda part, inputs, output: seen.setdefault(part, (_first(inputs), _first(output))),
    )
    given, _ = seen[block]
    sites = [found[0]]
    if isinstance(norm, nn.Module) and norm in seen:
        entered, left = seen[norm]
        at_norm = replace(found[0], module=norm)
        if at_norm.fits(left, grid) and entered.shape == given.shape and torch.equal(entered, given):
            sites.insert(0, at_norm)
    as_given = replace(found[0], given=True)
    if as_given.fits(given, grid):
        sites.append(as_given)
    return sites, grid


def _first(values: Any) -> Any:
    return values[0] if isinstance(values, tuple) and values else values


def _giving(part: nn.Module, output: Any, wanted: Tensor) -> Iterator[FeatureSite]:
    """The site of a module's output where that is the wanted ``(batch, channels, rows, cols)``."""
    if not isinstance(output, Tensor) or output.dim() not in (3, 4):
        return
    if output.shape == wanted.shape and torch.equal(output, wanted):
        yield FeatureSite(part, given=False, num_prefix_tokens=0, channels_first=True)
    patches = wanted.flatten(2).mT
    tokens = output.flatten(1, -2)
    prefix = tokens.shape[1] - patches.shape[1]
    if tokens.shape[-1] == patches.shape[-1] and prefix >= 0 and torch.equal(tokens[:, prefix:], patches):
        yield FeatureSite(part, given=False, num_prefix_tokens=prefix)


def _run_watched(module: nn.Module, pixels: Tensor, parts: list[nn.Module], look: Callable[..., Any]) -> None:
    """One forward pass in which `look` is given each part, its inputs and its output."""

    def hook(part: nn.Module, inputs: Any, output: Any) -> None:
        look(part, inputs, output)

    with ExitStack() as stack:
        for part in parts:
            stack.callback(part.register_forward_hook(hook).remove)
        module(pixels)
