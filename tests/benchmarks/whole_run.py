"""A whole run, stage by stage: wall and CPU time an image, peak memory, size; and how they grow.

    python -m tests.benchmarks.whole_run --images 100 1000 [--model NAME --checkpoint FILE] [--volumes]

Generated pictures of 500 x 375 pixels go through the `core` techniques, without scores, to a site and a PDF.
Each stage is a process of its own: `explain`, `html` and `report` (both HTML and PDF; the cost of the PDF is
the difference), and `decode`, which prepares the pictures as `explain` does and does nothing with them. With
`--volumes` one more draws the PDFs anew with a sheet for every image: `report.pdf` and the volumes, and what
reading the run for them takes. With `--only-explain` there is no report, and no PDF engine is needed. CPU
time includes that of the processes that a stage starts; peak memory is that of its largest process. How long
the model's device was at work (see `busy`), and the pace of decoding alone, are told as shares of the explain
stage of the run, which begins when the model and the list of images are there.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vitreport.images import decoder

WIDTH, HEIGHT = 500, 375
Measured = dict[str, float]


def write_photos(folder: Path, count: int) -> None:
    """Distinct JPEGs with the size, the coarse structure and the grain of photos."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    grain = rng.normal(0, 8, (2 * HEIGHT, 2 * WIDTH, 1))
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
        smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float64)
        top, left = rng.integers(0, HEIGHT), rng.integers(0, WIDTH)
        pixels = np.clip(smooth + grain[top : top + HEIGHT, left : left + WIDTH], 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:06d}.jpg", quality=88)


def spent() -> Measured:
    """Wall and CPU seconds of this process and its children, and the peak of the largest, in MiB."""
    decoder._pool.close()  # only of children that have ended the time is known
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "wall": time.perf_counter(),
        "cpu": sum(one.ru_utime + one.ru_stime for one in usage),
        "peak": max(one.ru_maxrss for one in usage) / 1024,
    }


def since(before: Measured) -> Measured:
    now = spent()
    return {"wall": now["wall"] - before["wall"], "cpu": now["cpu"] - before["cpu"], "peak": now["peak"]}


def explain_stage(settings: dict[str, Any], run: str) -> dict[str, Measured]:
    from tests.benchmarks.busy import Busy
    from vitreport import RunSettings, explain

    before = spent()
    with Busy(settings["device"]) as busy:
        explain(RunSettings.from_mapping(settings), run)
    stage = json.loads((Path(run) / "timings.json").read_text())["seconds"]["explain"]
    return {"explain": since(before) | {"stage": stage, "busy": busy.seconds}}


def decode_stage(settings: dict[str, Any], run: str) -> dict[str, Measured]:
    from vitreport import RunSettings
    from vitreport.batches import prepared_batches
    from vitreport.plan import make_plan

    plan = make_plan(RunSettings.from_mapping(settings))
    before = spent()
    for _ in prepared_batches(plan, plan.shards.values()):
        pass
    return {"decode": since(before)}


def html_stage(settings: dict[str, Any], run: str) -> dict[str, Measured]:
    from vitreport import build_report

    before = spent()
    build_report(run, pdf=False)
    return {"html": since(before)}


def report_stage(settings: dict[str, Any], run: str) -> dict[str, Measured]:
    from vitreport import build_report

    shutil.rmtree(Path(run) / "report")
    (Path(run) / "report.json").unlink()
    before = spent()
    build_report(run)
    return {"report": since(before)}


def volumes_stage(settings: dict[str, Any], run: str) -> dict[str, Measured]:
    from vitreport import build_report, open_run
    from vitreport.report.pdf import DEFAULT_IMAGE_CAP

    images = open_run(run).manifest.data.images
    before = spent()
    build_report(run, pdf_images=min(DEFAULT_IMAGE_CAP, images - 1), pdf_volumes=True)
    return {"volumes": since(before)}


STAGES = {
    "explain": explain_stage,
    "decode": decode_stage,
    "html": html_stage,
    "report": report_stage,
    "volumes": volumes_stage,
}


