"""The pages of the site as HTML text: views in, templates filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from jinja2 import Environment
from markupsafe import Markup

from vitreport.figures.curves import HEIGHT, WIDTH, curves_svg
from vitreport.report.chapter import AuditPage, Chapter, Section, ShownPicture
from vitreport.report.image_data import ROWS_A_SCRIPT, patch_script
from vitreport.report.image_list import ROWS_A_LIST, lists_of, nearby
from vitreport.report.image_page import ImagePage
from vitreport.report.image_table import FORMATS
from vitreport.report.map_groups import families, study
from vitreport.report.pages import Columns, ImageRow, IndexPage
from vitreport.report.pictures import (
    EXAMPLE_NOTES,
    GridPicture,
    Keep,
    MapPicture,
    atlas_picture,
    grid_picture,
    norm_pictures,
    pattern_picture,
)
from vitreport.report.technique_page import TechniquePage
from vitreport.report.template_files import environment
from vitreport.report.trust_page import CurvesView, TrustPage
from vitreport.report.wording import count, file_size

ROWS_DRAWN = 50
"""Images in the table of the start page at a time."""

FINDINGS_SHOWN = 8
"""Findings on the start page, the most severe first."""


@dataclass(frozen=True)
class Example:
    """One image on a technique's page.

    Attributes:
        picture: None where there is no map to show.
        words: what was found, where it is no picture; or empty.
    """

    row: ImageRow
    photo: str
    width: int
    height: int
    picture: MapPicture | None
    words: str = ""


@dataclass(frozen=True)
class Listed:
    """An image in a table: `small` is the file name of its small picture, empty without one."""

    row: ImageRow
    small: str


@dataclass(frozen=True)
class CurvePicture:
    """A panel of curves, as an asset; sizes in pixels."""

    title: str
    source: str
    width: int
    height: int
    alt: str


@dataclass(frozen=True)
class Part:
    """A section of a chapter with its pictures and, of those that are assets, their addresses.

    `key` is the style and the name of every curve.
    """

    section: Section
    curves: list[CurvePicture]
    key: list[tuple[int, str]]
    tiles: list[GridPicture]
    pictures: list[tuple[ShownPicture, str]]


@dataclass(frozen=True)
class EvidencePicture:
    """An image that a finding rests on; `picture` is None where the finding rests on no map."""

    row: ImageRow
    photo: str
    width: int
    height: int
    picture: MapPicture | None


Evidence = Mapping[str, Sequence[EvidencePicture]]


@dataclass(frozen=True)
class SitePages:
    """Draws pages that share style sheets and scripts.

    Attributes:
        assets: file name among the assets of every bundle of `template_files.BUNDLES`.
        title: of the report.
        scored: whether there is a page about scores.
        audited: whether there are pages about the run as a whole.
    """

    assets: Mapping[str, str]
    title: str
    scored: bool = False
    audited: bool = False

    @cached_property
    def _environment(self) -> Environment:
        templates = environment()
        templates.globals.update(
            asset=self.assets.__getitem__,
            report_title=self.title,
            scored=self.scored,
            audited=self.audited,
        )
        templates.filters["counted"] = count
        templates.filters["breakable"] = _breakable
        return templates

    def _page(self, template: str, **values: object) -> bytes:
        return self._environment.get_template(template).render(**values).encode()

    def index(self, page: IndexPage, small: Mapping[str, str], scripts: Sequence[str]) -> bytes:
        """The start page; `scripts` are the file names of the data scripts."""
        return self._page(
            "index.html",
            root="",
            page=page,
            description=" ".join(page.summary),
            listed=_listed(page.rows[:ROWS_DRAWN], small),
            columns=page.columns,
            scripts=" ".join(scripts),
            rows_drawn=ROWS_DRAWN,
            rows_a_script=ROWS_A_SCRIPT,
            formats=FORMATS,
            quarantined=page.quarantined[:ROWS_DRAWN],
            quarantined_further=max(0, len(page.quarantined) - ROWS_DRAWN),
            small=small,
            shown=page.audit.findings[:FINDINGS_SHOWN] if page.audit else (),
        )

    def image_list(
        self, rows: Sequence[ImageRow], columns: Columns, number: int, small: Mapping[str, str]
    ) -> bytes:
        """One of the tables of all images as plain pages; `number` counts from 0."""
        start = number * ROWS_A_LIST
        part = rows[start : start + ROWS_A_LIST]
        return self._page(
            "images.html",
            root="../",
            description=f"Images {start + 1} to {start + len(part)} of {len(rows)}.",
            listed=_listed(part, small),
            columns=columns,
            first=start + 1,
            last=start + len(part),
            total=len(rows),
            lists=nearby(number, lists_of(rows)),
        )

    def trust(self, page: TrustPage, keep: Keep) -> bytes:
        """The page about scores; `keep` puts its curves among the assets."""
        return self._page(
            "trust.html",
            root="../",
            page=page,
            description=f"Which technique to trust. {page.sentences[0]}",
            curves=curve_pictures(page.curves, keep),
        )

    def analysis(
        self, page: AuditPage, trust: TrustPage | None, small: Mapping[str, str], pictures: Evidence
    ) -> bytes:
        """The page of all findings; `pictures` are the examples of each, by the finding's id."""
        return self._page(
            "analysis.html",
            root="../",
            page=page,
            description=page.verdict,
            chapters=(*page.chapters, page.record),
            trust_lead=trust.sentences[0] if trust else "",
            small=small,
            pictures=pictures,
        )

    def chapter(self, page: Chapter, small: Mapping[str, str], keep: Keep) -> bytes:
        """A page about the run as a whole, or about one class of it."""
        return self._page(
            "chapter.html",
            root="../",
            page=page,
            description=f"{page.title}. {page.lead}",
            parts=[part_of(section, keep) for section in page.sections],
            small=small,
        )

    def technique(self, page: TechniquePage, examples: Sequence[Example]) -> bytes:
        """The page of a technique."""
        return self._page(
            "technique.html",
            root="../",
            page=page,
            description=f"{page.title}: what it shows, what it does not show, how this run set it.",
            examples=examples,
            examples_note=_examples_note(page),
        )

    def image(self, page: ImagePage, photo: str, raw_size: str, keep: Keep) -> bytes:
        """The page of an image.

        Args:
            page: what it says.
            photo: file name of the photo among the assets.
            raw_size: of the file of raw values, in words; empty where there is none.
            keep: puts pictures that are too large to embed among the assets.
        """
        patches = patch_script(page.patches) if page.patches else b""
        return self._page(
            "image.html",
            root="../",
            page=page,
            description=f"What the model looks at in {page.row.name}. {page.row.finding}",
            photo=photo,
            photo_alt=f"{page.row.name}: {page.photo.words}, {page.photo.width} × {page.photo.height} pixels",
            verdict=page.row.finding,
            raw_size=raw_size,
            patch_script=keep("js", patches) if patches else "",
            patch_size=file_size(len(patches)),
            families=families(page.sections, len(page.targets), keep),
            studies=[study(section, keep) for section in page.sections if section.is_study],
            atlas=atlas_picture(page.atlas, keep) if page.atlas else None,
            norms=norm_pictures(page.norms, keep) if page.norms else [],
            patterns=[pattern_picture(view) for view in page.patterns],
            curves=curve_pictures(page.scores.curves if page.scores else None, keep),
        )


