"""How fast images are decoded and prepared for the model, by the number of decoders.

    python -m tests.benchmarks.decode_pace [--images 512] [--decoders 1 2 4]

Generated pictures of 500 x 375 pixels are read as `explain` reads them, and nothing is done with them. A
model that explains more images a second than this waits for its decoders.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

import torch

from tests.benchmarks.whole_run import write_photos
from vitreport import RunSettings, batches
from vitreport.plan import Plan, make_plan


def seconds(plan: Plan, decoders: int) -> float:
    """Wall time of preparing all images of a plan."""
    began = time.perf_counter()
    with patch.object(batches, "_DECODERS", decoders):
        for _ in batches.prepared_batches(plan, plan.shards.values()):
            pass
    return time.perf_counter() - began


def main(arguments: Sequence[str] | None = None, say: Callable[[str], None] = print) -> list[float]:
    """Prints images a second by the number of decoders, and returns them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--decoders", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--model", default="embedded:honest")
    parser.add_argument("--checkpoint")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        write_photos(Path(scratch) / "pictures", given.images)
        plan = make_plan(
            RunSettings(
                images=(f"{scratch}/pictures",), model=given.model, checkpoint=given.checkpoint, device="cpu"
            )
        )
        seconds(plan, max(given.decoders))  # starts the decoding processes
        paces = [given.images / seconds(plan, decoders) for decoders in given.decoders]
    for decoders, pace in zip(given.decoders, paces, strict=True):
        say(f"{decoders} at a time: {pace:.0f} images a second, {pace / paces[0]:.2f} x the first")
    return paces


if __name__ == "__main__":
    main()
