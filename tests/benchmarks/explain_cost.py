"""What explaining costs, in plain forward passes.

    python -m tests.benchmarks.explain_cost [--device cuda --batch 128]

Runs, in turn, a plain fused forward of a batch and the traced pass with every technique of a tier for one
target, and prints the median of the pairwise ratios: of all of it, and of the maps without the observations.
What explains the first few images of a run only is left out. On a machine that others use too,
``--clock cpu --threads 1`` counts the time that this process had instead of the time that passed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable

import torch

from tests.benchmarks.models import seeded_model
from vitreport.findings import Findings
from vitreport.model.environment import device_name
from vitreport.model.load import VisionModel
from vitreport.model.trace import Backward
from vitreport.techniques.technique import Context, Explainable, Observation, needs_of, select


def explain_batch(
    model: VisionModel, techniques: list[Explainable], pixels: torch.Tensor
) -> dict[str, float]:
    """Explains one batch as a run does; returns seconds by step."""
    seconds: dict[str, float] = {}
    clock = Clock(model.device)
    for backward in Backward:
        groups = defaultdict(list)
        for technique in techniques:
            if technique.backward is backward:
                groups[technique.name].append(technique)
        if not groups:
            continue
        needs = needs_of(technique for members in groups.values() for technique in members)
        with model.traced(needs, backward) as tracer:
            forward = tracer.forward(pixels)
        seconds[f"{backward.value} forward"] = clock.lap()
        targets = forward.logits.argmax(1)
        trace = tracer.gradient(forward, targets)
        seconds[f"{backward.value} gradient"] = clock.lap()
        ids = tuple(f"{number:016x}" for number in range(len(pixels)))
        context = Context(trace, model, ids, seed=0)
        for name, members in groups.items():
            Findings(model.layout.grid).add(context, members, targets.tolist(), first=True)
            seconds[name] = clock.lap()
    return seconds


class Clock:
    """Seconds since the last lap; `now` says by which clock."""

    now: Callable[[], float] = staticmethod(time.perf_counter)

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.lap()

    def lap(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        now = Clock.now()
        passed = now - getattr(self, "_last", now)
        self._last = now
        return passed


def main(arguments: list[str] | None = None, say: Callable[[str], None] = print) -> float:
    """Prints the table; returns the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    parser.add_argument("--technique", nargs="+", default=["core"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    model = seeded_model(given.model, given.device)
    Clock.now = staticmethod(time.process_time if given.clock == "cpu" else time.perf_counter)
    techniques = [technique for technique in select(given.technique) if technique.most_images is None]
    looking = {technique.name for technique in techniques if isinstance(technique, Observation)}
    pixels = torch.randn(given.batch, 3, *model.input_size, device=given.device)
    ratios, of_maps, plain, steps = [], [], [], defaultdict(list)
    for number in range(given.rounds + 1):
        clock = Clock(model.device)
        with torch.no_grad():
            model.module(pixels)
        forward = clock.lap()
        seconds = explain_batch(model, techniques, pixels)
        if number:  # the first round warms up
            plain.append(forward)
            ratios.append(sum(seconds.values()) / forward)
            of_maps.append(sum(passed for step, passed in seconds.items() if step not in looking) / forward)
            for step, duration in seconds.items():
                steps[step].append(duration / forward)
    where = device_name(given.device)
    say(f"{given.model}, batch {given.batch}, {where}, {given.threads} threads, torch {torch.__version__}")
    say(f"plain fused forward: {1000 * statistics.median(plain) / given.batch:.2f} ms an image")
    milliseconds = 1000 * statistics.median(plain) / given.batch
    for step, values in steps.items():
        share = statistics.median(values)
        say(f"  {step:24} {share:7.2f}x {share * milliseconds:9.2f} ms an image")
    total = statistics.median(ratios)
    say(f"without observations: {statistics.median(of_maps):.2f}x, least {min(of_maps):.2f}x")
    say(f"all of it: {total:.2f}x a plain forward (median of {given.rounds} pairs, least {min(ratios):.2f}x)")
    return total


if __name__ == "__main__":
    main()
