"""Pictures of views for pages of the site: sources for ``<img>``, their alternative texts and legends."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vitreport.explanation import FloatArray
from vitreport.figures.atlas import atlas_sheet
from vitreport.figures.colour import (
    SMALL_SIDE,
    is_small,
    large_map,
    small_map,
)
from vitreport.figures.scale import Scale, common_scale, own_scale, state_of
from vitreport.report.chapter import GridTile
from vitreport.report.image_page import AtlasView, ChannelView, ImagePage, MapView, NormsView, PatternView
from vitreport.report.pages import ClassView
from vitreport.report.technique_page import TechniquePage
from vitreport.report.wording import number

Keep = Callable[[str, bytes], str]
"""Puts a picture (its file suffix, its bytes) among the assets and returns its address."""


EXAMPLE_NOTES = {
    "class_attention": "The mean over the heads in the last block.",
    "logit_lens": "Where the prediction emerges, in a sentence.",
    "qkv": "The key of the best one-way channel.",
    "token_norms": "After the last block.",
}
"""What the example pictures of observations are, by technique."""


@dataclass(frozen=True)
class Layer:
    """One picture of a map on one scale.

    Attributes:
        source: address or ``data:`` of the picture.
        alt: what it shows, with the numbers that matter.
        low: the value of the first colour, as text.
        high: the value of the last colour, as text.
    """

    source: str
    alt: str
    low: str
    high: str

    @property
    def is_embedded(self) -> bool:
        """Whether the page carries it."""
        return self.source.startswith("data:")


@dataclass(frozen=True)
class MapPicture:
    """A map over its photo.

    Attributes:
        title: what the caption calls it.
        note: what else the caption says: the target, or a number.
        own: on the map's own scale; None where it cannot be drawn.
        fixed: on the fixed scale of the run; None where there is none.
        trouble: why it cannot be drawn, or empty.
        pixels: pixel by pixel, on a scale of its own; None where it is not kept so.
    """

    title: str
    note: str
    signed: bool
    own: Layer | None
    fixed: Layer | None
    trouble: str
    pixels: Layer | None = None


@dataclass(frozen=True)
class AtlasPicture:
    """The atlas of heads on one sheet; `means` are the means over the heads, block by block."""

    view: AtlasView
    source: str
    width: int
    height: int
    alt: str
    heads: tuple[int, ...]
    blocks: tuple[int, ...]
    means: tuple[MapPicture, ...]


@dataclass(frozen=True)
class ChannelPicture:
    """The query, key and value of a channel, in this order."""

    view: ChannelView
    score: str
    parts: tuple[MapPicture, ...]


@dataclass(frozen=True)
class PatternPicture:
    """The best channels of a pattern."""

    view: PatternView
    target: str
    channels: tuple[ChannelPicture, ...]


@dataclass(frozen=True)
class GridPicture:
    """A small array as a picture, one pixel a value; `width` and `height` are those on the page."""

    title: str
    note: str
    source: str
    alt: str
    width: int
    height: int


GRID_WIDTH = 168
"""Of a small array on a page, in pixels."""


def grid_picture(tile: GridTile) -> GridPicture:
    """The picture of a small array; what is not a number has the first colour."""
    known = np.nan_to_num(tile.values, nan=tile.scale.low)
    rows, columns = known.shape
    source = data_uri(small_map(known, tile.scale, signed=False))
    height = max(1, round(GRID_WIDTH * rows / columns))
    return GridPicture(tile.title, tile.note, source, tile.alt, GRID_WIDTH, height)


def data_uri(webp: bytes) -> str:
    """The WebP as an address that carries it."""
    return "data:image/webp;base64," + base64.b64encode(webp).decode("ascii")


def technique_picture(view: MapView, keep: Keep) -> MapPicture:
    """The same as `map_picture`, captioned with the technique first: to stand among other techniques."""
    picture = map_picture(view, keep)
    setting = "" if view.title == view.record.title else view.title
    return replace(picture, title=view.record.title, note=" ".join(filter(None, (setting, picture.note))))


def target_text(target: ClassView | None) -> str:
    """``for tench, 37.2 %``, or empty where the map does not depend on a class."""
    if target is None:
        return ""
    return f"for {target.short}, {target.text}" if target.text else f"for {target.short}"


def map_picture(view: MapView, keep: Keep) -> MapPicture:
    """The picture of a map on its own and on the fixed scale."""
    target = target_text(view.target)
    if view.state != "drawn":
        return MapPicture(view.title, target, view.record.signed, None, None, view.trouble)
    row, column = view.peak
    rows, columns = view.values.shape
    subject = _subject(view)
    peak = f"strongest at row {row}, column {column} (from 0) of {rows} × {columns}"
    own, fixed = (
        None
        if scale is None
        else _layer(view.values, scale, view.record.signed, f"{subject}{words} {number(scale.low)} to", keep)
        for scale, words in ((view.scale, f": {peak}; values"), (view.fixed, " on the fixed scale"))
    )
    return MapPicture(view.title, target, view.record.signed, own, fixed, "")


def in_pixels(picture: MapPicture, view: MapView, keep: Keep) -> MapPicture:
    """A picture of a map with its pixels too, where they are kept.

    Most pixels lie far below the largest one, so their colours run from the 1st to the 99th percentile.
    """
    values = None if view.pixels is None else view.pixels.values
    if values is None or state_of(values) != "drawn":
        return picture
    scale = common_scale([values], view.record.signed)
    if scale is None or not scale.low < scale.high:
        scale = own_scale(values, view.record.signed)
    alt = f"{_subject(view)}, pixel by pixel: 1st to 99th percentile {number(scale.low)} to"
    return replace(picture, pixels=_layer(values, scale, view.record.signed, alt, keep))


def _subject(view: MapView) -> str:
    title = view.record.title if view.title == view.record.title else f"{view.record.title}, {view.title}"
    return f"{title} {target_text(view.target)}".rstrip()


def _layer(values: FloatArray, scale: Scale, signed: bool, alt: str, keep: Keep) -> Layer:
    if is_small(values):
        source = data_uri(small_map(values, scale, signed))
    else:
        source = keep("webp", large_map(values, scale, signed))
    return Layer(source, f"{alt} {number(scale.high)}", number(scale.low), number(scale.high))


def atlas_picture(view: AtlasView, keep: Keep) -> AtlasPicture:
    """The sheet of all heads, and the mean of every block beside the last."""
    blocks, heads, rows, columns = view.values.shape
    sheet = atlas_sheet(view.values)
    small = max(sheet.width, sheet.height) <= SMALL_SIDE
    means = []
    for block, values in enumerate(view.means):
        likeness = view.likeness[block - 1] if block else None
        note = "" if likeness is None else f"likeness {likeness:.2f}".replace("-", "−")
        means.append(_block(block, values, note, f"Mean attention of block {block}: strongest", keep))
    return AtlasPicture(
        view=view,
        source=data_uri(sheet.encoded) if small else keep("webp", sheet.encoded),
        width=sheet.width,
        height=sheet.height,
        alt=f"Attention of the readout in {blocks} blocks (across) and {heads} heads (down), "
        f"each on {rows} × {columns} patches and on its own scale",
        heads=tuple(range(heads)),
        blocks=tuple(range(blocks)),
        means=tuple(means),
    )


def norm_pictures(view: NormsView, keep: Keep) -> list[MapPicture]:
    """The norms of the patch tokens, block by block; the prefix tokens' are in the captions."""
    return [
        _block(block, values, view.prefix_text(block), f"Token norms after block {block}: longest", keep)
        for block, values in enumerate(view.values)
    ]


