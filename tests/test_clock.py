"""`Clock`: adds up, also when a block raises; shares."""

from __future__ import annotations

import time

import pytest

from dbgnn.clock import Clock


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times that the clock is going to read, first one first."""
    times: list[float] = []
    monkeypatch.setattr(time, "perf_counter", lambda: times.pop(0))
    return times


def test_it_adds_up_by_part(ticks: list[float]) -> None:
    clock = Clock()
    ticks += [1.0, 1.5, 10.0, 12.0, 20.0, 20.25]
    with clock("sampling"):
        pass
    with clock("features"):
        pass
    with clock("sampling"):
        pass
    clock.add("features", 3.0)
    assert clock.seconds == {"sampling": 0.75, "features": 5.0}


def test_a_block_that_raises_counts(ticks: list[float]) -> None:
    clock = Clock()
    ticks += [1.0, 3.0]
    with pytest.raises(ZeroDivisionError), clock("sampling"):
        _ = 1 / 0
    assert clock.seconds == {"sampling": 2.0}


def test_parts_inside_of_parts_count_for_both(ticks: list[float]) -> None:
    clock = Clock()
    ticks += [0.0, 1.0, 3.0, 10.0]
    with clock("features"), clock("scatter"):
        pass
    assert clock.seconds == {"features": 10.0, "scatter": 2.0}


def test_a_part_that_was_never_timed_took_no_time() -> None:
    assert Clock().seconds["sampling"] == 0.0


def test_a_share_is_a_clock_of_its_own() -> None:
    clock = Clock()
    clock.add("sampling", 4.0)
    clock.add("features", 1.0)
    share = clock.share(4)
    assert share.seconds == {"sampling": 1.0, "features": 0.25}
    share.add("sampling", 1.0)
    share.add("waiting", 1.0)
    assert clock.seconds == {"sampling": 4.0, "features": 1.0}
