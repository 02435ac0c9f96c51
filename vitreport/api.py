"""The Python API: all that the command line calls, and what a notebook uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vitreport.engines import Engine, LocalEngine
from vitreport.errors import SettingsError, StoreError
from vitreport.progress import Progress, of_stage
from vitreport.settings import RunSettings
from vitreport.store import Run, RunPlace, open_run, run_folder

if TYPE_CHECKING:
    from vitreport.optimized.maximize import Wish
    from vitreport.publication.publication import Publication
    from vitreport.report.difference_page import DifferencePage
    from vitreport.store.optimized import OptimizedRecord
    from vitreport.verification import Verification

__all__ = ["Progress", "RunSettings", "build_report", "explain", "maximize", "open_run", "verify"]


def explain(
    settings: RunSettings,
    output: RunPlace,
    *,
    engine: Engine | None = None,
    progress: Progress | None = None,
    expect: Progress | None = None,
    notice: Callable[[str], None] | None = None,
) -> Run:
    """Runs every image through the techniques and writes what they find into a run folder.

    A run that was stopped goes on where it was; techniques can be added to a finished run. Nothing that
    is there is computed again.

    Args:
        settings: what to do.
        output: the run folder, as a path or a URL; it is made where it is missing.
        engine: where the work runs; None is this process.
        progress: told how far each stage is.
        expect: told of a long stage before it starts: the seconds that it will take, and its units.
        notice: told in a sentence of what the disk has damaged, and what is done about it.

    Returns:
        The finished run, for reading.

    Raises:
        SettingsError: a setting cannot be used: unknown names, weights that do not fit, no images …
        UnsupportedModelError: the model's attention cannot be read.
        StoreError: `output` holds something else or another run, cannot be written, or another process is at
            work in it.
    """
    folder = run_folder(output)
    folder.claim()
    with folder.working():
        from vitreport.explain_wing import explain_into  # what is refused so far is refused at once

        return explain_into(folder, settings, engine or LocalEngine(), progress, expect, notice)


def build_report(
    run: RunPlace,
    *,
    pdf: bool = True,
    pdf_images: int = 60,
    pdf_volumes: bool = False,
    pdf_per_image: bool = False,
    engine: Engine | None = None,
    publish: Publication | None = None,
    progress: Progress | None = None,
) -> Path | str:
    """Renders the HTML site and the PDF of a run from its store. Needs neither torch nor the images.

    With `publish` it is the report of the run's published copy in ``RUN/publish``, which tells nothing of the
    originals, and the run's own report stays as it is.

    Args:
        run: the run folder, as a path or a URL.
        pdf: whether to write ``report.pdf`` too.
        pdf_images: images with a sheet of their own in ``report.pdf``.
        pdf_volumes: whether all images get a sheet in volumes of 50, where there are more than `pdf_images`.
        pdf_per_image: whether every image gets a PDF of its own.
        engine: where the site's pages are drawn; None is this machine, one process a core.
        publish: what the public may see; None draws the run itself. Its `pdf` follows the argument `pdf`.
        progress: told how far each stage is.

    Returns:
        The site's ``index.html``: its path, or its URL.

    Raises:
        SettingsError: a column that is to be published is none of the run's.
        StoreError: `run` holds no finished run, or the copy's place is taken.
        RenderError: a page or the PDF cannot be drawn.
    """
    from vitreport.report.build import build_report as build

    folder = run_folder(run)
    open_run(folder)
    with folder.working():
        if publish is not None:
            from vitreport.publication.published_run import finish_site, publish_run

            folder = publish_run(open_run(folder), dataclasses.replace(publish, pdf=pdf))
        build(
            folder,
            pdf=pdf,
            pdf_images=pdf_images,
            pdf_volumes=pdf_volumes,
            pdf_per_image=pdf_per_image,
            engine=engine,
            progress=progress,
        )
        if publish is not None:
            finish_site(folder)
    return folder.place("report/index.html")


def verify(run: RunPlace, *, progress: Progress | None = None) -> Verification:
    """Re-hashes every file of a run: the store, the report, the PDFs, the optimised pictures. Needs no torch.

    Args:
        run: the run folder, as a path or a URL.
        progress: told how far the stage ``verify`` is.

    Returns:
        What is not as it was written.

    Raises:
        StoreError: `run` holds no run.
    """
    from vitreport.verification import verify as check

    return check(run_folder(run), of_stage(progress, "verify"))


def build_difference(
    before: RunPlace,
    after: RunPlace,
    output: RunPlace,
    *,
    pdf: bool = True,
    progress: Progress | None = None,
) -> DifferencePage:
    """Reports what changed between two runs on the same images: two models, releases or settings.

    Args:
        before: a run folder, as a path or a URL.
        after: another.
        output: the folder for ``index.html``, ``difference.json`` and ``difference.pdf``.
        pdf: whether to write the PDF too.
        progress: told how far it is.

    Returns:
        What the report says.

    Raises:
        StoreError: a folder holds no finished run, or the runs cannot be compared.
        RenderError: the page or the PDF cannot be drawn.
    """
    from vitreport.report.difference_build import build_difference as build

    folder = run_folder(output)
    with folder.working():
        return build(run_folder(before), run_folder(after), folder, pdf=pdf, progress=progress)


def maximize(
    run: RunPlace,
    targets: Sequence[str] = (),
    *,
    parametrisation: str = "fourier",
    steps: int = 256,
    seeds: int = 4,
    copies: int = 1,
    device: str = "auto",
    checkpoint: str | Path | None = None,
    judge: str | None = None,
    judge_checkpoint: str | Path | None = None,
    progress: Progress | None = None,
) -> list[OptimizedRecord]:
    """Makes the pictures that classes, units, heads or channels of a run's model like best.

    They are written into the run, under ``optimized``; what is there already is not made again. Nothing else
    of the run changes.

    Args:
        run: the folder of a finished run, as a path or a URL.
        targets: ``class:243`` or a class name, ``unit:8:17``, ``head:5:2``, ``channel:11:40``; none takes the
            classes that occur most often in the run and the units that are most active on it.
        parametrisation: ``fourier``, ``maco``, or ``pixels``, which nothing restrains.
        steps: of the optimiser.
        seeds: pictures of each target.
        copies: changed copies that the model is shown in each step.
        device: ``auto``, ``cpu`` or ``cuda``.
        checkpoint: the model's weights, where they are no longer at the place that the run names.
        judge: another model, as of `RunSettings.model`, for an independent look at pictures of classes.
        judge_checkpoint: its weights; None takes the hub's.
        progress: told how far the stage ``maximize`` is, in steps.

    Returns:
        What was measured, one record a target.

    Raises:
        SettingsError: a target or an option cannot be used, or the run's weights are gone or others by now.
        StoreError: `run` holds no finished run, or cannot be written.
    """
    from vitreport.optimized.maximize import Wish

    wish = Wish(tuple(targets), parametrisation, steps, seeds, copies)
    finished = open_run(run)
    if not finished.manifest.complete:
        raise StoreError(
            f"{finished.folder.place()} is not finished; run the same 'vitreport explain' command again first"
        )
    if judge is None and judge_checkpoint is not None:
        raise SettingsError("weights of a judge are given, but no model; --judge NAME says which")
    with finished.folder.working():
        return _maximize(finished, wish, device, checkpoint, judge, judge_checkpoint, progress)


def _maximize(
    finished: Run,
    wish: Wish,
    device: str,
    checkpoint: str | Path | None,
    judge: str | None,
    judge_checkpoint: str | Path | None,
    progress: Progress | None,
) -> list[OptimizedRecord]:
    from vitreport.model.load import load_model
    from vitreport.optimized.maximize import Maximizer, model_of

    model = model_of(finished, device, None if checkpoint is None else Path(checkpoint))
    other = None
    if judge is not None:
        weights = None if judge_checkpoint is None else Path(judge_checkpoint)
        other = load_model(judge, checkpoint=weights, device=model.device.type)
    maximizer = Maximizer(finished, model, wish, other)
    records = maximizer.records(of_stage(progress, "maximize"))
    maximizer.cross_control(records)
    return records
