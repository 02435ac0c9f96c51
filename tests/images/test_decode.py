from __future__ import annotations

import csv
import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

import vitreport.images.decode
from vitreport.errors import ImageError
from vitreport.images.decode import FORMATS, PIXEL_LIMIT, decode
from vitreport.images.file import FILE_LIMIT

SHARED = Path(__file__).resolve().parents[2].parent / "shared"

Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def colours() -> Image.Image:
    """Noise over a gradient, wider than high: no two corners alike."""
    rows, cols = np.mgrid[0:40, 0:56]
    noise = np.random.default_rng(0).integers(0, 40, (40, 56, 3))
    pixels = np.stack([rows * 5, cols * 3, rows + cols], axis=-1) + noise
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def pillow(path: Path) -> Pixels:
    """What the pipelines around timm see of an upright image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(Image.open(path).convert("RGB"))


def test_a_decoded_image_is_writable_contiguous_rgb_of_its_height_and_width(
    tmp_path: Path, colours: Image.Image
) -> None:
    colours.save(tmp_path / "a.png")
    pixels = decode(tmp_path / "a.png")
    assert pixels.shape == (40, 56, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable and pixels.flags.c_contiguous


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("rgb.png", "RGB", {}),
        ("rgba.png", "RGBA", {}),
        ("grey.png", "L", {}),
        ("grey_alpha.png", "LA", {}),
        ("bilevel.png", "1", {}),
        ("palette.png", "P", {}),
        ("palette_index_transparent.png", "P", {"transparency": 3}),
        ("palette_alpha.png", "P", {"transparency": bytes(range(256))}),
        ("rgb_key.png", "RGB", {"transparency": (0, 0, 0)}),
        ("rgb.jpg", "RGB", {}),
        ("progressive.jpg", "RGB", {"progressive": True}),
        ("grey.jpg", "L", {}),
        ("cmyk.jpg", "CMYK", {}),
        ("rgb.webp", "RGB", {}),
        ("rgba.webp", "RGBA", {"lossless": True}),
        ("rgb.avif", "RGB", {}),
        ("rgba.avif", "RGBA", {}),
        ("palette.gif", "P", {}),
        ("transparent.gif", "P", {"transparency": 0}),
        ("grey.gif", "L", {}),
        ("rgb.bmp", "RGB", {}),
        ("rgb.tif", "RGB", {}),
        ("lzw.tif", "RGB", {"compression": "tiff_lzw"}),
        ("cmyk.tif", "CMYK", {}),
        ("ycbcr.tif", "YCbCr", {}),
        ("rgba.tif", "RGBA", {}),
        ("rgb.ppm", "RGB", {}),
        ("grey.pgm", "L", {}),
        ("bilevel.pbm", "1", {}),
        ("rgb.jp2", "RGB", {}),
    ],
)
def test_an_ordinary_image_has_the_pixels_that_pillow_converts_to(
    tmp_path: Path, colours: Image.Image, name: str, mode: str, options: dict[str, object]
) -> None:
    path = tmp_path / name
    colours.convert(mode).save(path, **options)
    np.testing.assert_array_equal(decode(path), pillow(path))


def test_alpha_is_dropped_and_not_blended(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 3), (200, 100, 50, 0)).save(tmp_path / "clear.png")
    np.testing.assert_array_equal(decode(tmp_path / "clear.png"), np.full((3, 4, 3), (200, 100, 50)))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "avif", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(
    tmp_path: Path, colours: Image.Image, orientation: int, suffix: str
) -> None:
    path = tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    colours.save(path, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    np.testing.assert_array_equal(decode(path), upright)
    assert upright.shape[:2] == ((40, 56) if orientation < 5 else (56, 40))


def test_orientation_six_puts_the_left_lower_corner_on_top(tmp_path: Path) -> None:
    stored = np.zeros((2, 3, 3), np.uint8)
    stored[1, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    assert decode(tmp_path / "a.png")[0, 0].tolist() == [255, 255, 255]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_damaged_exif_does_not_lose_the_image(tmp_path: Path, colours: Image.Image, exif: bytes) -> None:
    colours.save(tmp_path / "a.jpg", exif=exif)
    assert decode(tmp_path / "a.jpg").shape == (40, 56, 3)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_means_nothing_is_ignored(
    tmp_path: Path, colours: Image.Image, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    colours.save(tmp_path / "a.jpg", exif=exif)
    np.testing.assert_array_equal(decode(tmp_path / "a.jpg"), pillow(tmp_path / "a.jpg"))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm", "a.jp2"])
def test_sixteen_bit_grey_levels_are_scaled_and_not_clipped(tmp_path: Path, name: str) -> None:
    levels = np.linspace(0, 65535, 48 * 64).astype(np.uint16).reshape(48, 64)
    Image.fromarray(levels).save(tmp_path / name)
    pixels = decode(tmp_path / name)
    np.testing.assert_array_equal(pixels[..., 0], np.rint(levels / 257))
    assert (pixels == pixels[..., :1]).all()


def test_a_dark_sixteen_bit_image_stays_dark(tmp_path: Path) -> None:
    levels = np.full((8, 8), 200, np.uint16)
    for name in ("a.png", "a.pgm"):
        Image.fromarray(levels).save(tmp_path / name)
        assert decode(tmp_path / name).max() == 1


def test_a_sixteen_bit_image_is_turned_upright_as_well(tmp_path: Path) -> None:
    levels = np.arange(6, dtype=np.uint16).reshape(2, 3) * 257
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(levels).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(decode(tmp_path / "a.png")[..., 0], [[2, 5], [1, 4], [0, 3]])


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.4, 255.0], [0, 100, 255]),
        ([0.0, 25700.0, 65535.0], [0, 100, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([1e6, 1.5e6, 2e6], [0, 128, 255]),
        ([-3.0, -3.0, -3.0], [0, 0, 0]),
        ([0.0, np.nan, 1.0], [0, 0, 255]),
        ([0.25, np.inf, 0.5], [64, 64, 128]),
        ([-3.4e38, 0.0, 3.4e38], [0, 128, 255]),
    ],
)
def test_float_levels_are_scaled_by_the_range_that_holds_them(
    tmp_path: Path, levels: list[float], expected: list[int]
) -> None:
    Image.fromarray(np.array([levels], np.float32)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(decode(tmp_path / "a.tif")[0, :, 1], expected)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([0, 1, 255], [0, 1, 255]),
        ([0, 25700, 65535], [0, 100, 255]),
        ([-100, 0, 100], [0, 128, 255]),
        ([2_000_000_000, 2_000_000_100, 2_000_000_200], [0, 128, 255]),
    ],
)
def test_32_bit_levels_are_scaled_by_the_range_that_holds_them(
    tmp_path: Path, levels: list[int], expected: list[int]
) -> None:
    Image.fromarray(np.array([levels], np.int32)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(decode(tmp_path / "a.tif")[0, :, 1], expected)


def test_levels_that_are_all_not_a_number_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((3, 3), np.nan, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="none of its grey levels is finite"):
        decode(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif", "a.avif"])
def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path, colours: Image.Image, name: str) -> None:
    path = tmp_path / name
    colours.save(path, save_all=True, append_images=[ImageOps.invert(colours), colours])
    pixels = decode(path)
    np.testing.assert_array_equal(pixels, pillow(path))
    assert np.abs(pixels.astype(int) - np.asarray(colours).astype(int)).mean() < 12


def test_a_phone_picture_with_an_embedded_preview_gives_its_main_picture(
    tmp_path: Path, colours: Image.Image
) -> None:
    colours.save(tmp_path / "a.mpo", save_all=True, append_images=[colours.resize((8, 8))])
    assert decode(tmp_path / "a.mpo").shape == (40, 56, 3)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "bmp", "tif", "ppm", "avif"])
def test_one_pixel_is_an_image(tmp_path: Path, suffix: str) -> None:
    Image.new("RGB", (1, 1), (255, 255, 255)).save(tmp_path / f"a.{suffix}")
    assert decode(tmp_path / f"a.{suffix}").shape == (1, 1, 3)


def test_the_suffix_does_not_decide_the_format(tmp_path: Path, colours: Image.Image) -> None:
    colours.save(tmp_path / "a.png")
    for name in ("a.jpg", "a", "a.csv"):
        (tmp_path / name).write_bytes((tmp_path / "a.png").read_bytes())
        np.testing.assert_array_equal(decode(tmp_path / name), np.asarray(colours))


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp", "tif", "ppm", "avif", "jp2"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_file_is_refused_with_a_reason(
    tmp_path: Path, colours: Image.Image, suffix: str, share: float
) -> None:
    path = tmp_path / f"a.{suffix}"
    colours.save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ImageError, match=r"truncated|damaged"):
        decode(path)


def test_a_truncated_jpeg_says_so(tmp_path: Path, colours: Image.Image) -> None:
    colours.save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-200])
    with pytest.raises(ImageError, match=r"^the file is truncated$"):
        decode(tmp_path / "a.jpg")


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize(
    ("width", "height"), [(PIXEL_LIMIT + 1, 1), (10_000, 10_000), (30_000, 30_000), (2**31 - 1, 2**31 - 1)]
)
def test_a_decompression_bomb_is_refused_by_its_header(
    tmp_path: Path, width: int, height: int, quiet: bool
) -> None:
    (tmp_path / "bomb.png").write_bytes(png(width, height))
    with (
        warnings.catch_warnings(),
        pytest.raises(ImageError, match=r"pixels; images of more than 89,478,485"),
    ):
        warnings.simplefilter("ignore" if quiet else "error")
        decode(tmp_path / "bomb.png")


def test_a_bomb_is_refused_where_the_user_lifted_the_limit_of_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    (tmp_path / "bomb.png").write_bytes(png(10_000, 10_000))
    with pytest.raises(ImageError, match="it has 10000 x 10000 pixels"):
        decode(tmp_path / "bomb.png")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"hello, I am no image", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", "not an image"),
        (b"\xff\xd8\xff", "not an image"),
        (png(0, 0), "not an image"),
        (png(0, 7), "not an image"),
        (png(5, 5), "truncated|damaged"),
    ],
)
def test_what_is_no_image_is_refused_with_a_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        decode(path)
    assert str(tmp_path) not in str(caught.value)
    assert "picture" not in str(caught.value)


def test_a_format_that_starts_another_program_is_not_read() -> None:
    assert "EPS" not in FORMATS
    assert "WMF" not in FORMATS


def _folder(path: Path) -> None:
    path.mkdir()


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere.png")


def _circle(path: Path) -> None:
    path.symlink_to(path.name)


def _nothing(path: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkfifo, "a named pipe, not a file"),
        (_folder, "a folder, not a file"),
        (_dangling, "a link to nothing"),
        (_circle, "too many levels of symbolic links"),
        (_nothing, "no such file"),
    ],
)
def test_what_is_no_file_is_refused_with_a_reason(
    tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    make(tmp_path / "a.png")
    with pytest.raises(ImageError, match=f"^{reason}$"):
        decode(tmp_path / "a.png")


def test_a_device_is_refused_with_a_reason() -> None:
    with pytest.raises(ImageError, match=r"^a device, not a file$"):
        decode(Path(os.devnull))


def test_a_name_that_no_file_can_have_is_refused_with_a_reason() -> None:
    with pytest.raises(ImageError, match="not a valid file name"):
        decode(Path("a\0b.png"))


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp", "tif", "ppm", "avif", "jp2"])
def test_flipped_bytes_give_pixels_or_a_reason_and_nothing_else(
    tmp_path: Path, colours: Image.Image, suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    colours.save(path)
    whole = path.read_bytes()
    random = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in random.integers(0, len(damaged), 4):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            assert decode(path).ndim == 3
        except ImageError as error:
            assert str(tmp_path) not in str(error)


def test_threads_that_decode_at_once_get_their_own_images(tmp_path: Path, colours: Image.Image) -> None:
    for index in range(40):
        suffix = ("png", "jpg", "webp", "gif", "tif", "avif")[index % 6]
        colours.rotate(index).save(tmp_path / f"{index}.{suffix}")
    (tmp_path / "bad.png").write_bytes(png(10_000, 10_000))
    paths = sorted(tmp_path.glob("[0-9]*")) * 3
    alone = [decode(path) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        bad = [pool.submit(decode, tmp_path / "bad.png") for _ in range(5)]
        together = list(pool.map(decode, paths))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(isinstance(future.exception(), ImageError) for future in bad)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the photos beside the project")
def test_all_photos_decode_as_pillow_converts_them() -> None:
    table = SHARED / "images" / "photos.csv"
    with table.open(newline="") as text:
        paths = [table.parent / row["path"] for row in csv.DictReader(text)]
    assert len(paths) == 120
    for path in paths:
        np.testing.assert_array_equal(decode(path), pillow(path))


def jpeg_of_scans(scans: int) -> bytes:
    """A progressive JPEG with a number of empty scans before its end."""
    buffer = io.BytesIO()
    Image.new("L", (64, 64), 90).save(buffer, "JPEG", progressive=True)
    whole = buffer.getvalue()
    last = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * scans + whole[-2:]


def test_a_jpeg_of_thousands_of_scans_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg_of_scans(5000))
    with pytest.raises(ImageError, match=r"it has 5,00\d scans; JPEGs of more than 200 are refused"):
        decode(tmp_path / "a.jpg")


def test_a_progressive_jpeg_of_many_scans_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg_of_scans(150))
    assert decode(tmp_path / "a.jpg").shape == (64, 64, 3)


def test_a_file_larger_than_any_picture_is_not_read(tmp_path: Path, colours: Image.Image) -> None:
    colours.save(tmp_path / "a.webp")
    os.truncate(tmp_path / "a.webp", FILE_LIMIT + 1)
    with pytest.raises(ImageError, match=r"^the file has 0.5 GiB; files of more than 512 MiB are not read$"):
        decode(tmp_path / "a.webp")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_file_of_the_system_that_says_it_is_empty_is_not_read() -> None:
    with pytest.raises(ImageError, match=r"^the file is empty$"):
        decode(Path("/proc/self/status"))


@pytest.mark.parametrize("mode", ["RGB", "P", "F", "I;16", "I"])
def test_a_picture_that_is_converted_in_several_bands_is_that_of_one(
    tmp_path: Path, colours: Image.Image, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey = np.asarray(colours.convert("L"))
    kinds = {"F": grey.astype(np.float32) - 9.5, "I;16": grey.astype(np.uint16) * 7, "I": grey * np.int32(99)}
    picture = Image.fromarray(kinds[mode]) if mode in kinds else colours.convert(mode)
    picture.save(tmp_path / "a.tif")
    whole = decode(tmp_path / "a.tif")
    monkeypatch.setattr(vitreport.images.decode, "_BAND", 7 * 56)
    np.testing.assert_array_equal(decode(tmp_path / "a.tif"), whole)
