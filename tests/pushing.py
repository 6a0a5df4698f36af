"""Fixtures for whatever pushes: the oracle, handlers and pushers that end with the test, and figures.

A figure is what a row of the fault matrix measured; the run prints them all at its end.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from oracle import Oracle

from connect_logging import ConnectHandler
from connect_logging._buffer import MemoryBuffer, Overflow
from connect_logging._dead_letter import DeadLetterLog
from connect_logging._notices import Notices
from connect_logging._pusher import Pusher
from connect_logging._retry import RetryPolicy
from connect_logging._settings import Connection, Triggers
from connect_logging._transport import HttpTransport

CANARY = "canary-key-3f9d1c"
"""The API key of every test: it must not turn up anywhere but in a request's header."""


QUICK = RetryPolicy(base=0.01, cap=0.05, hold=0.1)
"""Backoff of a test's length."""

SOON = Triggers(500, 1_000_000, 0.01)
"""Batches that are sent almost at once."""

_FIGURES = "figure"


def wait_for_pushers() -> None:
    """To end, as what they were closed with may have left them in a last attempt."""
    for thread in threading.enumerate():
        if thread.name == "connect-logging-pusher":
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def oracle() -> Iterator[Oracle]:
    with Oracle() as running:
        yield running


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str, str], None]:
    """``figure("1", "emit p99.9 40 µs")``: what the row measured, for the summary."""

    def record(row: str, measured: str) -> None:
        print(f"row {row}: {measured}")
        record_property(_FIGURES, f"row {row:>3}: {measured}")

    return record


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the figures, whichever process measured them."""
    reports = terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
    figures = [value for report in reports for name, value in report.user_properties if name == _FIGURES]
    if figures:
        terminalreporter.section("figures of the fault matrix")
        for line in sorted(set(figures)):
            terminalreporter.line(line)


def balanced(stats: dict[str, Any]) -> bool:
    """The ledger's equation."""
    settled = stats["delivered"] + stats["duplicate"] + stats["rejected"] + sum(stats["dropped"].values())
    return bool(stats["accepted"] == settled + stats["pending"])


MakeHandler = Callable[..., ConnectHandler]


@pytest.fixture
def make_handler(oracle: Oracle) -> Iterator[MakeHandler]:
    """Handlers that push to the oracle unless told otherwise; closed, and their ledgers checked, at the end."""
    made: list[ConnectHandler] = []

    def make(**options: Any) -> ConnectHandler:
        options = {"project_id": "project", "api_key": CANARY, "base_url": oracle.url, **options}
        handler = ConnectHandler(**options)
        made.append(handler)
        return handler

    yield make
    for handler in made:
        handler._pusher.close(0)
        handler.close()
        assert balanced(handler.stats())


@contextlib.contextmanager
def logger_with(handler: logging.Handler, level: int = logging.DEBUG) -> Iterator[logging.Logger]:
    """A logger of its own for ``handler``: new, as pytest listens to those that were there before the test."""
    logger = logging.getLogger(f"tests.{uuid.uuid4().hex}")
    logger.propagate = False
    logger.setLevel(level)
    logger.addHandler(handler)
    try:
        yield logger
    finally:
        logger.removeHandler(handler)


MakePusher = Callable[..., Pusher]


@pytest.fixture
def make_pusher(oracle: Oracle) -> Iterator[MakePusher]:
    """Pushers to the oracle with quick retries; closed, and their ledgers checked, at the end."""
    made: list[Pusher] = []

    def make(
        *,
        base_url: str = oracle.url,
        retry: RetryPolicy = QUICK,
        timeout: float = 5.0,
        triggers: Triggers = SOON,
        max_events: int = 100_000,
        overflow: Overflow = Overflow.DROP_NEWEST,
        block_timeout: float = 0.05,
        dead_letters: Any = None,
        **options: Any,
    ) -> Pusher:
        buffer = MemoryBuffer(
            max_events=max_events,
            max_bytes=10**9,
            overflow=overflow,
            block_timeout=block_timeout,
            clock=time.monotonic,
        )
        pusher = Pusher(
            buffer=buffer,
            transport=HttpTransport(Connection("project", CANARY, base_url), timeout, time.monotonic),
            retry=retry,
            dead_letters=None if dead_letters is None else DeadLetterLog(dead_letters, time.time),
            triggers=triggers,
            notices=Notices(time.monotonic),
            exit_timeout=5.0,
            clock=time.monotonic,
            **options,
        )
        made.append(pusher)
        return pusher

    yield make
    for pusher in made:
        pusher.close(0)
        assert balanced(pusher.stats())
