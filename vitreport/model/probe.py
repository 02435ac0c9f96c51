"""A look at a model before any image is touched: is what we believe of it true?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from vitreport.errors import UnsupportedModelError
from vitreport.model.anatomy import Anatomy, head_logits
from vitreport.model.families import attention_modules
from vitreport.model.features import find_sites, plain_site
from vitreport.model.layout import Readout, TokenLayout, layout_of
from vitreport.model.trace import READS_BLOCKS, Backward, Need
from vitreport.model.tracer import traced

_STRIDE = 32


@dataclass(frozen=True)
class Shown:
    """What the probe saw.

    Attributes:
        anatomy: where the model's parts are.
        heads: attention heads of the first block; 0 where the model is no plain sequence of blocks.
        lacks: what cannot be read of it, and why.
    """

    anatomy: Anatomy
    heads: int
    lacks: Mapping[Need, str] = field(default_factory=dict)


def probe(module: nn.Module, input_size: tuple[int, int]) -> Shown:
    """Finds the parts of a model and checks them on one noise image.

    A model that is no plain sequence of attention blocks still has a gradient and, mostly, a last feature
    map; what it lacks is said.

    Args:
        module: the model.
        input_size: (height, width) in pixels.

    Raises:
        UnsupportedModelError: nothing can be explained: it does not give one row of numbers an image.
    """
    pixels = _noise(module, input_size)
    with torch.no_grad():
        logits = module(pixels)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UnsupportedModelError(f"the model gives {shape} for one image, not one row of logits")
    try:
        attention_modules(module)  # says the most telling reason first
        return probe_plain(module, layout_of(module, input_size), input_size)
    except UnsupportedModelError as error:
        return _probe_other(module, pixels, str(error))


def probe_plain(module: nn.Module, layout: TokenLayout, input_size: tuple[int, int]) -> Shown:
    """Checks a plain sequence of blocks: what is believed of its tokens against what it does.

    Every block must show one attention whose rows are shares, and the tokens that the logits depend on
    after the last block must be those that the readout names.

    Raises:
        UnsupportedModelError: the model does otherwise.
    """
    attentions = attention_modules(module)
    blocks: nn.Sequential = module.blocks  # type: ignore[assignment]
    anatomy = Anatomy(layout, attentions, tuple(blocks), plain_site(attentions[-1], layout.num_prefix_tokens))
    needs = Need.ATTENTION | Need.PROJECTIONS | Need.TOKENS | Need.FEATURES | Need.GRAPH
    with traced(module, anatomy, needs) as tracer, torch.enable_grad():
        seen = tracer.forward(_noise(module, input_size))
    for number, attention in enumerate(seen.attention):
        sums = attention.sum(-1)
        if attention.min() < 0 or not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
            raise UnsupportedModelError(
                f"the attention of block {number} is no softmax (its rows do not sum to 1); "
                "attention techniques have no meaning here"
            )
    scalar = seen.logits.square().sum()
    assert seen.features is not None
    last, features = torch.autograd.grad(scalar, (seen.tokens[-1], seen.features))
    _check_readout(layout, last)
    lacks = {}
    try:
        with torch.no_grad():
            same = torch.allclose(head_logits(module, seen.tokens[-1]), seen.logits, atol=1e-5)
    except (RuntimeError, TypeError, AttributeError):
        same = False
    if not same:
        lacks[Need.HEAD] = f"the head of {type(module).__name__} cannot be put on the tokens of another block"
    if last.any() and not features[:, layout.num_prefix_tokens :].any():
        lacks[Need.FEATURE_GRADIENT] = "no gradient reaches the patches of the last block"
    return Shown(anatomy, seen.attention[0].shape[1], lacks)


def libra_gap(module: nn.Module, anatomy: Anatomy, input_size: tuple[int, int]) -> float:
    """How far the Libra terms of a noise image are from the logits that they should sum to.

    Returns:
        The largest distance over a few classes, over the larger of the logit and 1.
    """
    needs = Need.TOKENS | Need.TOKEN_GRADIENT | Need.BIASES
    gaps = []
    with traced(module, anatomy, needs, Backward.LIBRA) as tracer:
        forward = tracer.forward(_noise(module, input_size))
        for target in range(min(3, forward.logits.shape[1])):
            trace = tracer.gradient(
                forward, torch.tensor([target], device=forward.logits.device), keep_graph=True
            )
            assert trace.biases is not None
            total = (
                (trace.tokens[0] * trace.token_gradient[0]).sum() + trace.biases[0].sum() + trace.biases[1]
            )
            logit = trace.logits[0, target]
            gaps.append(float((total - logit).abs() / logit.abs().clamp(min=1)))
    return max(gaps)


def _noise(module: nn.Module, input_size: tuple[int, int]) -> Tensor:
    noise = torch.randn(1, 3, *input_size, generator=torch.Generator().manual_seed(0))
    return noise.to(next(module.parameters()))


def _probe_other(module: nn.Module, pixels: Tensor, reason: str) -> Shown:
    """Of a model that is no plain sequence of blocks, the feature map and its gradient."""
    lacks = {READS_BLOCKS | Need.HEAD | Need.GRAPH: reason}
    height, width = pixels.shape[-2:]
    try:
        sites, grid = find_sites(module, pixels)
    except UnsupportedModelError as error:
        sites, grid = [], (max(1, height // _STRIDE), max(1, width // _STRIDE))
        lacks[Need.FEATURES | Need.FEATURE_GRADIENT] = str(error)
    layout = TokenLayout(0, grid, (height // grid[0], width // grid[1]), Readout.FEATURES)
    places = [Anatomy(layout, site=site) for site in sites]
    anatomy = next((place for place in places if _looks_back(module, place, pixels)), None)
    if places and anatomy is None:
        lacks[Need.FEATURE_GRADIENT] = (
            f"the head of {type(module).__name__} does not look back at the patches of its last block"
        )
    return Shown(anatomy or next(iter(places), Anatomy(layout)), heads=0, lacks=lacks)


def _looks_back(module: nn.Module, anatomy: Anatomy, pixels: Tensor) -> bool:
    """Whether the logits have a gradient at the patches of the anatomy's site."""
    assert anatomy.site is not None
    with traced(module, anatomy, Need.FEATURES | Need.GRAPH) as tracer, torch.enable_grad():
        seen = tracer.forward(pixels)
        assert seen.features is not None
        if not seen.logits.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(
            seen.logits.square().sum(), seen.features, allow_unused=True, materialize_grads=True
        )
    patches = anatomy.site.to_grid(gradient, anatomy.layout.grid)
    return bool(patches.any()) or not seen.logits.any()


def _check_readout(layout: TokenLayout, gradient: Tensor) -> None:
    read = gradient[0].abs().sum(-1) > 0
    if not read.any():
        return  # an untrained head of zeros reads nothing: there is nothing to compare
    if layout.readout is Readout.ATTENTION_POOL:
        expected = read.clone()
        expected[layout.num_prefix_tokens :] = True
    else:
        expected = layout.readout_weights(gradient) > 0
    if not torch.equal(read, expected):
        raise UnsupportedModelError(
            f"the head does not read the {layout.readout.value} (it reads {int(read.sum())} of "
            f"{len(read)} tokens), so it is not known what its tokens are for"
        )
