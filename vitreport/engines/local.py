"""The local engine: in this process, or in a pool of processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.connection import wait

from vitreport.engines.engine import InTurn, Item, Receipt, Resources, Worker


class LocalEngine:
    """Runs items in order in this process, or in any order in `Resources.processes` fresh ones."""

    def map(self, worker: Worker[Item], items: Sequence[Item], resources: Resources) -> Iterator[Receipt]:
        """Yields receipts as they come; from a pool, an item's receipts come when the item is done."""
        if resources.processes <= 1 or len(items) <= 1:
            if isinstance(worker, InTurn):
                yield from worker.in_turn(items)
                return
            for item in items:
                yield from worker(item)
            return
        context = multiprocessing.get_context("spawn")
        processes = min(resources.processes, len(items))
        with ProcessPoolExecutor(processes, mp_context=context, initializer=_depend_on_parent) as pool:
            futures = [pool.submit(_exhaust, worker, item) for item in items]
            try:
                for future in as_completed(futures):
                    yield from future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _exhaust(worker: Worker[Item], item: Item) -> list[Receipt]:
    return list(worker(item))


def _depend_on_parent() -> None:
    """A worker ends with its parent, however that ends, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
