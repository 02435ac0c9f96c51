"""The logit lens: what the head says after every block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from vitreport.configurable import count
from vitreport.model.anatomy import head_logits
from vitreport.model.trace import Need
from vitreport.model.transfer import fetched
from vitreport.techniques.technique import Context, Observation, register


@register
@dataclass(frozen=True)
class LogitLens(Observation):
    """Logits that the last norm and the head read off the tokens after every block.

    Of the classes that are likeliest in the end; what is read after the last block are the model's own
    logits.

    Source:
        nostalgebraist 2020, interpreting GPT: the logit lens; on Vision Transformers: Vilas, Schaumlöffel and
        Roig 2023, arXiv:2310.18969.
    """

    name = "logit_lens"
    title = "Logit lens"
    family = "activation"
    needs = Need.TOKENS | Need.HEAD
    source = (
        "nostalgebraist, interpreting GPT: the logit lens, 2020; on Vision Transformers: Vilas, Schaumlöffel "
        "and Roig, 2023, arXiv:2310.18969"
    )
    shows = "In which block the prediction emerges, and which classes were ahead before."
    does_not_show = (
        "What early blocks know: the head was trained on the last one and may not be able to read it off "
        "them."
    )
    columns: ClassVar[Mapping[str, str]] = {
        "blocks": "int32",
        "classes": "list<int32>",
        "logits": "list<float32>",
        "scores": "list<float32>",
        "first": "list<int32>",
    }

    classes: int = count(5, 1, 64, "classes kept, the likeliest in the end first")

    def observe(self, context: Context) -> Iterator[list[dict[str, Any]]]:
        """See `Observation.observe`.

        ``logits`` and ``scores`` (probabilities) are ``(blocks, classes)`` row by row, ``first`` is the
        likeliest class after each block.
        """
        model, trace = context.model, context.trace
        with torch.no_grad():
            lens = torch.stack([head_logits(model.module, tokens) for tokens in trace.tokens[1:]], 1)
        scores = model.head.scores(lens)
        kept = trace.logits.topk(min(self.classes, lens.shape[-1]), 1).indices
        chosen = kept.unsqueeze(1).expand(-1, lens.shape[1], -1)
        logits, shares = (values.gather(2, chosen).float() for values in (lens, scores))
        found = fetched(kept, logits, shares, lens.argmax(-1))
        for order, of_image, share, first in zip(*found, strict=True):
            yield [
                {
                    "blocks": lens.shape[1],
                    "classes": order.tolist(),
                    "logits": of_image.ravel(),
                    "scores": share.ravel(),
                    "first": first.tolist(),
                }
            ]
