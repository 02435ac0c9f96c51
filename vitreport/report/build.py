"""From a finished run to its report: the site, and the PDF on request."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from pathlib import Path

from PIL import Image

from vitreport.analysis.trust import Trust, trust
from vitreport.engines import LocalEngine, Receipt, Resources
from vitreport.errors import RenderError, StoreError
from vitreport.figures.scale import Scale
from vitreport.report.chapter import AuditPage
from vitreport.report.html import EvidencePicture, Example, SitePages
from vitreport.report.image_data import raw_values, table_scripts
from vitreport.report.image_page import ImagePage
from vitreport.report.image_reading import Neighbours, image_pages, neighbours
from vitreport.report.pages import IndexPage, TechniquePage
from vitreport.report.pictures import Keep, example_picture, map_picture
from vitreport.report.reading import index_page
from vitreport.report.scale_reading import dataset_scales
from vitreport.report.site_folder import SiteFolder, asset_name
from vitreport.report.site_record import SiteRecord, read_record, replace_record
from vitreport.report.template_files import template_text
from vitreport.report.trust_page import TrustPage
from vitreport.report.wording import file_size
from vitreport.store import Run, open_run
from vitreport.store.folder import MANIFEST

Progress = Callable[[str, float, int], None]
"""Called with what is under way, the units done, and the units there are."""

PDF = "report.pdf"
"""The summary report, below the run folder."""

CHUNK = 32
"""Images that a worker draws at a time."""

EXAMPLES = 12
"""Images on a technique's page."""

