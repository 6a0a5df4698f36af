"""The memory buffer: exact bounds, exact losses, and re-entry at every point where Python allows it."""

from __future__ import annotations

import contextlib
import gc
import itertools
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from journaling import Interrupted

from connect_logging._buffer import MemoryBuffer, Overflow
from connect_logging.event import Entry, Event


def entry(size: int, mark: str = "") -> Entry:
    """An entry of ``size`` bytes, told from others by its identity and, for people, by ``mark``."""
    return (Event(mark, b"x" * size), None)


def a_buffer(
    overflow: Overflow = Overflow.DROP_OLDEST,
    *,
    max_events: int = 3,
    max_bytes: int = 100,
    block_timeout: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> MemoryBuffer:
    return MemoryBuffer(
        max_events=max_events, max_bytes=max_bytes, overflow=overflow, block_timeout=block_timeout, clock=clock
    )


def ids(entries: Sequence[Entry]) -> list[int]:
    return [id(event) for event, _ in entries]


# A plain list as the model


class AgainstAList(RuleBasedStateMachine):
    """Waiting and taken as plain lists; each policy written down in its plainest form."""

    @initialize(overflow=st.sampled_from(Overflow), max_events=st.integers(1, 5), max_bytes=st.integers(1, 12))
    def begin(self, overflow: Overflow, max_events: int, max_bytes: int) -> None:
        self.overflow, self.max_events, self.max_bytes = overflow, max_events, max_bytes
        self.buffer = a_buffer(overflow, max_events=max_events, max_bytes=max_bytes)
        self.waiting: list[Entry] = []
        self.taken: list[Entry] = []
        self.accepted = self.gone = 0

    def fits(self, size: int, held: Sequence[Entry]) -> bool:
        return len(held) < self.max_events and sum(map(weight, held)) + size <= self.max_bytes

    @rule(size=st.integers(0, 13))
    def put(self, size: int) -> None:
        new = entry(size)
        expected: list[Entry] = []
        keep = list(self.waiting)
        if self.overflow is Overflow.DROP_OLDEST:
            while keep and not self.fits(size, self.taken + keep):
                expected.append(keep.pop(0))
        if self.fits(size, self.taken + keep):
            self.waiting = [*keep, new]
        else:
            expected = [new]  # nothing is dropped for an event that finds no room even so
        lost = self.buffer.put(new)
        assert ids(lost) == ids(expected)
        self.accepted += 1
        self.gone += len(lost)

    @rule()
    def accept(self) -> None:
        self.buffer.accept()
        self.accepted += 1
        self.gone += 1

    @rule(max_events=st.integers(1, 6), max_bytes=st.integers(0, 13))
    def take(self, max_events: int, max_bytes: int) -> None:
        expected: list[Entry] = []
        while self.waiting and len(expected) < max_events:
            if expected and sum(map(weight, [*expected, self.waiting[0]])) > max_bytes:
                break
            expected.append(self.waiting.pop(0))
        assert ids(self.buffer.take(max_events, max_bytes)) == ids(expected)
        self.taken += expected

    @rule()
    def take_all(self) -> None:
        assert ids(self.buffer.take_all()) == ids(self.waiting)
        self.taken += self.waiting
        self.waiting = []

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(1, len(self.taken)))
        self.buffer.release(self.taken[:at])
        self.gone += at
        del self.taken[:at]

    @rule()
    def reset(self) -> None:
        self.buffer.reset()
        self.waiting, self.taken = [], []
        self.accepted = self.gone = 0

    @invariant()
    def counts_are_exact(self) -> None:
        if hasattr(self, "buffer"):
            assert len(self.buffer) == len(self.waiting)
            assert self.buffer.waiting_bytes == sum(map(weight, self.waiting))
            assert self.buffer.accepted == self.accepted == self.gone + len(self.waiting) + len(self.taken)


def weight(item: Entry) -> int:
    return len(item[0].body)


AgainstAList.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAgainstAList = AgainstAList.TestCase


# Re-entry


class InterruptedAfter(Interrupted):
    """As Interrupted, but a call into C is done, never about to begin: between a look and that call nothing runs."""

    def __call__(self, frame: object, event: str, arg: object) -> None:
        if event != "c_call":
            super().__call__(frame, event, arg)


class Ended(InterruptedAfter):
    """The same, by an exception."""

    def __init__(self, at: int) -> None:
        super().__init__(at, self._interrupt)

    @staticmethod
    def _interrupt() -> None:
        raise KeyboardInterrupt


