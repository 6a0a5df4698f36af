"""Notices: heard once a minute, from a thread of their own, whoever holds whichever lock of logging."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import NoReturn

import pytest
from clock import Clock

from connect_logging import ConnectHandler
from connect_logging._notices import DROP_REASONS, EVERY, LOGGER, DropReport, Notices


class Heard(logging.Handler):
    """What the log says, and who says it."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.threads: list[threading.Thread] = []
        self.came = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(f"{record.name} {record.levelname}: {record.getMessage()}")
        self.threads.append(threading.current_thread())
        self.came.set()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The package's logger, cut off from the rest; without handlers."""
    logger = logging.getLogger(LOGGER)
    before = logger.handlers[:], logger.propagate
    logger.handlers[:], logger.propagate = [], False
    yield logger
    logger.handlers[:], logger.propagate = before


@pytest.fixture
def heard(logger: logging.Logger) -> Heard:
    handler = Heard()
    logger.addHandler(handler)
    return handler


def a_connect_handler(kind: type[ConnectHandler] = ConnectHandler) -> ConnectHandler:
    return kind(project_id="p", api_key="k", base_url="http://127.0.0.1:9")


def cannot_start(_thread: threading.Thread) -> NoReturn:
    raise RuntimeError("can't start new thread")


def test_a_warning_appears_on_the_packages_logger_from_a_thread_of_its_own(clock: Clock, heard: Heard) -> None:
    notices = Notices(clock)
    notices.warn("topic", "100 % of it")
    notices.finish(10)
    assert heard.messages == ["connect_logging WARNING: 100 % of it"]
    [thread] = heard.threads
    assert thread is not threading.current_thread()
    assert thread.daemon


def test_each_topic_has_its_turn_once_a_minute(clock: Clock, heard: Heard) -> None:
    notices = Notices(clock)
    clock.now = 0.0  # the first moment of a monotonic clock is no reason for silence
    for moment, topic in [
        (0, "a"),
        (0, "b"),
        (0, "a"),
        (EVERY - 0.001, "a"),
        (EVERY, "a"),
        (EVERY + 1, "b"),
        (70, "a"),
    ]:
        clock.now = moment
        notices.warn(topic, f"{topic} at {moment}")
        notices.finish(10)
    assert [message.partition(": ")[2] for message in heard.messages] == [
        "a at 0",
        "b at 0",
        "a at 60.0",
        "b at 61.0",
    ]


def test_a_reset_ends_the_silence(clock: Clock, heard: Heard) -> None:
    """A forked child has not been heard yet."""
    notices = Notices(clock)
    notices.warn("topic", "parent")
    notices.finish(10)
    notices.reset()
    notices.warn("topic", "child")
    notices.finish(10)
    assert len(heard.messages) == 2


def test_a_warning_does_not_wait_for_loggings_lock(clock: Clock, heard: Heard) -> None:
    """``dictConfig`` holds it while it closes the handler whose pusher warns."""
    notices = Notices(clock)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with logging._lock:
            held.set()
            done.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(10)
    warned = threading.Thread(target=notices.warn, args=("topic", "message"))
    warned.start()
    warned.join(10)
    blocked = warned.is_alive()
    notices.finish(0.05)
    silent = heard.messages == []
    done.set()
    holder.join(10)
    notices.finish(10)
    assert not blocked
    assert silent, "logging takes its lock for every record, so this test held the right one"
    assert heard.came.wait(10)


def test_finish_waits_for_all_warnings_together_not_for_each(logger: logging.Logger) -> None:
    done = threading.Event()

    class Slow(logging.Handler):
        def emit(self, _record: logging.LogRecord) -> None:
            done.wait(20)

    logger.addHandler(Slow())
    times = [0.0] * 3  # of the warnings
    notices = Notices(lambda: times.pop(0))
    for topic in ("a", "b", "c"):
        notices.warn(topic, topic)
    times[:] = [0.0, 30.0, 30.0, 31.0]  # the deadline's, then each thread's turn
    began = time.monotonic()
    notices.finish(30.0)
    took = time.monotonic() - began
    done.set()
    assert took < 2, "their time was over: none is waited for"
    assert times == []