SMALL = 96
"""The longer side of a small picture, in pixels: 48 on the page, twice that for fine screens."""

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def build_report(
    run_root: Path,
    *,
    pdf: bool = True,
    pdf_images: int = 60,
    processes: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Draws the report of a finished run: ``report/``, ``report.pdf`` and their list ``report.json``.

    Equal runs give equal bytes. Files of an earlier report that this one does not have are removed;
    without `pdf`, an earlier PDF is kept as long as the run is the same.

    Args:
        run_root: the run folder.
        pdf: whether to write the PDF too; needs WeasyPrint.
        pdf_images: how many images get a sheet in the PDF.
        processes: workers at a time; None takes one a core.
        progress: told what is done.

    Raises:
        StoreError: the folder holds no finished run, or cannot be written.
        RenderError: the report cannot be drawn.
    """
    run = open_run(run_root)
    if not run.manifest.complete:
        raise StoreError(
            f"{run_root} is not finished: some images or techniques are missing; "
            "run the same 'vitreport explain' command again, it goes on where it stopped"
        )
    told = progress or (lambda stage, done, total: None)
    old = read_record(run_root)
    manifest_sha256 = run.folder.sha256(MANIFEST)
    scales = dataset_scales(run)
    found = trust(run)
    index = index_page(run, scales, found)
    _refuse_odd_names(index)
    site = SiteFolder(run_root)
    _write_site(run, index, scales, found, site, processes or _cores(), told)
    files = dict(site.files)
    if pdf:
        replace_record(run_root, old, SiteRecord(old.manifest_sha256, {**old.files, **files}))
        files |= _write_pdf(run, index, scales, found, pdf_images, told)
    elif old.manifest_sha256 == manifest_sha256:
        files |= {path: sha256 for path, sha256 in old.pdfs().items() if run.folder.has(path)}
    replace_record(run_root, old, SiteRecord(manifest_sha256, files))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class PagesReceipt(Receipt):
    """A receipt that also says what was written.

    Attributes:
        files: path below the run folder to SHA-256.
        small: file names of the small pictures, by image id.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    small: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PageWorker:
    """Writes the pages of some images, with their photos and raw values."""

    root: Path
    style: str
    script: str
    title: str
    scales: Mapping[str, Scale]
    trust: Trust | None
    audited: bool
    review: Mapping[str, str]

    def __call__(self, members: Sequence[Neighbours]) -> Iterator[PagesReceipt]:
        """Yields one receipt an image."""
        run = open_run(self.root)
        pages = _site_pages(self.style, self.script, self.title, self.trust is not None, self.audited)
        for page in image_pages(run, self.scales, members, self.trust):
            site = SiteFolder(self.root)
            small = _write_image(site, pages, replace(page, review=self.review.get(page.row.id, "")))
            yield PagesReceipt(1, files=site.files, small={page.row.id: small})


@cache
def _site_pages(style: str, script: str, title: str, scored: bool, audited: bool) -> SitePages:
    return SitePages(style, script, title, scored, audited)


def _write_image(site: SiteFolder, pages: SitePages, page: ImagePage) -> str:
    image_id = page.row.id
    photo = site.asset(image_id, "jpg", page.photo.jpeg)
    small = site.asset(f"{image_id}-small", "jpg", _small(page.photo.jpeg))
    raw = raw_values(page)
    site.write(f"images/{image_id}.json", raw)

    keep = _keeper(site, image_id)
    site.write(f"images/{image_id}.html", pages.image(page, photo, file_size(len(raw)), keep))
    return small


def _keeper(site: SiteFolder, stem: str) -> Keep:
    """Puts pictures among the assets, for pages one folder down."""
    return lambda suffix, content: "../assets/" + site.asset(stem, suffix, content)


def _small(jpeg: bytes) -> bytes:
    with Image.open(io.BytesIO(jpeg)) as photo:
        photo.draft("RGB", (SMALL, SMALL))
        picture = photo.convert("RGB")
    picture.thumbnail((SMALL, SMALL), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _write_site(
    run: Run,
    index: IndexPage,
    scales: Mapping[str, Scale],
    found: Trust | None,
    site: SiteFolder,
    processes: int,
    told: Progress,
) -> None:
    style = site.asset(
        "site", "css", (template_text("css/tokens.css") + template_text("css/site.css")).encode()
    )
    script = site.asset("site", "js", template_text("js/site.js").encode())
    members = neighbours(index.rows)
    by_shard = sorted(members, key=lambda member: member.row.shard)
    chunks = [by_shard[start : start + CHUNK] for start in range(0, len(by_shard), CHUNK)]
    review = index.audit.review if index.audit else {}
    worker = PageWorker(
        run.folder.root, style, script, index.title, scales, found, index.audit is not None, review
    )
    small: dict[str, str] = {}
    done = 0.0
    told("pages", done, len(members))
    for receipt in LocalEngine().map(worker, chunks, Resources(processes)):
        done += receipt.done
        if isinstance(receipt, PagesReceipt):
            site.files.update(receipt.files)
            small.update(receipt.small)
        told("pages", done, len(members))
    pages = _site_pages(style, script, index.title, found is not None, index.audit is not None)
    tables = [
        site.asset(f"images-{number}", "js", content)
        for number, content in enumerate(table_scripts(index.rows, small))
    ]
    site.write("index.html", pages.index(index, small, tables))
    for path, content in pages.lists(index.rows, small).items():
        site.write(path, content)
    if index.trust is not None:
        site.write("analysis/trust.html", pages.trust(index.trust, _keeper(site, "curves")))
    chosen = {page.name: _chosen(run, page, members) for page in index.techniques}
    wanted = {row.id for one in (index.audit.findings if index.audit else ()) for row in one.images}
    known = {member.row.id: member for some in chosen.values() for member in some}
    known |= {member.row.id: member for member in members if member.row.id in wanted}
    images = {image.row.id: image for image in image_pages(run, scales, list(known.values()))}
    if index.audit is not None:
        _write_audit(site, pages, index.audit, index.trust, images, small)
    for page in index.techniques:
        shown = [_example(page, images[member.row.id], site) for member in chosen[page.name]]
        site.write(f"techniques/{page.name}.html", pages.technique(page, shown))


def _write_audit(
    site: SiteFolder,
    pages: SitePages,
    audit: AuditPage,
    trust: TrustPage | None,
    images: Mapping[str, ImagePage],
    small: Mapping[str, str],
) -> None:
    evidence = {
        one.id: [_evidence(images[row.id], one.technique, site) for row in one.images]
        for one in audit.findings
        if one.technique
    }
    site.write("analysis/index.html", pages.analysis(audit, trust, small, evidence))
    for chapter in (*audit.chapters, audit.record, *audit.classes):
        for file in chapter.downloads:
            site.write(file.path, file.content)
        stem = chapter.path.rpartition("/")[2].removesuffix(".html")
        site.write(chapter.path, pages.chapter(chapter, small, _keeper(site, stem)))


def _evidence(image: ImagePage, technique: str, site: SiteFolder) -> EvidencePicture:
    """An image with a technique's map of it."""
    views = (view for section in image.sections for view in section.maps if view.record.key == technique)
    view = next(views, None)
    picture = map_picture(view, _keeper(site, image.row.id)) if view else None
    photo = asset_name(image.row.id, "jpg", image.photo.jpeg)
    return EvidencePicture(image.row, photo, image.photo.width, image.photo.height, picture)


def _chosen(run: Run, page: TechniquePage, members: Sequence[Neighbours]) -> list[Neighbours]:
    """The examples of a technique: the first images that it was asked for."""
    records = [setting.record for setting in page.settings if not setting.record.skipped]
    asked = (
        member for member in members if not all(run.is_beyond(member.row.id, record) for record in records)
    )
    return list(islice(asked, EXAMPLES))


def _example(page: TechniquePage, image: ImagePage, site: SiteFolder) -> Example:
    keep = _keeper(site, image.row.id)
    photo = asset_name(image.row.id, "jpg", image.photo.jpeg)
    picture = example_picture(page, image, keep)
    words = image.lens.emergence if image.lens and image.lens.name == page.name else ""
    return Example(image.row, photo, image.photo.width, image.photo.height, picture, words)


def _refuse_odd_names(index: IndexPage) -> None:
    """Identifiers become file names: what no run of ours would hold is refused."""
    for name in (*(row.id for row in index.rows), *(page.name for page in index.techniques)):
        if not _SAFE_NAME.fullmatch(name):
            raise RenderError(f"'{name}' cannot be the name of a page; the run was not written by vitreport")


def _write_pdf(
    run: Run,
    index: IndexPage,
    scales: Mapping[str, Scale],
    found: Trust | None,
    images: int,
    told: Progress,
) -> dict[str, str]:
    from vitreport.report.pdf import write_pdf

    content = write_pdf(
        run,
        index,
        scales,
        trust=found,
        image_cap=images,
        progress=lambda done, total: told("pdf", done, total),
    )
    run.folder.write(PDF, content)
    return {PDF: hashlib.sha256(content).hexdigest()}
