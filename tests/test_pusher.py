"""The pusher's own invariants; what it does about each kind of answer is in tests/faults/test_endpoint.py."""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
from journaling import descriptors
from oracle import Exchange, Oracle
from oracle_faults import Hang, RefuseEvents, Reset, Status
from pushing import MakeHandler, MakePusher, logger_with
from spooling import until

from connect_logging import ConnectClient, _pusher
from connect_logging._buffer import MemoryBuffer, Overflow
from connect_logging._journal.spool import Spool
from connect_logging._pusher import MAX_BATCH_BYTES
from connect_logging._retry import RetryPolicy
from connect_logging._settings import Triggers
from connect_logging._transport import HttpTransport
from connect_logging._types import Fate
from connect_logging._worker import Worker
from connect_logging.event import Event

NEVER = Triggers(5_000, 10**9, 3_600.0)


def event(number: int, **properties: Any) -> Event:
    return Event("things", json.dumps({"id": number, **properties}).encode())


class Receipts:
    """Collects what receipts are told."""

    def __init__(self) -> None:
        self.told: list[tuple[Event, Fate, str | None, int | None]] = []

    def __call__(self, sent: Event, fate: Fate, message: str | None, http_status: int | None) -> None:
        self.told.append((sent, fate, message, http_status))

    def fates(self) -> dict[int, Fate]:
        return {sent.properties["id"]: fate for sent, fate, _, _ in self.told}


def test_each_receipt_is_told_one_fate(oracle: Oracle, make_pusher: MakePusher) -> None:
    oracle.fail(RefuseEvents(), times=None)
    pusher, receipts = make_pusher(triggers=NEVER, max_events=4), Receipts()
    for number in (1, 2, 2, 3, 4):
        pusher.submit(event(number, poison=number == 3), receipts)
    assert pusher.flush(10)
    assert len(receipts.told) == 5
    assert receipts.fates() == {1: Fate.DELIVERED, 2: Fate.DUPLICATE, 3: Fate.REJECTED, 4: Fate.DROPPED}
    told = {fate: (message, status) for _, fate, message, status in receipts.told}
    assert told[Fate.DELIVERED] == (None, 200)
    assert told[Fate.REJECTED] == ("poisoned", 200)
    assert "max_events" in str(told[Fate.DROPPED][0])


def test_retried_counts_sends_of_events_that_had_been_sent_before(oracle: Oracle, make_pusher: MakePusher) -> None:
    oracle.fail(Status(503), times=2)
    pusher = make_pusher(triggers=NEVER)
    for number in range(3):
        pusher.submit(event(number))
    assert pusher.flush(10)
    assert (pusher.stats()["requests"], pusher.stats()["retried"]) == (3, 6)
    oracle.fail(Status(400))
    for number in range(4):
        pusher.submit(event(10 + number))
    assert pusher.flush(10)
    assert (pusher.stats()["requests"], pusher.stats()["retried"]) == (6, 10)


def test_a_receipt_is_told_before_a_flush_returns(oracle: Oracle, make_pusher: MakePusher) -> None:
    pusher, receipts = make_pusher(triggers=NEVER), Receipts()
    for number in range(200):
        pusher.submit(event(number), receipts)
        assert pusher.flush(10)
        assert len(receipts.told) == number + 1


def test_flush_waits_only_for_what_came_before_it(oracle: Oracle, make_pusher: MakePusher) -> None:
    pusher = make_pusher(triggers=NEVER)
    stop = threading.Event()

    def go_on() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            pusher.submit(event(number))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        for _ in range(5):
            assert pusher.flush(20)
    finally:
        stop.set()
        thread.join()


def test_flush_cuts_a_backoff_short(oracle: Oracle, make_pusher: MakePusher) -> None:
    oracle.fail(Status(503))
    slow = RetryPolicy(base=3_600.0, cap=3_600.0, uniform=lambda low, high: high)
    pusher = make_pusher(retry=slow)
    pusher.submit(event(1))
    oracle.wait_for(lambda o: len(o.requests) == 1)
    until(lambda: pusher.stats()["last_error"])  # the answer is on its way back
    assert pusher.flush(10)


