"""The ledger's equation: at every moment, in every thread, and when counting is re-entered."""

from __future__ import annotations

import gc
import itertools
import signal
import sys
import threading
import time
from typing import Any

import pytest

from connect_logging._ledger import Ledger
from connect_logging._types import Fate


def total(stats: dict[str, Any]) -> int:
    """The right side of the equation."""
    counted: int = stats["delivered"] + stats["duplicate"] + stats["rejected"] + stats["pending"]
    return counted + sum(stats["dropped"].values())


def test_each_fate_is_counted_under_its_name_and_the_rest_is_pending() -> None:
    ledger = Ledger(lambda: 100)
    ledger.settle(Fate.DELIVERED, 50)
    ledger.settle(Fate.DUPLICATE, 3)
    ledger.settle(Fate.REJECTED)
    ledger.settle(Fate.DELIVERED)
    ledger.drop("buffer_full", 4)
    ledger.drop("closed", 5)
    ledger.drop("buffer_full", 1)
    assert ledger.snapshot() == {
        "accepted": 100,
        "delivered": 51,
        "duplicate": 3,
        "rejected": 1,
        "dropped": {"buffer_full": 5, "closed": 5},
        "pending": 35,
    }
    assert ledger.settled == 65
    assert ledger.dropped() == {"buffer_full": 5, "closed": 5}


def test_what_was_told_is_a_copy() -> None:
    ledger = Ledger(lambda: 1)
    ledger.drop("closed", 1)
    ledger.dropped().clear()
    ledger.snapshot()["dropped"].clear()
    assert ledger.snapshot()["dropped"] == ledger.dropped() == {"closed": 1}


def test_the_equation_holds_at_every_moment_under_eight_threads() -> None:
    counts = [itertools.count(1) for _ in range(8)]
    accepted = [0] * 8
    ledger = Ledger(lambda: sum(accepted))
    ready = threading.Barrier(9)

    def settle_many(at: int) -> None:
        ready.wait(10)
        for turn in range(3_000):
            accepted[at] = next(counts[at])
            if turn % 4 == 3:
                ledger.drop(f"reason {turn % 3}", 1)
            else:
                ledger.settle((Fate.DELIVERED, Fate.DUPLICATE, Fate.REJECTED)[turn % 4])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=settle_many, args=(at,)) for at in range(8)]
        for thread in threads:
            thread.start()
        ready.wait(10)
        seen = 0
        while any(thread.is_alive() for thread in threads):
            stats = ledger.snapshot()
            assert stats["accepted"] == total(stats)
            assert 0 <= stats["pending"] <= 8  # one for each thread between two lines
            seen += 1
    finally:
        sys.setswitchinterval(interval)
    assert seen > 10
    assert ledger.settled == 24_000
    assert ledger.snapshot()["pending"] == 0


@pytest.mark.parametrize("call", ["drop", "settle", "snapshot", "dropped", "wait"])
def test_a_drop_within_any_call_is_counted(call: str) -> None:
    """As a signal handler or a ``__del__`` logs into a full buffer, at every point where Python may run one."""
    for at in itertools.count(1):
        ledger = Ledger(lambda: 10)
        ledger.settle(Fate.DELIVERED)
        points = 0

        def interrupt(_frame: object, _event: str, _arg: object, at: int = at, ledger: Ledger = ledger) -> None:
            nonlocal points
            points += 1
            if points == at:
                ledger.drop("buffer_full", 1)

        calls = {
            "drop": lambda ledger=ledger: ledger.drop("buffer_full", 1),
            "settle": lambda ledger=ledger: ledger.settle(Fate.REJECTED),
            "snapshot": ledger.snapshot,
            "dropped": ledger.dropped,
            "wait": lambda ledger=ledger: ledger.wait_until(lambda: ledger.settled >= 1, 0.0),
        }
        sys.setprofile(interrupt)
        try:
            told = calls[call]()
        finally:
            sys.setprofile(None)
        if points < at:
            break
        if call == "snapshot":
            assert told["accepted"] == total(told)
        stats = ledger.snapshot()
        assert stats["dropped"] == {"buffer_full": 2 if call == "drop" else 1}
        assert stats["rejected"] == (1 if call == "settle" else 0)
        assert stats["accepted"] == total(stats)
        assert ledger.settled == 10 - stats["pending"]
    assert at > 3


def test_a_signal_handler_may_drop_while_its_thread_waits() -> None:
    ledger = Ledger(lambda: 2)

    def handler(_number: int, _frame: object) -> None:
        ledger.drop("buffer_full", 1)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        assert ledger.wait_until(lambda: ledger.settled >= 2, 10.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("by", ["settle", "drop"])
def test_a_wait_ends_when_its_target_is_settled(by: str) -> None:
    ledger = Ledger(lambda: 2)
    ended = threading.Event()
    results: list[bool] = []

    def wait() -> None:
        results.append(ledger.wait_until(lambda: ledger.settled >= 2, 30.0))
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    for _ in range(2):
        assert not ended.is_set()
        if by == "settle":
            ledger.settle(Fate.DELIVERED)
        else:
            ledger.drop("closed", 1)
    thread.join(10)
    assert results == [True]


def test_a_wait_for_more_than_comes_ends_at_its_timeout() -> None:
    ledger = Ledger(lambda: 2)
    ledger.settle(Fate.DELIVERED)
    began = time.monotonic()
    assert not ledger.wait_until(lambda: ledger.settled >= 2, 0.02)
    assert time.monotonic() - began >= 0.02
    assert ledger.wait_until(lambda: ledger.settled >= 1, 0.0)


def test_a_reset_forgets_counts_and_locks() -> None:
    """In a forked child a thread that does not exist there may hold the lock."""
    inside, done = threading.Event(), threading.Event()

    def accepted() -> int:  # called under the lock
        inside.set()
        done.wait(10)
        return 7

    ledger = Ledger(accepted)
    ledger.settle(Fate.DELIVERED)
    ledger.drop("closed", 1)
    thread = threading.Thread(target=ledger.snapshot)
    thread.start()
    assert inside.wait(10)
    ledger.reset()
    ledger.drop("closed", 1)
    done.set()
    thread.join(10)
    assert ledger.settled == 1
    assert ledger.snapshot() == {
        "accepted": 7,
        "delivered": 0,
        "duplicate": 0,
        "rejected": 0,
        "dropped": {"closed": 1},
        "pending": 6,
    }


def test_what_is_dropped_as_the_collector_runs_is_counted() -> None:
    """A ``__del__`` may log, into a full buffer, at any allocation of this thread's."""
    ledger = Ledger(lambda: 0)
    within: list[None] = []

    def collected(phase: str, _: object) -> None:
        if phase == "start":
            within.append(None)
            ledger.drop("buffer_full", 1)

    before = gc.get_threshold()
    gc.callbacks.append(collected)
    try:
        for spare in range(50):
            gc.collect()
            gc.set_threshold(10)
            kept = [[] for _ in range(spare % 10)]  # so that each allocation is the one for which it runs
            ledger.drop("buffer_full", 1)
            gc.set_threshold(*before)
            kept.clear()
    finally:
        gc.callbacks.remove(collected)
        gc.set_threshold(*before)
    assert ledger.dropped()["buffer_full"] == ledger.settled == 50 + len(within)
