"""Work beside the caller's own, one piece at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self


class Background:
    """A thread for work whose end need not be awaited; what it raises comes out at the next call here.

    Used with ``with``, which ends when the work has.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Starts a piece of work, when the one before has ended well."""
        if self._last is not None:
            self._last.result()
        self._last = self._pool.submit(work)

    def check(self) -> None:
        """Raises what the work has raised, if it has ended by now."""
        if self._last is not None and self._last.done():
            self._last.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        if error is None:
            self.check()
