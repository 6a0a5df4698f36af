"""A request has a time for its body, and an answer is on the wire what uvicorn makes of it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from clock import Clock
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from connect_logging.server.answers import RefusedError
from connect_logging.server.cycle import MIN_RATE, Cycle

GRACE = 10.0


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.is_closed = True


def arguments(wire: Wire, method: str = "POST", *, keep_alive: bool = True) -> dict[str, Any]:
    """Of uvicorn's cycle."""
    return {
        "scope": {"method": method},
        "transport": wire,
        "flow": FlowControl(wire),
        "logger": logging.getLogger(),
        "access_logger": logging.getLogger(),
        "access_log": False,
        "default_headers": [(b"date", b"now")],
        "message_event": asyncio.Event(),
        "expect_100_continue": False,
        "keep_alive": keep_alive,
        "on_response": lambda: wire.written.append(b"<end>"),
    }


# The body


async def receive(clock: Clock, parts: list[tuple[float, int]]) -> RefusedError | None:
    """Why a body is refused whose parts each come after so many seconds and have so many bytes, the last none."""
    cycle = Cycle(GRACE, clock, **arguments(Wire()))
    for seconds, size in parts:
        waiting = asyncio.create_task(cycle.receive())
        await asyncio.sleep(0)
        clock.now += seconds
        cycle.check(clock.now)
        cycle.body += bytes(size)
        cycle.more_body = size > 0
        cycle.message_event.set()
        try:
            message = await waiting
        except RefusedError as error:
            return error
        assert message == {"type": "http.request", "body": bytes(size), "more_body": size > 0}
        clock.now += 1_000  # the app takes its time
        cycle.check(clock.now)
    return None


@pytest.mark.parametrize(
    ("parts", "in_time"),
    [
        ([(9, 1), (0, 0)], True),
        ([(9, 1), (2, 1), (0, 0)], False),
        ([(9, 2 * MIN_RATE), (2, 1), (0, 0)], True),
        ([(1, MIN_RATE)] * 100 + [(0, 0)], True),
        ([(1, MIN_RATE // 2)] * 100, False),
        ([(0.1, 1)] * 110, False),
        ([(11, 0)], False),
        ([(0, 0), (1_000, 0)], True),
    ],
)
def test_a_body_has_its_time(parts: list[tuple[float, int]], in_time: bool) -> None:
    error = asyncio.run(receive(Clock(), parts))
    assert (error is None) == in_time
    if error:
        assert (error.status, error.headers) == (408, {"Connection": "close"})


def test_a_body_that_is_there_is_not_waited_for() -> None:
    async def scene() -> None:
        cycle = Cycle(GRACE, Clock(), **arguments(Wire()))
        cycle.body += b"{}"
        cycle.message_event.set()
        with pytest.raises(StopIteration) as got:
            cycle.receive().send(None)
        assert got.value.value["body"] == b"{}"

    asyncio.run(scene())


# The answer

LENGTH = (b"content-length", b"2")
TYPE = (b"content-type", b"application/json")
ANSWERS: dict[str, tuple[int, list[tuple[bytes, bytes]], list[bytes]]] = {
    "whole": (200, [LENGTH, TYPE], [b"{}"]),
    "empty": (200, [(b"content-length", b"0")], [b""]),
    "error": (422, [TYPE, LENGTH], [b"{}"]),
    "in parts": (200, [LENGTH], [b"{", b"}"]),
    "whole, but for its end": (200, [LENGTH], [b"{}", b""]),
    "of unknown length": (200, [TYPE], [b"{", b"", b"}"]),
    "all at once, of unknown length": (200, [TYPE], [b"{}"]),
    "chunked": (200, [(b"transfer-encoding", b"chunked")], [b"{}"]),
    "the last": (408, [LENGTH, (b"connection", b"close")], [b"{}"]),
    "nothing": (204, [], [b""]),
    "not modified": (304, [(b"etag", b"x")], [b""]),
}


async def answered(cycle: RequestResponseCycle, status: int, headers: Any, parts: list[bytes]) -> None:
    await cycle.send({"type": "http.response.start", "status": status, "headers": headers})
    for number, part in enumerate(parts, 1):
        await cycle.send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("method", ["POST", "HEAD"])
@pytest.mark.parametrize("keep_alive", [True, False])
def test_an_answer_is_that_of_uvicorn(answer: tuple[Any, Any, Any], method: str, keep_alive: bool) -> None:
    async def scene() -> None:
        ours, theirs = Wire(), Wire()
        cycles = (
            Cycle(GRACE, Clock(), **arguments(ours, method, keep_alive=keep_alive)),
            RequestResponseCycle(**arguments(theirs, method, keep_alive=keep_alive)),
        )
        for cycle in cycles:
            await answered(cycle, *answer)
            assert cycle.response_complete
            assert cycle.message_event.is_set()
        assert b"".join(ours.written) == b"".join(theirs.written)
        assert ours.is_closed == theirs.is_closed

    asyncio.run(scene())


def test_an_answer_that_is_whole_is_one_write() -> None:
    async def scene() -> None:
        wire = Wire()
        await answered(Cycle(GRACE, Clock(), **arguments(wire)), *ANSWERS["whole"])
        assert len(wire.written) == 2, "itself and the end"

    asyncio.run(scene())


@pytest.mark.parametrize(
    "answer",
    [
        (200, [LENGTH, (b"location", b"/x\r\nx: y")], [b"{}"]),
        (200, [LENGTH, (b"a b", b"c")], [b"{}"]),
        (200, [LENGTH], [b"{} "]),
        (200, [LENGTH], [b"{"]),
    ],
)
def test_what_would_be_read_as_another_answer_is_not_sent(answer: tuple[Any, Any, Any]) -> None:
    async def scene() -> None:
        wire = Wire()
        with pytest.raises(RuntimeError):
            await answered(Cycle(GRACE, Clock(), **arguments(wire)), *answer)
        assert b"<end>" not in wire.written

    asyncio.run(scene())


@pytest.mark.parametrize("gone", [True, False])
def test_what_cannot_be_sent_now_is_not_written(gone: bool) -> None:
    async def scene() -> None:
        wire = Wire()
        cycle = Cycle(GRACE, Clock(), **arguments(wire))
        cycle.disconnected = gone
        cycle.flow.pause_writing()
        sending = asyncio.create_task(answered(cycle, *ANSWERS["whole"]))
        await asyncio.sleep(0)
        assert sending.done() == gone
        assert wire.written == []
        cycle.flow.resume_writing()
        await sending
        assert bool(wire.written) == (not gone)

    asyncio.run(scene())


def test_nothing_follows_an_answer_that_came_before_the_body_was_asked_for() -> None:
    async def scene() -> None:
        wire = Wire()
        cycle = Cycle(GRACE, Clock(), **(arguments(wire) | {"expect_100_continue": True}))
        await answered(cycle, *ANSWERS["whole"])
        assert await cycle.receive() == {"type": "http.disconnect"}
        assert len(wire.written) == 2

    asyncio.run(scene())


def test_an_answer_that_was_given_up_before_its_body_is_none() -> None:
    """uvicorn then sends one of its own."""

    async def scene() -> None:
        wire = Wire()
        cycle = Cycle(GRACE, Clock(), **arguments(wire))
        await cycle.send({"type": "http.response.start", "status": 200, "headers": [LENGTH]})
        assert not cycle.response_started
        await cycle.send_500_response()
        assert wire.written[0].startswith(b"HTTP/1.1 500 ")

    asyncio.run(scene())
