"""What the analysis of a large run costs: seconds and memory over a synthetic store.

python -m tests.benchmarks.audit_cost [--images 10000] [--techniques 20]
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tests.analysis.planted_run import blob, plant
from tests.synthetic_run import technique_record
from vitreport.analysis.audit import audit
from vitreport.analysis.findings import findings
from vitreport.store import Run

GRID = (14, 14)
CLASSES = tuple(f"class {index}" for index in range(20))
DIFFERENT = 64
"""Maps that are drawn; the others repeat them."""


def write(root: Path, images: int, techniques: int) -> Run:
    """A run of random maps with labels, a group and a metadata column."""
    rng = np.random.default_rng(0)
    predicted = rng.integers(len(CLASSES), size=images).tolist()
    pool = [blob(rng, *rng.uniform(0, 13, 2), GRID) for _ in range(DIFFERENT)]
    maps = [pool[number] for number in rng.integers(DIFFERENT, size=images)]
    records = [
        technique_record(f"technique_{number}", class_specific=number % 2 == 0)
        for number in range(techniques)
    ]
    scores = np.full((images, len(CLASSES)), 0.2 / (len(CLASSES) - 1))
    scores[np.arange(images), predicted] = 0.8
    return plant(
        root,
        scores=scores.tolist(),
        grid=GRID,
        labels=[int(label) for label in np.where(rng.random(images) < 0.9, predicted, 0)],
        groups=[f"site {number % 7}" for number in range(images)],
        meta=[{"light": ("day", "night")[number % 2]} for number in range(images)],
        maps=[(record, maps) for record in records],
        classes=CLASSES,
    )


def main(arguments: Sequence[str] | None = None, write_line: Callable[[str], None] = print) -> float:
    """Prints what the analysis takes, and returns its seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--techniques", type=int, default=20)
    chosen = parser.parse_args(arguments)
    with TemporaryDirectory() as folder:
        run = write(Path(folder) / "run", chosen.images, chosen.techniques)
        before = _peak()
        began = time.perf_counter()
        found = findings(audit(run))
        seconds = time.perf_counter() - began
    write_line(
        f"{chosen.images:,} images, {chosen.techniques} techniques, {GRID[0]} x {GRID[1]} patches: "
        f"{seconds:.1f} s, "
        f"peak memory {_peak() / 1e9:.2f} GB ({before / 1e9:.2f} GB before), {len(found)} findings"
    )
    return seconds


def _peak() -> float:
    """Bytes that the process has held at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return float(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    main()
