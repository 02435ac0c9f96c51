from __future__ import annotations

import threading

import pytest

from vitreport.background import Background
from vitreport.errors import StoreError


def test_work_goes_on_beside_the_caller_one_piece_at_a_time() -> None:
    told: list[str] = []
    go_on = threading.Event()

    def first() -> None:
        assert go_on.wait(30)
        told.append("first")

    with Background() as background:
        background.start(first)
        told.append("caller")
        go_on.set()
        background.start(lambda: told.append("second"))
        assert told == ["caller", "first"] or told == ["caller", "first", "second"]
    assert told == ["caller", "first", "second"]


@pytest.mark.parametrize("asked", ["start", "check", "end"])
def test_what_the_work_raises_comes_out_at_the_next_call(asked: str) -> None:
    def fail() -> None:
        raise StoreError("no space left")

    after: list[str] = []
    with pytest.raises(StoreError, match="no space left"), Background() as background:
        background.start(fail)
        if asked == "start":
            background.start(lambda: after.append("started"))
        while asked == "check":
            background.check()
    assert not after


def test_an_error_of_the_caller_waits_for_the_work_and_stays_as_it_is() -> None:
    go_on, done = threading.Event(), threading.Event()

    def work() -> None:
        assert go_on.wait(30)
        done.set()
        raise StoreError("no space left")

    with pytest.raises(KeyboardInterrupt), Background() as background:
        background.start(work)
        threading.Timer(0.05, go_on.set).start()
        raise KeyboardInterrupt
    assert done.is_set()
