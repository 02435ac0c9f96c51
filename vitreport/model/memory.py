"""How many images fit into a batch."""

from __future__ import annotations

import torch

from vitreport.model.load import VisionModel

MOST_ON_CPU, MOST_ON_GPU = 32, 128
_CPU_BUDGET = 4 << 30
_GPU_SHARE = 0.6
_ATTENTION_COPIES = 5
"""Scores, softmax, gradients of both, and one matrix that a technique makes."""
_TOKEN_COPIES = 40
"""Activations that a block keeps for its gradient, in widths of a token."""

_PRECISE_COPIES = 3
"""Twice the bytes of a number, and half as much again for what is recorded."""


def bytes_per_image(model: VisionModel) -> int:
    """Estimated memory of one traced image with its gradient, in bytes."""
    tokens = model.layout.num_tokens
    attention = model.heads * tokens * tokens * _ATTENTION_COPIES
    return 4 * model.blocks * (attention + tokens * model.width * _TOKEN_COPIES)


def automatic_batch_size(model: VisionModel) -> int:
    """A batch that fits: at most 32 images on the CPU and 128 on a GPU, halved until it fits."""
    if model.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(model.device)
        budget, size = int(free * _GPU_SHARE), MOST_ON_GPU
    else:
        budget, size = _CPU_BUDGET, MOST_ON_CPU
    if not model.blocks:
        size //= 4  # what such a model keeps for its gradient is not known
    while size > 1 and size * bytes_per_image(model) > budget:
        size //= 2
    return size


def precise_batch_size(model: VisionModel) -> int:
    """Images at a time of a pass in float64 that also records what each layer was given and gave."""
    if model.device.type == "cuda":  # of all memory: what is free in the middle of a run says little
        budget = int(torch.cuda.get_device_properties(model.device).total_memory * _GPU_SHARE / 2)
    else:
        budget = _CPU_BUDGET // 2
    return max(1, budget // (_PRECISE_COPIES * bytes_per_image(model)))
