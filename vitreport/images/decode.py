"""A file in, upright RGB pixels out; or one short reason why not.

The pixels of ordinary images are those of Pillow's ``Image.open(path).convert("RGB")``, which is what
the usual pipelines around timm feed to a model: transparency is dropped, not blended.
Differs: the EXIF orientation is applied, and grey levels beyond 8 bits are scaled, where Pillow clips.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt

# Registers their formats now: left to Image.open, the first threads would do it at once.
from PIL import (  # noqa: F401
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from vitreport.errors import ImageError
from vitreport.images.file import open_regular, system_reason

Pixels = npt.NDArray[np.uint8]
Classes = npt.NDArray[np.int32]
Found = TypeVar("Found")

PIXEL_LIMIT = 89_478_485
"""Pixels of the largest image that is decoded (about 9459 x 9459; Pillow warns from there on)."""

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "PPM", "JPEG2000")
"""What is read, as Pillow calls it. Never all that Pillow can: some of its formats start other programs."""

_ORIENTATION = 0x0112
_LIMIT = f"images of more than {PIXEL_LIMIT:,} are refused, as they may be meant to exhaust the memory"


def decode(path: Path) -> Pixels:
    """Reads an image: `(height, width, 3)` uint8 RGB, upright, contiguous and writable.

    Of an animation the first frame. 16-bit grey levels are divided by 257. Grey levels of formats that
    do not say how wide their range is (32-bit integers, floats) are read as fractions of 1 (floats only),
    of 255 or of 65535, the first of these that no level exceeds; where none fits, or a level is negative,
    their own range is stretched. Levels that are not finite count as the lowest.

    Several threads may decode at once.

    Raises:
        ImageError: the reason, without the path.
    """
    return _guarded(path, _decode)


def decode_mask(path: Path) -> Classes:
    """Reads a mask, a PNG of numbers: `(height, width)` int32.

    0 is background, k the class of index k - 1, 255 is to be ignored (of 16 bits 65535). The result holds
    class indices, -1 for background and -2 for what is to be ignored.

    Raises:
        ImageError: the reason, without the path.
    """
    return _guarded(path, _decode_mask)


def _guarded(path: Path, read: Callable[[BinaryIO], Found]) -> Found:
    with open_regular(path) as file, _whole_files_only():
        try:
            return read(file)
        except ImageError:
            raise
        except Exception as error:  # decoders fail on hostile bytes in every way there is
            raise ImageError(_reason(error)) from error


_lock = threading.Lock()
_decoding = 0
_before = False


@contextmanager
def _whole_files_only() -> Iterator[None]:
    """Pillow refuses truncated files meanwhile; WeasyPrint, once imported, lets it fill them with grey."""
    global _decoding, _before
    with _lock:
        if not _decoding:
            _before = ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        _decoding += 1
    try:
        yield
    finally:
        with _lock:
            _decoding -= 1
            if not _decoding:
                ImageFile.LOAD_TRUNCATED_IMAGES = _before


def _decode(file: BinaryIO) -> Pixels:
    if not file.read(1):
        raise ImageError("the file is empty")
    with Image.open(file, formats=FORMATS) as image:
        width, height = image.size
        if not width * height:
            raise ImageError("it has no pixels")
        if width * height > PIXEL_LIMIT:
            raise ImageError(f"it has {width} x {height} pixels; {_LIMIT}")
        image.load()
        orientation = _orientation(image)
        pixels = _upright(_rgb(image), orientation)
    return np.ascontiguousarray(pixels)


def _decode_mask(file: BinaryIO) -> Classes:
    with Image.open(file, formats=("PNG",)) as image:
        if image.width * image.height > PIXEL_LIMIT:
            raise ImageError(f"it has {image.width} x {image.height} pixels; {_LIMIT}")
        if image.mode not in ("1", "L", "P", "I;16", "I"):
            raise ImageError("a mask has one number a pixel (grey or palette PNG), not colours")
        image.load()
        levels = np.asarray(image).astype(np.int32)
    ignored = 65535 if image.mode.startswith("I") else 255
    return np.where(levels == ignored, -2, levels - 1)


def _rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.uint32)
        return _three(((levels + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        return _three(_scaled(np.asarray(image), ceilings=(1.0, 255.0, 65535.0)))
    if image.mode == "I":
        # Pillow has already scaled the levels of a 16-bit PGM to 65535, however dark the picture is.
        return _three(_scaled(np.asarray(image), (65535.0,) if image.format == "PPM" else (255.0, 65535.0)))
    # Pillow would carry the transparency over, and warn where it cannot; the pixels are the same without.
    image.info.pop("transparency", None)
    return np.array(image.convert("RGB"))


def _scaled(levels: npt.NDArray[np.generic], ceilings: tuple[float, ...]) -> Pixels:
    """Grey levels as bytes: of the first ceiling that holds them all, else of their own range."""
    values = levels.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        raise ImageError("none of its grey levels is finite")
    low, high = float(values[finite].min()), float(values[finite].max())
    values[~finite] = low
    ceiling = next((ceiling for ceiling in ceilings if high <= ceiling), None) if low >= 0 else None
    floor, span = (low, high - low) if ceiling is None else (0.0, ceiling)
    values -= floor
    values *= 255.0
    values /= span or 1.0
    return np.rint(values).astype(np.uint8)


def _three(grey: Pixels) -> Pixels:
    return np.repeat(grey[..., None], 3, axis=-1)


def _orientation(image: Image.Image) -> object:
    """The EXIF orientation, 1 to 8; damaged EXIF says nothing, which is no reason to lose the image.

    Asked for only when the pixels are there: TIFF applies it itself on loading and then forgets it,
    and PNG may keep it behind the pixels.
    """
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1


def _upright(pixels: Pixels, orientation: object) -> Pixels:
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.swapaxes(0, 1)
        case 6:
            return np.rot90(pixels, -1)
        case 7:
            return pixels.swapaxes(0, 1)[::-1, ::-1]
        case 8:
            return np.rot90(pixels)
        case _:
            return pixels


def _reason(error: Exception) -> str:
    """One short phrase; what Pillow says is used only where it is known to name no file."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it has too many pixels; {_LIMIT}"
    if isinstance(error, UnidentifiedImageError):
        return f"not an image, or damaged at its start (formats that are read: {', '.join(FORMATS)})"
    if isinstance(error, MemoryError):
        return "not enough memory for its pixels"
    if isinstance(error, OSError) and error.errno:
        return system_reason(error)
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return "the file is truncated"
    return f"the file is damaged ({type(error).__name__})"
