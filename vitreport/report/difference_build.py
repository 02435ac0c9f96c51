"""From two runs to the report of their difference: a page, a PDF, and the numbers as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

from vitreport import __version__
from vitreport.analysis.difference import difference
from vitreport.errors import StoreError
from vitreport.figures.sheet import Tile, contact_sheet
from vitreport.report.difference_page import DifferencePage
from vitreport.report.difference_reading import difference_page, summary_numbers
from vitreport.report.html import part_of
from vitreport.report.image_page import MapView
from vitreport.report.pdf_engine import pdf_engine
from vitreport.report.pdf_template import drawn, stylesheet
from vitreport.report.pdf_view import pdf_sections
from vitreport.report.pictures import Keep, MapPicture, map_picture
from vitreport.report.site_folder import asset_name
from vitreport.report.template_files import bundle, environment
from vitreport.report.wording import count
from vitreport.store import Run, RunFolder, RunPlace, open_run, run_folder
from vitreport.store.folder import MANIFEST

INDEX, PDF, NUMBERS = "index.html", "difference.pdf", "difference.json"

Progress = Callable[[str, float, int], None]
"""Called with what is under way, the units done, and the units there are."""


def build_difference(
    before: RunPlace, after: RunPlace, output: RunPlace, *, pdf: bool = True, progress: Progress | None = None
) -> DifferencePage:
    """Writes what changed from one run to another.

    Equal runs give equal bytes.

    Args:
        before: a run folder: its path, or its URL.
        after: another, of the same images with another model, release or setting.
        output: the folder to write to; files of that name in it are replaced, others are left alone.
        pdf: whether to write the PDF too; needs WeasyPrint.
        progress: told what is done.

    Returns:
        What the report says.

    Raises:
        StoreError: a folder holds no finished run, both are the same run, they have no image in common, or
            `output` is a run folder or cannot be written.
        RenderError: the report cannot be drawn.
    """
    told = progress or (lambda stage, done, total: None)
    runs = [_finished(place) for place in (before, after)]
    folder = run_folder(output)
    if runs[0].folder.sha256(MANIFEST) == runs[1].folder.sha256(MANIFEST):
        both = " and ".join(str(run.folder.place()) for run in runs)
        raise StoreError(f"{both} hold the same run, so there is nothing to compare")
    if folder.has(MANIFEST) or folder.is_in_a_run():
        raise StoreError(
            f"{folder.place()} is a run folder, or inside one; choose another -o for the difference"
        )
    steps = 3 if pdf else 2
    told("difference", 0, steps)
    found = difference(runs[0], runs[1])
    page = difference_page(runs[0], runs[1], found)
    told("difference", 1, steps)
    numbers = {
        "format": "vitreport difference",
        "version": 1,
        "before": runs[0].manifest.run_digest,
        "after": runs[1].manifest.run_digest,
        **summary_numbers(found),
    }
    data = json.dumps(numbers, indent=1, sort_keys=True).encode() + b"\n"
    folder.write(NUMBERS, data)
    _write_page(folder, page)
    told("difference", 2, steps)
    if pdf:
        folder.write(PDF, _pdf(page, data))
        told("difference", 3, steps)
    return page


def _finished(place: RunPlace) -> Run:
    run = open_run(place)
    if not run.manifest.complete:
        raise StoreError(
            f"{run.folder.place()} is not finished; the same 'vitreport explain' command goes on with it"
        )
    run.folder.fetch(run.folder.files_below("data"))
    return run


def _write_page(folder: RunFolder, page: DifferencePage) -> None:
    def keep(suffix: str, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()[:16]
        return f"assets/{_asset(folder, digest, suffix, content)}"

    assets = {
        f"site.{suffix}": _asset(folder, "site", suffix, bundle(f"site.{suffix}")) for suffix in ("css", "js")
    }
    drawing = environment()
    drawing.filters["counted"] = count
    drawing.globals["asset"] = assets.__getitem__
    names = {"report_title": page.title, "root": ""}
    html = drawing.get_template("difference.html").render(
        **names,
        description=" ".join(page.summary),
        page=page,
        pairs=[
            {
                "name": one.name,
                "said": one.said,
                "likeness": one.likeness,
                "photo": _asset(folder, f"photo-{place}", "jpg", one.photo.jpeg),
                "width": one.photo.width,
                "height": one.photo.height,
                "before": _picture(one.before, "before", keep),
                "after": _picture(one.after, "after", keep),
            }
            for place, one in enumerate(page.moved)
        ],
        parts=[part_of(section, keep) for section in page.chapter.sections],
        small={},
    )
    folder.write(INDEX, html.encode())


def _picture(view: MapView, title: str, keep: Keep) -> MapPicture:
    return replace(map_picture(view, keep), title=title.capitalize(), note="")


def _asset(folder: RunFolder, stem: str, suffix: str, content: bytes) -> str:
    name = asset_name(stem, suffix, content)
    folder.write(f"assets/{name}", content)
    return name


def _pdf(page: DifferencePage, data: bytes) -> bytes:
    engine = pdf_engine()
    sheets = {}
    for place, one in enumerate(page.moved):
        tiles = [
            Tile(title, f"{view.scale_text}", view.values, view.record.signed, view.scale)
            for title, view in (("Before", one.before), ("After", one.after))
        ]
        sheets[f"report:moved-{place}.jpeg"] = contact_sheet(one.photo.jpeg, tiles, 3)
    html = drawn(
        "pdf/difference.html",
        page=page,
        version=__version__,
        pictures=list(sheets),
        sections=list(pdf_sections(page.chapter)),
    )
    attached = engine.AttachedFile(NUMBERS, "All numbers of the difference", data)
    content: bytes = engine.render(html=html, stylesheet=stylesheet(), pictures=sheets, attached=attached)
    return content
