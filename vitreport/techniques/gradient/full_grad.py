"""FullGrad on tokens: the whole target logit, split among tokens and biases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from vitreport.model.trace import Need
from vitreport.techniques.gradient.libra import SOURCE, Libra
from vitreport.techniques.technique import Context, register


@register
@dataclass(frozen=True)
class LibraFullGrad(Libra):
    """At each patch: embedded token times Libra gradient, and what every bias adds there; any sign.

    The token has its position embedding. With the terms of the prefix tokens and those behind the pooling,
    which no patch owns, the map sums to the target's logit.

    Source:
        Libra gradients 2024, arXiv:2411.16760; Srinivas and Fleuret 2019, Full-Gradient Representation,
        arXiv:1905.00780, equation 2.
    """

    name = "libra_full_grad"
    title = "Libra FullGrad"
    family = "gradient"
    needs = Need.TOKENS | Need.TOKEN_GRADIENT | Need.BIASES
    class_specific = True
    signed = True
    source = (
        f"{SOURCE}; Srinivas and Fleuret, Full-Gradient Representation for Neural Network Visualization, "
        "2019, arXiv:1905.00780, equation 2"
    )
    shows = "What is added to the target's logit at each patch when the gates of the model stay as they are."
    does_not_show = (
        "What is added at the class token and behind the pooling, mostly much of the logit; and what moves "
        "the gates."
    )

    @classmethod
    def attribute_all(cls, techniques: Sequence[Self], context: Context) -> Iterator[Tensor]:
        """See `Technique.attribute_all`."""
        trace = context.trace
        assert trace.biases is not None
        terms = (trace.tokens[0] * trace.token_gradient[0]).sum(-1) + trace.biases[0]
        for _ in techniques:
            yield context.model.layout.to_grid(terms)

    def claimed_sum(self, context: Context) -> Tensor:
        """See `Technique.claimed_sum`: the logit, less the terms that no patch owns."""
        trace, prefix = context.trace, context.model.layout.num_prefix_tokens
        assert trace.biases is not None
        logit = trace.logits.gather(1, trace.targets.unsqueeze(1)).squeeze(1)
        at_prefix = (trace.tokens[0] * trace.token_gradient[0]).sum(-1) + trace.biases[0]
        return logit - at_prefix[:, :prefix].sum(1) - trace.biases[1]