def test_events_come_in_order_through_an_outage(oracle: Oracle, make_pusher: MakePusher) -> None:
    oracle.fail(Reset(commit=False), times=3)
    pusher = make_pusher()
    for number in range(2_000):
        pusher.submit(event(number))
    assert pusher.flush(20)
    assert [int(key) for _, key in oracle.stored] == list(range(2_000))


def test_a_failing_event_holds_up_no_other(oracle: Oracle, make_pusher: MakePusher) -> None:
    oracle.fail(RefuseEvents(), times=None)
    slow = RetryPolicy(base=3_600.0, cap=3_600.0, uniform=lambda low, high: high)
    pusher = make_pusher(retry=slow)
    pusher.submit(event(0, poison=True))
    for number in range(1, 100):
        pusher.submit(event(number))
    oracle.wait_for(lambda o: len(o.stored) == 99)
    pusher.submit(event(100))
    oracle.wait_for(lambda o: len(o.stored) == 100)
    assert not pusher.flush(0.2)
    assert pusher.stats()["pending"] == 1


def test_a_request_that_ends_after_close_changes_nothing(oracle: Oracle, make_pusher: MakePusher) -> None:
    go_on, answered = threading.Event(), threading.Event()

    def late(exchange: Exchange) -> None:
        assert go_on.wait(10)
        exchange.answer()
        answered.set()

    oracle.fail(late)
    pusher, receipts = make_pusher(), Receipts()
    pusher.submit(event(1), receipts)
    oracle.wait_for(lambda o: o.requests)
    assert not pusher.close(0)
    go_on.set()
    assert answered.wait(10)
    assert pusher._worker.join(10)
    assert [fate for _, fate, _, _ in receipts.told] == [Fate.DROPPED]
    assert pusher.stats()["dropped"] == {"closed": 1}
    assert pusher.stats()["pending"] == 0


