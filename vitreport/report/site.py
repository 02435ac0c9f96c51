"""The site of a run: which pages it has, what each is drawn from, and the drawing of those that changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import islice
from math import ceil
from pathlib import Path

from vitreport.engines import Engine, LocalEngine, Resources
from vitreport.errors import RenderError
from vitreport.report.chapter import AuditPage, Chapter
from vitreport.report.html import EvidencePicture, Example
from vitreport.report.image_data import table_scripts
from vitreport.report.image_list import list_name, lists_of
from vitreport.report.image_page import ImagePage
from vitreport.report.image_press import (
    FEWEST_TOGETHER,
    MOST_TOGETHER,
    RAW_IMAGES,
    ImagePress,
    Look,
    PagesReceipt,
    keeper,
    site_pages,
    small_name,
)
from vitreport.report.image_reading import Neighbours, image_pages, neighbours
from vitreport.report.image_table import table_downloads
from vitreport.report.pages import Columns, IndexPage
from vitreport.report.pictures import example_picture, map_picture
from vitreport.report.run_reading import RunReading
from vitreport.report.site_folder import SiteFolder, asset_name, collect
from vitreport.report.site_record import Earlier, PageRecord
from vitreport.report.sources import Sources
from vitreport.report.technique_page import TechniquePage
from vitreport.report.template_files import BUNDLES, bundle
from vitreport.report.trust_page import TrustPage
from vitreport.store import RunFolder

EXAMPLES = 12
"""Images on a technique's page."""

Told = Callable[[float, int], None]
"""Called with the pages of images that are as they should be, and how many there are."""

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


Drawing = Callable[[SiteFolder], bytes]
"""Gives the HTML of a page, and writes what goes with it."""