def test_a_put_within_a_take_may_drop_all_that_is_about_to_be_taken() -> None:
    for at in itertools.count(1):
        buffer = a_buffer(Overflow.DROP_OLDEST, max_bytes=30)
        entries = [entry(10, f"earlier {number}") for number in range(3)]
        assert [gone for each in entries for gone in buffer.put(each)] == []
        large = entry(20, "large")
        lost: list[Entry] = []
        interrupted = InterruptedAfter(at, lambda large=large, buffer=buffer, lost=lost: lost.extend(buffer.put(large)))
        taken = interrupted.during(lambda buffer=buffer: buffer.take(3, 100))
        if interrupted.points < at:
            break
        assert Counter(ids([*taken, *buffer.take_all(), *lost])) == Counter(ids([*entries, large]))
    assert at > 5


def test_a_put_that_an_exception_ends_has_added_the_event_or_has_not() -> None:
    """Ctrl-C, or a SIGTERM whose handler exits, in the middle of a log call."""
    added = set()
    for at in itertools.count(1):
        buffer = a_buffer(Overflow.DROP_NEWEST)
        interrupted = Ended(at)
        with contextlib.suppress(KeyboardInterrupt):
            interrupted.during(lambda buffer=buffer: buffer.put(entry(10)))
        if interrupted.points < at:
            break
        assert buffer.accepted == len(buffer) == buffer.waiting_bytes // 10
        added.add(len(buffer))
        assert buffer.put(entry(10)) == (), "and its lock is free"
    assert added == {0, 1}


BINDING = [pytest.param(2, 10**6, id="events bind"), pytest.param(10**6, 20, id="bytes bind"), (2, 20)]
"""Limits of a buffer in which two events of 10 bytes find room."""


@pytest.mark.parametrize("filled", [0, 1, 2], ids=["empty", "half full", "full"])
@pytest.mark.parametrize("taken", [0, 1])
@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize(("max_events", "max_bytes"), BINDING)
def test_a_put_within_a_put_keeps_the_bounds_and_loses_nothing_uncounted(
    max_events: int, max_bytes: int, overflow: Overflow, taken: int, filled: int
) -> None:
    for at in itertools.count(1):
        buffer = a_buffer(overflow, max_events=max_events, max_bytes=max_bytes)
        entries = [entry(10, f"earlier {number}") for number in range(filled)]
        lost = [gone for each in entries for gone in buffer.put(each)]
        held = buffer.take(taken, 100)
        outer, inner = entry(10, "outer"), entry(10, "inner")
        interrupted = Interrupted(at, lambda inner=inner, buffer=buffer, lost=lost: lost.extend(buffer.put(inner)))
        lost += interrupted.during(lambda buffer=buffer, outer=outer: buffer.put(outer))
        if interrupted.points < at:
            break
        inside = [*held, *buffer.take_all()]
        assert len(inside) <= 2
        assert Counter(ids([*inside, *lost])) == Counter(ids([*entries, outer, inner]))
        assert buffer.accepted == filled + 2
        buffer.release(inside)
        assert [buffer.put(entry(10)), buffer.put(entry(10))] == [(), ()], "what was released left room for all"
    assert at > 5


@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize(("max_events", "max_bytes"), BINDING)
def test_a_put_within_a_take_keeps_the_bounds_and_every_event_in_one_place(
    max_events: int, max_bytes: int, overflow: Overflow
) -> None:
    for at in itertools.count(1):
        buffer = a_buffer(overflow, max_events=max_events, max_bytes=max_bytes)
        entries = [entry(10, f"earlier {number}") for number in range(2)]
        assert [gone for each in entries for gone in buffer.put(each)] == []
        inner = entry(10, "inner")
        lost: list[Entry] = []
        interrupted = Interrupted(at, lambda inner=inner, buffer=buffer, lost=lost: lost.extend(buffer.put(inner)))
        taken = interrupted.during(lambda buffer=buffer: buffer.take(1, 10))
        if interrupted.points < at:
            break
        assert buffer.waiting_bytes == 10 * (3 - len([*lost, *taken]))
        inside = [*taken, *buffer.take_all()]
        assert len(inside) <= 2
        assert Counter(ids([*inside, *lost])) == Counter(ids([*entries, inner]))
        buffer.release(inside)
        assert [buffer.put(entry(10)), buffer.put(entry(10))] == [(), ()], "what was released left room for all"
    assert at > 5


