from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from vitreport.techniques.order import smallest, sort_rows


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_the_smallest_are_those_of_each_row_whatever_the_threads(rows: int, threads: int) -> None:
    values = torch.randn(rows, 50, generator=torch.Generator().manual_seed(threads))
    untouched = values.clone()
    counts = [0, 1, 1, 7, 49, 50]
    found = smallest(values, counts)
    assert torch.equal(values, untouched)
    for count, chosen in zip(counts, found, strict=True):
        if count == 0:
            assert chosen is None
            continue
        assert chosen is not None
        assert chosen.tolist() == [sorted(row)[count - 1] for row in values.tolist()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_smallest_of_attention_are_exact_ties_zeros_and_one_value_for_all_included(
    dtype: torch.dtype,
) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4, 40, 40, generator=generator, dtype=dtype).mul(3).softmax(-1)
    values[1] = values[1].clamp(min=float(values[1].median()))
    values[2] = -values[2].new_zeros(40, 40)
    values[3, :20] = 0
    counts = [1, 2, 400, 800, 801, 1280, 1440, 1599, 1600]
    expected = values.flatten(1).sort(1).values
    for count, chosen in zip(counts, smallest(values, counts), strict=True):
        assert chosen is not None and chosen.dtype is dtype
        assert torch.equal(chosen, expected[:, count - 1])


def test_nothing_asked_for_is_nothing_done() -> None:
    assert smallest(torch.zeros(2, 3), [0, 0]) == [None, None]


@pytest.mark.parametrize("shape", [(1, 9), (4, 9), (3, 2, 5, 9)])
def test_rows_are_sorted_whatever_the_threads(shape: tuple[int, ...], threads: int) -> None:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(threads))
    expected = np.sort(values.numpy(), axis=-1)
    assert np.array_equal(sort_rows(values.clone()).numpy(), expected)
