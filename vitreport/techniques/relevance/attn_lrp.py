"""LRP for attention as a modified gradient: AttnLRP, and CP-LRP, which takes attention as given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from vitreport.configurable import number
from vitreport.model.anatomy import Anatomy
from vitreport.model.libra import libra
from vitreport.model.load import VisionModel
from vitreport.model.opening import unfused
from vitreport.model.trace import Need
from vitreport.techniques.gradient.libra import pixel_reason_against
from vitreport.techniques.relevance.gamma import gamma_rule
from vitreport.techniques.relevance.rules import LICENCE_NOTE
from vitreport.techniques.technique import Context, Technique, Tier, register


@dataclass(frozen=True)
class GradientLrp(Technique):
    """What both share: input times a gradient whose layers pass relevance on, summed over the colours.

    Norms' deviations and activations' gates are held, which is the rule by which both pass relevance on.
    The gamma rule applies to the patches' convolution, the MLPs and the head; attention's own projections
    have the epsilon rule, as in the public code.
    """

    family = "relevance"
    tier: ClassVar[Tier] = "standard"
    needs = Need.NOTHING
    own_needs = Need.PIXEL_GRADIENT | Need.BIASES
    class_specific = True
    signed = True
    cost = "a forward pass and a gradient with the gamma rule: about 7 plain forward passes"
    licence_note = LICENCE_NOTE
    differs = (
        "Pixels whose terms cancel have a quotient near zero, which magnifies the rounding of float32: maps "
        "with gamma agree with the public code's by Pearson above 0.9999, and to 2e-4 of their maximum."
    )
    attention_held: ClassVar[bool]

    conv_gamma: float = number(0.25, 0, 100, "gamma of the convolution that makes the patches")
    linear_gamma: float = number(0.05, 0, 100, "gamma of the linear layers of MLPs and head")

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        for technique in techniques:
            yield torch.cat(
                [
                    technique._relevance(context.model, pixels, targets)
                    for pixels, targets in zip(
                        torch.split(context.trace.pixels, context.chunk),
                        torch.split(context.trace.targets, context.chunk),
                        strict=True,
                    )
                ]
            )

    def supports(self, model: VisionModel) -> str | None:
        """See `Explainable.supports`; all gates of the model must be known."""
        return super().supports(model) or pixel_reason_against(model)

    def passes(self, model: VisionModel) -> float:
        """See `Explainable.passes`."""
        return 7

    def _relevance(self, model: VisionModel, pixels: Tensor, targets: Tensor) -> Tensor:
        """``(batch, 3, height, width)`` to ``(batch, height, width)``."""
        module, anatomy = model.module, model.anatomy
        with (
            torch.enable_grad(),
            unfused(anatomy.attentions),
            libra(module, hold_pool=self.attention_held),
            _attention_rule(module, anatomy, held=self.attention_held),
            gamma_rule(self._gammas(module, anatomy)),
        ):
            pixels = pixels.detach().requires_grad_()
            chosen = module(pixels).gather(1, targets.unsqueeze(1)).sum()
        (gradient,) = torch.autograd.grad(chosen, pixels)
        return (pixels.detach() * gradient).sum(1)

    def _gammas(self, module: nn.Module, anatomy: Anatomy) -> Iterator[tuple[nn.Module, float]]:
        pool = getattr(module, "attn_pool", None)
        projections = [getattr(pool, name, None) for name in ("q", "kv", "proj")]
        for attention in anatomy.attentions:  # a parallel block has its MLP in it
            projections += [part for name, part in attention.named_modules() if not name.startswith("mlp")]
        for part in module.modules():
            if type(part) is nn.Conv2d:
                yield part, self.conv_gamma
            elif type(part) is nn.Linear and all(part is not other for other in projections):
                yield part, self.linear_gamma


@contextmanager
def _attention_rule(module: nn.Module, anatomy: Anatomy, *, held: bool) -> Iterator[None]:
    """Attention taken as given; or its products' relevance halved, between attention and values, and again
    between queries and keys.
    """
    pool = getattr(module, "attn_pool", None)
    with ExitStack() as stack:
        for attention in anatomy.attentions:
            drop: nn.Module = attention.attn_drop  # type: ignore[assignment]
            hook = _hold if held else _halve
            stack.callback(drop.register_forward_hook(hook).remove)
            if not held:
                mixed = _mixed(attention)
                assert mixed is not None
                stack.callback(mixed.register_forward_pre_hook(_halve_input).remove)
        if pool is not None and not held:
            stack.callback(pool.proj.register_forward_pre_hook(_halve_input).remove)
            stack.callback(pool.k_norm.register_forward_hook(_halve).remove)
        yield


def _mixed(attention: nn.Module) -> nn.Module | None:
    """The module that is given the product of attention and values, and nothing else."""
    names = ("norm", "attn_out_proj", "proj")
    found = (getattr(attention, name, None) for name in names)
    return next((part for part in found if isinstance(part, nn.Module)), None)


def _hold(_part: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.detach()


def _halve(_part: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """The same value with half its gradient."""
    return output.detach() + (output - output.detach()) / 2


def _halve_input(part: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (_halve(part, (), inputs[0]), *inputs[1:])


@register
@dataclass(frozen=True)
class CpLrp(GradientLrp):
    """LRP with attention taken as given, in pixels; any sign. With gamma 0 it is Libra input times gradient.

    Source:
        Ali et al. 2022, XAI for Transformers, arXiv:2202.07304 (CP-LRP), with the gamma rule as in Achtibat
        et al. 2024, AttnLRP, arXiv:2402.05602.
    """

    name = "cp_lrp"
    title = "CP-LRP"
    source = (
        "Ali et al., XAI for Transformers, 2022, arXiv:2202.07304 (CP-LRP), with the gamma rule as in "
        "Achtibat et al., AttnLRP, 2024, arXiv:2402.05602"
    )
    shows = "How the target's logit is shared out among the pixels when attention is taken as it is."
    does_not_show = (
        "Why attention looks where it does. Gamma favours what agrees with a layer's output, so the values "
        "no longer sum to the logit's share of each pixel."
    )
    attention_held = True


@register
@dataclass(frozen=True)
class AttnLrp(GradientLrp):
    """LRP through attention's softmax and products, in pixels; any sign.

    Products share relevance equally, and the softmax has the gradient's share.

    Source:
        Achtibat et al. 2024, AttnLRP, arXiv:2402.05602, equations 13 to 19.
    """

    name = "attn_lrp"
    title = "AttnLRP"
    source = "Achtibat et al., AttnLRP, 2024, arXiv:2402.05602, equations 13 to 19"
    shows = "How the target's logit is shared out among the pixels, also by way of where attention looks."
    does_not_show = (
        "An exact account: halves are a convention, and the softmax's rule leaves relevance with its biases. "
        "Gamma favours what agrees with a layer's output."
    )
    attention_held = False

    def supports(self, model: VisionModel) -> str | None:
        """See `Explainable.supports`; what attention draws must be within reach."""
        reason = super().supports(model)
        if reason is None and any(_mixed(attention) is None for attention in model.anatomy.attentions):
            return "what attention draws goes into one projection with the MLP, and cannot be told apart"
        return reason
