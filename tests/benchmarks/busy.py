"""How long a model's device is at work during a run: between CUDA events around the work that it is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Self
from unittest.mock import patch

import torch

from vitreport.explainer import Explainer
from vitreport.findings import Findings
from vitreport.model.tracer import Tracer
from vitreport.techniques.technique import TECHNIQUES, Observation


class Busy(AbstractContextManager["Busy"]):
    """Counts the time of the explain stage's forward passes, gradients, maps and observations.

    On a GPU that is the time from the first to the last piece of work of each of these calls, by its own
    clock; what the CPU does between the calls, and with an observation's values, does not count. On the
    CPU it is the time of the calls.
    """

    def __init__(self, device: str) -> None:
        self._on_gpu = device == "cuda"
        self._patches = ExitStack()
        self._depth = 0
        self._explaining = False
        self._spans: list[tuple[Any, Any]] = []

    def __enter__(self) -> Self:
        for place, name in ((Tracer, "forward"), (Tracer, "gradient"), (Findings, "_attribute")):
            self._patches.enter_context(patch.object(place, name, self._around(getattr(place, name))))
        self._patches.enter_context(patch.object(Explainer, "in_turn", self._during(Explainer.in_turn)))
        for kind in TECHNIQUES.values():
            if issubclass(kind, Observation):
                self._patches.enter_context(patch.object(kind, "observe", self._around_first(kind.observe)))
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()

    @property
    def seconds(self) -> float:
        """The time so far."""
        if self._on_gpu:
            torch.cuda.synchronize()
            return sum(began.elapsed_time(ended) for began, ended in self._spans) / 1000
        return float(sum(ended - began for began, ended in self._spans))

    def _moment(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    @contextmanager
    def _span(self) -> Iterator[None]:
        """A call that is made within another counts as part of that."""
        began = self._moment() if self._explaining and not self._depth else None
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if began is not None:
                self._spans.append((began, self._moment()))

    def _during(self, in_turn: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """What loading a model computes is no part of the stage."""

        def call(*given: Any) -> Iterator[Any]:
            self._explaining = True
            try:
                yield from in_turn(*given)
            finally:
                self._explaining = False

        return call

    def _around(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            with self._span():
                return method(*given, **named)

        return call

    def _around_first(self, observe: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """All work on the device is done before an observation gives its first image's rows."""

        def call(*given: Any) -> Iterator[Any]:
            images = observe(*given)
            with self._span():
                first = next(images)
            yield first
            yield from images

        return call
