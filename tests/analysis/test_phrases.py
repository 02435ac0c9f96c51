"""Numbers as they stand in sentences."""

from __future__ import annotations

import math

import pytest

from vitreport.analysis.intervals import Interval
from vitreport.analysis.phrases import ends, have, images_of, p_value, percent, times, with_range


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0 %"), (0.0001, "<0.1 %"), (0.041, "4.1 %"), (0.5, "50 %"), (0.999, ">99 %"), (1, "100 %")],
)
def test_shares_do_not_claim_more_than_they_are(share, words):
    assert percent(share).replace("\xa0", " ") == words


def test_ranges_have_their_unit_once():
    assert with_range(Interval(0.4, 0.31, 0.55)).replace("\xa0", " ") == "40 %, 95 % interval 31 to 55 %"
    assert with_range(Interval(0.4)).replace("\xa0", " ") == "40 %, too few for an interval"


def test_ratios_counts_and_p_values_are_written_out():
    assert times(Interval(3.14, 2.0, 48.2)).replace("\xa0", " ") == "3.1 times (95 % interval 2.0 to 48)"
    assert times(Interval(math.inf)) == "infinitely many times"
    assert p_value(3e-9) == "p\xa0<\xa00.0001" and p_value(0.00214) == "p\xa0=\xa00.0021"
    assert (images_of(1), images_of(1200)) == ("1 image", "1,200 images")
    assert (have(1), have(2)) == ("has", "have")
    assert ends("x", Interval(1, 0, 2)) == {"x": 1, "x, low": 0, "x, high": 2} and ends("x", Interval(1)) == {
        "x": 1
    }