def part_of(section: Section, keep: Keep) -> Part:
    """A section with its pictures; `keep` puts its curves among the assets."""
    figure = section.figure
    curves = [
        CurvePicture(panel.title, keep("svg", curves_svg(panel)), WIDTH, HEIGHT, panel.alt)
        for panel in (figure.panels if figure else ())
    ]
    key = (
        [(line.style, name) for line, name in zip(figure.panels[0].lines, figure.names, strict=True)]
        if figure
        else []
    )
    return Part(
        section,
        curves,
        key,
        [grid_picture(tile) for tile in section.tiles],
        [(one, keep("jpg", one.jpeg)) for one in section.pictures],
    )


def curve_pictures(view: CurvesView | None, keep: Keep) -> list[CurvePicture]:
    """The panels of curves as assets; none without curves."""
    return [
        CurvePicture(panel.title, keep("svg", curves_svg(panel)), WIDTH, HEIGHT, panel.alt)
        for panel in (view.panels if view else ())
    ]


def _breakable(name: str) -> Markup:
    """A file's name that may go on in the next line where one word of it ends."""
    return Markup("_<wbr>").join(name.split("_"))


def _examples_note(page: TechniquePage) -> str:
    note = EXAMPLE_NOTES.get(page.name, "")
    if page.kind == "map":
        note = "Every map is on its own scale"
        note += ", for the image’s first explained class." if page.class_specific else "."
    return f"{note} The links lead to all that was found in the image.".lstrip()


def _listed(rows: Sequence[ImageRow], small: Mapping[str, str]) -> list[Listed]:
    return [Listed(row, small.get(row.id, "")) for row in rows]
