from __future__ import annotations

import numpy as np
import pytest

from vitreport.figures.scale import Scale, common_scale, own_scale, state_of


def test_an_unsigned_scale_runs_from_the_smallest_to_the_largest_value() -> None:
    assert own_scale(np.float32([[1, 4], [2, 3]]), signed=False) == Scale(1, 4)


def test_a_signed_scale_is_centred_on_zero() -> None:
    assert own_scale(np.float32([[-1, 4], [2, 3]]), signed=True) == Scale(-4, 4)
    assert own_scale(np.float32([[-9, 4]]), signed=True) == Scale(-9, 9)


def test_values_that_are_not_finite_leave_a_scale_alone() -> None:
    assert own_scale(np.float32([np.nan, 2, np.inf, 3]), signed=False) == Scale(2, 3)
    assert own_scale(np.float32([np.nan]), signed=False) == Scale(0, 0)


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ([[0, 1]], "drawn"),
        ([[2, 2]], "constant"),
        ([[0, np.nan]], "undefined"),
        ([[0, np.inf]], "undefined"),
        (np.zeros((0, 0)), "failed"),
    ],
)
def test_a_map_says_whether_it_can_be_drawn(values: object, state: str) -> None:
    assert state_of(np.asarray(values, np.float32)) == state


def test_a_common_scale_takes_percentiles_of_all_samples() -> None:
    samples = [np.arange(0, 50, dtype=np.float32), np.arange(50, 101, dtype=np.float32)]
    assert common_scale(samples, signed=False) == Scale(1, 99)
    assert common_scale([-sample for sample in samples], signed=True) == Scale(-99, 99)


def test_a_common_scale_needs_a_finite_value() -> None:
    assert common_scale([], signed=False) is None
    assert common_scale([np.float32([np.nan])], signed=False) is None