def measure(
    settings: dict[str, Any], count: int, scratch: Path, threads: int, stages: Sequence[str]
) -> dict[str, Measured]:
    """Some stages of a run on `count` pictures, and the size of its site, where it has one."""
    pictures, run = scratch / f"pictures-{count}", scratch / f"run-{count}"
    write_photos(pictures, count)
    settings = {**settings, "images": [str(pictures)]}
    found: dict[str, Measured] = {}
    for stage in stages:
        code = (
            "import json, sys\nfrom tests.benchmarks import whole_run\n"
            "print(json.dumps(whole_run.STAGES[sys.argv[1]](json.loads(sys.argv[2]), sys.argv[3])))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, stage, json.dumps(settings), str(run)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        found |= json.loads(done.stdout.splitlines()[-1])
    if "report" not in stages:
        return found
    found["pdf"] = {name: found["report"][name] - found["html"][name] for name in ("wall", "cpu")}
    files = [path.stat().st_size for path in (run / "report").rglob("*") if path.is_file()]
    found["site"] = {"bytes": sum(files), "files": len(files)}
    return found


def table(found: dict[int, dict[str, Measured]]) -> list[str]:
    """The measurements as Markdown, one row a size."""
    lines = [
        "| images | explain | HTML | PDF | PDF with volumes | peak of explain | peak of report | site |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for count, one in found.items():
        cells = [
            f"{1000 * one[stage]['cpu'] / count:.1f} ms CPU an image, {one[stage]['wall']:.0f} s"
            if stage in one
            else "not measured"
            for stage in ("explain", "html", "pdf", "volumes")
        ]
        peaks = [f"{one[stage]['peak']:.0f} MiB" for stage in ("explain", "report")]
        size = f"{one['site']['bytes'] / 1e6:.1f} MB in {one['site']['files']:.0f} files"
        lines.append(f"| {count:,} | {' | '.join([*cells, *peaks, size])} |")
    return lines


def main(arguments: Sequence[str] | None = None, say: Callable[[str], None] = print) -> dict[str, float]:
    """Prints the table and the ratios between neighbouring sizes; returns the last ratios of the peaks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--model", default="embedded:honest")
    parser.add_argument("--checkpoint")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only-explain", action="store_true", help="explain and decode, without a report")
    parser.add_argument("--volumes", action="store_true", help="measure a sheet for every image too")
    parser.add_argument("--scratch", type=Path, help="where the runs are made and left; default: nowhere")
    given = parser.parse_args(arguments)
    settings = {"model": given.model, "metrics": ["none"], "device": given.device}
    if given.checkpoint:
        settings["checkpoint"] = given.checkpoint
    without = set() if given.volumes else {"volumes"}
    stages = ["explain", "decode"] if given.only_explain else [one for one in STAGES if one not in without]
    found: dict[int, dict[str, Measured]] = {}
    with tempfile.TemporaryDirectory() as nowhere:
        scratch = given.scratch or Path(nowhere)
        scratch.mkdir(parents=True, exist_ok=True)
        for count in given.images:
            found[count] = measure(settings, count, scratch, given.threads, stages)
            one = found[count]
            pace, busy = (
                100 * part / one["explain"]["stage"]
                for part in (one["decode"]["wall"], one["explain"]["busy"])
            )
            say(
                f"{count:,} images: the explain stage runs at {pace:.0f} % of the pace of decoding alone; "
                f"the {given.device} is at work for {busy:.0f} % of it"
            )
    peaks = ["explain"] if given.only_explain else ["explain", "report"]
    for line in () if given.only_explain else table(found):
        say(line)
    ratios = dict.fromkeys(peaks, 1.0)
    for small, large in zip(given.images, given.images[1:], strict=False):
        ratios = {stage: found[large][stage]["peak"] / found[small][stage]["peak"] for stage in peaks}
        slopes = ", ".join(
            f"{stage} {found[large][stage]['cpu'] / large / (found[small][stage]['cpu'] / small):.2f}"
            for stage in ("explain", "html", "pdf")
            if stage in found[large]
        )
        grown = ", ".join(f"of {stage} {ratio:.2f}" for stage, ratio in ratios.items())
        say(f"{large:,} to {small:,} images: peak {grown}; CPU an image: {slopes}")
    return ratios


if __name__ == "__main__":
    main()
