"""Peak memory of `vitreport explain` on a small and on a large image set.

    python -m tests.benchmarks.explain_memory [--small 100 --large 1000]

Each run is a process of its own; the ratio of their peaks says whether memory grows with the set.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file


def write_images(folder: Path, count: int, size: tuple[int, int]) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    base = Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    for number in range(count):
        picture = base.copy()
        picture.paste(tuple(rng.integers(0, 256, 3).tolist()), (number % 50, 10, number % 50 + 40, 60))
        picture.save(folder / f"{number:06d}.jpg", quality=85)


def peak_kilobytes(images: Path, run: Path, model: str, checkpoint: Path) -> int:
    """Peak resident memory of explaining `images`, in a fresh process."""
    code = f"""
import resource
from vitreport import RunSettings, explain
explain(RunSettings(images=({str(images)!r},), model={model!r}, checkpoint={str(checkpoint)!r},
    device="cpu"), {str(run)!r})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def main(arguments: list[str] | None = None, say: Callable[[str], None] = print) -> float:
    """Prints both peaks; returns their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    parser.add_argument("--small", type=int, default=100)
    parser.add_argument("--large", type=int, default=1000)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        torch.manual_seed(0)
        checkpoint = root / "weights.safetensors"
        save_file(timm.create_model(given.model, pretrained=False).state_dict(), checkpoint)
        peaks = []
        for count in (given.small, given.large):
            images = root / f"images-{count}"
            write_images(images, count, (500, 375))
            peaks.append(peak_kilobytes(images, root / f"run-{count}", given.model, checkpoint))
            say(f"{count:6} images: peak {peaks[-1] / 1024:.0f} MiB")
    ratio = peaks[1] / peaks[0]
    say(f"ratio {ratio:.3f}")
    return ratio


if __name__ == "__main__":
    main()
