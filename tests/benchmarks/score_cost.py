"""What scoring one technique costs, in plain forward passes.

    python -m tests.benchmarks.score_cost [--device cuda --model vit_base_patch16_224 --batch 128]

Runs, in turn, a plain fused forward of a batch and a metric on one technique's maps of it, and prints the
median of the pairwise ratios. For the symmetric relevance gain it also counts the tokens that go through the
model, in those of a plain forward, against their bound; and by token drop how many times longer a loop takes
that runs one picture with some of its patches at a time, on the first pictures of the batch.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.benchmarks.explain_cost import Clock
from tests.benchmarks.models import seeded_model
from vitreport.faithfulness.metric import Case, Metric, select
from vitreport.faithfulness.ranking import most_relevant_first
from vitreport.faithfulness.relevance_gain import RelevanceGain
from vitreport.masking import token_drop
from vitreport.model.environment import device_name


@torch.no_grad()
def one_at_a_time(case: Case, maps: Tensor, steps: int, images: int) -> Tensor:
    """The target's score, one picture, direction and step after the other, ``(images, 2, steps + 1)``."""
    found = []
    orders = most_relevant_first(maps, case.image_ids, case.seed)[:images]
    with token_drop(case.model) as run:
        for image, order in enumerate(orders):
            for one in (order, order.flip(0)):
                for step in range(steps + 1):
                    shown = one[round(len(one) * step / steps) :]
                    logits = run(case.pixels[image : image + 1], shown[None])
                    found.append(case.model.head.scores(logits)[0, case.targets[image]])
    return torch.stack(found).view(images, 2, steps + 1)


def count_forwards(case: Case, metric: Metric, maps: Tensor) -> float:
    """What a metric sends through the first block, in plain forward passes of an image."""
    tokens = 0

    def add(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal tokens
        tokens += given[0].shape[0] * given[0].shape[1]

    with torch.no_grad(), case.model.module.blocks[0].register_forward_pre_hook(add):
        case.model.module(case.pixels)
        whole, tokens = tokens, 0
        metric.score(case, {"map": maps})
    return tokens / whole


def most_forwards(case: Case, metric: RelevanceGain) -> float:
    """The bound: two ends that all orders share, and both orders at every step between them.

    By token drop a step between has the prefix, half of the patches on average, and half a one for rounding.
    """
    layout = case.model.layout
    prefix, total = layout.num_prefix_tokens, layout.num_patches
    dropped = metric.occluder == "token_drop"
    share = (prefix + (total + 1) / 2) / (prefix + total) if dropped else 1.0
    return 2 + 2 * (metric.steps - 1) * share


def main(arguments: list[str] | None = None, say: Callable[[str], None] = print) -> float:
    """Prints both ratios; returns that of scoring to a plain forward pass."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    parser.add_argument("--metric", default="relevance_gain:steps=20")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alone", type=int, default=2, help="pictures for the loop")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    model = seeded_model(given.model, given.device)
    (metric,) = select([given.metric])
    pixels = torch.randn(given.batch, 3, *model.input_size, device=given.device)
    maps = torch.rand(given.batch, *model.layout.grid, device=given.device)
    ids = tuple(f"{number:016x}" for number in range(given.batch))
    with torch.no_grad():
        targets = model.module(pixels).argmax(1)
    case = Case(model, pixels, targets, ids, seed=0, chunk=given.batch)
    loops = isinstance(metric, RelevanceGain) and metric.occluder == "token_drop" and given.alone
    ratios, plain, slower = [], [], []
    for number in range(given.rounds + 1):
        clock = Clock(model.device)
        with torch.no_grad():
            model.module(pixels)
        before = clock.lap()
        metric.score(case, {"map": maps})
        scoring = clock.lap()
        with torch.no_grad():
            model.module(pixels)
        forward = (before + clock.lap()) / 2
        if isinstance(metric, RelevanceGain) and loops:
            one_at_a_time(case, maps, metric.steps, given.alone)
            slower.append(clock.lap() / given.alone * given.batch / scoring)
        if number:  # the first round warms up
            plain.append(forward)
            ratios.append(scoring / forward)
    where = device_name(given.device)
    say(f"{given.model}, batch {given.batch}, {where}, {given.threads} threads, torch {torch.__version__}")
    milliseconds = 1000 * statistics.median(plain) / given.batch
    say(f"plain fused forward: {milliseconds:.2f} ms an image")
    if isinstance(metric, RelevanceGain):
        counted = count_forwards(case, metric, maps)
        most = most_forwards(case, metric)
        say(f"forwards counted: {counted:.2f} an image and technique, at most {most:.2f}")
    total = statistics.median(ratios)
    say(
        f"{metric.key}: {total:.1f}x a plain forward, {total * milliseconds:.0f} ms an image and technique "
        f"(median of {given.rounds} pairs, least {min(ratios):.1f}x)"
    )
    if slower:
        say(f"one picture at a time: {statistics.median(slower[1:]):.2f}x as long as this")
    return total


if __name__ == "__main__":
    main()
