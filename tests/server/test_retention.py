"""A clock that was set forward does not have everything deleted."""

from __future__ import annotations

import threading
import time

import pytest
from clock import Clock

from connect_logging.server.retention import FORWARD, ClockSetError, Retention

DAY = 86_400.0
HOUR = 3_600.0


class Store:
    """Writes down what it is to delete."""

    def __init__(self) -> None:
        self.deleted: list[float] = []
        self.stopped: threading.Event | None = None

    def expire(self, before: int, stopped: threading.Event) -> int:
        self.deleted.append(before / 1_000_000)
        self.stopped = stopped
        return 0


class Clocks:
    """The clock and the steady one, as time goes by."""

    def __init__(self) -> None:
        self.wall, self.steady, self.store = Clock(), Clock(), Store()
        self.wall.now = 20_000 * DAY
        self.retention = Retention(self.store, 30, self.wall, self.steady)

    def after(self, seconds: float, forward: float = 0.0) -> None:
        """``forward``: by how much the clock was set meanwhile."""
        self.wall.now += seconds + forward
        self.steady.now += seconds
        self.retention.expire()


def test_what_is_older_is_deleted_each_time() -> None:
    clocks = Clocks()
    for _ in range(3):
        clocks.after(HOUR, forward=2.0)
    assert clocks.store.deleted == [19_970 * DAY + hours * (HOUR + 2) for hours in (1, 2, 3)]


def test_a_clock_that_was_set_forward_is_not_believed_at_once() -> None:
    clocks = Clocks()
    clocks.after(0)
    with pytest.raises(ClockSetError, match=r"forward by 5,000\.0 days"):
        clocks.after(HOUR, forward=5_000 * DAY)
    clocks.after(HOUR, forward=-5_000 * DAY)  # it was put right
    assert clocks.store.deleted == [19_970 * DAY, 19_970 * DAY + 2 * HOUR]


def test_it_is_believed_when_it_stays_so() -> None:
    clocks = Clocks()
    clocks.after(0)
    with pytest.raises(ClockSetError):
        clocks.after(HOUR, forward=2 * FORWARD)
    clocks.after(HOUR)
    assert clocks.store.deleted == [19_970 * DAY, 19_970 * DAY + 2 * HOUR + 2 * FORWARD]


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="the system does not count the time asleep")
def test_a_machine_that_slept_has_not_set_its_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, store = Clock(), Store()
    retention = Retention(store, 0, clock)
    monkeypatch.setattr(time, "clock_gettime", lambda which: clock.now if which == time.CLOCK_BOOTTIME else 0.0)
    for _ in range(2):
        retention.expire()
        clock.now += 8 * HOUR
    assert len(store.deleted) == 2


def test_one_that_was_set_back_deletes_less() -> None:
    clocks = Clocks()
    clocks.after(0, forward=-19_999 * DAY)
    clocks.after(HOUR, forward=-DAY)
    assert clocks.store.deleted == [-29 * DAY, -30 * DAY + HOUR]


def test_who_deletes_can_be_stopped() -> None:
    clocks = Clocks()
    clocks.after(0)
    clocks.retention.stop()
    assert clocks.store.stopped is not None
    assert clocks.store.stopped.is_set()
