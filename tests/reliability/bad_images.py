"""A folder of hostile and broken files, made by code: what is wrong with each, and what must become of it."""

from __future__ import annotations

import io
import os
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

EXPLAINED = ""
DAMAGED = "truncated|damaged|not an image"
BOMB = "pixels; images of more than 89,478,485 are refused"
NO_IMAGE = "^not an image, or damaged at its start"


@dataclass(frozen=True)
class Case:
    """A file and its fate.

    Attributes:
        name: as bytes, since not every name is UTF-8.
        make: writes it.
        reason: a pattern of why it is quarantined; empty where it is explained; ``None`` for either of them.
    """

    name: bytes
    make: Callable[[Path], object]
    reason: str | None


def picture(seed: int = 0, size: tuple[int, int] = (64, 48)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or picture()).save(buffer, kind, **options)
    return buffer.getvalue()


def written(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def cases() -> list[Case]:
    """All of them; the folder is made by `write`."""
    return [
        *_truncated(),
        *_bombs(),
        *_odd_but_good(),
        *_damaged(),
        *_other_formats(),
        *_no_files(),
        *_names(),
    ]


def write(folder: Path) -> list[Case]:
    """Makes the folder, and gives what could be made of it on this system."""
    folder.mkdir(parents=True)
    made = []
    for case in cases():
        try:
            case.make(folder / os.fsdecode(case.name))
        except (OSError, ValueError) as error:
            if case.reason == EXPLAINED and error.__class__ is not OSError:
                raise
        else:
            made.append(case)
    return made


def _truncated() -> list[Case]:
    found = []
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000"):
        content = encoded(kind)
        for share in (0.01, 0.2, 0.5, 0.95):
            name = f"truncated_{kind.lower()}_{round(share * 100):02d}.jpg".encode()
            found.append(Case(name, written(content[: max(1, int(len(content) * share))]), DAMAGED))
    return found


def png(width: int, height: int, body: bytes = b"", kind: int = 2, extra: bytes = b"") -> bytes:
    """A PNG that claims a size, with image data and further chunks."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    tail = chunk(b"IDAT", zlib.compress(body, 1)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + tail


def _patched(content: bytes, mark: bytes, offset: int, new: bytes) -> bytes:
    """Overwrites what is `offset` bytes behind every occurrence of a mark."""
    changed = bytearray(content)
    place = changed.find(mark)
    assert place >= 0, mark
    while place >= 0:
        changed[place + offset : place + offset + len(new)] = new
        place = changed.find(mark, place + 1)
    return bytes(changed)


def _bombs() -> list[Case]:
    size = struct.pack(">HH", 65500, 65500)
    long_size = struct.pack(">II", 60_000, 60_000)
    jpeg2000 = _patched(encoded("JPEG2000"), b"ihdr", 4, long_size)
    tiff = encoded("TIFF")
    for tag, value in ((256, 64), (257, 48)):
        entry = struct.pack("<HHI", tag, 4, 1) + struct.pack("<I", value)
        tiff = _patched(tiff, entry, 8, struct.pack("<I", 60_000))
    webp = encoded("WEBP", picture().convert("RGBA"), exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")
    progressive = encoded("JPEG", progressive=True)
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    zeros = png(9000, 9000, b"\0" * 9000 * 9001, kind=0)
    return [
        Case(b"bomb.png", written(png(30_000, 30_000)), BOMB),
        Case(b"bomb_of_2_31.png", written(png(2**31 - 1, 2**31 - 1)), BOMB),
        Case(
            b"bomb.gif", written(_patched(encoded("GIF"), b"GIF8", 6, struct.pack("<HH", 65535, 65535))), BOMB
        ),
        Case(b"bomb.jpg", written(_patched(encoded("JPEG"), b"\xff\xc0", 5, size)), BOMB),
        Case(b"bomb.tif", written(tiff), BOMB),
        Case(b"bomb.webp", written(_patched(webp, b"VP8X", 12, b"\xfe\x3f\x00" * 2)), f"{BOMB}|{DAMAGED}"),
        Case(b"bomb.avif", written(_patched(encoded("AVIF"), b"ispe", 8, long_size)), f"{BOMB}|{DAMAGED}"),
        Case(b"bomb.jp2", written(jpeg2000), f"{BOMB}|{DAMAGED}"),
        Case(b"bomb.ppm", written(b"P6 60000 60000 255\n"), BOMB),
        Case(
            b"bomb.bmp",
            written(_patched(encoded("BMP"), b"BM", 18, struct.pack("<ii", 60_000, 60_000))),
            BOMB,
        ),
        Case(b"81_million_pixels_of_80_kB.png", written(zeros), EXPLAINED),
        Case(
            b"thousands_of_scans.jpg", written(progressive[:-2] + scan * 4000 + b"\xff\xd9"), "scans; JPEGs"
        ),
        Case(b"text_bomb.png", written(png(8, 8, b"\0" * 200, extra=_ztxt(1 << 27))), None),
        Case(b"profile_bomb.png", written(png(8, 8, b"\0" * 200, extra=_iccp(1 << 27))), None),
        Case(b"sparse.webp", _sparse, "^the file has 100.0 GiB; files of more than 512 MiB are not read"),
    ]


def _ztxt(size: int) -> bytes:
    data = b"Comment\0\0" + zlib.compress(b"\0" * size, 9)
    return struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))


def _iccp(size: int) -> bytes:
    data = b"p\0\0" + zlib.compress(b"\0" * size, 9)
    return struct.pack(">I", len(data)) + b"iCCP" + data + struct.pack(">I", zlib.crc32(b"iCCP" + data))


def _sparse(path: Path) -> None:
    path.write_bytes(encoded("WEBP"))
    os.truncate(path, 100 << 30)


def _odd_but_good() -> list[Case]:
    one = picture(1)
    sixteen = Image.fromarray(np.linspace(0, 65535, 48 * 64).astype(np.uint16).reshape(48, 64))
    floats = Image.fromarray(np.linspace(-3, 9, 48 * 64).astype(np.float32).reshape(48, 64))
    holes = np.full((48, 64), 0.5, np.float32)
    holes[::2] = np.nan
    palette = one.quantize(16)
    several = {"save_all": True, "append_images": [picture(2), picture(3)]}
    files = {
        "cmyk.jpg": encoded("JPEG", one.convert("CMYK")),
        "cmyk.tif": encoded("TIFF", one.convert("CMYK")),
        "lab.tif": encoded("TIFF", Image.new("LAB", (64, 48), (90, 30, 10))),
        "sixteen_bits.png": encoded("PNG", sixteen),
        "sixteen_bits.tif": encoded("TIFF", sixteen),
        "palette_with_alpha.png": encoded("PNG", palette, transparency=bytes(range(16))),
        "grey_with_alpha.png": encoded("PNG", one.convert("LA")),
        "bilevel.png": encoded("PNG", one.convert("1")),
        "floats.tif": encoded("TIFF", floats),
        "floats_with_holes.tif": encoded("TIFF", Image.fromarray(holes)),
        "pages.tif": encoded("TIFF", one, **several),
        "animated.gif": encoded("GIF", one, **several),
        "animated.png": encoded("PNG", one, **several),
        "animated.webp": encoded("WEBP", one, **several),
        "progressive.jpg": encoded("JPEG", one, progressive=True),
        "one_pixel.png": encoded("PNG", one.resize((1, 1))),
        "one_pixel.jpg": encoded("JPEG", one.resize((1, 1))),
        "a_png_named.jpg": encoded("PNG", picture(4)),
        "broken_exif.jpg": encoded("JPEG", picture(5), exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\x41" * 40),
        "endless_exif.jpg": encoded("JPEG", picture(6), exif=_exif_in_a_circle()),
        "broken_profile.jpg": encoded("JPEG", picture(7), icc_profile=b"no profile" * 300),
        "broken_profile.png": encoded("PNG", picture(8), icc_profile=b"\0" * 5000),
        "wrong_orientation.jpg": encoded("JPEG", picture(9), exif=_orientation(77)),
        "30000_wide.jpg": encoded("JPEG", picture(10, (30_000, 1000)), quality=30),
        "zip_behind_it.jpg": encoded("JPEG", picture(11)) + _zip(),
        "copy_of_one.jpg": encoded("JPEG", picture(12)),
        "copy_of_another.jpg": encoded("JPEG", picture(12)),
    }
    return [
        *(Case(name.encode(), written(content), EXPLAINED) for name, content in files.items()),
        Case(
            b"30000_wide_1_high.png", written(encoded("PNG", picture(13, (30_000, 1)))), "too long and thin"
        ),
        Case(b"all_nan.tif", written(encoded("TIFF", Image.fromarray(holes * np.nan))), "levels is finite"),
    ]


def _orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


def _exif_in_a_circle() -> bytes:
    """Its one directory says that the next one is itself, and so does its pointer to another."""
    entry = struct.pack("<HHII", 0x8769, 4, 1, 8)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 1) + entry + struct.pack("<I", 8)


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../evil.jpg", b"\0" * 100_000)
    return buffer.getvalue()


def _damaged() -> list[Case]:
    jpeg, whole = encoded("JPEG", picture(14)), encoded("PNG", picture(15))
    lzw = encoded("TIFF", picture(16), compression="tiff_lzw")
    return [
        Case(b"zero_bytes.jpg", written(b""), "^the file is empty$"),
        Case(b"only_a_mark.jpg", written(b"\xff\xd8\xff"), NO_IMAGE),
        Case(b"only_zeros.png", written(b"\0" * 4096), NO_IMAGE),
        Case(b"endless_marks.jpg", written(b"\xff\xd8" + b"\xff" * 500_000), None),
        Case(b"zeroed_middle.png", written(whole[:100] + b"\0" * 400 + whole[500:]), DAMAGED),
        Case(b"wrong_checksum.png", written(_patched(whole, b"IHDR", 17, b"\0\0\0\0")), DAMAGED),
        Case(b"zeroed_strips.tif", written(lzw[:8] + b"\xff" * 300 + lzw[308:]), None),
        Case(b"twice_the_start.jpg", written(jpeg[:200] + jpeg), None),
        Case(b"no_pixels.png", written(png(0, 7)), NO_IMAGE),
        Case(b"text.ppm", written(b"P3 9 9 255\n" + b"nonsense " * 300), DAMAGED),
    ]


def _other_formats() -> list[Case]:
    html = b"<!DOCTYPE html><script>alert(1)</script><img src='file:///etc/passwd'>"
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(/tmp/canary) (w) file\n"
    contents = {
        "html.jpg": html,
        "svg.jpg": svg,
        "svg.png": svg,
        "zip.jpg": _zip(),
        "eps.jpg": eps,
        "pdf.jpg": encoded("PDF"),
        "icon.jpg": encoded("ICO"),
        "photoshop.jpg": b"8BPS\0\1" + b"\0" * 200,
        "metafile.jpg": b"\xd7\xcd\xc6\x9a" + b"\0" * 200,
        "fits.jpg": b"SIMPLE  =                    T" + b" " * 3000,
        "script.jpg": b"#!/bin/sh\ntouch canary\n",
    }
    return [Case(name.encode(), written(content), NO_IMAGE) for name, content in contents.items()]


def _no_files() -> list[Case]:
    def unreadable(path: Path) -> None:
        path.write_bytes(encoded("JPEG", picture(17)))
        path.chmod(0)
        if os.access(path, os.R_OK):
            path.unlink()
            raise OSError("root reads everything")

    def listening(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))

    def deep(path: Path) -> None:
        path.mkdir()
        (path / "back.jpg").symlink_to("../back")
        (path / "up").symlink_to("..")

    return [
        Case(b"fifo.jpg", os.mkfifo, "^a named pipe, not a file$"),
        Case(b"socket.jpg", listening, "^a socket, not a file$"),
        Case(b"device.jpg", lambda path: path.symlink_to("/dev/zero"), "^a device, not a file$"),
        Case(b"terminal.jpg", lambda path: path.symlink_to("/dev/stdin"), "not a file$|^the file is empty$"),
        Case(b"system.jpg", lambda path: path.symlink_to("/proc/self/status"), "^the file is empty$"),
        Case(b"loop_a.jpg", lambda path: path.symlink_to("loop_b.jpg"), "symbolic links"),
        Case(b"loop_b.jpg", lambda path: path.symlink_to("loop_a.jpg"), "symbolic links"),
        Case(b"dangling.jpg", lambda path: path.symlink_to("nowhere.jpg"), "^a link to nothing$"),
        Case(b"unreadable.jpg", unreadable, "permission denied"),
        Case(b"back", deep, None),
    ]


def _names() -> list[Case]:
    names = [
        b"quotes'\"`$(touch canary).jpg",
        b"two\nlines\r\ttab.jpg",
        "emoji_\N{PILE OF POO}\N{FAMILY}.jpg".encode(),
        b"<script>alert(1)<img src=x onerror=alert(1)>.jpg",
        b"not_utf8_\xff\xfe\x80.jpg",
        b"up..dots...jpg",
        b"a&b;c%2e%2e%2fd#e?f=g\\h|i.jpg",
        "right_\N{RIGHT-TO-LEFT OVERRIDE}gpj.to_left.jpg".encode(),
        "e\N{COMBINING ACUTE ACCENT}.jpg".encode(),
        "\N{LATIN SMALL LETTER E WITH ACUTE}.jpg".encode(),
        b"=cmd|'C calc'!A0.jpg",
        b" space_at_both_ends .jpg",
        b"-o.jpg",
        b"{{ 7 * 7 }}.jpg",
        b"n" * 251 + b".jpg",
        b"Case.jpg",
        b"case.jpg",
    ]
    return [
        Case(name, written(encoded("JPEG", picture(100 + number))), EXPLAINED)
        for number, name in enumerate(names)
    ]
