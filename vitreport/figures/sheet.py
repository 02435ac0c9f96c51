"""A contact sheet: the photo and all maps of an image in one picture, for media that cannot scale."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from vitreport.explanation import FloatArray
from vitreport.figures.colour import coloured, lookup_table, steps
from vitreport.figures.scale import Scale, state_of

WIDTH = 1600
"""Of a sheet, in pixels."""

OPACITY = 0.62
"""Of a map over its photo."""

_MARGIN = 12
_TITLES, _TITLE_ROW = (22, 20, 18, 16), 36
_CAPTION, _CAPTION_ROW = 22, 34
_BAR = 8
_INK, _FAINT, _PAPER, _BLANK = "#1c1e21", "#5b6068", "#ffffff", "#e8e9eb"


@dataclass(frozen=True)
class Tile:
    """One map on a sheet.

    Attributes:
        title: bold, above the picture; smaller, then cut, where it does not fit.
        caption: below the picture; cut where it does not fit.
        values: ``(rows, cols)``; a map that cannot be drawn leaves a blank tile that says why.
        scale: the values of the first and the last colour.
    """

    title: str
    caption: str
    values: FloatArray
    signed: bool
    scale: Scale


def contact_sheet(view_jpeg: bytes, tiles: Sequence[Tile], columns: int) -> bytes:
    """The photo, then every tile over the grey photo, row by row.

    Args:
        view_jpeg: what the model saw.
        tiles: the maps, in order.
        columns: tiles in a row, at least 1.

    Returns:
        A JPEG, 1600 pixels wide; equal inputs give equal bytes.
    """
    side = (WIDTH - _MARGIN * (columns - 1)) // columns
    photo = _photo(view_jpeg, side)
    grey = _grey(photo)
    pitch = _TITLE_ROW + photo.height + _BAR + _CAPTION_ROW + _MARGIN
    count = len(tiles) + 1
    sheet = Image.new("RGB", (WIDTH, pitch * -(-count // columns)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for position in range(count):
        tile = tiles[position - 1] if position else None
        left, top = position % columns * (side + _MARGIN), position // columns * pitch
        title = "What the model saw" if tile is None else tile.title
        sheet.paste(_INK, (left, top), _title(title, side))
        place = (left, top + _TITLE_ROW)
        if tile is None:
            sheet.paste(photo, place)
        else:
            _draw_map(sheet, pen, tile, grey, place)
    return _encoded(sheet)


@dataclass(frozen=True)
class Shown:
    """An image on a strip, and a map of it beside it; None where there is none to show."""

    title: str
    view_jpeg: bytes
    tile: Tile | None


def strip(images: Sequence[Shown], cells: int) -> bytes:
    """Images in one row, each with its map over it to the right.

    Args:
        images: at least one; an image with a map takes two cells, whose captions are the tile's.
        cells: in the row, at least as many as `images` take.

    Returns:
        A JPEG, 1600 pixels wide; equal inputs give equal bytes.
    """
    side = (WIDTH - _MARGIN * (cells - 1)) // cells
    photos = [_photo(image.view_jpeg, side) for image in images]
    tallest = max(photo.height for photo in photos)
    sheet = Image.new("RGB", (WIDTH, _TITLE_ROW + tallest + _BAR + _CAPTION_ROW), _PAPER)
    pen = ImageDraw.Draw(sheet)
    left = 0
    for image, photo in zip(images, photos, strict=True):
        width = side if image.tile is None else 2 * side + _MARGIN
        sheet.paste(_INK, (left, 0), _title(image.title, width))
        sheet.paste(photo, (left, _TITLE_ROW))
        if image.tile is not None:
            _draw_map(sheet, pen, image.tile, _grey(photo), (left + side + _MARGIN, _TITLE_ROW))
        left += width + _MARGIN
    return _encoded(sheet)


def grid_sheet(tiles: Sequence[Tile], columns: int) -> bytes:
    """Small arrays side by side, every value a square.

    Args:
        tiles: all of one shape; their titles stand above, their captions below.
        columns: tiles in a row, at least 1.

    Returns:
        A JPEG, 1600 pixels wide; equal inputs give equal bytes.
    """
    side = (WIDTH - _MARGIN * (columns - 1)) // columns
    rows, cols = tiles[0].values.shape
    square = max(1, min(side // cols, WIDTH // (2 * rows)))
    height = rows * square
    pitch = _TITLE_ROW + height + _CAPTION_ROW + _MARGIN
    sheet = Image.new("RGB", (WIDTH, pitch * -(-len(tiles) // columns)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for position, tile in enumerate(tiles):
        left, top = position % columns * (side + _MARGIN), position // columns * pitch
        sheet.paste(_INK, (left, top), _title(tile.title, side))
        top += _TITLE_ROW
        known = np.nan_to_num(tile.values, nan=tile.scale.low)
        small = Image.fromarray(coloured(known, tile.scale, tile.signed))
        sheet.paste(small.resize((cols * square, height), Image.Resampling.NEAREST), (left, top))
        line, font = _fit(tile.caption, (_CAPTION,), False, side)
        pen.text((left, top + height + 4), line, _FAINT, font)
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def picture_sheet(pictures: Sequence[tuple[str, str, bytes]], columns: int) -> bytes:
    """Pictures of one shape side by side, as they are.

    Args:
        pictures: title, caption and JPEG of each.
        columns: pictures in a row, at least 1.

    Returns:
        A JPEG, 1600 pixels wide; equal inputs give equal bytes.
    """
    side = (WIDTH - _MARGIN * (columns - 1)) // columns
    opened = []
    for _, _, content in pictures:
        with Image.open(io.BytesIO(content)) as one:
            picture = one.convert("RGB")
        height = max(1, round(side * picture.height / picture.width))
        opened.append(picture.resize((side, height), Image.Resampling.BICUBIC))
    height = max(one.height for one in opened)
    pitch = _TITLE_ROW + height + _CAPTION_ROW + _MARGIN
    sheet = Image.new("RGB", (WIDTH, pitch * -(-len(opened) // columns)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for position, ((title, caption, _), picture) in enumerate(zip(pictures, opened, strict=True)):
        left, top = position % columns * (side + _MARGIN), position // columns * pitch
        sheet.paste(_INK, (left, top), _title(title, side))
        sheet.paste(picture, (left, top + _TITLE_ROW))
        line, font = _fit(caption, (_CAPTION,), False, side)
        pen.text((left, top + _TITLE_ROW + height + 4), line, _FAINT, font)
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def _photo(view_jpeg: bytes, side: int) -> Image.Image:
    """What the model saw, `side` pixels wide."""
    with Image.open(io.BytesIO(view_jpeg)) as opened:
        view = opened.convert("RGB")
    return view.resize((side, max(1, round(side * view.height / view.width))), Image.Resampling.BICUBIC)


def _grey(photo: Image.Image) -> Image.Image:
    return photo.convert("L").convert("RGB")


def _draw_map(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    tile: Tile,
    grey: Image.Image,
    place: tuple[int, int],
) -> None:
    """A map over the photo, with its colours and its caption below; blank where it cannot be drawn."""
    left, top = place
    width, height = grey.size
    if state_of(tile.values) == "drawn":
        sheet.paste(_overlay(grey, tile), place)
        sheet.paste(_bar(tile.signed, width), (left, top + height))
    else:
        pen.rectangle((left, top, left + width - 1, top + height - 1), _BLANK)
        pen.text((left + 12, top + 12), state_of(tile.values), _FAINT, _font(_CAPTION, False))
    line, font = _fit(tile.caption, (_CAPTION,), False, width)
    pen.text((left, top + height + _BAR + 4), line, _FAINT, font)


def _encoded(sheet: Image.Image) -> bytes:
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=85, subsampling="4:2:0")
    return buffer.getvalue()


def _overlay(photo: Image.Image, tile: Tile) -> Image.Image:
    """The map over the grey photo: scaled up while it has one channel, then coloured."""
    small = Image.fromarray(steps(tile.values, tile.scale, 256))
    large = small.resize(photo.size, Image.Resampling.BILINEAR)
    large.putpalette(lookup_table(tile.signed, 256).tobytes())
    return Image.blend(photo, large.convert("RGB"), OPACITY)


@cache
def _bar(signed: bool, width: int) -> Image.Image:
    return Image.fromarray(lookup_table(signed, 256)[None]).resize((width, _BAR))


@lru_cache(1024)  # the titles of one image's maps are those of the next one's
def _title(text: str, width: int) -> Image.Image:
    """A mask of the line above a picture."""
    line, font = _fit(text, _TITLES, True, width)
    mask = Image.new("L", (width, _TITLE_ROW))
    ImageDraw.Draw(mask).text((0, 6 + _TITLES[0] - font.size), line, 255, font)
    return mask


@cache
def _font_path(bold: bool) -> Path:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_font_path(bold), size, layout_engine=ImageFont.Layout.BASIC)


@cache
def _glyphs(bold: bool) -> frozenset[int]:
    return frozenset(FT2Font(_font_path(bold)).get_charmap())


def _fit(text: str, sizes: Sequence[int], bold: bool, width: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """The text on one line in the first size that it fits in, or in the last, cut with an ellipsis.

    Characters that the font lacks are escaped.
    """
    known = _glyphs(bold)
    text = "".join(
        character if ord(character) in known and character.isprintable() else f"\\u{ord(character):04x}"
        for character in " ".join(text.split())
    )
    for size in sizes:
        font = _font(size, bold)
        if font.getlength(text) <= width:
            return text, font
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…", font
