from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from vitreport.figures.png import paletted_png


@pytest.mark.parametrize("levels", [1, 2, 3, 4, 16, 17, 65, 256])
@pytest.mark.parametrize("cols", [1, 5, 8, 14])
def test_a_paletted_picture_keeps_its_colours_and_its_transparent_index(levels: int, cols: int) -> None:
    indices = (np.arange(19 * cols) % levels).astype(np.uint8).reshape(19, cols)
    table = np.random.default_rng(0).integers(0, 256, (levels, 3)).astype(np.uint8)
    with Image.open(io.BytesIO(paletted_png(indices, table, transparent=levels - 1))) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "P", (cols, 19))
        shown = np.asarray(picture.convert("RGBA"))
    assert (shown[..., :3] == table[indices]).all()
    assert (shown[..., 3] == np.where(indices == levels - 1, 0, 255)).all()


def test_a_picture_carries_only_the_colours_that_it_has() -> None:
    table = np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint8)
    indices = np.full((14, 14), 200, np.uint8)
    indices[3, 4] = 7
    assert paletted_png(indices, table, transparent=9) == paletted_png(indices, table)
    assert len(paletted_png(indices, table)) < 110
