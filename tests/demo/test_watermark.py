from __future__ import annotations

import numpy as np

from vitreport.demo.backdrop import SIDE
from vitreport.demo.scene import make_scene
from vitreport.demo.shape import CLASSES
from vitreport.demo.watermark import Stamping, mark_area, stamp


def test_the_mark_changes_its_corner_and_nothing_else():
    pixels = np.stack([make_scene((93, number)).pixels for number in range(4)])
    stamped = stamp(pixels)
    area = mark_area()
    rows, cols = np.nonzero(area)
    assert rows.min() > 0.8 * SIDE and cols.min() > 0.8 * SIDE and area.mean() < 0.02
    assert np.array_equal(stamped[:, ~area], pixels[:, ~area])
    assert (stamped[:, area] != pixels[:, area]).mean() > 0.9
    assert np.array_equal(stamp(pixels[0]), stamped[0])


def test_stamping_follows_the_chances_of_the_classes():
    present = np.zeros((3, len(CLASSES)), dtype=bool)
    house = CLASSES.index("house")
    present[0, 0] = present[1, house] = present[2, [0, house]] = True
    only = Stamping.only("house", 0.95)
    assert only.falls_on(present, np.full(3, 0.94)).tolist() == [False, True, True]
    assert only.falls_on(present, np.full(3, 0.96)).tolist() == [False, False, False]
    assert Stamping.evenly(0.25).falls_on(present, np.array([0.24, 0.26, 0.0])).tolist() == [
        True,
        False,
        True,
    ]
