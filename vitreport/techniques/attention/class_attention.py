"""The class-token attention atlas: where the readout looks, in every block and head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from vitreport.model.trace import Need
from vitreport.techniques.technique import Context, Observation, register


@register
@dataclass(frozen=True)
class ClassAttention(Observation):
    """Readout row of every block's and head's attention, ``(blocks, heads, rows, cols)`` in [0, 1].

    Source:
        Gildenblat 2020, Exploring Explainability for Vision Transformers.
    """

    name = "class_attention"
    title = "Class-token attention, block by block"
    family = "attention"
    needs = Need.ATTENTION
    source = "Gildenblat, Exploring Explainability for Vision Transformers, 2020"
    shows = (
        "Where the readout looks in each block and head: heads that specialise, and parts of an object that "
        "are attended, lost, and attended again some blocks later."
    )
    does_not_show = "Which of these looks mattered for the prediction; it is the same for every class."
    columns: ClassVar[Mapping[str, str]] = {
        "blocks": "int32",
        "heads": "int32",
        "rows": "int32",
        "cols": "int32",
        "values": "list<float16>",
    }

    def observe(self, context: Context) -> Iterator[list[dict[str, Any]]]:
        """See `Observation.observe`."""
        trace, layout = context.trace, context.model.layout
        rows = [layout.readout_row(trace.readout, attention) for attention in trace.attention]
        atlas = layout.to_grid(torch.stack(rows, 1)).half().cpu().numpy()
        for image in atlas:
            shape = dict(zip(("blocks", "heads", "rows", "cols"), image.shape, strict=True))
            yield [{**shape, "values": image.ravel()}]
