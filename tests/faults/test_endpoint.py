"""Rows 1 to 11 of the fault matrix: whatever the endpoint does, no event is lost, doubled or held up by another."""

from __future__ import annotations

import json
import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from oracle import Exchange, Oracle
from oracle_faults import Drip, Hang, RefuseBatch, RefuseEvents, Reset, Status, TooLarge, html
from pushing import CANARY, QUICK, MakeHandler, MakePusher, balanced, logger_with

from connect_logging._retry import MAX_RETRY_AFTER, RetryPolicy
from connect_logging._settings import Triggers
from connect_logging.event import Event, EventFactory
from connect_logging.rules import EventRules

EVERYTHING_AT_ONCE = Triggers(5_000, 10**9, 60.0)
"""Nothing is sent before a flush, so that a test knows what is in its batch."""

_factory = EventFactory(EventRules(), time.time)


def event(**properties: Any) -> Event:
    return _factory.from_mapping("things", properties)


def log_events(logger: logging.Logger, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        logger.info("", extra={"collection": "things", "event": {"id": number, "n": number}})


def letters(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_row_1_a_closed_port_costs_the_application_nothing(
    oracle: Oracle, make_handler: MakeHandler, figure: Any
) -> None:
    oracle.refuse()
    handler = make_handler()
    spent: list[float] = []
    with logger_with(handler) as logger:
        for number in range(5_000):
            began = time.perf_counter()
            logger.info("", extra={"collection": "things", "event": {"id": number}})
            spent.append(time.perf_counter() - began)
    assert handler.stats()["pending"] == 5_000
    oracle.listen()
    began = time.monotonic()
    assert handler.flush(30)
    drained = time.monotonic() - began
    assert len(oracle.stored) == 5_000
    assert oracle.duplicates == 0
    figure("1", f"emit p99.9 {sorted(spent)[-6] * 1e6:.0f} µs; drained 5,000 in {drained:.2f} s; lost 0")


def test_row_2_an_endpoint_that_never_answers_is_left_at_the_deadline(
    oracle: Oracle, make_pusher: MakePusher, figure: Any
) -> None:
    oracle.fail(Hang(commit=True))
    pusher = make_pusher(timeout=0.3)
    began = time.monotonic()
    pusher.submit(event(n=1))
    assert pusher.flush(10)
    spent = time.monotonic() - began
    assert spent < 3
    assert pusher.stats()["duplicate"] == 1
    assert len(oracle.stored) == 1
    figure("2", f"a request with a 0.3 s deadline was given up and repeated within {spent:.2f} s")


@pytest.mark.parametrize("headers_at_once", [False, True], ids=["from the first byte", "after the headers"])
def test_row_3_the_deadline_is_for_the_whole_answer(
    oracle: Oracle, make_pusher: MakePusher, figure: Any, headers_at_once: bool
) -> None:
    # Each byte comes well within a read timeout; all of them would take over 10 s.
    oracle.fail(Drip(every=0.1, headers_at_once=headers_at_once))
    pusher = make_pusher(timeout=0.5)
    began = time.monotonic()
    pusher.submit(event(n=1))
    assert pusher.flush(10)
    spent = time.monotonic() - began
    assert 0.5 <= spent < 4
    assert len(oracle.requests) == 2
    figure("3", f"deadline 0.5 s, dripped {'body' if headers_at_once else 'headers'}: repeated after {spent:.2f} s")


def test_row_4_an_answer_lost_after_the_commit_stores_nothing_twice(
    oracle: Oracle, make_pusher: MakePusher, figure: Any
) -> None:
    oracle.fail(Reset(commit=True), times=2)
    pusher = make_pusher(triggers=EVERYTHING_AT_ONCE)
    for number in range(500):
        pusher.submit(event(n=number))
    assert pusher.flush(10)
    assert len(oracle.stored) == 500
    assert {len(seen.payloads) for seen in oracle.seen.values()} == {1}, "a retry sends the same bytes"
    assert pusher.stats()["duplicate"] == 500
    figure("4", f"sent {len(oracle.requests)} times, stored once, lost 0")


def test_row_5_server_errors_of_any_shape_are_tried_again(oracle: Oracle, make_pusher: MakePusher, figure: Any) -> None:
    for fault in (Status(500, b""), html(502), Status(503), Status(504, b"[1]"), Status(500, b'{"errorMessage": 7}')):
        oracle.fail(fault)
    pusher = make_pusher()
    pusher.submit(event(n=1))
    assert pusher.flush(10)
    assert pusher.stats()["delivered"] == 1
    assert len(oracle.requests) == 6
    figure("5", "500, 502 with HTML, 503, 504: lost 0")


@pytest.mark.parametrize(
    ("retry_after", "least"),
    [("1", 1.0), (lambda: datetime.now(UTC) + timedelta(seconds=2), 0.5), ("soon", 0.0), ("-5", 0.0), ("", 0.0)],
    ids=["seconds", "date", "garbage", "negative", "empty"],
)
def test_row_6_retry_after_is_honoured(
    oracle: Oracle, make_pusher: MakePusher, figure: Any, retry_after: Any, least: float
) -> None:
    oracle.fail(Status(429, retry_after=retry_after() if callable(retry_after) else retry_after))
    pusher = make_pusher()
    pusher.submit(event(n=1))
    assert pusher.flush(10)  # does not cut the server's wish short
    waited = oracle.requests[1].at - oracle.requests[0].at
    assert least <= waited < least + 3
    figure("6", f"Retry-After {retry_after if isinstance(retry_after, str) else 'a date'!r}: {waited:.2f} s")


def test_row_6_an_absurd_retry_after_is_clamped(oracle: Oracle, make_pusher: MakePusher, figure: Any) -> None:
    oracle.fail(Status(429, retry_after="1000000000"))
    answers = []

    class Watched(RetryPolicy):
        def delay(self, answer: Any, failures: int, outage: float) -> float | None:
            delay = super().delay(answer, failures, outage)
            answers.append((answer.retry_after, delay))
            return 0.0

    pusher = make_pusher(retry=Watched(base=0.01))
    pusher.submit(event(n=1))
    assert pusher.flush(10)
    [(asked, waited)] = answers
    assert asked > MAX_RETRY_AFTER == waited
    figure("6", f"Retry-After 1e9: clamped to {MAX_RETRY_AFTER:.0f} s")


@pytest.mark.parametrize("code", [400, 422])
def test_row_7_one_bad_event_of_500_is_found_and_buried(
    oracle: Oracle, make_pusher: MakePusher, figure: Any, tmp_path: Path, code: int
) -> None:
    oracle.fail(RefuseBatch(code), times=None)
    pusher = make_pusher(triggers=EVERYTHING_AT_ONCE, dead_letters=tmp_path / "dead.log")
    for number in range(500):
        pusher.submit(event(id=number, poison=number == 321))
    assert pusher.flush(10)
    assert len(oracle.stored) == 499
    [letter] = letters(tmp_path / "dead.log")
    assert letter["id"] == 321
    assert letter["event"]["poison"] is True
    assert f"HTTP {code}" in letter["reason"]
    stats = pusher.stats()
    assert (stats["delivered"], stats["rejected"]) == (499, 1)
    figure("7", f"HTTP {code}: 499 delivered, 1 dead letter, {len(oracle.requests)} requests")


def test_row_8_failures_in_a_200_are_tried_again_then_buried(
    oracle: Oracle, make_pusher: MakePusher, figure: Any, tmp_path: Path
) -> None:
    oracle.fail(RefuseEvents(), times=None)
    pusher = make_pusher(triggers=EVERYTHING_AT_ONCE, dead_letters=tmp_path / "dead.log")
    for number in (*range(100), 0, 1, 2):
        pusher.submit(event(id=number, poison=number == 50))
    assert pusher.flush(10)
    stats = pusher.stats()
    assert (stats["delivered"], stats["duplicate"], stats["rejected"]) == (99, 3, 1)
    assert oracle.seen["things", "50"].received == QUICK.attempts
    [letter] = letters(tmp_path / "dead.log")
    assert (letter["id"], letter["reason"]) == (50, "poisoned")
    figure("8", f"of 103: {stats['delivered']} delivered, {stats['duplicate']} duplicate, {stats['rejected']} rejected")


def test_row_8_a_passing_failure_is_delivered_in_the_end(oracle: Oracle, make_pusher: MakePusher) -> None:
    oracle.fail(RefuseEvents(times=1), times=None)
    pusher = make_pusher(triggers=EVERYTHING_AT_ONCE)
    for number in range(10):
        pusher.submit(event(id=number, poison=number == 5))
    assert pusher.flush(10)
    assert pusher.stats()["delivered"] == 10


@pytest.mark.parametrize("code", [401, 403])
def test_row_9_a_refused_key_keeps_the_data_and_warns_once(
    oracle: Oracle, make_handler: MakeHandler, figure: Any, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    oracle.fail(Status(code), times=None)
    handler = make_handler()
    with logger_with(handler) as logger:
        for start in range(0, 50, 10):
            log_events(logger, 10, start)
            assert not handler.flush(0.1)
    assert handler.stats()["pending"] == 50
    assert len(oracle.requests) == 1, "a flush does not hammer at a locked door"
    handler._pusher.close(0)
    warnings = [record.getMessage() for record in caplog.records if f"HTTP {code}" in record.getMessage()]
    assert len(warnings) == 1
    assert "api_key" in warnings[0]
    assert CANARY not in caplog.text
    slowest, fastest = (60 / (bound * RetryPolicy().hold) for bound in (1.0, 0.5))
    figure("9", f"HTTP {code}: 1 warning, {slowest:.0f} to {fastest:.0f} requests a minute")


def test_row_9_events_are_delivered_once_the_key_is_right(oracle: Oracle, make_pusher: MakePusher) -> None:
    oracle.fail(Status(401), times=2)
    pusher = make_pusher()
    pusher.submit(event(n=1))
    assert pusher.flush(10)
    assert pusher.stats()["delivered"] == 1


def test_row_10_a_batch_that_is_too_large_is_split_and_the_next_are_smaller(
    oracle: Oracle, make_pusher: MakePusher, figure: Any
) -> None:
    oracle.fail(TooLarge(events=300), times=None)
    pusher = make_pusher(triggers=EVERYTHING_AT_ONCE)
    for number in range(3_000):
        pusher.submit(event(n=number))
    assert pusher.flush(10)
    split = len(oracle.requests)
    for number in range(3_000):
        pusher.submit(event(n=number))
    assert pusher.flush(10)
    assert len(oracle.stored) == 6_000
    assert len(oracle.requests) - split < split, "the limit that was found is kept"
    figure("10", f"3,000 events against a limit of 300: {split} requests, then {len(oracle.requests) - split}")


def test_row_10_a_single_event_too_large_is_buried(oracle: Oracle, make_pusher: MakePusher, tmp_path: Path) -> None:
    oracle.fail(TooLarge(size=500), times=None)
    pusher = make_pusher(dead_letters=tmp_path / "dead.log")
    pusher.submit(event(id="large", text="x" * 600))
    pusher.submit(event(id="small"))
    assert pusher.flush(10)
    assert [letter["id"] for letter in letters(tmp_path / "dead.log")] == ["large"]
    assert list(oracle.stored) == [("things", "small")]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_row_11_a_redirect_is_not_followed(oracle: Oracle, make_pusher: MakePusher, figure: Any, code: int) -> None:
    with Oracle() as elsewhere:
        oracle.fail(Status(code, location=f"{elsewhere.url}/events"))
        pusher = make_pusher()
        pusher.submit(event(n=1))
        assert pusher.flush(10)
        assert elsewhere.requests == []
    assert pusher.stats()["delivered"] == 1
    figure("11", "301, 302, 303, 307, 308: key seen elsewhere 0 times")


def test_a_page_of_another_server_is_no_success(oracle: Oracle, make_pusher: MakePusher) -> None:
    for fault in (html(200), Status(200, b"{}"), Status(200, b'{"things": [{"success": "yes"}]}'), Status(204, b"")):
        oracle.fail(fault)
    pusher = make_pusher()
    pusher.submit(event(n=1))
    assert pusher.flush(10)
    stats = pusher.stats()
    assert (stats["delivered"], stats["requests"]) == (1, 5)
    assert "Connect server" in stats["last_error"] or "204" in stats["last_error"]


def test_the_ledger_balances_at_every_moment_under_a_failing_endpoint(
    oracle: Oracle, make_handler: MakeHandler
) -> None:
    def sometimes(exchange: Exchange) -> None:
        fault = (Status(503), Reset(), RefuseEvents())[len(oracle.requests) % 3]
        fault(exchange)

    oracle.fail(sometimes, times=20)
    handler = make_handler(flush_events=50, flush_interval=0.01, max_events=500)
    with logger_with(handler) as logger:
        threads = [threading.Thread(target=log_events, args=(logger, 2_000, start)) for start in (0, 2_000, 4_000)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert balanced(handler.stats())
    assert handler.flush(20)
    stats = handler.stats()
    assert stats["pending"] == 0
    assert stats["accepted"] == 6_000
    assert stats["delivered"] + stats["duplicate"] == len(oracle.stored)
