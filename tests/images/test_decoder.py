from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitreport.errors import ImageError, VitReportError
from vitreport.images import decoder
from vitreport.images.decode import PIXEL_LIMIT, Pixels, decode, decode_mask
from vitreport.images.decoder import decoded, decoded_mask

Reader = Callable[[str], None]
posix = pytest.mark.skipif(sys.platform != "linux", reason="the system's limits are those of Linux")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.fixture
def reading_by(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Starts decoders that run other code for every image."""
    pool = decoder._Pool()
    monkeypatch.setattr(decoder, "_pool", pool)

    def use(body: str) -> None:
        code = (
            "import os, sys\nfrom pathlib import Path\nfrom vitreport.images import decoder\n"
            f"def read(path, admit):\n    {body}\n    return decoder.decode(path, admit)\n"
            "decoder._READERS = {'image': read}\ndecoder.serve()"
        )
        monkeypatch.setattr(decoder, "_START", code)

    yield use
    pool.close()


def whole(pixels: Pixels) -> Pixels:
    return pixels


@pytest.mark.parametrize(
    "name", ["a.png", "a.jpg", "a.gif", "a.webp", "a.avif", "a.tif", "a.jp2", "a\udcff'\n.png"]
)
def test_pixels_are_those_of_decoding_in_this_process(tmp_path: Path, picture: Path, name: str) -> None:
    Image.open(picture).save(tmp_path / name)
    np.testing.assert_array_equal(decoded(tmp_path / name, whole), decode(tmp_path / name))


def test_a_mask_is_that_of_decoding_in_this_process(tmp_path: Path) -> None:
    Image.fromarray(np.arange(12, dtype=np.uint16).reshape(3, 4) * 5957).save(tmp_path / "mask.png")
    mask = decoded_mask(tmp_path / "mask.png")
    assert mask.dtype == np.int32
    np.testing.assert_array_equal(mask, decode_mask(tmp_path / "mask.png"))


def test_a_relative_path_is_meant_where_the_caller_is(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded(picture, whole)
    monkeypatch.chdir(tmp_path)
    assert decoded(Path("picture.png"), whole).shape == (30, 40, 3)


def test_a_reason_is_passed_on_and_the_next_image_decodes(tmp_path: Path, picture: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match="not an image"):
        decoded(tmp_path / "a.png", whole)
    assert decoded(picture, whole).shape == (30, 40, 3)


def test_a_reason_of_whoever_uses_the_pixels_is_passed_on(picture: Path) -> None:
    def refuse(pixels: Pixels) -> None:
        raise ImageError("too thin")

    with pytest.raises(ImageError, match=r"^too thin$"):
        decoded(picture, refuse)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("os.abort()", r"it ends the process that decodes it \(SIGABRT\)"),
        ("os._exit(3)", r"it ends the process that decodes it \(exit code 3\)"),
        ("admit(1); os.kill(os.getpid(), 11)", r"\(SIGSEGV\)"),
        ("admit(1); os.kill(os.getpid(), 9)", r"\(SIGKILL\)"),
    ],
)
@posix
def test_an_image_that_crashes_its_decoder_costs_only_itself(
    picture: Path, reading_by: Reader, tmp_path: Path, body: str, reason: str
) -> None:
    (tmp_path / "bad.png").touch()
    reading_by(f"if 'bad' in path.name: {body}")
    for _ in range(2):
        with pytest.raises(ImageError, match=reason):
            decoded(tmp_path / "bad.png", whole)
        assert decoded(picture, whole).shape == (30, 40, 3)


@posix
def test_an_image_that_never_ends_is_given_up_after_its_share_of_computing(
    picture: Path, reading_by: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "SECONDS_LIMIT", 1)
    reading_by("while True: pass")
    with pytest.raises(ImageError, match="it takes more than 1 seconds of computing"):
        decoded(picture, whole)


@posix
def test_an_image_that_needs_more_memory_than_a_decoder_may_use_is_refused(
    tmp_path: Path, picture: Path, reading_by: Reader
) -> None:
    Image.new("L", (8000, 8000)).save(tmp_path / "large.png", compress_level=1)
    reading_by("decoder._limit('RLIMIT_DATA', 1 << 27)")
    with pytest.raises(ImageError, match="not enough memory for its pixels"):
        decoded(tmp_path / "large.png", whole)
    assert decoded(picture, whole).shape == (30, 40, 3)


def test_a_library_that_prints_does_not_garble_the_pixels(picture: Path, reading_by: Reader) -> None:
    reading_by("os.write(1, b'TIFF: warning'); print('hello', flush=True)")
    np.testing.assert_array_equal(decoded(picture, whole), decode(picture))


def test_a_decoder_that_cannot_start_is_no_fault_of_the_image(
    picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "_pool", decoder._Pool())
    monkeypatch.setattr(decoder, "_START", "raise SystemExit(1)")
    with pytest.raises(VitReportError, match="cannot start a process that decodes images") as caught:
        decoded(picture, whole)
    assert not isinstance(caught.value, ImageError)


def test_threads_hold_no_more_pixels_together_than_the_largest_image_has() -> None:
    room, lock, held, most = decoder._Room(), threading.Lock(), [0], [0]

    def hold(pixels: int) -> None:
        with room.held() as admit:
            admit(pixels)
            with lock:
                held[0] += pixels
                most[0] = max(most[0], held[0])
            threading.Event().wait(0.001)
            with lock:
                held[0] -= pixels

    shares = [PIXEL_LIMIT, PIXEL_LIMIT // 2, PIXEL_LIMIT // 3] * 20
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hold, shares))
    assert PIXEL_LIMIT // 2 < most[0] <= PIXEL_LIMIT


def test_threads_get_their_own_images(tmp_path: Path, picture: Path) -> None:
    for number in range(12):
        Image.open(picture).rotate(number).save(tmp_path / f"{number}.png")
    paths = [tmp_path / f"{number}.png" for number in range(12)] * 3
    with ThreadPoolExecutor(4) as pool:
        for path, pixels in zip(paths, pool.map(lambda path: decoded(path, whole), paths), strict=True):
            np.testing.assert_array_equal(pixels, decode(path))
