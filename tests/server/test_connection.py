"""Connections are bounded in number, size and time, and every refusal has the protocol's shape.

Real sockets to uvicorn's protocol as the server sets it up, in this process: time is told instead of waited for.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any

import pytest
import trustme
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from connect_logging.server.answers import RefusedError, error_message
from connect_logging.server.connection import MAX_FIELDS, MAX_HEAD, MAX_PIPELINED, MAX_TARGET, Connection, Limits
from connect_logging.server.observing import Exchange

LIMITS = Limits(connections=8, timeout=10.0)
TINY = b"GET /size HTTP/1.1\r\n\r\n"
CORS = {"access-control-allow-origin": "*"}


class App:
    """Says how long the body is. ``/wait`` waits until it is told, ``/early`` reads no body, ``/much`` answers much."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.gone = asyncio.Event()
        self.waiting = asyncio.Semaphore(0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        match request.url.path:
            case "/early":
                answer = Response("early")
            case "/wait":
                self.waiting.release()
                await self.go.wait()
                answer = Response("done")
            case "/much":
                answer = Response(bytes(20_000_000))
            case "/stream":
                answer = StreamingResponse(self._endless())
            case _:
                answer = await self._size(request)
        await answer(scope, receive, send)

    async def _size(self, request: Request) -> Response:
        try:
            return Response(str(len(await request.body())))
        except ClientDisconnect:
            self.gone.set()
            return Response("to nobody", 400)
        except RefusedError as error:
            return error_message(error.status, error.message, {**error.headers, **dict(CORS)})

    async def _endless(self) -> AsyncIterator[bytes]:
        while True:
            yield bytes(100_000)
            await asyncio.sleep(0)


class Client:
    """One connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:-2])
        return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def body(self) -> bytes:
        """Of the next answer, which is a success."""
        status, _, body = await self.answer()
        assert status == 200
        return body

    async def refusal(self) -> tuple[int, str]:
        """Status and message of an answer after which the connection is closed."""
        status, headers, body = await self.answer()
        assert headers["content-type"] == "application/json"
        assert headers["connection"] == "close"
        assert headers["access-control-allow-origin"] == "*"
        assert await self.ended()
        document = json.loads(body)
        assert list(document) == ["errorMessage"]
        return status, document["errorMessage"]

    async def ended(self) -> bool:
        """Whether nothing comes any more."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionResetError:
            return True


class Server:
    """What connections share."""

    def __init__(self, limits: Limits) -> None:
        self.app = App()
        self.state = ServerState()
        config = uvicorn.Config(self.app, lifespan="off", log_config=None, ws="none", timeout_keep_alive=75)
        self.told: list[Exchange] = []
        """Of what is refused before the app is asked."""
        self._make = partial(
            Connection, limits, [self.told.append], config=config, server_state=self.state, app_state={}
        )
        self._port = 0
        self._tls: ssl.SSLContext | None = None
        self._clients: list[Client] = []

    async def start(self, authority: trustme.CA | None = None) -> asyncio.Server:
        """Listen; with ``authority`` for TLS."""
        tls = None
        if authority:
            tls, self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
            authority.issue_cert("127.0.0.1").configure_cert(tls)
            authority.configure_trust(self._tls)
        server = await asyncio.get_running_loop().create_server(self._make, "127.0.0.1", 0, ssl=tls)
        self._port = server.sockets[0].getsockname()[1]
        return server

    async def connect(self, *said: bytes) -> Client:
        """A client that the server knows of, and that has said something."""
        known = len(self.state.connections)
        self._clients.append(Client(*await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)))
        for _ in range(100):
            if len(self.state.connections) != known:
                break
            await asyncio.sleep(0)
        await self._clients[-1].say(*said)
        return self._clients[-1]

    @property
    def connections(self) -> list[Connection]:
        return [each for each in self.state.connections if isinstance(each, Connection)]

    def later(self, seconds: float) -> None:
        """What the server does when so much time has gone by."""
        for each in self.connections:
            each.check(asyncio.get_running_loop().time() + seconds)

    async def heard(self) -> None:
        """Wait until the only connection has read something that is not whole yet."""
        [connection] = self.connections
        while not connection._silent and not (connection.cycle and connection.cycle.body):
            await asyncio.sleep(0)

    async def close(self) -> None:
        self.app.go.set()
        for client in self._clients:
            client.writer.transport.abort()
        while self.state.connections or self.state.tasks:
            await asyncio.sleep(0)


