"""Order statistics of many rows at once.

On the CPU numpy sorts and counts with vector instructions, several times faster than torch; the rows are
shared out among as many threads as torch has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor


def sort_rows(values: Tensor) -> Tensor:
    """Sorts the last axis, smallest first; `values` may be written to."""
    if values.device.type != "cpu":
        return values.sort(dim=-1).values
    _share_out(values, _sorted)
    return values


def _sorted(values: Tensor) -> Tensor:
    values.numpy().sort(axis=-1)
    return values


def smallest(values: Tensor, ascending: Sequence[int]) -> list[Tensor | None]:
    """Selects from each row.

    Args:
        values: ``(batch, …)``.
        ascending: counts n, each at most the number of entries, in rising order.

    Returns:
        For each n the n-th smallest entry of every row, ``(batch,)``; None where n is 0.
    """
    if not any(ascending):
        return [None for _ in ascending]
    if values.device.type != "cpu":
        entries = values.flatten(1)
        above = [entries.shape[1] - count + 1 for count in ascending]
        return [
            entries.topk(several, 1, sorted=False).values.amin(1) if count else None
            for several, count in zip(above, ascending, strict=True)
        ]

    found = torch.cat(_share_out(values, lambda part: _selected(part, ascending)))
    return [found[:, place] if count else None for place, count in enumerate(ascending)]


def _selected(values: Tensor, ascending: Sequence[int]) -> Tensor:
    """The n-th smallest entry of each row for every n, ``(batch, counts)``; what it holds for 0 is nothing.

    Each is looked for among the entries that the one before it has left above.
    """
    rest, start = values.flatten(1).numpy().copy(), 0
    found = values.new_empty(len(rest), len(ascending))
    for place, count in enumerate(ascending):
        if count:
            rank = count - 1 - start
            rest.partition(rank, axis=1)
            found[:, place] = torch.from_numpy(rest[:, rank])
            rest, start = rest[:, rank:], count - 1
    return found


def _share_out(rows: Tensor, work: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Gives each thread some of the rows; numpy lets the others run meanwhile."""
    threads = torch.get_num_threads()
    if threads == 1 or len(rows) == 1:
        return [work(rows)]
    return list(_pool(threads).map(work, rows.chunk(min(threads, len(rows)))))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="order")