class Site:
    """The site of a run, to be drawn where it has changed."""

    def __init__(self, reading: RunReading, sources: Sources) -> None:
        self._reading = reading
        self._sources = sources
        self._folder = reading.run.folder
        self._here = RunFolder(self._folder.root)
        self._index = reading.index
        self._members = neighbours(self._index.rows)
        _refuse_odd_names(self._index)
        self._bundles = SiteFolder(self._here)
        names = {}
        for name in BUNDLES:
            stem, suffix = name.split(".")
            names[name] = self._bundles.asset(stem, suffix, bundle(name))
        self._look = Look(
            assets=tuple(names.items()),
            title=self._index.title,
            scored=reading.trust is not None,
            audited=self._index.audit is not None,
            raw=len(self._members) <= RAW_IMAGES,
            sources=sources.site,
        )
        self._pages = site_pages(self._look)
        self._settings = (self._look.title, self._look.scored, self._look.audited)

    def draw(
        self, earlier: Earlier, engine: Engine, resources: Resources, told: Told
    ) -> dict[str, PageRecord]:
        """Draws what has changed since `earlier`; returns the records of all pages."""
        pages = {"assets": PageRecord(self._digest(), self._bundles.files)}
        images = self._draw_images(earlier, engine, resources, told)
        small = {name: small_name(name, page) for name, page in images.items()}
        pages |= {f"image {name}": page for name, page in images.items()}
        pages["table"] = table = self._table(earlier, small)
        for path, template, draw in self._drawings(small, script_names(table)):
            digest = self._digest(template)
            if earlier.has(path, digest):
                pages[path] = earlier.pages[path]
            else:
                site = SiteFolder(self._here)
                site.write(path, draw(site))
                pages[path] = PageRecord(digest, site.files)
        return pages

    def _digest(self, *templates: str) -> str:
        return self._sources.page(*templates, settings=self._settings)

    def _draw_images(
        self, earlier: Earlier, engine: Engine, resources: Resources, told: Told
    ) -> dict[str, PageRecord]:
        audit = self._index.audit
        digest = self._sources.of_images.page("image.html", settings=self._settings)
        stale = [member for member in self._members if not earlier.has(f"image {member.row.id}", digest)]
        changed = {member.row.id for member in stale}
        pages = {
            member.row.id: earlier.pages[f"image {member.row.id}"]
            for member in self._members
            if member.row.id not in changed
        }
        stale.sort(key=lambda member: member.row.shard)
        elsewhere = not (self._folder.is_on_disk or isinstance(engine, LocalEngine))
        press = ImagePress(
            self._folder if elsewhere else self._here,
            self._look,
            digest,
            self._reading.scales,
            self._reading.trust,
            audit.review if audit else {},
        )
        done = float(len(pages))
        told(done, len(self._members))
        share = ceil(len(stale) / (4 * resources.processes))
        size = min(max(share, FEWEST_TOGETHER), MOST_TOGETHER)
        chunks = [stale[start : start + size] for start in range(0, len(stale), size)]
        for receipt in engine.map(press, chunks, resources):
            done += receipt.done
            if isinstance(receipt, PagesReceipt):
                pages.update(receipt.pages)
            told(done, len(self._members))
        if elsewhere:
            collect(self._folder)
        return pages

    def _table(self, earlier: Earlier, small: Mapping[str, str]) -> PageRecord:
        """The table of images as data for its script, and to download."""
        digest = self._digest()
        if earlier.has("table", digest):
            return earlier.pages["table"]
        site = SiteFolder(self._here)
        for number, content in enumerate(table_scripts(self._index.rows, small)):
            site.asset(script_stem(number), "js", content)
        for path, content in table_downloads(self._index.rows):
            site.write(path, content)
        return PageRecord(digest, site.files)

    def _drawings(
        self, small: Mapping[str, str], tables: Sequence[str]
    ) -> Iterator[tuple[str, str, Drawing]]:
        """Path, template and drawing of every page but those of images."""
        index, pages = self._index, self._pages
        yield "index.html", "index.html", lambda site: pages.index(index, small, tables)
        columns = Columns.of(index.rows)
        for number in range(lists_of(index.rows)):
            draw = partial(self._image_list, columns, number, small)
            yield f"images/{list_name(number)}", "images.html", draw
        if index.trust is not None:
            yield "analysis/trust.html", "trust.html", partial(self._trust, index.trust)
        if index.audit is not None:
            yield "analysis/index.html", "analysis.html", partial(self._analysis, index.audit, small)
            for chapter in (*index.audit.chapters, index.audit.record, *index.audit.classes):
                yield chapter.path, "chapter.html", partial(self._chapter, chapter, small)
        for page in index.techniques:
            yield f"techniques/{page.name}.html", "technique.html", partial(self._technique, page)

    def _image_list(self, columns: Columns, number: int, small: Mapping[str, str], site: SiteFolder) -> bytes:
        return self._pages.image_list(self._index.rows, columns, number, small)

    def _trust(self, page: TrustPage, site: SiteFolder) -> bytes:
        return self._pages.trust(page, keeper(site, "curves"))

    def _analysis(self, audit: AuditPage, small: Mapping[str, str], site: SiteFolder) -> bytes:
        evidence = {
            one.id: [_evidence(self._shown[row.id], one.technique, site) for row in one.images]
            for one in audit.findings
            if one.technique
        }
        return self._pages.analysis(audit, self._index.trust, small, evidence)

    def _chapter(self, chapter: Chapter, small: Mapping[str, str], site: SiteFolder) -> bytes:
        for file in chapter.downloads:
            site.write(file.path, file.content)
        stem = chapter.path.rpartition("/")[2].removesuffix(".html")
        return self._pages.chapter(chapter, small, keeper(site, stem))

    def _technique(self, page: TechniquePage, site: SiteFolder) -> bytes:
        chosen = (self._shown[member.row.id] for member in self._examples[page.name])
        return self._pages.technique(page, [_example(page, image, site) for image in chosen])

    @cached_property
    def _examples(self) -> Mapping[str, Sequence[Neighbours]]:
        """By technique: the first images that it was asked for."""
        return {page.name: self._first(page) for page in self._index.techniques}

    def _first(self, page: TechniquePage) -> list[Neighbours]:
        run = self._reading.run
        records = [setting.record for setting in page.settings if not setting.record.skipped]
        asked = (
            member
            for member in self._members
            if not all(run.is_beyond(member.row.id, record) for record in records)
        )
        return list(islice(asked, EXAMPLES))

    @cached_property
    def _shown(self) -> Mapping[str, ImagePage]:
        """The images that pages show examples of, by id."""
        audit = self._index.audit
        wanted = {row.id for one in (audit.findings if audit else ()) for row in one.images}
        wanted |= {member.row.id for some in self._examples.values() for member in some}
        members = [member for member in self._members if member.row.id in wanted]
        pages = image_pages(self._reading.run, self._reading.scales, members)
        return {page.row.id: page for page in pages}


def script_stem(number: int) -> str:
    """What the name of a data script begins with."""
    return f"images-{number:04d}"


def script_names(table: PageRecord) -> list[str]:
    """File names of the data scripts among the assets, in order."""
    return sorted(Path(path).name for path in table.files if path.endswith(".js"))


def _evidence(image: ImagePage, technique: str, site: SiteFolder) -> EvidencePicture:
    """An image with a technique's map of it."""
    views = (view for section in image.sections for view in section.maps if view.record.key == technique)
    view = next(views, None)
    picture = map_picture(view, keeper(site, image.row.id)) if view else None
    photo = asset_name(image.row.id, "jpg", image.photo.jpeg)
    return EvidencePicture(image.row, photo, image.photo.width, image.photo.height, picture)


def _example(page: TechniquePage, image: ImagePage, site: SiteFolder) -> Example:
    photo = asset_name(image.row.id, "jpg", image.photo.jpeg)
    picture = example_picture(page, image, keeper(site, image.row.id))
    words = image.lens.emergence if image.lens and image.lens.name == page.name else ""
    return Example(image.row, photo, image.photo.width, image.photo.height, picture, words)


def _refuse_odd_names(index: IndexPage) -> None:
    """Identifiers become file names: what no run of ours would hold is refused."""
    for name in (*(row.id for row in index.rows), *(page.name for page in index.techniques)):
        if not _SAFE_NAME.fullmatch(name):
            raise RenderError(f"'{name}' cannot be the name of a page; the run was not written by vitreport")