def test_finish_waits_for_a_warning_that_is_on_its_way(clock: Clock, logger: logging.Logger) -> None:
    may_go_on = threading.Event()

    class Slow(Heard):
        def emit(self, record: logging.LogRecord) -> None:
            may_go_on.wait(20)
            super().emit(record)

    handler = Slow()
    logger.addHandler(handler)
    notices = Notices(clock)
    notices.warn("topic", "message")
    timer = threading.Timer(0.05, may_go_on.set)
    timer.start()
    notices.finish(20)
    assert handler.messages == ["connect_logging WARNING: message"]
    timer.join()


@pytest.mark.parametrize("kind", [ConnectHandler, type("TheirHandler", (ConnectHandler,), {})])
def test_where_only_our_handlers_listen_it_is_printed(
    kind: type[ConnectHandler], clock: Clock, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = a_connect_handler(kind)
    logger.handlers[:] = [handler]  # pytest listens, too
    notices = Notices(clock)
    notices.warn("topic", "message")
    notices.finish(10)
    handler.close()
    assert capsys.readouterr().err == "connect_logging: message\n"
    assert handler.stats()["accepted"] == 0


def test_where_another_handler_listens_further_up_it_is_logged(
    clock: Clock, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    handler, heard = a_connect_handler(), Heard()
    logger.handlers[:] = [handler]
    logger.propagate = True
    logging.getLogger().addHandler(heard)
    try:
        notices = Notices(clock)
        notices.warn("topic", "message")
        notices.finish(10)
    finally:
        logging.getLogger().removeHandler(heard)
        handler.close()
    assert heard.messages == ["connect_logging WARNING: message"]
    assert capsys.readouterr().err == ""


def test_where_nobody_listens_logging_itself_prints_it(
    clock: Clock, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", printed)
    logger.handlers.clear()  # pytest listens, too
    notices = Notices(clock)
    notices.warn("topic", "message")
    notices.finish(10)
    assert printed.getvalue() == "message\n"


def test_where_no_thread_starts_it_is_printed_and_nothing_is_raised(
    clock: Clock, heard: Heard, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading.Thread, "start", cannot_start)
    notices = Notices(clock)
    notices.warn("topic", "message")
    notices.finish(0)
    assert capsys.readouterr().err == "connect_logging: message\n"
    assert heard.messages == []


@pytest.mark.parametrize("gone", ["closed", "none"])
def test_a_closed_standard_error_is_no_error(
    gone: str, clock: Clock, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream if gone == "closed" else None)
    monkeypatch.setattr(threading.Thread, "start", cannot_start)
    notices = Notices(clock)
    notices.warn("topic", "message")
    assert heard.messages == []


def test_threads_that_have_ended_are_forgotten(clock: Clock, heard: Heard) -> None:
    before = threading.active_count()
    notices = Notices(clock)
    for turn in range(20):
        clock.now = turn * EVERY
        notices.warn("topic", f"{turn}")
        notices.finish(10)
    assert len(heard.messages) == 20
    assert len(notices._threads) == 1
    assert threading.active_count() <= before + 1


# DropReport


class Told:
    """The user's callback."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[tuple[str, int]] = []
        self.error = error

    def __call__(self, reason: str, count: int) -> None:
        self.calls.append((reason, count))
        if self.error is not None:
            raise self.error


def test_each_loss_is_told_once_with_its_reason_and_count(clock: Clock, heard: Heard) -> None:
    told = Told()
    notices = Notices(clock)
    report = DropReport(notices, told)
    report.report(Counter())
    assert told.calls == []
    report.report(Counter(buffer_full=3))
    report.report(Counter(buffer_full=3))
    report.report(Counter(buffer_full=5, closed=1))
    notices.finish(10)
    assert told.calls == [("buffer_full", 3), ("buffer_full", 2), ("closed", 1)]
    assert sorted(heard.messages) == [
        f"connect_logging WARNING: events dropped so far: 1; {DROP_REASONS['closed']}",
        f"connect_logging WARNING: events dropped so far: 3; {DROP_REASONS['buffer_full']}",
    ]


def test_the_next_warning_tells_the_total(clock: Clock, heard: Heard) -> None:
    notices = Notices(clock)
    report = DropReport(notices, None)
    for count in (1, 10, 100):
        report.report(Counter(buffer_full=count))
        notices.finish(10)
        clock.now += 0.6 * EVERY
    assert [message.split(": ")[2].split(";")[0] for message in heard.messages] == ["1", "100"]


def test_a_callback_that_raises_is_told_of_and_called_again(clock: Clock, heard: Heard) -> None:
    told = Told(ValueError("broken"))
    notices = Notices(clock)
    report = DropReport(notices, told)
    report.report(Counter(buffer_full=1, closed=2))
    report.report(Counter(buffer_full=2, closed=2))
    notices.finish(10)
    assert told.calls == [("buffer_full", 1), ("closed", 2), ("buffer_full", 1)]
    assert heard.messages.count("connect_logging WARNING: on_drop raised ValueError: broken") == 1


@pytest.mark.parametrize("raised", [asyncio.CancelledError, GeneratorExit])
def test_nothing_that_a_callback_raises_ends_who_reports(
    clock: Clock, heard: Heard, raised: type[BaseException]
) -> None:
    told = Told(raised("broken"))
    DropReport(Notices(clock), told).report(Counter(buffer_full=1, closed=2))
    assert told.calls == [("buffer_full", 1), ("closed", 2)]


def test_a_callback_that_causes_a_report_is_not_told_twice(clock: Clock, heard: Heard) -> None:
    """As one that closes the handler: closing reports, too."""
    calls: list[tuple[str, int]] = []
    dropped = Counter(buffer_full=3, gave_up=1)
    notices = Notices(clock)

    def on_drop(reason: str, count: int) -> None:
        calls.append((reason, count))
        assert len(calls) < 10
        report.report(dropped)

    report = DropReport(notices, on_drop)
    report.report(dropped)
    notices.finish(10)
    assert sorted(calls) == [("buffer_full", 3), ("gave_up", 1)]
    assert len(heard.messages) == 2


def test_two_threads_report_each_loss_once(clock: Clock, heard: Heard) -> None:
    """The worker's at rest, and a closing thread's, whichever has looked at the ledger first."""
    told = Told()
    notices = Notices(clock)
    report = DropReport(notices, told)
    ready = threading.Barrier(4)

    def report_many(start: int) -> None:
        ready.wait(10)
        for count in range(start, 2_000, 4):
            report.report(Counter(buffer_full=count + 1))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=report_many, args=(at,)) for at in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    finally:
        sys.setswitchinterval(interval)
    notices.finish(10)
    assert sum(count for _, count in told.calls) == 2_000
    assert len(heard.messages) == 1


def test_a_reset_report_begins_at_nothing(clock: Clock, heard: Heard) -> None:
    told = Told()
    notices = Notices(clock)
    report = DropReport(notices, told)
    report.report(Counter(closed=3))
    report.reset()
    report.report(Counter(closed=1))
    notices.finish(10)
    assert told.calls == [("closed", 3), ("closed", 1)]
    assert len(heard.messages) == 1


@pytest.mark.parametrize("reason", DROP_REASONS)
def test_every_reason_is_put_in_words(reason: str, clock: Clock, heard: Heard) -> None:
    notices = Notices(clock)
    DropReport(notices, None).report(Counter({reason: 1}))
    notices.finish(10)
    assert heard.messages == [f"connect_logging WARNING: events dropped so far: 1; {DROP_REASONS[reason]}"]
