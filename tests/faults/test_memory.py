"""Row 12: a full buffer does exactly what its policy says, and counts it."""

from __future__ import annotations

import resource
import threading
from typing import Any

import pytest
from oracle import Oracle
from oracle_faults import Hang
from pushing import MakeHandler, logger_with


def log_numbers(handler: Any, count: int) -> None:
    with logger_with(handler) as logger:
        for number in range(count):
            logger.info("", extra={"collection": "things", "event": {"id": number}})


def stored_numbers(oracle: Oracle) -> list[int]:
    return sorted(int(key) for _, key in oracle.stored)


@pytest.mark.parametrize(
    ("overflow", "kept"), [("drop_oldest", range(900, 1_000)), ("drop_newest", range(100))], ids=lambda v: str(v)
)
def test_row_12_the_policy_decides_which_events_stay(
    oracle: Oracle, make_handler: MakeHandler, figure: Any, overflow: str, kept: range
) -> None:
    dropped: list[tuple[str, int]] = []
    handler = make_handler(
        max_events=101, overflow=overflow, on_drop=lambda reason, count: dropped.append((reason, count))
    )
    oracle.fail(Hang())
    with logger_with(handler) as logger:
        logger.error("", extra={"collection": "things", "event": {"id": 1_000_000}})
    oracle.wait_for(lambda o: o.requests)  # from here on no other is taken: all wait
    log_numbers(handler, 1_000)
    stats = handler.stats()
    assert stats["dropped"] == {"buffer_full": 900}
    assert stats["pending"] == 101
    oracle.refuse()
    oracle.listen()
    assert handler.flush(10)
    assert stored_numbers(oracle) == [*kept, 1_000_000]
    handler.close()
    assert sum(count for _, count in dropped) == 900
    assert {reason for reason, _ in dropped} == {"buffer_full"}
    figure("12", f"{overflow}: 900 of 1,000 dropped and counted")


def test_row_12_block_waits_for_room_and_loses_nothing(oracle: Oracle, make_handler: MakeHandler, figure: Any) -> None:
    handler = make_handler(max_events=100, overflow="block", block_timeout=10.0, flush_events=50, flush_interval=0.01)
    log_numbers(handler, 1_000)
    assert handler.flush(10)
    assert stored_numbers(oracle) == list(range(1_000))
    assert handler.stats()["dropped"] == {}
    figure("12", "block: 0 of 1,000 dropped")


def test_row_12_block_gives_up_after_its_timeout(oracle: Oracle, make_handler: MakeHandler) -> None:
    oracle.refuse()
    handler = make_handler(max_events=100, overflow="block", block_timeout=0.01)
    log_numbers(handler, 110)
    assert handler.stats()["dropped"] == {"buffer_full": 10}
    oracle.listen()
    assert handler.flush(10)
    assert stored_numbers(oracle) == list(range(100))


def test_row_12_the_bound_in_bytes_holds_too(oracle: Oracle, make_handler: MakeHandler, figure: Any) -> None:
    oracle.refuse()
    handler = make_handler(max_bytes=1_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with logger_with(handler) as logger:
        for number in range(2_000):
            event = {"id": number, "text": "x" * 10_000}
            logger.info("", extra={"collection": "things", "event": event})
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    stats = handler.stats()
    assert 95 <= stats["pending"] <= 100
    assert stats["pending"] + stats["dropped"]["buffer_full"] == 2_000
    figure("12", f"20 MB against max_bytes of 1 MB: RSS grew by {grown / 1024:.0f} MB")


def test_an_event_that_is_logged_by_many_threads_is_counted_once(
    oracle: Oracle, make_handler: MakeHandler, figure: Any
) -> None:
    handler = make_handler(flush_interval=0.01)
    with logger_with(handler) as logger:

        def log() -> None:
            for _ in range(200):
                logger.info("", extra={"collection": "things", "n": 1})

        threads = [threading.Thread(target=log) for _ in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert handler.flush(20)
    assert handler.stats()["delivered"] == len(oracle.stored) == 12_800
    figure("30", "64 threads: ledger exact over 12,800 events")
