"""What Ray costs: the same run on the local engine and on two actors of Ray Data, in one process.

    python -m tests.benchmarks.ray_cost [--images 1024]

Wall time of explaining generated pictures with the embedded model, one thread a worker. Apart: what the
cluster takes to start, and what an actor takes to import torch and get the model (a run of one image on Ray,
less the same here).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from tests.benchmarks.whole_run import write_photos
from vitreport import RunSettings, explain
from vitreport.engines import Engine, LocalEngine, Receipt, Resources
from vitreport.settings import SHARD_SIZE


def nothing(item: int) -> Sequence[Receipt]:
    return [Receipt(item)]


def seconds_of(settings: RunSettings, run: Path, engine: Engine) -> float:
    began = time.perf_counter()
    explain(settings, run, engine=engine)
    return time.perf_counter() - began


def main(arguments: Sequence[str] | None = None, say: Callable[[str], None] = print) -> float:
    """Prints the seconds; returns those of Ray without its start over those of the local engine."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=4 * SHARD_SIZE)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args(arguments)
    import ray

    from vitreport.engines.ray_data import RayEngine

    torch.set_num_threads(1)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers need not find this file
    actors = RayEngine(workers=given.workers)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        write_photos(root / "pictures", given.images)
        settings = RunSettings(
            images=(str(root / "pictures"),), model="embedded:honest", metrics=("none",), device="cpu"
        )
        began = time.perf_counter()
        list(actors.map(nothing, [1, 1], Resources(threads=1)))
        connected = time.perf_counter() - began
        local = seconds_of(settings, root / "local", LocalEngine())
        few = RunSettings(**{**settings.__dict__, "limit": 1})
        start = seconds_of(few, root / "one", actors) - seconds_of(few, root / "one-local", LocalEngine())
        together = seconds_of(settings, root / "ray", actors)
        ray.shutdown()
    say(f"local, one process: {local:.1f} s for {given.images:,} images")
    say(f"Ray, {given.workers} actors: {together:.1f} s, of which {start:.1f} s is what actors take to start")
    say(f"the cluster itself starts once, in {connected:.1f} s")
    ratio = (together - start) / local
    say(f"without the start: {ratio:.2f} of the local engine")
    return ratio


if __name__ == "__main__":
    main()
