"""What optimised pictures cost, and which gates they pass.

    python -m tests.benchmarks.maximize --images PHOTOS --checkpoint FILE [--device cuda]

Explains the photos into a temporary run, makes the pictures of some classes with every parametrisation, and
prints what the model says of them as they are stored, moved and blurred; the seam ratio with and without
the patch continuity constraint; the controls, which should fail; and seconds a target, alone and in a batch.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from tests.benchmarks.photos import SUFFIXES, parser
from vitreport import RunSettings, explain, maximize
from vitreport.model.environment import device_name
from vitreport.model.load import VisionModel
from vitreport.optimized.audited import AuditedImages
from vitreport.optimized.image import PARAMETRISATIONS, Fourier, Pixels
from vitreport.optimized.maximize import model_of
from vitreport.optimized.optimise import Order, Recipe, optimise
from vitreport.optimized.regulariser import seam_ratio
from vitreport.optimized.statistics import ImageStatistics
from vitreport.optimized.target import Target
from vitreport.store import Run
from vitreport.store.optimized import OptimizedRecord, cross_control

Say = Callable[[str], None]


def main(arguments: list[str] | None = None, say: Say = print) -> float:
    """Prints the tables; returns seconds a target in a batch over those alone."""
    options = parser(__doc__)
    options.add_argument("--target", nargs="+", default=["243", "282", "404", "88"])
    options.add_argument("--steps", type=int, default=Recipe.steps)
    options.add_argument("--seeds", type=int, default=4)
    options.add_argument("--batch", type=int, default=8, help="targets in a batch")
    options.add_argument("--timed-steps", type=int, default=12, help="of which seconds are projected")
    options.add_argument("--device", default="cpu")
    given = options.parse_args(arguments)
    torch.set_num_threads(given.threads)
    photos = _photos(given.images, given.limit)
    with tempfile.TemporaryDirectory() as place:
        run = explain(
            RunSettings(
                images=tuple(map(str, photos)),
                model=given.model,
                checkpoint=None if given.checkpoint is None else str(given.checkpoint),
                techniques=("raw_attention",),
                metrics=("none",),
                device=given.device,
            ),
            Path(place) / "run",
        )
        model = model_of(run, given.device)
        say(f"{given.model}, {run.manifest.data.images} photos, {given.steps} steps, {given.seeds} seeds")
        _print_gates(run, given.target, given.steps, given.seeds, given.device, say)
        images = AuditedImages(run, model)
        targets = [Target.parse(text, model.classes) for text in given.target]
        statistics = images.statistics().to(model.device)
        units = [said.deviation or 1.0 for said in images.read(targets)]
        orders = [Order(target, 0, unit) for target, unit in zip(targets, units, strict=True)]
        _print_seams(model, images, statistics, orders, given.steps, say)
        return _print_seconds(model, statistics, orders[0], given, say)


def _photos(folder: Path, limit: int | None) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)[:limit]


def _print_gates(run: Run, targets: Sequence[str], steps: int, seeds: int, device: str, say: Say) -> None:
    """What every picture and every control reaches; a range is over the seeds."""
    say(
        f"{'':24} {'clean':>13} {'shifted':>13} {'blurred':>13} {'seam ratio':>13} {'likeness':>13} "
        f"{'features':>8}  gates failed"
    )
    for parametrisation in PARAMETRISATIONS:
        records = maximize(
            run.folder.root, targets, parametrisation=parametrisation, steps=steps, seeds=seeds, device=device
        )
        for record in records:
            say(_row(f"{parametrisation} {record.target}", record))
        if parametrisation == Fourier.name:
            for record in records:
                failed = ", ".join(gate.name for gate in record.noise.gates if gate.passed is False)
                clean = record.noise.looks["clean"]
                say(f"noise for {record.target}: score {clean.score:.4f}, fails {failed}")
            crossed = cross_control(run.folder)
            if crossed is not None:
                pairs = [
                    (crossed.scores[row][column], crossed.passes[row][column])
                    for row in range(len(targets))
                    for column in range(len(targets))
                    if row != column
                ]
                passed = sum(passed for _, passed in pairs)
                say(
                    f"pictures judged for another class: {passed} of {len(pairs)} pass, "
                    f"largest score {max(score for score, _ in pairs):.1e}"
                )
            said = records[0].audited
            if said.likeness is not None:
                say(f"likeness of the photos themselves: {said.likeness:.2f}")


def _row(name: str, record: OptimizedRecord) -> str:
    cells = [
        _range(picture.looks[way].score for picture in record.pictures)
        for way in ("clean", "shifted", "blurred")
    ]
    cells.append(_range(picture.seam_ratio for picture in record.pictures))
    cells.append(_range(picture.likeness for picture in record.pictures))
    cosine = "" if record.feature_cosine is None else f"{record.feature_cosine:.2f}"
    shown = " ".join(f"{cell:>13}" for cell in cells)
    return f"{name:24} {shown} {cosine:>8}  {', '.join(record.failed_gates) or 'none'}"


def _range(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{min(known):.3f}-{max(known):.3f}" if known else ""


def _print_seams(
    model: VisionModel,
    images: AuditedImages,
    statistics: ImageStatistics,
    orders: Sequence[Order],
    steps: int,
    say: Say,
) -> None:
    """The seam ratio of the photos, and of pictures with and without what holds patches together."""
    patch = model.layout.patch_size
    ratios = torch.cat([seam_ratio(pixels, patch) for _, pixels in images.batches()])
    say(f"seam ratio of the photos: mean {ratios.mean():.3f}, 95th percentile {ratios.quantile(0.95):.3f}")
    plain = Recipe.unconstrained(steps)
    ways = {
        "pixels": (Pixels, plain),
        "pixels, seam loss alone": (Pixels, Recipe(steps, copies=0, total_variation=0)),
        "fourier, not augmented": (Fourier, plain),
        "fourier, all but the seam loss": (Fourier, Recipe(steps, seam=0)),
        "fourier": (Fourier, Recipe(steps)),
    }
    for name, (kind, recipe) in ways.items():
        made = optimise(model, orders, kind(statistics, model.input_size), recipe)
        shown = ", ".join(f"{ratio:.3f}" for ratio in seam_ratio(made, patch).tolist())
        say(f"seam ratio, {name:32} {shown}")


def _print_seconds(
    model: VisionModel, statistics: ImageStatistics, order: Order, given: object, say: Say
) -> float:
    """Seconds a target for one picture of it, alone and in a batch, in turn; the least of three each."""
    space = Fourier(statistics, model.input_size)
    timed, steps, batch = (vars(given)[name] for name in ("timed_steps", "steps", "batch"))

    def seconds(count: int) -> float:
        orders = [Order(order.target, seed, order.unit) for seed in range(count)]
        _finish(model)
        began = time.perf_counter()
        optimise(model, orders, space, Recipe(timed))
        _finish(model)
        return (time.perf_counter() - began) / count * steps / timed

    for count in (1, batch):
        seconds(count)  # warms up
    pairs = [(seconds(1), seconds(batch)) for _ in range(3)]
    alone, together = min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
    where = device_name(model.device.type)
    say(
        f"{where}, {torch.get_num_threads()} threads: {alone:.2f} s a target alone, {together:.2f} s in a "
        f"batch of {batch}, ratio {together / alone:.2f} ({steps} steps, one picture a target)"
    )
    return together / alone


def _finish(model: VisionModel) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