Test = Callable[[Server], Coroutine[Any, Any, None]]


def served(authority: trustme.CA | None = None) -> Callable[[Test], Callable[[], None]]:
    """Turns a coroutine over a server into a test."""

    async def run(test: Test) -> None:
        server = Server(LIMITS)
        async with asyncio.timeout(20), await server.start(authority):
            try:
                await test(server)
            finally:
                await server.close()

    def decorate(test: Test) -> Callable[[], None]:
        def wrapped() -> None:
            asyncio.run(run(test))

        wrapped.__name__ = test.__name__
        return wrapped

    return decorate


MALFORMED = {
    "nonsense": b"nonsense\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "method": b"FETCH / HTTP/1.1\r\n\r\n",
    "space in the path": b"GET /events/a b HTTP/1.1\r\n\r\n",
    "path not ASCII": "GET /events/é HTTP/1.1\r\n\r\n".encode(),
    "no path": b"GET http://x HTTP/1.1\r\n\r\n",
    "version": b"GET / HTTP/7.3\r\n\r\n",
    "field without colon": b"GET / HTTP/1.1\r\nX\r\n\r\n",
    "NUL in a name": b"GET / HTTP/1.1\r\nX\x00: a\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nX: a\x00\r\n\r\n",
    "folded field": b"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
    "line feeds alone": b"GET / HTTP/1.1\nX: a\n\n",
    "two lengths": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "length and chunks": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "negative length": b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "huge length": b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n",
    "other transfer encoding": b"POST /size HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
    "chunk size": b"POST /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "huge chunk size": b"POST /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"F" * 40 + b"\r\n",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
def test_what_is_not_http_is_refused_in_our_shape(sent: bytes) -> None:
    @served()
    async def test(server: Server) -> None:
        client = await server.connect(sent)
        assert await client.refusal() == (400, "this is not HTTP/1.1")
        other = await server.connect(TINY)
        assert await other.body() == b"0"

    test()


AUTHORITY = trustme.CA(key_type=trustme.KeyType.ECDSA)


@served(AUTHORITY)
async def test_a_refusal_is_heard_through_tls(server: Server) -> None:
    client = await server.connect(b"nonsense\r\n\r\n")
    assert (await client.answer())[0] == 400
    server.later(1)
    assert len(server.connections) == 1
    server.later(3)
    assert await client.ended()


@served(AUTHORITY)
async def test_who_idles_through_tls_does_not_hold_up_the_end(server: Server) -> None:
    idle = [await server.connect(), await server.connect(TINY)]
    assert await idle[1].body() == b"0"
    asking = await server.connect(b"GET /wait HTTP/1.1\r\n\r\n")
    taking = await server.connect(b"GET /much HTTP/1.1\r\n\r\n")
    await server.app.waiting.acquire()
    while sum(each.cycle is not None and each.cycle.response_complete for each in server.connections) < 2:
        await asyncio.sleep(0)
    for each in idle:
        each.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for connection in server.connections:
        connection.shutdown()
    while len(server.connections) > 2:
        await asyncio.sleep(0.01)
    server.app.go.set()
    assert (await asking.body(), len(await taking.body())) == (b"done", 20_000_000)
    while server.connections:
        await asyncio.sleep(0.01)


def padded(size: int) -> bytes:
    """A head with fields of ``size`` bytes, names included."""
    return b"GET /size HTTP/1.1\r\nX: " + b"x" * (size - 1) + b"\r\n\r\n"


def fields(number: int) -> bytes:
    return b"GET /size HTTP/1.1\r\n" + b"X: y\r\n" * number + b"\r\n"


def target(size: int) -> bytes:
    return b"GET /size?" + b"q" * (size - len("/size?")) + b" HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize(
    ("make", "most", "status"), [(padded, MAX_HEAD, 431), (fields, MAX_FIELDS, 431), (target, MAX_TARGET, 414)]
)
def test_a_head_has_a_size(make: Callable[[int], bytes], most: int, status: int) -> None:
    @served()
    async def test(server: Server) -> None:
        client = await server.connect(make(most))
        assert await client.body() == b"0"
        await client.say(make(most + 1))
        refused, message = await client.refusal()
        assert refused == status
        assert f"{most:,}" in message

    test()


