"""The engine seam: how work gets to workers. Techniques and pages know nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

Item = TypeVar("Item")
Much = TypeVar("Much", contravariant=True)


EXPLAIN = "explain"
"""The stage of work that all images go through."""
SCORE = "score"
"""The stage of work that images to be scored go through."""


@dataclass(frozen=True)
class Receipt:
    """A worker's word that some of its item is done.

    Attributes:
        done: units finished since the last receipt (images; of scoring, forward passes); parts of one count.
        stage: of the work, where it has several.
        seconds_left: what the rest of the stage will take, where the worker has just found out.
        notice: what the run must say of how it was computed, in a sentence.
    """

    done: float
    stage: str = EXPLAIN
    seconds_left: float | None = None
    notice: str | None = None


Worker = Callable[[Item], Iterable[Receipt]]
"""Does one item, giving receipts as it goes. Picklable; it writes its own results."""


@runtime_checkable
class InTurn(Protocol[Much]):
    """A worker that can also do several items in turn, and gets the next one ready while it does one."""

    def in_turn(self, items: Sequence[Much]) -> Iterator[Receipt]:
        """Does items in order, giving receipts as it goes; all results are written when it ends."""
        ...


@dataclass(frozen=True)
class Resources:
    """What one worker needs.

    Attributes:
        processes: workers at a time on one machine; 1 works in this process. A cluster has its own measure.
        threads: of torch in each; None leaves it to the engine.
        gpus: whether each needs a GPU.
    """

    processes: int = 1
    threads: int | None = None
    gpus: bool = False


class Engine(Protocol):
    """Runs a worker over items."""

    def map(self, worker: Worker[Item], items: Sequence[Item], resources: Resources) -> Iterator[Receipt]:
        """Yields receipts as they come; an exception in a worker ends the run."""
        ...
