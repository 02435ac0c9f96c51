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


def test_nothing_asked_for_is_nothing_done() -> None:
    assert smallest(torch.zeros(2, 3), [0, 0]) == [None, None]


@pytest.mark.parametrize("shape", [(1, 9), (4, 9), (3, 2, 5, 9)])
def test_rows_are_sorted_whatever_the_threads(shape: tuple[int, ...], threads: int) -> None:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(threads))
    expected = np.sort(values.numpy(), axis=-1)
    assert np.array_equal(sort_rows(values.clone()).numpy(), expected)
