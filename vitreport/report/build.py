"""From a finished run to its report: the site, and the PDF on request. What has not changed stays."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from vitreport.engines import Engine, LocalEngine, Resources
from vitreport.errors import StoreError
from vitreport.report.pdf_stage import PdfStage
from vitreport.report.site_folder import commit, tidy
from vitreport.report.site_record import Earlier, SiteRecord, read_record, standing
from vitreport.report.sources import Sources
from vitreport.store import RunPlace, open_run

Progress = Callable[[str, float, int], None]
"""Called with what is under way, the units done, and the units there are."""


def build_report(
    place: RunPlace,
    *,
    pdf: bool = True,
    pdf_images: int = 60,
    pdf_volumes: bool = False,
    pdf_per_image: bool = False,
    engine: Engine | None = None,
    processes: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Draws the report of a finished run: ``report/``, PDFs, and their list ``report.json``.

    Equal runs give equal bytes. A page whose sources are the same as those of the page that is there is not
    drawn again. Files of an earlier report that this one does not have are removed; without `pdf`, an
    earlier PDF is kept as long as the run is the same. Ended at any moment, the next report goes on.

    Args:
        place: of the run folder: its path or its URL.
        pdf: whether to write the PDF too; needs WeasyPrint.
        pdf_images: how many images get a sheet in ``report.pdf``.
        pdf_volumes: whether all images get one in volumes of 50, ``pdf/volume-001.pdf`` and so on, where
            there are more.
        pdf_per_image: whether every image gets a document of its own, ``pdf/<id>.pdf``.
        engine: where the site's pages are drawn; None is this machine.
        processes: workers at a time; None takes one a core.
        progress: told what is done.

    Raises:
        StoreError: the folder holds no finished run, or cannot be written.
        RenderError: the report cannot be drawn.
    """
    run = open_run(place)
    folder = run.folder
    if not run.manifest.complete:
        raise StoreError(
            f"{folder.place()} is not finished: some images or techniques are missing; "
            "run the same 'vitreport explain' command again, it goes on where it stopped"
        )
    told = progress or (lambda stage, done, total: None)
    fetched, sent = partial(told, "fetch"), partial(told, "send")
    tidy(folder)
    old = read_record(folder)
    folder.fetch(old.files, fetched)
    earlier = Earlier(old.pages, standing(folder.root, old))
    sources = Sources.of(run)
    stage = PdfStage(pdf_images, pdf_volumes, pdf_per_image) if pdf else None
    same_site = old.site == sources.site and earlier.is_whole(old.site_pages)
    explained = run.manifest.data.images - run.manifest.data.quarantined
    same_pdf = stage is None or stage.is_there(earlier, sources, explained)
    pages = old.site_pages
    pdfs = old.pdfs if pdf or old.manifest_sha256 == sources.manifest else {}
    if not (same_site and same_pdf):
        from vitreport.report.run_reading import RunReading  # the analysis takes a second to import

        folder.fetch(folder.files_below("data"), fetched)
        reading = RunReading(run)
        workers = processes or _cores()
        if not same_site:
            from vitreport.report.site import Site

            site = Site(reading, sources)
            where = (engine or LocalEngine(), Resources(workers))
            pages = site.draw(earlier, *where, lambda done, total: told("pages", done, total))
        if stage is not None and not same_pdf:
            begun = SiteRecord(old.manifest_sha256, sources.site, {**pages, **pdfs})
            commit(folder, old, begun, sent)  # the site is good, whatever becomes of the PDF
            old, pdfs = begun, stage.draw(reading, sources, earlier, workers, told)
    commit(folder, old, SiteRecord(sources.manifest, sources.site, {**pages, **pdfs}), sent)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
