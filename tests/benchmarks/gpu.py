"""What is asked of a GPU, one line a check; needs no network, no weights and no PDF engine.

    python -m tests.benchmarks.gpu [--images 4096 --batch 128]

Models are those of timm with seeded random weights, pictures are made up, and neither TF32 nor half precision
is used:

- the `core` tier costs at most 3.5 plain forward passes (as `explain_cost` measures it);
- eight maps of a batch come at least 50 times as fast as one image and technique at a time (as `peers`);
- the maps of the `core` tier agree with those of the CPU to 1e-3 of a map's maximum;
- a run keeps the GPU busy for at least 70 % of its explain stage (see `busy`), with the larger model;
- a run is at least 80 % as fast as decoding its pictures and nothing else, with the smaller model.

A check that fails to run says so in its line, and the others go on. With ``--device cpu`` it is a rehearsal.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.benchmarks import explain_cost, peers
from tests.benchmarks.busy import Busy
from tests.benchmarks.models import seeded_model
from tests.benchmarks.whole_run import write_photos
from vitreport import RunSettings, explain
from vitreport.batches import prepared_batches
from vitreport.model.environment import device_name
from vitreport.plan import make_plan
from vitreport.settings import SHARD_SIZE
from vitreport.techniques.maps import maps_of
from vitreport.techniques.technique import Technique, select

PICTURES_COMPARED = 8


@dataclass(frozen=True)
class Stage:
    """The explain stage of a run, in seconds: of the clock, of the busy device, of decoding alone."""

    wall: float
    busy: float
    decoding: float


def agreement(name: str, device: str) -> tuple[float, str]:
    """How far maps on the device are from the CPU's, at most, as a share of a map's maximum; and of what."""
    techniques = [one for one in select(["core"]) if isinstance(one, Technique) and one.most_images is None]
    ids = [f"{number:016x}" for number in range(PICTURES_COMPARED)]
    found = []
    for where in ("cpu", device):
        model = seeded_model(name, where)
        generator = torch.Generator().manual_seed(1)
        pixels = torch.randn(PICTURES_COMPARED, 3, *model.input_size, generator=generator).to(where)
        targets = [torch.arange(PICTURES_COMPARED, device=where)]
        (maps,) = maps_of(model, techniques, pixels, targets, ids, 0, PICTURES_COMPARED)
        found.append({key: values.cpu() for key, values in maps.items()})
    expected, maps = found
    gaps = {
        key: float(((maps[key] - one).abs().amax((1, 2)) / one.abs().amax((1, 2)).clamp(min=1e-30)).max())
        for key, one in expected.items()
    }
    worst = max(gaps, key=lambda key: math.inf if math.isnan(gaps[key]) else gaps[key])
    return gaps[worst], worst  # a map that is not there is NaN, and agrees with nothing


def stage(name: str, device: str, pictures: Path, scratch: Path, batch: int) -> Stage:
    """Explains pictures by the `core` tier, after a run of one shard that warms up; then decodes them."""
    checkpoint = scratch / "weights.safetensors"
    save_file(seeded_model(name, "cpu").module.state_dict(), checkpoint)
    settings = RunSettings(
        images=(str(pictures),),
        model=name,
        checkpoint=str(checkpoint),
        metrics=("none",),
        device=device,
        batch_size=batch,
    )
    explain(RunSettings.from_mapping(settings.to_mapping() | {"limit": SHARD_SIZE}), scratch / "warm")
    run = scratch / "run"
    with Busy(device) as busy:
        explain(settings, run)
    wall = json.loads((run / "timings.json").read_text())["seconds"]["explain"]
    plan = make_plan(settings)
    began = time.perf_counter()
    for _ in prepared_batches(plan, plan.shards.values()):
        pass
    return Stage(wall, busy.seconds, time.perf_counter() - began)


def main(arguments: Sequence[str] | None = None, say: Callable[[str], None] = print) -> dict[str, bool]:
    """Prints a line a check; returns which of them hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--small", default="deit_tiny_patch16_224")
    parser.add_argument("--large", default="vit_base_patch16_224")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args(arguments)
    say(f"{device_name(given.device)}, torch {torch.__version__}, batch {given.batch}, {given.images} images")
    held: dict[str, bool] = {}

    def check(what: str, measure: Callable[[], tuple[bool, str]]) -> None:
        try:
            held[what], found = measure()
        except Exception as error:  # the other checks are worth their time all the same
            traceback.print_exc()
            held[what], found = False, f"{type(error).__name__}: {error}"
        say(f"{what}: {found} {'holds' if held[what] else 'DOES NOT HOLD'}")

    common = ["--model", given.small, "--device", given.device, "--batch", str(given.batch)]
    common += ["--rounds", str(given.rounds)]
    quiet: Callable[[str], None] = lambda line: None  # noqa: E731

    def cost() -> tuple[bool, str]:
        ratio = explain_cost.main(common, quiet)
        return ratio <= 3.5, f"{ratio:.2f} plain forward passes, at most 3.5:"

    def against_peers() -> tuple[bool, str]:
        ratio = peers.main(common, quiet)
        return ratio >= 50, f"{ratio:.1f} times as fast, at least 50:"

    def agree() -> tuple[bool, str]:
        gap, key = agreement(given.small, given.device)
        return gap <= 1e-3, f"{gap:.1e} of the maximum at most ({key}), at most 1e-3:"

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        write_photos(scratch / "pictures", given.images)

        def explained(name: str) -> Stage:
            with tempfile.TemporaryDirectory(dir=scratch) as own:
                return stage(name, given.device, scratch / "pictures", Path(own), given.batch)

        def keeps_busy() -> tuple[bool, str]:
            one = explained(given.large)
            pace = f"{given.images / one.wall:.0f} images a second"
            return one.busy >= 0.7 * one.wall, f"{100 * one.busy / one.wall:.0f} % ({pace}), at least 70 %:"

        def keeps_pace() -> tuple[bool, str]:
            one = explained(given.small)
            paces = f"{given.images / one.wall:.0f} of {given.images / one.decoding:.0f} images a second"
            share, busy = one.decoding / one.wall, one.busy / one.wall
            return share >= 0.8, f"{100 * share:.0f} % ({paces}; busy {100 * busy:.0f} %), at least 80 %:"

        check(f"core tier, {given.small}", cost)
        check(f"eight maps against one at a time, {given.small}", against_peers)
        check(f"maps against the CPU's, {given.small}", agree)
        check(f"busy share of the explain stage, {given.large}", keeps_busy)
        check(f"pace against decoding alone, {given.small}", keeps_pace)
    return held


if __name__ == "__main__":
    raise SystemExit(0 if all(main().values()) else 1)
