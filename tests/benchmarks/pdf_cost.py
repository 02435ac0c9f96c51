"""What the PDFs of a run cost: processor seconds of all processes, seconds, and the memory of the largest.

    python -m tests.benchmarks.pdf_cost [--images 1000 | --run RUN] [--per-image] [--processes 2]

Without a run, one without a model is made up: 14 maps of 6 x 8 patches an image. Nothing in a run is changed.
The work is done in a process of its own, so that what the benchmark itself holds is not counted.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.synthetic_run import write_run
from vitreport.report.pdf_stage import PdfStage
from vitreport.report.run_reading import RunReading
from vitreport.report.site_folder import tidy
from vitreport.report.site_record import Earlier
from vitreport.report.sources import Sources
from vitreport.store import RunFolder, open_run


@dataclass(frozen=True)
class Cost:
    """What was spent: seconds, and bytes."""

    documents: int
    processor: float
    passed: float
    main_peak: float
    worker_peak: float


def measure(root: Path, stage: PdfStage, processes: int) -> Cost:
    """Draws the PDFs of a run in this process and others, and removes them."""
    began = time.perf_counter()
    run = open_run(root)
    told: list[float] = []
    records = stage.draw(
        RunReading(run),
        Sources.of(run),
        Earlier({}, ()),
        processes,
        lambda name, done, total: told.append(done),
    )
    passed = time.perf_counter() - began
    tidy(RunFolder(root))
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(
        documents=len(records),
        processor=own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime,
        passed=passed,
        main_peak=float(unit * own.ru_maxrss),
        worker_peak=float(unit * others.ru_maxrss),
    )


def main(arguments: Sequence[str] | None = None, say: Callable[[str], None] = print) -> Cost:
    """Prints and returns what the PDFs of a run cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--per-image", action="store_true")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sheets", type=int, default=60, help="in the summary")
    given = parser.parse_args(arguments)
    with TemporaryDirectory() as scratch:
        root = given.run or write_run(Path(scratch) / "run", given.images, quarantined=0)
        stage = PdfStage(given.sheets, volumes=True, per_image=given.per_image)
        script = (
            "import json, sys; from dataclasses import asdict; from pathlib import Path;"
            "from tests.benchmarks.pdf_cost import measure; from vitreport.report.pdf_stage import PdfStage;"
            "print(json.dumps(asdict(measure("
            "Path(sys.argv[1]), PdfStage(**json.loads(sys.argv[2])), int(sys.argv[3])))))"
        )
        command = [sys.executable, "-c", script, str(root), json.dumps(asdict(stage)), str(given.processes)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        cost = Cost(**json.loads(done.stdout))
        data = open_run(root).manifest.data
    say(
        f"{data.images - data.quarantined:,} images, {cost.documents} documents, "
        f"in {given.processes} at a time: {cost.processor:.1f} s of processor time, {cost.passed:.1f} s; "
        f"peak memory {cost.main_peak / 1e6:.0f} MB, of the largest other process "
        f"{cost.worker_peak / 1e6:.0f} MB"
    )
    return cost


if __name__ == "__main__":
    main()
