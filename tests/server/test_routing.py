"""A request finds its operation by path and method, and gets one answer whatever that does."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future

import anyio.to_thread
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message

from connect_logging.server.answers import RefusedError, error_message
from connect_logging.server.openapi import Description, Operation
from connect_logging.server.routing import Routing
from connect_logging.server.threads import Waits, finish

from .asgi import ask


async def tell(request: Request) -> Response:
    return Response(f"{request.method} {request.scope['route'].path} {request.path_params}")


async def fail(request: Request) -> Response:
    raise ValueError("foreseen") if request.query_params else KeyError("unforeseen")


async def break_off(_: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"begun"
        raise ValueError("foreseen")

    return StreamingResponse(parts())


async def hang(_: Request) -> Response:
    await asyncio.Event().wait()
    raise AssertionError


async def hang_later(_: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"begun"
        await asyncio.Event().wait()

    return StreamingResponse(parts())


def answer_error(error: Exception) -> Response:
    match error:
        case RefusedError():
            return error_message(error.status, error.message, error.headers)
        case ValueError():
            return error_message(418, str(error))
        case _:
            return error_message(500, "failed")


DESCRIPTION = Description(id="x", tag="x", summary="x", allows=None, answers={})
APP = Routing(
    [
        Operation(method, path, endpoint, DESCRIPTION)
        for method, path, endpoint in (
            ("POST", "/things", tell),
            ("POST", "/things/", tell),
            ("POST", "/things/{name}", tell),
            ("GET", "/things/{name}", tell),
            ("GET", "/things/{name}/parts/{part}", tell),
            ("POST", "/fail", fail),
            ("POST", "/break-off", break_off),
            ("POST", "/hang", hang),
            ("POST", "/hang-later", hang_later),
        )
    ],
    answer_error,
)


@pytest.mark.parametrize(
    ("method", "target", "told"),
    [
        ("POST", "/things", "POST /things {}"),
        ("POST", "/things/", "POST /things/ {}"),
        ("POST", "/things/a%20b", "POST /things/{name} {'name': 'a b'}"),
        ("GET", "/things/é", "GET /things/{name} {'name': 'é'}"),
        ("HEAD", "/things/a", "HEAD /things/{name} {'name': 'a'}"),
        ("GET", "/things/a/parts/b?c=d", "GET /things/{name}/parts/{part} {'name': 'a', 'part': 'b'}"),
    ],
)
def test_path_and_method_find_the_operation(method: str, target: str, told: str) -> None:
    assert ask(APP, method, target).body.decode() == told


@pytest.mark.parametrize("target", ["/", "/thing", "/things/a/", "/things/a/parts", "/things//parts/b", "/x/things"])
def test_no_other_path_is_one(target: str) -> None:
    answer = ask(APP, "POST", target)
    assert (answer.status, answer.json()) == (404, {"errorMessage": "Not Found"})


@pytest.mark.parametrize(
    ("method", "target", "allowed"), [("GET", "/things", "POST"), ("PUT", "/things/a", "GET, HEAD, POST")]
)
def test_another_method_is_told_which_there_are(method: str, target: str, allowed: str) -> None:
    answer = ask(APP, method, target)
    assert (answer.status, answer.json()) == (405, {"errorMessage": "Method Not Allowed"})
    assert answer.headers["allow"] == allowed


def test_an_error_becomes_an_answer() -> None:
    assert ask(APP, "POST", "/fail?foreseen=1").status == 418


def sent_until(target: str, *, is_cancelled: bool = False) -> tuple[list[Message], BaseException | None]:
    """What is sent, and what the app raises at last."""
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    async def scene() -> BaseException | None:
        scope = {"type": "http", "method": "POST", "path": target, "headers": [], "query_string": b""}
        task = asyncio.create_task(APP(scope, receive, send))
        for _ in range(10):
            await asyncio.sleep(0)
        if is_cancelled:
            task.cancel()
        await asyncio.wait([task])
        return task.exception()

    return sent, asyncio.run(scene())


def test_what_nobody_foresaw_is_answered_and_raised() -> None:
    sent, error = sent_until("/fail")
    assert [message.get("status") for message in sent] == [500, None]
    assert isinstance(error, KeyError)


def test_what_fails_when_the_answer_has_begun_gets_no_other() -> None:
    sent, error = sent_until("/break-off")
    assert [(message.get("status"), message.get("body")) for message in sent] == [(200, None), (None, b"begun")]
    assert error is not None


@pytest.mark.parametrize(("target", "statuses"), [("/hang", [503, None]), ("/hang-later", [200, None])])
def test_what_is_cut_off_is_answered_if_it_still_can_be(target: str, statuses: list[int | None]) -> None:
    sent, error = sent_until(target, is_cancelled=True)
    assert [message.get("status") for message in sent] == statuses
    assert error is None
    if statuses[0] == 503:
        assert b"stopping" in sent[1]["body"]


class Body:
    """What a request holds while it is answered."""


@pytest.fixture
def without_search() -> Iterator[None]:
    """No cycle is found by Python, as good as none is by a server."""
    gc.disable()
    yield
    gc.enable()


def through_a_future(error: Exception) -> Awaitable[object]:
    future = Future[object]()
    future.set_exception(error)
    return Waits().result(future)


def through_a_thread(error: Exception) -> Awaitable[object]:
    def fail() -> None:
        raise error

    return finish(anyio.to_thread.run_sync(fail))


@pytest.mark.usefixtures("without_search")
@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("error", [ValueError("foreseen"), KeyError("unforeseen")])
@pytest.mark.parametrize("through", [through_a_future, through_a_thread])
def test_what_a_request_held_that_failed_is_freed(
    through: Callable[[Exception], Awaitable[object]], error: Exception, *, begun: bool
) -> None:
    held: list[weakref.ref[Body]] = []

    async def work() -> None:
        body = Body()
        held.append(weakref.ref(body))
        failing = through(error)
        try:
            await failing
        except type(error):
            raise error from None
        raise AssertionError(body)

    async def parts() -> AsyncIterator[bytes]:
        yield b"begun"
        await work()

    async def operation(_: Request) -> Response:
        if begun:
            return StreamingResponse(parts())
        await work()
        raise AssertionError

    app = Routing([Operation("POST", "/", operation, DESCRIPTION)], answer_error)
    ask(app, "POST", "/")
    [body] = held
    assert body() is None