def test_a_signal_handler_may_put_while_its_thread_is_inside_put() -> None:
    buffer = a_buffer(max_events=10**6, max_bytes=10**9)
    from_handler = 0

    def handler(_number: int, _frame: object) -> None:
        nonlocal from_handler
        buffer.put(entry(1))
        from_handler += 1

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        puts = 0
        deadline = time.monotonic() + 10
        while from_handler < 100 and time.monotonic() < deadline:
            buffer.put(entry(1))
            puts += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert from_handler >= 100
    assert buffer.accepted == len(buffer) == buffer.waiting_bytes == puts + from_handler


def test_a_del_may_put_while_its_thread_is_inside_put() -> None:
    """The collector runs at every point of a put, one after the other, and ends what logs at its end."""
    died_inside = 0
    gc.collect()
    gc.freeze()  # so that a collection looks at little
    gc.disable()
    try:
        for at in itertools.count(1):
            buffer = a_buffer(max_events=1)
            lost: list[Entry] = []
            old, new, late = entry(1, "old"), entry(1, "new"), entry(1, "from __del__")
            buffer.put(old)

            class LogsAtItsEnd:
                def __init__(self, *put: Any) -> None:
                    self.put = put
                    self.me = self  # so that only the collector ends it

                def __del__(self) -> None:
                    buffer, late, lost = self.put
                    lost.extend(buffer.put(late))

            LogsAtItsEnd(buffer, late, lost)
            interrupted = Interrupted(at, gc.collect)
            lost += interrupted.during(lambda buffer=buffer, new=new: buffer.put(new))
            if interrupted.points < at:
                break
            died_inside += 1
            assert buffer.accepted == 3
            assert Counter(ids([*buffer.take_all(), *lost])) == Counter(ids([old, new, late]))
    finally:
        gc.enable()
        gc.unfreeze()
    assert died_inside > 5


# Overflow.BLOCK


class Waiter:
    """A thread that is inside ``put(new)``, under the buffer's lock and about to wait for room."""

    def __init__(self, max_events: int, max_bytes: int, *before: Entry) -> None:
        self.buffer = a_buffer(
            Overflow.BLOCK, max_events=max_events, max_bytes=max_bytes, block_timeout=30.0, clock=self.clock
        )
        for each in before:
            assert self.buffer.put(each) == ()
        self.lost: Sequence[Entry] | None = None
        self.looks = 0
        self.waits = threading.Event()

    def clock(self) -> float:
        self.looks += 1
        if self.looks == 2:  # once for the deadline, once for what is left
            self.waits.set()
        return time.monotonic()

    def begin(self, new: Entry) -> None:
        self.thread = threading.Thread(target=self.put, args=(new,))
        self.thread.start()
        assert self.waits.wait(10)

    def put(self, new: Entry) -> None:
        self.lost = self.buffer.put(new)

    def ended(self, timeout: float) -> bool:
        self.thread.join(timeout)
        return not self.thread.is_alive()


def test_a_blocked_put_goes_on_when_room_is_released() -> None:
    waiter, second = Waiter(1, 100, entry(1)), entry(1)
    taken = waiter.buffer.take(1, 100)
    waiter.begin(second)
    waiter.buffer.release(taken)
    assert waiter.ended(10)
    assert waiter.lost is not None
    assert list(waiter.lost) == []
    assert ids(waiter.buffer.take_all()) == ids([second])


def test_a_blocked_put_waits_on_when_too_little_room_is_released() -> None:
    waiter, waits = Waiter(10, 10, entry(2), entry(8)), entry(10)
    first, second = waiter.buffer.take_all()
    waiter.begin(waits)
    waiter.buffer.release([first])
    assert not waiter.ended(0.02)
    waiter.buffer.release([second])
    assert waiter.ended(10)
    assert ids(waiter.buffer.take_all()) == ids([waits])


def test_of_many_blocked_puts_each_gets_its_place_once() -> None:
    buffer = a_buffer(Overflow.BLOCK, max_events=1, block_timeout=30.0)
    lost: list[Entry] = []
    entries = [entry(1) for _ in range(200)]
    threads = [
        threading.Thread(target=lambda part=entries[at::4]: [lost.extend(buffer.put(each)) for each in part])
        for at in range(4)
    ]
    for thread in threads:
        thread.start()
    came: list[Entry] = []
    deadline = time.monotonic() + 30
    while len(came) < len(entries) and time.monotonic() < deadline:
        taken = buffer.take(5, 100)
        assert len(taken) <= 1
        came += taken
        buffer.release(taken)
    for thread in threads:
        thread.join(10)
    assert lost == []
    assert Counter(ids(came)) == Counter(ids(entries))


