"""The length of every token after every block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from vitreport.model.trace import Need
from vitreport.techniques.technique import Context, Observation, register


@register
@dataclass(frozen=True)
class TokenNorms(Observation):
    """Euclidean norm of each token of the residual stream after each block, before any norm layer.

    Source:
        Darcet et al. 2023, Vision Transformers Need Registers, arXiv:2309.16588, section 2.
    """

    name = "token_norms"
    title = "Token norms"
    family = "activation"
    needs = Need.TOKENS
    source = "Darcet et al., Vision Transformers Need Registers, 2023, arXiv:2309.16588, section 2"
    shows = (
        "Patches whose tokens grow far longer than the others: there the model may keep notes of its own, "
        "and attention techniques light up where nothing is to be seen."
    )
    does_not_show = "What such tokens hold, and whether the prediction leans on them."
    columns: ClassVar[Mapping[str, str]] = {
        "blocks": "int32",
        "prefix": "int32",
        "rows": "int32",
        "cols": "int32",
        "prefix_values": "list<float32>",
        "values": "list<float32>",
    }

    def observe(self, context: Context) -> Iterator[list[dict[str, Any]]]:
        """See `Observation.observe`.

        ``values`` are ``(blocks, rows, cols)``, ``prefix_values`` ``(blocks, prefix)``, row by row.
        """
        layout = context.model.layout
        norms = torch.stack([tokens.norm(dim=-1) for tokens in context.trace.tokens[1:]], 1).float().cpu()
        for image in norms:
            yield [
                {
                    "blocks": len(image),
                    "prefix": layout.num_prefix_tokens,
                    "rows": layout.grid[0],
                    "cols": layout.grid[1],
                    "prefix_values": image[:, : layout.num_prefix_tokens].numpy().ravel(),
                    "values": image[:, layout.num_prefix_tokens :].numpy().ravel(),
                }
            ]
