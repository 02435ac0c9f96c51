"""One image in the PDF: contact sheets of all its maps, and what is written beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from vitreport.figures.sheet import Tile
from vitreport.report.image_page import ImagePage, MapView
from vitreport.report.pages import ClassView, Fact, ImageRow
from vitreport.report.wording import count
from vitreport.settings import Parameter

MOST_TILES = 34
"""Maps on one contact sheet; more go on further sheets."""

COLUMNS = range(4, 8)
"""Pictures in a row: the fewest with which the sheet leaves room for the table below it."""

TALLEST = 0.95
"""Height of a contact sheet on its page, in widths of the page's text."""

_WORDS = 0.044
"""Height of the title, the colour bar and the caption of a tile, in widths of the sheet."""

SHORT_TITLES = {"attention_rollout": "Rollout"}
"""For the title of a tile that has a setting to name too."""

SHORT_NUMBERS = {"discard_ratio": "−{:.0%}"}
"""For numbers in that title; what is at its default of 0 is left out."""


COUNTED = "Rows and columns count from 0."
"""Said once in every alternative text that names a row."""


@dataclass(frozen=True)
class SheetPicture:
    """One contact sheet.

    Attributes:
        address: under which the document shows it.
        columns: pictures in a row.
        tiles: the maps on it, in order; none once it is drawn.
        alt: what it shows, and the numbers that matter.
    """

    address: str
    columns: int
    tiles: tuple[Tile, ...]
    alt: str


@dataclass(frozen=True)
class PredictionLine:
    """One class in the table of a sheet; `role` says whether it is the label, explained, or both."""

    name: str
    score: str
    role: str


@dataclass(frozen=True)
class ImageSheet:
    """All that the PDF shows of one image.

    Attributes:
        facts: where it comes from.
        finding: what the model said of it, in a sentence.
        lens: where the prediction emerged, in a sentence; empty without a logit lens.
        troubles: what is missing on the sheet, a sentence each.
    """

    row: ImageRow
    facts: tuple[Fact, ...]
    finding: str
    lines: tuple[PredictionLine, ...]
    pictures: tuple[SheetPicture, ...]
    lens: str
    troubles: tuple[str, ...]

    @property
    def drawn(self) -> ImageSheet:
        """The sheet without the maps on its pictures, which are large and no longer needed once drawn."""
        return replace(self, pictures=tuple(replace(picture, tiles=()) for picture in self.pictures))


def image_sheet(page: ImagePage) -> ImageSheet:
    """The sheet of one explained image."""
    return ImageSheet(
        row=page.row,
        facts=page.facts,
        finding=page.row.finding,
        lines=_lines(page),
        pictures=tuple(_pictures(page)),
        lens=_lens(page),
        troubles=_troubles(page),
    )


def _lens(page: ImagePage) -> str:
    if page.lens is None:
        return ""
    found = page.lens.emergence
    return f"{page.lens.title}, blocks 0 to {len(page.lens.rows) - 1}: {found[0].lower()}{found[1:]}"


def _troubles(page: ImagePage) -> tuple[str, ...]:
    failed = (f"{problem.title} ({problem.key}) failed: {problem.reason}" for problem in page.failed)
    beyond = (f"{problem.title} ({problem.key}) was {problem.reason}." for problem in page.beyond)
    return (*filter(None, (page.unexplained,)), *failed, *beyond)


def _lines(page: ImagePage) -> tuple[PredictionLine, ...]:
    """The likeliest classes, then explained ones and a label that are not among them."""
    classes: dict[int, ClassView] = {}
    label = (page.row.label,) if page.row.label else ()
    for view in (*page.predictions, *page.targets, *label):
        classes.setdefault(view.index, view)
    roles = (("label", {view.index for view in label}), ("explained", {view.index for view in page.targets}))
    return tuple(
        PredictionLine(
            name=view.short,
            score=view.text or f"below the first {len(page.predictions)}",
            role=", ".join(role for role, members in roles if view.index in members),
        )
        for view in classes.values()
    )


