"""A look at a model before any image is touched: is what we believe of its attention true?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitreport.errors import UnsupportedModelError
from vitreport.model.layout import Readout, TokenLayout
from vitreport.model.trace import Need, traced


@dataclass(frozen=True)
class Shown:
    """What the probe saw.

    Attributes:
        blocks: blocks that showed their attention.
        heads: attention heads of the first block.
    """

    blocks: int
    heads: int


def probe(module: nn.Module, layout: TokenLayout, input_size: tuple[int, int]) -> Shown:
    """Traces one noise image and checks the layout against what the model does.

    Every block must show one attention whose rows are shares, and the tokens that the logits depend on
    after the last block must be those that the readout names.

    Args:
        module: the model.
        layout: what is believed of its tokens.
        input_size: (height, width) in pixels.

    Raises:
        UnsupportedModelError: the model does otherwise.
    """
    parameter = next(module.parameters())
    noise = torch.randn(1, 3, *input_size, generator=torch.Generator().manual_seed(0))
    last: list[Tensor] = []

    def start_here(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        last.append(output.detach().requires_grad_())
        return last[0]

    with traced(module, layout, Need.ATTENTION | Need.PROJECTIONS) as tracer, torch.enable_grad():
        seen = tracer.forward(noise.to(parameter))
        blocks: nn.Sequential = module.blocks  # type: ignore[assignment]
        hook = blocks[-1].register_forward_hook(start_here)
        try:
            logits = module(noise.to(parameter))
        finally:
            hook.remove()
    if logits.dim() != 2:
        raise UnsupportedModelError(
            f"the model gives {tuple(logits.shape)} for one image, not one row of logits"
        )
    for number, attention in enumerate(seen.attention):
        sums = attention.sum(-1)
        if attention.min() < 0 or not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
            raise UnsupportedModelError(
                f"the attention of block {number} is no softmax (its rows do not sum to 1); "
                "attention techniques have no meaning here"
            )
    _check_readout(layout, logits, last[0])
    return Shown(blocks=len(seen.attention), heads=seen.attention[0].shape[1])


def _check_readout(layout: TokenLayout, logits: Tensor, tokens: Tensor) -> None:
    (gradient,) = torch.autograd.grad(logits.square().sum(), tokens)
    read = gradient[0].abs().sum(-1) > 0
    if not read.any():
        return  # an untrained head of zeros reads nothing: there is nothing to compare
    if layout.readout is Readout.ATTENTION_POOL:
        expected = read.clone()
        expected[layout.num_prefix_tokens :] = True
    else:
        expected = layout.readout_weights(tokens) > 0
    if not torch.equal(read, expected):
        raise UnsupportedModelError(
            f"the head does not read the {layout.readout.value} (it reads {int(read.sum())} of "
            f"{len(read)} tokens); this model's readout is not known, so it cannot be explained rightly"
        )
