"""What every request and every answer goes through."""

from __future__ import annotations

import asyncio
import time

import pytest
from clock import Clock
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from connect_logging.server.answers import RefusedError
from connect_logging.server.middleware import MIN_RATE, BodyInTime, CrossOrigin, CutOff, PlainPaths

from .asgi import ask


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers 418 with the path."""
    await Response(Request(scope).scope["path"], 418)(scope, receive, send)


@pytest.mark.parametrize(
    ("wire", "meant"),
    [
        ("/events/my+coll", "/events/my coll"),
        ("/events/my%20coll", "/events/my coll"),
        ("/events/a%2Bb", "/events/a+b"),
        ("//events///x", "/events/x"),
        ("/events//", "/events/"),
        ("/events/%C3%A9", "/events/é"),
        ("/events/%ff", "/events/\ufffd"),
        ("/events/%", "/events/%"),
        ("/events/%00", "/events/\x00"),
        ("/events/%252F", "/events/%2F"),
        ("/events/..%2f..", "/events/../.."),
        ("/", "/"),
    ],
)
def test_paths_are_read_as_the_sdks_write_them(wire: str, meant: str) -> None:
    assert ask(PlainPaths(echo), "GET", wire).body.decode() == meant


def test_every_answer_can_be_read_by_a_page() -> None:
    answer = ask(CrossOrigin(echo), "POST", "/x")
    assert answer.status == 418
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    assert "ETag" in answer.headers["access-control-expose-headers"]
    assert answer.headers["accept-encoding"] == "gzip"


def test_a_preflight_needs_no_key_and_reaches_nothing() -> None:
    answer = ask(CrossOrigin(echo), "OPTIONS", "/events")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-type"] == "application/json"
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"X-Project-Id", "X-Api-Key", "Content-Type"} <= set(allowed)
    assert answer.headers["access-control-allow-methods"] == "GET, POST, DELETE, OPTIONS"
    assert int(answer.headers["access-control-max-age"]) > 0


def test_what_is_not_http_is_passed_on() -> None:
    seen = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def nothing() -> dict[str, str]:
        return {}

    async def sink(message: object) -> None:
        raise AssertionError(message)

    for app in (CrossOrigin(inner), PlainPaths(inner), BodyInTime(inner, 1, Clock())):
        coroutine = app({"type": "websocket"}, nothing, sink)
        with pytest.raises(StopIteration):
            coroutine.send(None)
    assert seen == ["websocket"] * 3


GRACE = 10.0


def received(clock: Clock, *parts: tuple[float, int]) -> list[Message] | RefusedError:
    """What an app gets of a body whose parts each come after so many seconds and have so many bytes."""
    coming = iter(parts)

    async def receive() -> Message:
        seconds, size = next(coming)
        clock.now += seconds
        await asyncio.sleep(0)
        return {"type": "http.request", "body": bytes(size), "more_body": size > 0}

    got: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in parts:
            got.append(await receive())
            clock.now += 1_000  # the app takes its time

    async def run() -> None:
        await BodyInTime(app, GRACE, clock)({"type": "http"}, receive, unused)

    try:
        asyncio.run(run())
    except RefusedError as error:
        return error
    return got


async def unused(_: Message) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    ("parts", "in_time"),
    [
        ([(9, 1), (0, 0)], True),
        ([(9, 1), (2, 1), (0, 0)], False),
        ([(9, 2 * MIN_RATE), (2, 1), (0, 0)], True),
        ([(1, MIN_RATE)] * 1_000 + [(0, 0)], True),
        ([(1, MIN_RATE // 2)] * 1_000, False),
        ([(0.1, 1)] * 1_000, False),
        ([(0, 0), (1_000, 0), (1_000, 0)], True),
    ],
)
def test_a_body_has_its_time(parts: list[tuple[float, int]], in_time: bool) -> None:
    got = received(Clock(), *parts, (0, 0))
    assert isinstance(got, list) == in_time
    if isinstance(got, RefusedError):
        assert (got.status, got.headers) == (408, {"Connection": "close"})


def test_a_body_that_does_not_come_at_all_is_not_waited_for() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def run() -> None:
        await BodyInTime(app, 0.01, time.monotonic)({"type": "http"}, never, unused)

    with pytest.raises(RefusedError, match="too slowly"):
        asyncio.run(run())


@pytest.mark.parametrize("begun", [False, True])
def test_what_is_cut_off_is_answered_if_it_still_can_be(begun: bool) -> None:
    async def slow(_: Scope, __: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def scene() -> None:
        task = asyncio.create_task(CutOff(slow)({"type": "http"}, None, send))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        await task

    asyncio.run(scene())
    assert [message.get("status") for message in sent] == ([200] if begun else [503, None])
    assert begun or b"stopping" in sent[1]["body"]