ENDLESS = {
    "field": (b"GET / HTTP/1.1\r\nX: ", b"x" * 10_000, 431),
    "blank lines": (b"", b"\r\n" * 5_000, 431),
    "chunk extension": (b"POST /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x" * 10_000, 400),
    "trailers": (
        b"POST /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"X: " + b"y" * 9_000 + b"\r\n",
        400,
    ),
}


@pytest.mark.parametrize(("start", "more", "status"), ENDLESS.values(), ids=ENDLESS)
def test_nothing_is_read_for_ever(start: bytes, more: bytes, status: int) -> None:
    @served()
    async def test(server: Server) -> None:
        client = await server.connect(start)
        for _ in range(12):
            await client.say(more)
            await asyncio.sleep(0.001)  # so that the parts arrive in parts
        assert (await client.refusal())[0] == status

    test()


def test_a_body_of_any_chunks_is_read_and_trailers_are_none_of_the_head() -> None:
    @served()
    async def test(server: Server) -> None:
        client = await server.connect(b"POST /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(30):
            await client.say(b"1\r\nx\r\n" * 1_000)
        await client.say(b"0\r\nX-Api-Key: y\r\n\r\n")
        assert await client.body() == b"30000"
        await client.say(TINY)
        assert await client.body() == b"0"

    test()


@served()
async def test_a_slow_head_is_cut_off(server: Server) -> None:
    slow = await server.connect(b"GET /size HT")
    await server.heard()
    server.later(9)
    await slow.say(b"TP/1.1\r\n")
    server.later(9.9)
    server.later(10.1)
    assert await slow.refusal() == (408, "a head has to be sent within 10 seconds")


@served()
async def test_who_says_nothing_is_let_go_without_a_word(server: Server) -> None:
    silent = await server.connect()
    server.later(9)
    assert len(server.connections) == 1
    server.later(11)
    assert await silent.ended()


@served()
async def test_who_asks_nothing_more_is_let_go_without_a_word(server: Server) -> None:
    client = await server.connect(TINY)
    assert await client.body() == b"0"
    server.later(74)
    await client.say(TINY)
    assert await client.body() == b"0"
    server.later(76)
    assert await client.ended()


@served()
async def test_a_slow_body_is_refused(server: Server) -> None:
    client = await server.connect(b"POST /size HTTP/1.1\r\nContent-Length: 3\r\n\r\n", b"x")
    while not server.connections[0].cycle or server.connections[0].cycle._waiting_since is None:
        await asyncio.sleep(0)
    server.later(9)
    assert not server.connections[0].cycle.message_event.is_set()
    server.later(11)
    assert await client.refusal() == (408, "the body is sent too slowly")


@served()
async def test_blank_lines_do_not_keep_a_connection_alive(server: Server) -> None:
    client = await server.connect(TINY)
    assert await client.body() == b"0"
    server.later(11)
    await client.say(TINY)
    assert await client.body() == b"0"
    await client.say(b"\r\n")
    await server.heard()
    server.later(11)
    assert (await client.refusal())[0] == 408


@served()
async def test_who_is_refused_and_goes_on_sending_is_cut_off(server: Server) -> None:
    client = await server.connect(b"nonsense\r\n\r\n")
    status, *_ = await client.answer()
    assert status == 400
    await client.say(bytes(1_000))
    server.later(1)
    assert len(server.connections) == 1
    server.later(3)
    assert await client.ended()
    await server.close()


@served()
async def test_the_rest_of_a_body_is_not_waited_for_when_the_answer_is_there(server: Server) -> None:
    client = await server.connect(b"POST /early HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
    assert await client.body() == b"early"
    server.later(9)
    await client.say(bytes(99))
    server.later(9.9)
    assert len(server.connections) == 1
    server.later(11)
    assert await client.ended()


@pytest.mark.parametrize("authority", [None, AUTHORITY])
def test_a_client_that_does_not_take_its_answer_is_cut_off(authority: trustme.CA | None) -> None:
    @served(authority)
    async def test(server: Server) -> None:
        for path, then in ((b"/much", b""), (b"/much", b"Connection: close\r\n"), (b"/stream", b"")):
            await server.connect(b"GET " + path + b" HTTP/1.1\r\n" + then + b"\r\n")
            [connection] = server.connections
            while connection._full is None:
                await asyncio.sleep(0)
                server.later(0)
            server.later(9)
            assert server.connections == [connection]
            server.later(11)
            while server.connections:
                await asyncio.sleep(0)

    test()


@pytest.mark.parametrize(("authority", "then"), [(None, b""), (None, b"Connection: close\r\n"), (AUTHORITY, b"")])
def test_a_client_that_takes_its_answer_is_waited_for(authority: trustme.CA | None, then: bytes) -> None:
    """At 8 KiB a second, 5 MB may take ten minutes."""

    @served(authority)
    async def test(server: Server) -> None:
        client = await server.connect(b"GET /much HTTP/1.1\r\n" + then + b"\r\n")
        await client.reader.readuntil(b"\r\n\r\n")
        [connection] = server.connections
        size = checks = 0
        server.later(0)
        while size < 20_000_000 and (part := await client.reader.read(1_000_000)):
            size += len(part)
            if connection._full and connection._unsent < 10_000_000:
                server.later(600)
                checks += 1
        assert size == 20_000_000
        assert checks

    test()


# --- answers that are due


@served()
async def test_an_answer_that_is_due_is_not_lost_by_what_follows(server: Server) -> None:
    client = await server.connect(b"GET /wait HTTP/1.1\r\n\r\n")
    await server.app.waiting.acquire()
    await client.say(b"nonsense\r\n\r\n")
    [connection] = server.connections
    while connection.cycle.keep_alive:
        await asyncio.sleep(0)
    server.later(1_000)
    server.app.go.set()
    assert await client.body() == b"done"
    assert await client.ended()


@pytest.mark.parametrize("authority", [None, AUTHORITY])
def test_an_early_answer_is_heard_by_who_still_sends(authority: trustme.CA | None) -> None:
    @served(authority)
    async def test(server: Server) -> None:
        head = b"POST /early HTTP/1.1\r\nConnection: close\r\nContent-Length: 5000000\r\n\r\n"
        client = await server.connect(head, *[bytes(100_000)] * 50)
        assert await client.body() == b"early"
        assert await client.ended()

    test()


@served()
async def test_the_rest_after_a_last_answer_is_not_waited_for_long(server: Server) -> None:
    client = await server.connect(b"POST /early HTTP/1.1\r\nConnection: close\r\nContent-Length: 2\r\n\r\nx")
    assert await client.body() == b"early"
    assert await client.ended()
    [connection] = server.connections
    server.later(9)
    assert not connection.transport.is_closing()
    server.later(11)
    assert connection.transport.is_closing()


@served()
async def test_no_second_answer_follows_an_early_one(server: Server) -> None:
    client = await server.connect(b"POST /early HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert await client.body() == b"early"
    await client.say(b"zz\r\n")
    assert await client.ended()


@served()
async def test_the_app_is_told_of_a_body_that_is_refused(server: Server) -> None:
    client = await server.connect(b"POST /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
    await server.heard()
    await client.say(b"zz\r\n")
    assert (await client.refusal())[0] == 400
    await server.app.gone.wait()


@served()
async def test_nothing_is_written_into_an_answer_that_has_begun(server: Server) -> None:
    client = await server.connect(b"POST /stream HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
    assert await client.reader.readuntil(b"\r\n\r\n")
    await client.say(b"zz\r\n")
    rest = await client.reader.read()
    assert b"HTTP/1.1" not in rest


@served()
async def test_requests_that_wait_behind_another_have_a_number(server: Server) -> None:
    client = await server.connect(b"GET /wait HTTP/1.1\r\n\r\n" + TINY * MAX_PIPELINED)
    await server.app.waiting.acquire()
    assert server.connections[0].flow.read_paused
    server.app.go.set()
    assert await client.body() == b"done"
    for _ in range(MAX_PIPELINED):
        assert await client.body() == b"0"
    server.app.go.clear()
    await client.say(b"GET /wait HTTP/1.1\r\n\r\n" + TINY * (MAX_PIPELINED + 1))
    assert await client.ended()


@served()
async def test_an_old_client_gets_one_answer(server: Server) -> None:
    client = await server.connect(b"GET /size HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    status, headers, body = await client.answer()
    assert (status, headers["connection"], body) == (200, "close", b"0")
    assert await client.ended()


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
ASKING = {
    "Content-Length": b"POST /size HTTP/1.1\r\n" + H2C + b"Content-Length: 5\r\n\r\n12345",
    "chunked": b"POST /size HTTP/1.1\r\n" + H2C + b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\nX: y\r\n\r\n",
    "last": b"POST /size HTTP/1.1\r\nContent-Length: 5\r\nupgrade: WebSocket\r\nconnection: upgrade\r\n\r\n12345",
}
"""Requests of five bytes that could go on in another protocol: HttpClient of Java, and curl --http2, send them so."""


@pytest.mark.parametrize("asking", ASKING.values(), ids=ASKING)
def test_what_asks_for_another_protocol_is_answered_in_this_one(asking: bytes) -> None:
    @served()
    async def whole(server: Server) -> None:
        client = await server.connect(asking)
        assert await client.body() == b"5"
        await client.say(TINY + asking * 3 + TINY)
        assert [await client.body() for _ in range(5)] == [b"0", b"5", b"5", b"5", b"0"]

    @served()
    async def in_two_parts(server: Server) -> None:
        client = await server.connect()
        for cut in range(1, len(asking)):
            await client.say(asking[:cut])
            for _ in range(3):  # the server reads this much
                await asyncio.sleep(0)
            await client.say(asking[cut:])
            assert await client.body() == b"5", cut

    whole()
    in_two_parts()


@served()
async def test_a_body_that_breaks_off_is_none_though_it_could_be_of_another_protocol(server: Server) -> None:
    client = await server.connect(ASKING["Content-Length"][:-1])
    client.writer.close()
    await server.app.gone.wait()


@served()
async def test_what_follows_a_request_for_another_protocol_is_not_of_that(server: Server) -> None:
    client = await server.connect(
        b"GET /size HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello"
    )
    assert await client.body() == b"0"
    assert await client.ended()


@served()
async def test_as_many_requests_for_another_protocol_may_wait_as_others(server: Server) -> None:
    client = await server.connect(b"GET /wait HTTP/1.1\r\n\r\n", ASKING["chunked"] * (MAX_PIPELINED + 1))
    assert await client.ended()


@pytest.mark.parametrize("target", [b"/size", b"http://x/size", b"x:443"])
def test_this_is_no_proxy(target: bytes) -> None:
    @served()
    async def scene(server: Server) -> None:
        client = await server.connect(b"CONNECT " + target + b" HTTP/1.1\r\nContent-Length: 5\r\n\r\n12345")
        assert await client.refusal() == (501, "this server is no proxy")

    scene()


# --- the number of connections


async def busy(server: Server, number: int) -> list[Client]:
    clients = []
    for _ in range(number):
        clients.append(await server.connect(b"GET /wait HTTP/1.1\r\n\r\n"))
        await server.app.waiting.acquire()
    return clients


@served()
async def test_who_has_waited_longest_makes_room(server: Server) -> None:
    working = await busy(server, 5)
    idle = await server.connect(TINY)
    assert await idle.body() == b"0"
    slow = await server.connect(b"GET /si")
    silent = await server.connect()
    for gone in (idle, slow, silent):
        newcomer = await server.connect(TINY)
        assert await newcomer.body() == b"0"
        assert await gone.ended()
        assert len(server.connections) == 8
    server.app.go.set()
    assert [await client.body() for client in working] == [b"done"] * 5


@served()
async def test_a_flood_of_silent_clients_locks_out_nobody(server: Server) -> None:
    for _ in range(50):
        await server.connect()
    client = await server.connect(TINY)
    assert await client.body() == b"0"
    assert len(server.connections) == 8


@served()
async def test_one_too_many_is_told_when_all_are_busy(server: Server) -> None:
    await busy(server, 8)
    for _ in range(2):
        client = await server.connect()
        status, headers, _ = await client.answer()
        assert (status, headers["retry-after"]) == (503, "1")
    over = await server.connect()
    assert await over.ended()
    assert len(server.connections) <= 10
    server.app.go.set()


@served()
async def test_what_the_app_does_not_hear_of_is_told(server: Server) -> None:
    client = await server.connect(TINY + b"\x00 /secret HTTP/1.1\r\n\r\n")
    assert await client.body() == b"0"
    assert server.told == [], "the app tells of this one"
    status, message = await (await server.connect(b"\x00 /secret HTTP/1.1\r\n\r\n")).refusal()
    [exchange] = server.told
    assert exchange.seconds >= 0
    sent = len(json.dumps({"errorMessage": message}, separators=(",", ":")))
    assert exchange._replace(seconds=0) == Exchange("", None, "", status, 0, 0, sent, "127.0.0.1", None)
    body = await server.connect(b"POST /size HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"x\r\n")
    assert (await body.refusal())[0] == 400
    assert len(server.told) == 1, "of a body that is refused the app tells"
