"""How many images fit into a batch, and what it looks like when they did not."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import torch

from vitreport.errors import SettingsError
from vitreport.model.load import VisionModel

MOST_ON_CPU, MOST_ON_GPU = 32, 128
SHORT_OF_MEMORY = "There was no memory for"
"""How a notice begins that says that a batch was halved."""
_CPU_BUDGET = 4 << 30
_CPU_SHARE = 0.5
_GPU_SHARE = 0.6
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
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
        budget, size = min(_CPU_BUDGET, int(all_memory(model.device) * _CPU_SHARE)), MOST_ON_CPU
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


def check_room(model: VisionModel) -> None:
    """Makes sure, before anything is computed, that the device could hold one image.

    Raises:
        SettingsError: it could not.
    """
    needed, there = bytes_per_image(model), all_memory(model.device)
    if needed > there:
        tokens = model.layout.num_tokens
        raise SettingsError(
            f"one image takes about {needed / 1e9:.1f} GB, because {model.name} has {tokens} tokens whose "
            f"attention to each other is kept in {model.blocks} blocks, and the {model.device.type} has "
            f"{there / 1e9:.1f} GB; give a smaller --image-size, or run it where there is more memory"
        )


def all_memory(device: torch.device) -> int:
    """What a device has in all, in bytes; of the CPU what this process may have."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no such file, or the word max
        there = min(there, int(_CGROUP_LIMIT.read_text()))
    return there


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; torch has a type of its own for that on a GPU only."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def release(device: torch.device) -> None:
    """Gives what torch holds in reserve back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
