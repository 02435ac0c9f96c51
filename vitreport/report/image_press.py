"""Draws the pages of images, in any number of processes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from PIL import Image

from vitreport.analysis.trust import Trust
from vitreport.engines import Receipt
from vitreport.figures.scale import Scale
from vitreport.report.html import SitePages
from vitreport.report.image_page import ImagePage
from vitreport.report.image_reading import Neighbours, image_pages
from vitreport.report.pictures import Keep
from vitreport.report.raw_values import raw_values
from vitreport.report.site_folder import SITE, SiteFolder
from vitreport.report.site_record import PageRecord
from vitreport.report.wording import file_size
from vitreport.store import RunFolder, open_run

FEWEST_TOGETHER, MOST_TOGETHER = 32, 128
"""Images that a worker draws at a time: it reads the parts of their shards once."""

RAW_IMAGES = 1_000
"""The largest set whose pages come with raw values: those of more would weigh more than all the pages."""

SMALL = 96
"""The longer side of a small picture, in pixels: 48 on the page, twice that for fine screens."""


@dataclass(frozen=True)
class Look:
    """What all pages of a site share.

    Attributes:
        assets: file name of every bundle of `template_files.BUNDLES`.
        title: of the report.
        scored: whether there is a page about scores.
        audited: whether there are pages about the run as a whole.
        raw: whether the raw values of an image lie beside its page.
        sources: digest of the whole site's sources; pages of one look come from the same templates.
    """

    assets: tuple[tuple[str, str], ...]
    title: str
    scored: bool
    audited: bool
    raw: bool
    sources: str


@cache
def site_pages(look: Look) -> SitePages:
    """The templates of a look, compiled once a process."""
    return SitePages(dict(look.assets), look.title, look.scored, look.audited)


@dataclass(frozen=True)
class PagesReceipt(Receipt):
    """A receipt that also says what was drawn: page records by image id."""

    pages: Mapping[str, PageRecord] = field(default_factory=dict)


@dataclass(frozen=True)
class ImagePress:
    """Draws the pages of some images, with their photos and raw values.

    Attributes:
        folder: the run folder.
        digest: of what every page is drawn from.
        review: why a person should look at an image, by id.
    """

    folder: RunFolder
    look: Look
    digest: str
    scales: Mapping[str, Scale]
    trust: Trust | None
    review: Mapping[str, str]

    def __call__(self, members: Sequence[Neighbours]) -> Iterator[PagesReceipt]:
        """Yields one receipt an image."""
        run, pages = open_run(self.folder), site_pages(self.look)
        for page in image_pages(run, self.scales, members, self.trust):
            site = SiteFolder(self.folder)
            _draw(site, pages, replace(page, review=self.review.get(page.row.id, "")), self.look.raw)
            yield PagesReceipt(1, pages={page.row.id: PageRecord(self.digest, site.files)})


def keeper(site: SiteFolder, stem: str) -> Keep:
    """Puts pictures among the assets, for pages one folder down."""
    return lambda suffix, content: "../assets/" + site.asset(stem, suffix, content)


def small_name(image_id: str, page: PageRecord) -> str:
    """File name of an image's small picture among the assets."""
    start = f"{SITE}/assets/"
    names = (path.removeprefix(start) for path in page.files)
    return next(name for name in names if name.startswith(f"{image_id}-small-"))


def _draw(site: SiteFolder, pages: SitePages, page: ImagePage, with_raw: bool) -> None:
    image_id = page.row.id
    photo = site.asset(image_id, "jpg", page.photo.jpeg)
    site.asset(f"{image_id}-small", "jpg", _small(page.photo.jpeg))
    raw_size = ""
    if with_raw:
        raw = raw_values(page)
        site.write(f"images/{image_id}.json", raw)
        raw_size = file_size(len(raw))
    html = pages.image(page, photo, raw_size, keeper(site, image_id))
    site.write(f"images/{image_id}.html", html)


def _small(jpeg: bytes) -> bytes:
    with Image.open(io.BytesIO(jpeg)) as photo:
        photo.draft("RGB", (SMALL, SMALL))
        picture = photo.convert("RGB")
    picture.thumbnail((SMALL, SMALL), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
