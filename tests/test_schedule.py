"""The schedule's answers; that they are followed is in tests/test_pusher.py."""

from __future__ import annotations

import pytest
from clock import Clock

from connect_logging._buffer import MemoryBuffer
from connect_logging._ledger import Ledger
from connect_logging._schedule import AT_ONCE, Schedule
from connect_logging._settings import Triggers
from connect_logging._types import Fate, Overflow
from connect_logging.event import Event

NEVER = float("inf")
BODY = b"0123456789"


class Parts:
    """A schedule that sends at 4 events, 60 bytes, or after 5 seconds, with real parts around it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.buffer = MemoryBuffer(
            max_events=100, max_bytes=10_000, overflow=Overflow.DROP_NEWEST, block_timeout=0, clock=self.clock
        )
        self.ledger = Ledger(lambda: self.buffer.accepted)
        self.schedule = Schedule(self.buffer, self.ledger, Triggers(4, 60, 5.0), self.clock)

    def put(self, count: int, body: bytes = BODY) -> None:
        for _ in range(count):
            self.buffer.put((Event("things", body), None))

    def take(self, most: int = 100) -> None:
        """As the pusher does."""
        self.schedule.begin_anew()
        self.buffer.take(most, 10_000)

    @property
    def is_due(self) -> bool:
        return self.schedule.due() <= self.clock()


@pytest.fixture
def parts() -> Parts:
    return Parts()


def test_an_event_waits_for_others_as_long_as_the_interval_and_no_longer_for_more_of_them(parts: Parts) -> None:
    assert parts.schedule.due() == NEVER
    parts.put(1)
    first = parts.clock()
    assert parts.schedule.due() == first + 5
    parts.clock.now += 3
    parts.put(1)
    assert parts.schedule.due() == first + 5


@pytest.mark.parametrize(("count", "body"), [(4, BODY), (2, 3 * BODY)], ids=["events", "bytes"])
def test_what_is_enough_is_due_at_once(parts: Parts, count: int, body: bytes) -> None:
    parts.put(count - 1, body)
    assert not parts.is_due
    parts.put(1, body)
    assert parts.is_due


def test_what_is_left_of_a_batch_waits_anew(parts: Parts) -> None:
    parts.put(5)
    assert parts.is_due
    parts.clock.now += 3
    parts.take(4)
    assert parts.schedule.due() == parts.clock() + 5


def test_one_that_is_urgent_takes_the_others_along_once(parts: Parts) -> None:
    parts.put(2)
    parts.schedule.hurry()
    assert parts.is_due
    parts.take()
    parts.put(1)
    assert not parts.is_due


def test_what_is_waited_for_is_due_until_it_is_settled(parts: Parts) -> None:
    parts.put(2)
    parts.schedule.hurry_until(2)
    parts.schedule.hurry_until(1)  # by another, who came before
    parts.take(1)
    parts.ledger.settle(Fate.DELIVERED)
    assert parts.is_due, "the second is not settled yet"
    parts.take()
    parts.ledger.settle(Fate.DELIVERED)
    parts.put(1)
    assert not parts.is_due


def test_who_has_nothing_is_woken_by_the_first_event(parts: Parts) -> None:
    parts.schedule.due()
    assert parts.schedule.call_at(0.0) == AT_ONCE


@pytest.mark.parametrize(
    ("taken", "body", "more"), [(0, BODY, 3), (2, BODY, 3), (0, 3 * BODY, 1)], ids=["events", "after others", "bytes"]
)
def test_who_waits_for_company_is_woken_when_there_is_enough(parts: Parts, taken: int, body: bytes, more: int) -> None:
    parts.put(taken)
    parts.take()
    parts.put(1, body)
    parts.schedule.due()
    wanted = parts.schedule.call_at(0.0)
    assert wanted is not None
    for number in range(more):
        assert (parts.buffer.came < wanted[0], parts.buffer.came_bytes < wanted[1]) == (True, True), number
        parts.put(1, body)
    assert parts.buffer.came >= wanted[0] or parts.buffer.came_bytes >= wanted[1]
    assert parts.is_due


def test_who_may_not_send_is_not_woken_for_it(parts: Parts) -> None:
    parts.put(1)
    parts.schedule.due()
    assert parts.schedule.call_at(parts.clock() + 1) is None
    assert parts.schedule.call_at(parts.clock()) is not None


def test_an_event_between_two_questions_is_not_slept_over(parts: Parts) -> None:
    parts.schedule.due()
    assert not parts.schedule.has_missed_any(0.0)
    parts.put(1)
    assert parts.schedule.has_missed_any(0.0)
    parts.schedule.due()
    assert not parts.schedule.has_missed_any(0.0), "its interval has begun"


@pytest.mark.parametrize(("count", "body"), [(3, BODY), (1, 5 * BODY)], ids=["events", "bytes"])
def test_nor_are_so_many_that_they_are_enough(parts: Parts, count: int, body: bytes) -> None:
    """They call nobody, and who is told to be called by none would sleep until the interval is over."""
    parts.put(1)
    assert not parts.is_due
    parts.put(count, body)
    parts.schedule.call_at(0.0)
    assert parts.schedule.has_missed_any(0.0)
    assert not parts.schedule.has_missed_any(parts.clock() + 1), "it may not send"
    assert parts.is_due


def test_what_another_sends_while_one_asks_is_no_error(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    def sent_meanwhile(buffer: MemoryBuffer) -> int:
        parts.schedule.begin_anew()
        return 0

    parts.put(1)
    monkeypatch.setattr(MemoryBuffer, "waiting_bytes", property(sent_meanwhile))
    assert parts.schedule.due() == parts.clock() + 5


def test_who_finds_that_another_has_sent_all_is_woken_by_the_next_event(parts: Parts) -> None:
    """A flush and the worker may ask at once: one looks at what waits, the other sends it, the first notes the time."""
    parts.put(1)
    parts.schedule.due()
    parts.buffer.take_all()
    assert parts.schedule.due() == NEVER
    assert parts.schedule.call_at(0.0) == AT_ONCE


def test_a_forked_child_has_nobody_who_waits(parts: Parts) -> None:
    parts.put(1)
    parts.schedule.due()
    parts.schedule.hurry()
    parts.schedule.hurry_until(1)
    parts.clock.now += 10
    parts.schedule.reset()
    assert parts.schedule.due() == parts.clock() + 5
