"""Each gate by itself: with a Libra gradient, what it gives is its input times the gradient, and its bias."""

from __future__ import annotations

import pytest
import torch
from timm.layers import GluMlp, LayerNorm2d, RmsNorm, RmsNorm2d, SwiGLU
from timm.models.vitamin import GeGluMlp
from torch import nn

from vitreport.model.libra import ACTIVATIONS, libra

PARTS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    **{activation.__name__: (activation(), (2, 3, 8)) for activation in ACTIVATIONS},
    "LayerNorm": (nn.LayerNorm(8), (2, 3, 8)),
    "plain LayerNorm": (nn.LayerNorm(8, elementwise_affine=False), (2, 3, 8)),
    "RmsNorm": (RmsNorm(8), (2, 3, 8)),
    "LayerNorm2d": (LayerNorm2d(8), (2, 8, 3, 4)),
    "RmsNorm2d": (RmsNorm2d(8), (2, 8, 3, 4)),
    "GluMlp": (GluMlp(8, 12, act_layer=nn.SiLU, gate_last=False), (2, 3, 8)),
    "SwiGLU": (SwiGLU(8, 12), (2, 3, 8)),
    "GeGluMlp": (GeGluMlp(8, 12), (2, 3, 8)),
}


@pytest.mark.parametrize("name", PARTS)
def test_input_times_gradient_and_biases_are_the_output(name: str) -> None:
    part, shape = PARTS[name]
    part = part.double().eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter_name, parameter in part.named_parameters():
            parameter.normal_(std=0.5)
            if parameter_name.endswith("bias"):
                parameter.zero_()
    given = (2 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    plain = part(given)
    weights = torch.randn(plain.shape, dtype=torch.float64)
    with libra(part):
        output = part(given)
        (gradient,) = torch.autograd.grad((output * weights).sum(), given)
    assert torch.equal(output, plain)
    assert float((given.detach() * gradient).sum()) == pytest.approx(
        float((output.detach() * weights).sum()), rel=1e-9
    )
    assert not any(inner._forward_hooks or inner._forward_pre_hooks for inner in part.modules())
