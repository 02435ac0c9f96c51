from __future__ import annotations

import io

import numpy as np
from PIL import Image

from vitreport.figures.atlas import atlas_sheet


def pixels(values: np.ndarray) -> np.ndarray:
    sheet = atlas_sheet(values.astype(np.float32))
    with Image.open(io.BytesIO(sheet.encoded)) as picture:
        assert picture.size == (sheet.width, sheet.height)
        return np.asarray(picture.convert("RGBA"))


def test_blocks_run_across_and_heads_down() -> None:
    values = np.zeros((3, 2, 4, 5))
    values[:, :, 0, 0] = 1
    values[2, 1] = 0
    values[2, 1, 3, 4] = 1
    shown = pixels(values)
    assert shown.shape == (2 * 5, 3 * 6, 4)
    brightest = shown[..., :3].sum(-1)
    assert brightest[5 + 3, 2 * 6 + 4] == brightest.max()
    assert brightest[5 + 0, 2 * 6 + 0] < brightest.max()


def test_cells_are_parted_by_transparent_lines() -> None:
    shown = pixels(np.random.default_rng(0).random((3, 2, 4, 5)))
    alpha = shown[..., 3].reshape(2, 5, 3, 6)
    assert (alpha[:, :4, :, :5] == 255).all()
    assert (alpha[:, 4] == 0).all()
    assert (alpha[..., 5] == 0).all()


def test_every_cell_has_its_own_scale() -> None:
    one = np.random.default_rng(0).random((1, 1, 4, 5))
    shown = pixels(np.concatenate([one, one * 1000], 0))
    assert (shown[:4, :5] == shown[:4, 6:11]).all()


def test_a_cell_that_is_not_finite_is_left_out() -> None:
    values = np.ones((1, 2, 4, 5))
    values[0, 1, 0, 0] = np.nan
    shown = pixels(values)
    assert (shown[:4, :5, 3] == 255).all()
    assert (shown[5:, :, 3] == 0).all()
