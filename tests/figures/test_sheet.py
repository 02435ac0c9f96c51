from __future__ import annotations

import io

import numpy as np
from PIL import Image

from vitreport.figures.scale import Scale
from vitreport.figures.sheet import _TITLES, WIDTH, Shown, Tile, _fit, contact_sheet, strip


def photo(colour: tuple[int, int, int] = (200, 30, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def tile(values: object = None, title: str = "rollout", signed: bool = False) -> Tile:
    blob = np.eye(6, 8, dtype=np.float32) if values is None else np.asarray(values, np.float32)
    return Tile(title, "0 to 1", blob, signed, Scale(-1 if signed else 0, 1))


def pixels(sheet: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(sheet)) as picture:
        assert picture.format == "JPEG"
        return np.asarray(picture, np.int16)


def test_a_sheet_is_1600_pixels_wide_and_as_high_as_its_rows() -> None:
    one, two = (pixels(contact_sheet(photo(), [tile()] * count, 3)) for count in (2, 3))
    assert one.shape[1] == two.shape[1] == WIDTH
    assert two.shape[0] == 2 * one.shape[0]


def test_the_photo_comes_first_in_its_colours_and_grey_under_the_maps() -> None:
    shown = pixels(contact_sheet(photo(), [tile(np.float32([[0, 0], [0, 1]]))], 2))
    red = shown[..., 0] - shown[..., 2] > 120
    assert red[:, : WIDTH // 2].mean() > 0.5
    upper_left = shown[100:200, WIDTH // 2 + 50 : WIDTH // 2 + 150].reshape(-1, 3)
    assert np.ptp(upper_left.mean(0)) < 10


def test_a_signed_map_that_is_zero_leaves_the_photo_grey() -> None:
    values = np.zeros((6, 8), np.float32)
    values[5, 7] = 1
    shown = pixels(contact_sheet(photo(), [tile(values, signed=True)], 2))
    upper_left = shown[100:200, WIDTH // 2 + 50 : WIDTH // 2 + 150].reshape(-1, 3)
    assert np.ptp(upper_left.mean(0)) < 12


def test_equal_sheets_have_equal_bytes() -> None:
    assert contact_sheet(photo(), [tile()], 2) == contact_sheet(photo(), [tile()], 2)


def test_maps_that_cannot_be_drawn_leave_a_blank_tile() -> None:
    for values in ([[1, 1]], [[0, np.nan]], np.zeros((0, 0))):
        assert pixels(contact_sheet(photo(), [tile(values)], 2)).size


def test_a_title_that_is_too_wide_is_set_smaller_before_it_is_cut() -> None:
    title = "Rollout, max, discard 0.95"
    for width, cut in ((391, False), (310, False), (256, False), (120, True)):
        line, font = _fit(title, _TITLES, True, width)
        assert font.getlength(line) <= width
        assert line.endswith("…") is cut
    assert _fit(title, _TITLES, True, 391)[1].size > _fit(title, _TITLES, True, 256)[1].size


def test_titles_of_any_length_and_script_fit() -> None:
    plain = contact_sheet(photo(), [tile(title="rollout")], 4)
    for title in ("a very long title " * 20, "日本語 \U0001f600 \u202e \n line", ""):
        assert pixels(contact_sheet(photo(), [tile(title=title)], 4)).shape == pixels(plain).shape


def test_a_strip_shows_every_photo_in_its_colours_and_its_map_to_the_right() -> None:
    shown = pixels(strip([Shown("one", photo(), tile()), Shown("two", photo(), None)], 4))
    assert shown.shape[1] == WIDTH
    red = (shown[60:150, :, 0] - shown[60:150, :, 2] > 120).all(0)
    cell = WIDTH // 4
    assert red[20 : cell - 20].all() and red[2 * cell + 20 : 3 * cell - 20].all()
    assert not red[cell + 20 : 2 * cell - 20].all() and not red[3 * cell + 20 :].any()


def test_photos_of_different_shapes_fit_on_one_strip() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 60), (200, 30, 30)).save(buffer, "JPEG")
    low, high = (pixels(strip([Shown("", one, None)], 6)) for one in (photo(), buffer.getvalue()))
    both = pixels(strip([Shown("", photo(), None), Shown("", buffer.getvalue(), None)], 6))
    assert low.shape[0] < high.shape[0] == both.shape[0]
