"""Reads of the store: answered, refused, failed, or stopped when nobody waits for them any more."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from connect_logging.server.answers import RefusedError
from connect_logging.server.auth import Grant
from connect_logging.server.reads import Reads
from connect_logging.server.stores.base import QueryTimeoutError, StoppedError, StoreError

GRANT = Grant("p", frozenset({"query"}))


class Client:
    """Has sent its request, and can leave."""

    def __init__(self) -> None:
        self.leaves = asyncio.Event()
        self.request = Request({"type": "http", "headers": []}, self._receive)
        self._sent = False

    async def _receive(self) -> Message:
        if not self._sent:
            self._sent = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.leaves.wait()
        return {"type": "http.disconnect"}


class Reading:
    """A read that goes on until it is stopped or told to end; ``begun`` is set when it does."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_end = threading.Event()
        self.was_stopped = False
        self._loop = asyncio.get_running_loop()

    def __call__(self, stopped: threading.Event) -> str:
        self._loop.call_soon_threadsafe(self.begun.set)
        while not self.may_end.wait(0.001):
            if stopped.is_set():
                self.was_stopped = True
                raise StoppedError("the query was stopped")
        return "rows"


@pytest.fixture
def outcomes() -> list[str]:
    return []


@pytest.fixture
def reads(outcomes: list[str]) -> Reads:
    return Reads(1, 5.0, outcomes.append)


def test_the_result_is_that_of_the_read(reads: Reads, outcomes: list[str]) -> None:
    assert asyncio.run(_run(reads, lambda stopped: f"rows {stopped.is_set()}")) == "rows False"
    assert outcomes == ["answered"]


async def _run(reads: Reads, read: Any) -> Any:
    return await reads.run(Client().request, GRANT, read)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(QueryTimeoutError("late"), "timed_out"), (StoreError("broken"), "failed"), (ZeroDivisionError(), "failed")],
)
def test_an_error_comes_as_it_was_raised(reads: Reads, outcomes: list[str], error: Exception, outcome: str) -> None:
    def fail(_: threading.Event) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        asyncio.run(_run(reads, fail))
    assert caught.value is error
    assert outcomes == [outcome]
    assert (reads.turns.running, reads.turns.waiting) == (0, 0)


def test_what_a_client_is_not_told_is_logged_once_until_a_read_is_answered(
    reads: Reads, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: threading.Event) -> None:
        raise StoreError("no disk at /secret", told="no disk")

    for read in (fail, fail, lambda _: None, fail):
        with suppress(StoreError):
            asyncio.run(_run(reads, read))
    assert caplog.messages == ["no disk at /secret"] * 2


def test_a_read_whose_client_has_gone_is_stopped(reads: Reads, outcomes: list[str]) -> None:
    async def scene() -> None:
        client, reading = Client(), Reading()
        asked = asyncio.create_task(reads.run(client.request, GRANT, reading))
        await reading.begun.wait()
        client.leaves.set()
        with pytest.raises(StoppedError):
            await asked
        assert reading.was_stopped

    asyncio.run(scene())
    assert outcomes == ["stopped"]
    assert (reads.turns.running, reads.turns.waiting) == (0, 0)


def test_who_leaves_before_the_turn_has_come_gives_it_up(reads: Reads, outcomes: list[str]) -> None:
    async def scene() -> None:
        client, first, second = Client(), Reading(), Reading()
        running = asyncio.create_task(reads.run(Client().request, GRANT, first))
        await first.begun.wait()
        waiting = asyncio.create_task(reads.run(client.request, GRANT, second))
        while not reads.turns.waiting:
            await asyncio.sleep(0)
        client.leaves.set()
        with pytest.raises(ClientDisconnect):
            await waiting
        assert not second.begun.is_set()
        first.may_end.set()
        assert await running == "rows"

    asyncio.run(scene())
    assert outcomes == ["stopped", "answered"]


def test_who_gets_no_turn_in_time_is_told_to_come_again(outcomes: list[str]) -> None:
    reads = Reads(1, 0.02, outcomes.append)

    async def scene() -> None:
        first = Reading()
        running = asyncio.create_task(reads.run(Client().request, GRANT, first))
        await first.begun.wait()
        with pytest.raises(RefusedError) as caught:
            await reads.run(Client().request, GRANT, Reading())
        assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "1"})
        first.may_end.set()
        await running

    asyncio.run(scene())
    assert outcomes == ["refused", "answered"]


def test_a_request_that_is_cancelled_stops_its_read(reads: Reads, outcomes: list[str]) -> None:
    """As uvicorn cancels it when the time to stop is over."""

    async def scene() -> None:
        reading = Reading()
        asked = asyncio.create_task(reads.run(Client().request, GRANT, reading))
        await reading.begun.wait()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        while not reading.was_stopped:
            await asyncio.sleep(0.001)

    asyncio.run(scene())
    assert outcomes == ["stopped"]
    assert (reads.turns.running, reads.turns.waiting) == (0, 0)
