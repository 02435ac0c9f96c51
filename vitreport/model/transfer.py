"""From the device to the memory of the CPU, while the device goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor


def to_host(values: Tensor) -> Tensor:
    """A copy in the memory of the CPU that is under way: it may be read after its `arrival` only.

    What is there already is returned as it is.
    """
    return values.detach().to("cpu", non_blocking=True)


def arrival(device: torch.device) -> Callable[[], None]:
    """What waits, in any thread, for all copies from `device` that this thread has begun so far."""
    if device.type != "cuda":
        return lambda: None
    event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event.synchronize


def fetched(*values: Tensor) -> list[npt.NDArray[Any]]:
    """Copies of tensors of one device as numpy arrays, for which the device is awaited once."""
    copies = [to_host(one) for one in values]
    arrival(values[0].device)()
    return [one.numpy() for one in copies]