def test_a_blocked_put_drops_its_event_when_its_time_is_over_and_no_sooner() -> None:
    buffer = a_buffer(Overflow.BLOCK, max_events=1, block_timeout=0.05)
    buffer.put(entry(1))
    new = entry(1)
    began = time.monotonic()
    assert ids(buffer.put(new)) == ids([new])
    assert 0.05 <= time.monotonic() - began < 5
    assert (len(buffer), buffer.accepted) == (1, 2)


def test_a_blocked_puts_time_is_the_clocks() -> None:
    times = iter([1000.0, 1000.0, 1030.0])
    buffer = a_buffer(Overflow.BLOCK, max_events=1, block_timeout=0.0, clock=lambda: next(times))
    buffer.put(entry(1))
    assert len(buffer.put(entry(1))) == 1
    assert next(times) == 1030.0, "one look at the clock for the deadline, one for what is left of it"


def test_an_event_that_can_never_fit_does_not_wait_for_room() -> None:
    buffer = a_buffer(Overflow.BLOCK, max_bytes=10, block_timeout=1e9)
    new = entry(11)
    assert ids(buffer.put(new)) == ids([new])


# What else is promised


def test_nothing_is_dropped_for_an_event_that_finds_no_room_even_so() -> None:
    buffer = a_buffer(Overflow.DROP_OLDEST, max_bytes=10)
    under_way, waits, large = entry(6), entry(2), entry(5)
    buffer.put(under_way)
    buffer.put(waits)
    buffer.take(1, 100)
    assert ids(buffer.put(large)) == ids([large])
    assert ids(buffer.take_all()) == ids([waits])


def test_a_batch_ends_before_the_event_that_would_pass_its_bytes() -> None:
    buffer = a_buffer(max_events=10)
    entries = [entry(5) for _ in range(4)]
    for each in entries:
        buffer.put(each)
    assert ids(buffer.take(10, 14)) == ids(entries[:2])
    assert (len(buffer), buffer.waiting_bytes) == (2, 10)
    assert ids(buffer.take(1, 14)) == ids(entries[2:3])
    assert (len(buffer), buffer.waiting_bytes) == (1, 5)


def test_an_event_larger_than_a_batch_is_taken_alone() -> None:
    buffer = a_buffer()
    large, small = entry(50), entry(1)
    buffer.put(large)
    buffer.put(small)
    assert ids(buffer.take(10, 20)) == ids([large])


def test_eight_threads_lose_nothing_uncounted() -> None:
    buffer = a_buffer(Overflow.DROP_OLDEST, max_events=50, max_bytes=10**6)
    lost: list[Entry] = []
    came: list[Entry] = []
    ready = threading.Barrier(9)

    def put_many() -> None:
        ready.wait(10)
        for _ in range(2_000):
            lost.extend(buffer.put(entry(3)))

    threads = [threading.Thread(target=put_many) for _ in range(8)]
    for thread in threads:
        thread.start()
    ready.wait(10)
    while any(thread.is_alive() for thread in threads):
        assert len(buffer) <= 50
        taken = buffer.take(20, 10**6)
        buffer.release(taken)
        came += taken
    came += buffer.take_all()
    assert buffer.accepted == 16_000
    assert len({*ids(lost), *ids(came)}) == len(lost) + len(came) == 16_000


def test_a_reset_makes_new_locks() -> None:
    """In a forked child the old one may be held by a thread that does not exist there."""
    inside, done = threading.Event(), threading.Event()

    def clock() -> float:  # called under the lock
        inside.set()
        done.wait(10)
        return 0.0

    buffer = a_buffer(Overflow.BLOCK, max_events=1, clock=clock)
    buffer.put(entry(1))
    thread = threading.Thread(target=buffer.put, args=(entry(1),))
    thread.start()
    assert inside.wait(10)
    buffer.reset()
    try:
        assert buffer.put(entry(1)) == ()
        assert (len(buffer), buffer.accepted, buffer.waiting_bytes) == (1, 1, 1)
    finally:
        done.set()
        thread.join(10)
