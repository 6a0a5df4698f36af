"""What is told of a request, whatever becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from connect_logging.server.observing import Exchange, Observing

from .asgi import ask


async def echo(request: Request) -> Response:
    request.state.project = "p1"
    body = await request.body()
    return Response(body * 2, 201)


async def fail(_: Request) -> Response:
    raise RuntimeError("on purpose")


@pytest.fixture
def told() -> list[Exchange]:
    return []


@pytest.fixture
def app(told: list[Exchange]) -> Any:
    routes = [Route("/echo/{name}", echo, methods=["POST"]), Route("/fail", fail)]
    return Observing(Starlette(routes=routes), [told.append, told.append])


def test_route_status_sizes_and_project_of_an_answer(app: Any, told: list[Exchange]) -> None:
    ask(app, "POST", "/echo/x?key=secret", [b"abc", b"de"])
    [exchange, again] = told
    assert again is exchange
    assert exchange.seconds >= 0
    assert exchange._replace(seconds=0) == Exchange(
        "POST", "/echo/{name}", "/echo/x", 201, 0, received=5, sent=10, client="127.0.0.1", project="p1"
    )


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [("GET", "/nowhere", None, 404), ("GET", "/echo/x", "/echo/{name}", 405), ("GET", "/fail", "/fail", 500)],
)
def test_what_is_refused_and_what_fails_is_told_too(
    app: Any, told: list[Exchange], method: str, path: str, route: str | None, status: int
) -> None:
    ask(app, method, path)
    assert [(each.route, each.status, each.project) for each in told] == [(route, status, None)] * 2


def _run(app: Any, scope: Scope, *messages: Message) -> None:
    pieces = list(messages)

    async def receive() -> Message:
        return pieces.pop(0)

    async def send(_: Message) -> None: ...

    asyncio.run(app(scope, receive, send))


HTTP: Scope = {"type": "http", "method": "POST", "path": "/echo/x", "headers": [], "query_string": b""}


def test_a_client_that_leaves_is_told_as_499(app: Any, told: list[Exchange]) -> None:
    with pytest.raises(ClientDisconnect):
        _run(app, dict(HTTP), {"type": "http.request", "body": b"ab", "more_body": True}, {"type": "http.disconnect"})
    assert [(each.status, each.received, each.client) for each in told] == [(499, 2, None)] * 2


def test_an_app_that_ends_without_an_answer_has_failed(told: list[Exchange]) -> None:
    async def silent(_: Scope, __: Receive, ___: Send) -> None: ...

    _run(Observing(silent, [told.append]), dict(HTTP))
    assert told[0].status == 500