def test_events_that_come_while_it_closes_are_counted(oracle: Oracle, make_pusher: MakePusher) -> None:
    pusher, receipts = make_pusher(), Receipts()
    counts = [0] * 4

    def submit(which: int) -> None:
        while not pusher._closed or counts[which] % 100:
            pusher.submit(event(1_000_000 * which + counts[which]), receipts)
            counts[which] += 1

    threads = [threading.Thread(target=submit, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    oracle.wait_for(lambda o: len(o.stored) > 100)
    pusher.close(0.5)
    for thread in threads:
        thread.join()
    stats = pusher.stats()
    assert stats["accepted"] == sum(counts) == len(receipts.told)
    assert stats["pending"] == 0


def test_a_put_that_waits_for_room_ends_when_the_pusher_closes(oracle: Oracle, make_pusher: MakePusher) -> None:
    oracle.refuse()
    pusher, receipts = make_pusher(max_events=1, overflow=Overflow.BLOCK, block_timeout=60.0), Receipts()
    pusher.submit(event(1), receipts)
    thread = threading.Thread(target=pusher.submit, args=(event(2), receipts))
    thread.start()
    pusher.close(0.1)
    thread.join(10)
    assert not thread.is_alive()
    assert receipts.fates() == {1: Fate.DROPPED, 2: Fate.DROPPED}
    assert pusher.stats()["pending"] == 0


def test_a_child_starts_with_nothing_of_its_parents(oracle: Oracle, make_pusher: MakePusher) -> None:
    oracle.fail(Hang())
    pusher, receipts = make_pusher(max_events=10), Receipts()
    for number in range(10):
        pusher.submit(event(number), receipts)
    oracle.wait_for(lambda o: o.requests)
    with pusher._settling, pusher._ledger._changed, pusher._buffer._room:  # held at the fork, and for ever in a child
        pid = os.fork()
        if pid == 0:
            fresh = pusher.stats()["accepted"] == 0 and not receipts.told
            pusher.submit(event(100), receipts)
            sent = pusher.flush(10) and pusher.stats()["delivered"] == 1
            os._exit(0 if fresh and sent and len(receipts.told) == 1 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert list(oracle.stored) == [("things", "100")]
    oracle.refuse()
    oracle.listen()
    assert pusher.flush(10)
    assert len(oracle.stored) == 11


def test_a_fork_hook_does_not_keep_a_pusher_alive(oracle: Oracle) -> None:
    client = ConnectClient("p", "k", oracle.url)
    pusher = weakref.ref(client._pusher)
    client.close()
    del client
    gc.collect()
    assert pusher() is None
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_thread_that_cannot_start_is_tried_again(
    oracle: Oracle, make_pusher: MakePusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pusher = make_pusher(triggers=NEVER)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        pusher.submit(event(1))
        assert pusher.stats()["pending"] == 1
    pusher.submit(event(2), urgent=True)
    oracle.wait_for(lambda o: len(o.stored) == 2)


@pytest.mark.parametrize("kind", [MemoryBuffer, Spool])
def test_where_the_interpreter_has_no_lock_events_are_put_in_turn(
    oracle: Oracle, make_handler: MakeHandler, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: Any
) -> None:
    turns: list[bool] = []
    put = kind.put

    def noted(buffer: Any, *what: Any) -> Any:
        turns.append(buffer._lock._is_owned())
        return put(buffer, *what)

    monkeypatch.setattr(kind, "put", noted)
    for is_locked in (True, False):
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda is_locked=is_locked: is_locked, raising=False)
        handler = make_handler(spool=tmp_path if kind is Spool else None)
        with logger_with(handler) as log:
            log.info("x", extra={"collection": "things", "event": {"n": 1}})
        assert handler.flush(10)
    assert turns == [False, True]
    assert len(oracle.stored) == 2


def test_a_flush_waits_for_what_came_before_it_also_when_later_events_are_settled_first(
    oracle: Oracle, make_pusher: MakePusher
) -> None:
    oracle.fail(RefuseEvents(times=2), times=None)
    pusher, receipts = make_pusher(retry=RetryPolicy(base=0.1, cap=0.1)), Receipts()
    pusher.submit(event(0, poison=True), receipts)
    stop = threading.Event()

    def go_on() -> None:
        number = 0
        while not stop.wait(0.001):
            number += 1
            pusher.submit(event(number))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        assert pusher.flush(20)
        assert receipts.fates() == {0: Fate.DELIVERED}
    finally:
        stop.set()
        thread.join()


def fail_once(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the next request raise ``error``."""
    push = HttpTransport.push
    failures = [error]

    def failing(transport: HttpTransport, events: Any) -> Any:
        if failures:
            raise failures.pop()
        return push(transport, events)

    monkeypatch.setattr(HttpTransport, "push", failing)


def test_what_ctrl_c_has_interrupted_in_a_flush_is_sent_again(
    oracle: Oracle, make_pusher: MakePusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can start, a flush sends by itself."""
    pusher = make_pusher(triggers=NEVER)
    fail_once(monkeypatch, KeyboardInterrupt())
    with monkeypatch.context() as patch:
        patch.setattr(Worker, "start", lambda _: False)
        for number in range(3):
            pusher.submit(event(number))
        with pytest.raises(KeyboardInterrupt):
            pusher.flush(10)
        assert pusher.stats()["pending"] == 3
        assert pusher.flush(10)
    assert len(oracle.stored) == 3


def test_a_worker_that_has_failed_is_followed_by_another(
    oracle: Oracle, make_pusher: MakePusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    pusher, has_failed = make_pusher(), threading.Event()
    fail_once(monkeypatch, SystemExit())
    monkeypatch.setattr(threading, "excepthook", lambda _: has_failed.set())
    pusher.submit(event(1))
    assert has_failed.wait(10)
    pusher.submit(event(2))
    oracle.wait_for(lambda o: len(o.stored) == 2)
    assert pusher.flush(10)


def test_a_flush_ends_when_another_thread_closes(oracle: Oracle, make_handler: MakeHandler, tmp_path: Path) -> None:
    oracle.refuse()
    handler = make_handler(spool=tmp_path, exit_timeout=0.01)
    with logger_with(handler) as log:
        log.info("x", extra={"collection": "things", "event": {"n": 1}})
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(handler.flush(600)))
    thread.start()
    handler.close()
    thread.join(20)
    assert results == [False]


def test_what_is_refused_while_another_thread_closes_is_accounted_for(make_pusher: MakePusher, tmp_path: Path) -> None:
    pusher = make_pusher(dead_letters=tmp_path / "letters.log")
    refused = pusher._fates.refused

    class Closing(type(refused)):  # type: ignore[misc]
        def append(self, value: Any) -> None:
            pusher.close(1)
            super().append(value)

    pusher._fates.refused = Closing()
    pusher.refuse("things", {"n": 1}, "no")
    stats = pusher.stats()
    assert (stats["accepted"], stats["pending"], stats["dropped"]) == (1, 0, {"closed": 1})


def test_a_close_after_a_flush_that_failed_does_not_wait_again_for_what_was_found_meanwhile(
    oracle: Oracle, make_handler: MakeHandler, tmp_path: Path
) -> None:
    oracle.refuse()
    earlier = make_handler(spool=tmp_path / "spool", exit_timeout=0.0)
    with logger_with(earlier) as log:
        log.info("x", extra={"collection": "things", "event": {"n": 1}})
    earlier.close()
    [left] = (tmp_path / "spool").glob("*.journal")
    left.rename(tmp_path / left.name)
    handler = make_handler(spool=tmp_path / "spool", exit_timeout=600.0)
    with logger_with(handler) as log:
        log.info("x", extra={"collection": "things", "event": {"n": 2}})
    assert not handler.flush(0.05)
    (tmp_path / left.name).rename(left)
    buffer: Any = handler._pusher._buffer
    buffer._adopt_at = 0.0
    buffer.maintain()
    assert handler.stats()["accepted"] == 2
    began = time.monotonic()
    handler.close()
    assert time.monotonic() - began < 300


def test_a_request_has_so_many_bytes_however_few_events(oracle: Oracle, make_pusher: MakePusher) -> None:
    pusher = make_pusher(triggers=NEVER)
    for number in range(100):
        pusher.submit(event(number, text="x" * 60_000))
    assert pusher.flush(20)
    sizes = [len(request.body) for request in oracle.requests]
    assert len(sizes) == 2
    assert max(sizes) <= MAX_BATCH_BYTES + 100 * len(",")


def test_a_close_after_a_flush_that_failed_waits_for_what_was_logged_since(
    oracle: Oracle, make_pusher: MakePusher
) -> None:
    oracle.fail(Status(503), times=None)
    pusher = make_pusher()
    pusher.submit(event(1))
    assert not pusher.flush(0)
    oracle.heal()
    pusher.submit(event(2))
    assert pusher.close(20)
    assert len(oracle.stored) == 2


def test_a_close_long_after_a_flush_that_failed_waits_again(
    oracle: Oracle, make_pusher: MakePusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pusher, "_SAME_EXIT", 0.0)
    oracle.fail(Status(503), times=None)
    pusher = make_pusher()
    pusher.submit(event(1))
    assert not pusher.flush(0)
    oracle.heal()
    assert pusher.close(20)
    assert len(oracle.stored) == 1


def test_a_pusher_that_is_closed_leaves_no_connection(oracle: Oracle, make_pusher: MakePusher) -> None:
    before = descriptors()
    pusher = make_pusher()
    pusher.submit(event(1))
    assert pusher.flush(10)
    assert pusher.close(10)
    until(lambda: descriptors() <= before)  # the oracle lets go as well
