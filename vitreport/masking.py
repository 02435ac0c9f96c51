"""Hiding a part of a picture: patch masks as pixel masks, what stands in for hidden pixels, and token drop.

An occluder fills hidden pixels with something that says less. Token drop hides nothing behind anything: a
Vision Transformer runs as well on a part of its patch tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from math import ceil
from typing import Any

import torch
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.naflexvit import NaFlexVit
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from torch import Tensor, nn

from vitreport.model.load import VisionModel

_BIAS_MAKERS = ("get_bias", "_get_rel_pos_bias", "forward")


def to_pixels(patches: Tensor, size: tuple[int, int]) -> Tensor:
    """Gives each pixel the value of the patch that it lies in.

    Args:
        patches: values on a grid, of any type, ``(…, rows, cols)``.
        size: (height, width) in pixels; the grid need not divide it.

    Returns:
        ``(…, height, width)``.
    """
    row, col = (
        torch.arange(side, device=patches.device) * count // side
        for side, count in zip(size, patches.shape[-2:], strict=True)
    )
    return patches[..., row[:, None], col[None, :]]


def hide(pixels: Tensor, hidden: Tensor, filling: Tensor) -> Tensor:
    """Puts a filling where pixels are hidden.

    Args:
        pixels: ``(batch, 3, height, width)``.
        hidden: booleans, ``(batch, height, width)``, or patches, ``(batch, rows, cols)``.
        filling: what an occluder gives, ``(batch, 3, height, width)``.
    """
    size = (pixels.shape[-2], pixels.shape[-1])
    return torch.where(to_pixels(hidden, size).unsqueeze(1), filling, pixels)


def blurred(pixels: Tensor, sigma: float) -> Tensor:
    """An occluder: the picture after a Gaussian blur; beyond the edge the pixels at the edge go on.

    Args:
        pixels: ``(batch, 3, height, width)``.
        sigma: standard deviation, as a share of the shorter side.
    """
    spread = sigma * min(pixels.shape[-2:])
    reach = max(1, ceil(3 * spread))
    offsets = torch.arange(-reach, reach + 1, device=pixels.device, dtype=pixels.dtype)
    kernel = torch.exp(-offsets.square() / (2 * spread**2))
    kernel = (kernel / kernel.sum()).expand(pixels.shape[1], 1, 1, -1)
    along_rows, along_cols = (reach, reach, 0, 0), (0, 0, reach, reach)
    for weights, pad in ((kernel, along_rows), (kernel.mT, along_cols)):
        wide = nn.functional.pad(pixels, pad, mode="replicate")
        pixels = nn.functional.conv2d(wide, weights, groups=pixels.shape[1])
    return pixels


def mean_colour(pixels: Tensor) -> Tensor:
    """An occluder: the mean colour that the model normalises by, which is zero after that."""
    return torch.zeros_like(pixels)


def black(pixels: Tensor, model: VisionModel) -> Tensor:
    """An occluder: pixels that were black before normalising."""
    mean, std = colours(model, pixels)
    return (-mean / std).expand_as(pixels)


def colours(model: VisionModel, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation by which the model's pictures are normalised, each ``(1, 3, 1, 1)``."""
    mean, std = (
        torch.tensor(model.preparation.config[name], device=like.device, dtype=like.dtype).view(1, -1, 1, 1)
        for name in ("mean", "std")
    )
    return mean, std