def _pictures(page: ImagePage) -> Iterator[SheetPicture]:
    views = _distinct(page)
    varied = _varied(views)
    for start in range(0, max(1, len(views)), MOST_TILES):
        chosen = views[start : start + MOST_TILES]
        tiles = tuple(_tile(view, varied.get(view.record.name, ())) for view in chosen)
        yield SheetPicture(
            address=f"report:sheets/{page.row.id}-{start // MOST_TILES}.jpeg",
            columns=_columns(len(tiles) + 1, page.photo.height / page.photo.width),
            tiles=tiles,
            alt=_alt(page, chosen),
        )


def _columns(pictures: int, steepness: float) -> int:
    for columns in COLUMNS:
        rows = -(-pictures // columns)
        if rows * (steepness / columns + _WORDS) <= TALLEST:
            return columns
    return COLUMNS[-1]


def _distinct(page: ImagePage) -> list[MapView]:
    """Every map once: a section may show one in several figures."""
    seen: dict[tuple[str, int | None], MapView] = {}
    for section in page.sections:
        for view in section.maps:
            seen.setdefault((view.record.key, view.target.index if view.target else None), view)
    return list(seen.values())


def _varied(views: Sequence[MapView]) -> dict[str, set[str]]:
    """By technique: the parameters that differ between its maps."""
    values: dict[str, dict[str, set[Parameter]]] = defaultdict(lambda: defaultdict(set))
    for view in views:
        for name, value in view.record.parameters.items():
            values[view.record.name][name].add(value)
    return {
        technique: {name for name, used in parameters.items() if len(used) > 1}
        for technique, parameters in values.items()
    }


def _tile(view: MapView, varied: Collection[str]) -> Tile:
    setting = _setting(view, varied, short=True)
    target = view.target.short if view.target else ""
    title, _, aside = view.record.title.removesuffix(")").partition(" (")
    if setting:
        title = SHORT_TITLES.get(view.record.name, title)
    return Tile(
        title=", ".join((title, *setting)),
        caption=", ".join(filter(None, (range_digits(view), aside, target))),
        values=view.values,
        signed=view.record.signed,
        scale=view.scale,
    )


def _setting(view: MapView, varied: Collection[str], *, short: bool = False) -> list[str]:
    """The parameters that tell this map from its neighbours or from the default: words, then numbers."""
    words, numbers = [], []
    for name, value in view.record.parameters.items():
        form = SHORT_NUMBERS.get(name) if short else None
        if view.record.defaults.get(name) == value and (name not in varied or (form and not value)):
            continue
        if isinstance(value, bool):
            words.append(name.replace("_", " ") if value else f"no {name.replace('_', ' ')}")
        elif isinstance(value, str):
            words.append(value)
        else:
            numbers.append(form.format(value) if form else f"{name.partition('_')[0]} {value:g}")
    return words + numbers


def range_digits(view: MapView) -> str:
    """The ends of the scale in two digits: a caption is one short line."""
    if view.state != "drawn":
        return view.state
    low, high = f"{view.scale.low:.2g}", f"{view.scale.high:.2g}"
    return f"± {high}" if view.record.signed else f"{low}–{high}"


def _alt(page: ImagePage, views: Sequence[MapView]) -> str:
    shown = f"{page.photo.words}, and {count(len(views), 'map')}"
    parts = [f"Contact sheet of {page.row.name}: {shown}.", COUNTED]
    varied = _varied(views)
    for view in views:
        setting = _setting(view, varied.get(view.record.name, ()))
        target = (f"for {view.target.short}",) if view.target else ()
        said = ", ".join((view.record.title, *target, *setting))
        if view.state == "drawn":
            row, column = view.peak
            peak = f"largest in row {row}, column {column}"
            parts.append(f"{said}: {view.scale_text}, {peak}.")
        else:
            parts.append(f"{said}: {view.state}.")
    return " ".join(parts)
