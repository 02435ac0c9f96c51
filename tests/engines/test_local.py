from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vitreport.engines import LocalEngine, Receipt, Resources
from vitreport.errors import StoreError


def halves(item: int) -> Iterator[Receipt]:
    """Two receipts an item."""
    yield Receipt(item)
    yield Receipt(0)


def where(item: str) -> Iterator[Receipt]:
    """Writes down which process did the item."""
    Path(item).write_text(str(os.getpid()))
    yield Receipt(1)


def refuse_three(item: int) -> Iterator[Receipt]:
    yield Receipt(1)
    if item == 3:
        raise StoreError("item 3: no space left")


def test_items_are_done_in_order_in_this_process(tmp_path: Path) -> None:
    seen: list[int] = []

    def worker(item: int) -> Iterator[Receipt]:
        seen.append(item)
        yield Receipt(item)

    receipts = list(LocalEngine().map(worker, [3, 1, 2], Resources()))
    assert seen == [3, 1, 2]
    assert receipts == [Receipt(3), Receipt(1), Receipt(2)]


def test_receipts_come_while_an_item_is_under_way() -> None:
    receipts = LocalEngine().map(refuse_three, [3], Resources())
    assert next(receipts) == Receipt(1)
    with pytest.raises(StoreError, match="item 3"):
        next(receipts)


def test_no_items_give_no_receipts() -> None:
    for processes in (1, 2):
        assert list(LocalEngine().map(halves, [], Resources(processes))) == []


def test_one_item_needs_no_pool(tmp_path: Path) -> None:
    place = tmp_path / "a"
    assert list(LocalEngine().map(where, [str(place)], Resources(2))) == [Receipt(1)]
    assert place.read_text() == str(os.getpid())


def test_a_pool_gives_all_receipts_and_works_elsewhere(tmp_path: Path) -> None:
    places = [tmp_path / name for name in "abcd"]
    receipts = list(LocalEngine().map(where, [str(place) for place in places], Resources(2)))
    assert receipts == [Receipt(1)] * 4
    processes = {place.read_text() for place in places}
    assert str(os.getpid()) not in processes
    assert 1 <= len(processes) <= 2


def test_every_receipt_of_every_item_comes_from_a_pool() -> None:
    receipts = list(LocalEngine().map(halves, [1, 2, 3], Resources(2)))
    assert sorted(receipt.done for receipt in receipts) == [0, 0, 0, 1, 2, 3]


@pytest.mark.parametrize("processes", [1, 2])
def test_an_exception_in_a_worker_ends_the_run(processes: int) -> None:
    with pytest.raises(StoreError, match="item 3: no space left"):
        list(LocalEngine().map(refuse_three, [1, 2, 3, 4], Resources(processes)))