def score_variants(
    variants: int, chunk: int, targets: Tensor, run: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Looks at every variant of every picture of a batch, `chunk` of them at a time.

    Args:
        variants: of each picture.
        chunk: variants that there may be at a time.
        targets: a class index for each picture, ``(batch,)``.
        run: gives the logits ``(chunk, classes)`` of variants, from the places of their pictures in the batch
            and their numbers, ``(chunk,)`` each.

    Returns:
        The target's logit of each, ``(batch, variants)``.
    """
    found = [
        run(images, numbers).gather(1, targets[images].unsqueeze(1)).squeeze(1)
        for images, numbers in every_variant(len(targets), variants, chunk, targets.device)
    ]
    return torch.cat(found).view(-1, variants)


def every_variant(
    batch: int, variants: int, chunk: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """All variants of all pictures, picture by picture: places of the pictures in the batch, and numbers."""
    every = batch * variants
    for start in range(0, every, chunk):
        places = torch.arange(start, min(start + chunk, every), device=device)
        yield places // variants, places % variants


def why_no_token_drop(model: VisionModel) -> str | None:
    """Why a model cannot be run on a part of its patch tokens, or None where it can."""
    module, kind = model.module, type(model.module).__name__
    if not model.blocks:
        return f"{kind} is no plain sequence of blocks over all tokens, so no token can be left out of it"
    if isinstance(module, NaFlexVit) and module.rope is not None:
        return f"the rotary positions of {kind} cannot be had for a part of its tokens"
    if not isinstance(module, VisionTransformer | Eva | Beit | VisionTransformerRelPos | NaFlexVit):
        return f"it is not known how {kind} runs on a part of its tokens"
    pool = getattr(module, "attn_pool", None)
    if getattr(pool, "pos_embed", None) is not None:
        return f"the attention pool of {kind} has positions of its own for all tokens"
    return None


class TokenDrop:
    """Runs a model on a part of each picture's patch tokens; made by `token_drop`."""

    def __init__(self, module: nn.Module, num_prefix_tokens: int) -> None:
        self._module = module
        self._prefix = num_prefix_tokens
        self._kept: Tensor | None = None

    def __call__(self, pixels: Tensor, kept: Tensor) -> Tensor:
        """Runs a batch.

        Args:
            pixels: ``(batch, 3, height, width)``.
            kept: numbers of the patches that stay, row by row of the grid, ``(batch, kept)``. Prefix tokens
                always stay.

        Returns:
            Logits, ``(batch, classes)``.
        """
        self._kept = kept
        try:
            logits: Tensor = self._module(pixels)
        finally:
            self._kept = None
        return logits

    def tokens(self, tokens: Tensor) -> Tensor:
        """The tokens that stay of ``(batch, tokens, width)``."""
        places = self._places(tokens.device)
        if places is None:
            return tokens
        return tokens.gather(1, places.unsqueeze(-1).expand(-1, -1, tokens.shape[2]))

    def tokens_and_patches(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """The tokens that stay, and the numbers of the patches among them."""
        return self.tokens(tokens), self._kept

    def biases(self, biases: Tensor) -> Tensor:
        """The biases between tokens that stay: of ``(…, heads, tokens, tokens)`` a row of them a picture."""
        places = self._places(biases.device)
        if places is None:
            return biases
        every = biases.reshape(biases.shape[-3:])
        return every[:, places[:, :, None], places[:, None, :]].transpose(0, 1)

    def _places(self, device: torch.device) -> Tensor | None:
        if self._kept is None:
            return None
        prefix = torch.arange(self._prefix, device=device).expand(len(self._kept), -1)
        return torch.cat((prefix, self._kept + self._prefix), 1)


@contextmanager
def token_drop(model: VisionModel) -> Iterator[TokenDrop]:
    """Opens a model for passes on a part of its patch tokens, and leaves it as it was found.

    timm's models can drop patches while they train: where they ask which ones, this answers. Where they
    never ask, the tokens are dropped in front of the first block. Biases by relative position are taken
    between the tokens that stay.

    Args:
        model: one of which `why_no_token_drop` knows no reason.
    """
    module = model.module
    drop = TokenDrop(module, model.layout.num_prefix_tokens)
    with ExitStack() as stack:
        if isinstance(module, Eva):
            stack.enter_context(_shadowed(module, "patch_drop", drop.tokens_and_patches))
        elif isinstance(module, VisionTransformer):
            stack.enter_context(_shadowed(module, "patch_drop", drop.tokens))
        else:
            first: nn.Module = module.blocks[0]  # type: ignore[index, assignment]
            hook = first.register_forward_pre_hook(lambda _block, given: (drop.tokens(given[0]), *given[1:]))
            stack.callback(hook.remove)
        for part, name in _bias_makers(module):
            stack.enter_context(_shadowed(part, name, _between(drop, getattr(part, name))))
        yield drop


def _between(drop: TokenDrop, biases: Callable[[], Tensor]) -> Callable[[], Tensor]:
    return lambda: drop.biases(biases())


def _bias_makers(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """The methods that give biases by relative position."""
    for part in module.modules():
        if getattr(part, "relative_position_index", None) is not None:
            name = next(name for name in _BIAS_MAKERS if hasattr(part, name))
            yield part, name


@contextmanager
def _shadowed(part: nn.Module, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """A function in place of a module's own attribute, on this instance only."""
    own = vars(part)
    before = {name: own[name]} if name in own else {}
    own[name] = function
    try:
        yield
    finally:
        del own[name]
        own.update(before)
