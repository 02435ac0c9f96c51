"""A file in, upright RGB pixels out; or one short reason why not.

Runs use it through `vitreport.images.decoder`, in a process of its own that may not take more than its share.

The pixels of ordinary images are those of Pillow's ``Image.open(path).convert("RGB")``, which is what
the usual pipelines around timm feed to a model: transparency is dropped, not blended.
Differs: the EXIF orientation is applied, and grey levels beyond 8 bits are scaled, where Pillow clips.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self, TypeVar

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

SCAN_LIMIT = 200
"""Scans of the longest JPEG that is decoded; progressive ones have about ten."""

_BAND = 1 << 21
"""Pixels that are converted at a time, so that a large picture is not held several times over."""

_ORIENTATION = 0x0112
_SCAN = b"\xff\xda"
_LIMIT = f"images of more than {PIXEL_LIMIT:,} are refused, as they may be meant to exhaust the memory"


Admit = Callable[[int], None]
"""Called with the number of pixels, when it is known, before they are decoded."""


def decode(path: Path, admit: Admit = lambda pixels: None) -> Pixels:
    """Reads an image: `(height, width, 3)` uint8 RGB, upright, contiguous and writable.

    Of an animation the first frame. 16-bit grey levels are divided by 257. Grey levels of formats that
    do not say how wide their range is (32-bit integers, floats) are read as fractions of 1 (floats only),
    of 255 or of 65535, the first of these that no level exceeds; where none fits, or a level is negative,
    their own range is stretched. Levels that are not finite count as the lowest.

    Several threads may decode at once.

    Raises:
        ImageError: the reason, without the path.
    """
    return _guarded(path, lambda file: _decode(file, admit))


def decode_mask(path: Path, admit: Admit = lambda pixels: None) -> Classes:
    """Reads a mask, a PNG of numbers: `(height, width)` int32.

    0 is background, k the class of index k - 1, 255 is to be ignored (of 16 bits 65535). The result holds
    class indices, -1 for background and -2 for what is to be ignored.

    Raises:
        ImageError: the reason, without the path.
    """
    return _guarded(path, lambda file: _decode_mask(file, admit))


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


def _decode(file: BinaryIO, admit: Admit) -> Pixels:
    with Image.open(file, formats=FORMATS) as image:
        _check_size(image)
        if image.format in ("JPEG", "MPO"):
            _check_scans(file)
        admit(image.width * image.height)
        image.load()
        orientation = _orientation(image)
        pixels = _upright(_rgb(image), orientation)
    return np.ascontiguousarray(pixels)


def _decode_mask(file: BinaryIO, admit: Admit) -> Classes:
    with Image.open(file, formats=("PNG",)) as image:
        _check_size(image)
        if image.mode not in ("1", "L", "P", "I;16", "I"):
            raise ImageError("a mask has one number a pixel (grey or palette PNG), not colours")
        admit(image.width * image.height)
        image.load()
        levels = np.asarray(image).astype(np.int32)
    ignored = 65535 if image.mode.startswith("I") else 255
    return np.where(levels == ignored, -2, levels - 1).astype(np.int32)


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if not width * height:
        raise ImageError("it has no pixels")
    if width * height > PIXEL_LIMIT:
        raise ImageError(f"it has {width} x {height} pixels; {_LIMIT}")


def _check_scans(file: BinaryIO) -> None:
    """Every scan of a JPEG goes over all its pixels, and an empty one takes no more than some ten bytes."""
    place, scans, last = file.tell(), 0, b""
    file.seek(0)
    while block := file.read(1 << 20):
        scans += (last + block).count(_SCAN)
        last = block[-1:]
    file.seek(place)
    if scans > SCAN_LIMIT:
        raise ImageError(
            f"it has {scans:,} scans; JPEGs of more than {SCAN_LIMIT} are refused, as they may be meant to "
            "exhaust the machine"
        )


def _rgb(image: Image.Image) -> Pixels:
    # Pillow would carry the transparency over, and warn where it cannot; the pixels are the same without.
    image.info.pop("transparency", None)
    to_bytes: Callable[[Image.Image], Pixels]
    if image.mode.startswith("I;16"):
        to_bytes = _from_sixteen_bits
    elif image.mode == "F":
        to_bytes = _Scale.of(image, ceilings=(1.0, 255.0, 65535.0))
    elif image.mode == "I":
        # Pillow has already scaled the levels of a 16-bit PGM to 65535, however dark the picture is.
        to_bytes = _Scale.of(image, (65535.0,) if image.format == "PPM" else (255.0, 65535.0))
    else:
        to_bytes = _converted
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for rows, band in _bands(image):
        pixels[rows] = to_bytes(band)
    return pixels


def _bands(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    height = max(1, _BAND // image.width)
    for top in range(0, image.height, height):
        bottom = min(top + height, image.height)
        yield slice(top, bottom), image.crop((0, top, image.width, bottom))


def _converted(band: Image.Image) -> Pixels:
    return np.asarray(band.convert("RGB"))


def _from_sixteen_bits(band: Image.Image) -> Pixels:
    return _three(((np.asarray(band).astype(np.uint32) + 128) // 257).astype(np.uint8))


@dataclass(frozen=True)
class _Scale:
    """Grey levels as bytes: of the first ceiling that holds them all, else of their own range."""

    low: float
    floor: float
    span: float

    @classmethod
    def of(cls, image: Image.Image, ceilings: tuple[float, ...]) -> Self:
        finite = (levels[np.isfinite(levels)] for levels in (np.asarray(band) for _, band in _bands(image)))
        ends = [(float(levels.min()), float(levels.max())) for levels in finite if levels.size]
        if not ends:
            raise ImageError("none of its grey levels is finite")
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
        ceiling = next((ceiling for ceiling in ceilings if high <= ceiling), None) if low >= 0 else None
        return cls(low, low, high - low) if ceiling is None else cls(low, 0.0, ceiling)

    def __call__(self, band: Image.Image) -> Pixels:
        values = np.asarray(band).astype(np.float64)
        values[~np.isfinite(values)] = self.low
        values -= self.floor
        values *= 255.0
        values /= self.span or 1.0
        return _three(np.rint(values).astype(np.uint8))


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