def _block(block: int, values: FloatArray, note: str, most: str, keep: Keep) -> MapPicture:
    """One of the pictures that stand block by block, on its own scale; `most` begins its alternative text."""
    title = f"block {block}"
    if state_of(values) != "drawn":
        return MapPicture(title, note, False, None, None, f"No picture: {state_of(values)}.")
    row, column = divmod(int(values.argmax()), values.shape[1])
    scale = own_scale(values, signed=False)
    alt = f"{most} at row {row}, column {column} (from 0); values {number(scale.low)} to"
    return MapPicture(title, note, False, _layer(values, scale, False, alt, keep), None, "")


def pattern_picture(view: PatternView) -> PatternPicture:
    """The channels of a pattern, through a sigmoid: 0.5 is zero."""
    return PatternPicture(
        view,
        target_text(view.target),
        tuple(
            ChannelPicture(
                channel,
                f"{channel.score:.2f}",
                tuple(
                    _part(name, values)
                    for name, values in (
                        ("query", channel.query),
                        ("key", channel.key),
                        ("value", channel.value),
                    )
                ),
            )
            for channel in view.channels
        ),
    )


def _part(name: str, values: FloatArray) -> MapPicture:
    if values.size == 0 or not np.isfinite(values).all():
        return MapPicture(name, "", True, None, None, "Undefined: some values are not numbers.")
    squashed = (1 / (1 + np.exp(-np.clip(values, -30, 30)))).astype(np.float32)
    source = data_uri(small_map(squashed, Scale(0, 1), signed=True))
    alt = f"{name.capitalize()}: above zero in {int((values > 0).sum())} of {values.size} patches"
    return MapPicture(name, "", True, Layer(source, alt, "0", "1"), None, "")


def example_picture(page: TechniquePage, image: ImagePage, keep: Keep) -> MapPicture | None:
    """What a technique found in an image, as one picture: its plainest setting, the first target."""
    if page.name == "class_attention" and image.atlas is not None:
        return atlas_picture(image.atlas, keep).means[-1]
    if page.name == "qkv" and image.patterns and image.patterns[0].channels:
        return pattern_picture(image.patterns[0]).channels[0].parts[1]
    if page.name == "token_norms" and image.norms is not None:
        return norm_pictures(image.norms, keep)[-1]
    maps = [view for section in image.sections if section.name == page.name for view in section.maps]
    plain = [view for view in maps if dict(view.record.parameters) == dict(view.record.defaults)]
    return map_picture((plain or maps)[0], keep) if maps else None
