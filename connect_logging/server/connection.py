"""A connection: HTTP/1.1 as uvicorn speaks it, within bounds, and refused in the protocol's own words.

uvicorn parses and talks to the app. What it leaves open is closed here:

* What cannot be parsed, is too long or takes too long is answered with ``{"errorMessage": …}`` and the headers that let
  a page read it; never into an answer that has begun, nor in place of one that is due.
* A head has a size. So has everything else that the parser holds without telling: what comes before the first byte of
  a body, in chunk extensions and in trailers.
* An early answer is heard: the connection is closed once the body is whole, as a client that is cut off while it sends
  may never read why.
* A head, a body, the rest of a body whose answer has been sent, the taking of an answer and the next request have a
  time. That of a body is kept by :class:`~.cycle.Cycle`, which can tell who keeps whom waiting.
* Connections have a number. At the limit the one that has waited longest for its client makes room, so that clients
  that do nothing lock out nobody; only when every other is at work is a new one refused, with 503.

:meth:`Connection.check` has to be called about every second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from .answers import RefusedError, error_message
from .cycle import MIN_RATE, Cycle
from .middleware import CORS_HEADERS
from .observing import Exchange

MAX_TARGET: Final = 65_535
"""Bytes of path and query; also what the parser of URLs can take."""
MAX_HEAD: Final = 65_536
"""Bytes of the header fields. The longest key has 16,384."""
MAX_FIELDS: Final = 100
MAX_PIPELINED: Final = 32
"""Requests that may wait behind the one that is being answered."""
_LINGER: Final = 2.0
"""Seconds that a refused client has to read why, before what it still sends would make its system drop the answer."""
_LOOK_AGAIN: Final = 0.1
"""Seconds between looks whether a client has taken the last bytes."""
_MAPPED: Final = "::ffff:"
"""Before an IPv4 address where a socket takes both kinds. Logs, limits and trust know it without."""
_SPARE: Final = 4
"""A quarter of the allowed connections may be there beyond the limit, to be told that they are too many."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``connections``: of the server. ``timeout``: seconds that a client may keep it waiting."""

    connections: int
    timeout: float


class _Phase(Enum):
    """What the parser expects next."""

    HEAD = auto()
    BODY = auto()
    NEXT = auto()
    """Another request, or nothing more."""
    NOTHING = auto()
    """The client was refused; what it sends is not read any more."""


class _Full(NamedTuple):
    """When the client had too much to take, and how many bytes."""

    since: float
    unsent: int


class Connection(HttpToolsProtocol):
    """One connection. Made by uvicorn, with ``limits`` and ``observers`` before its own arguments.

    ``observers`` are told of requests that are refused before the app is asked; they must not raise or block.
    """

    cycle: Cycle

    def __init__(
        self, limits: Limits, observers: Sequence[Callable[[Exchange], object]], *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._observers = observers
        self._phase = _Phase.HEAD
        self._since = self.loop.time()
        self._heard = False
        self._full: _Full | None = None
        self._head_size = 0
        self._silent = 0
        """Bytes since the parser last told of a whole head, a part of a body, or an end."""
        self._told = False
        self._is_stopping = False
        self._is_last = False
        """The answer was sent after which the connection is closed."""

    @property
    def is_waiting(self) -> bool:
        """Whether nothing can be done here before the client does something."""
        return self._phase is not _Phase.NOTHING and not self._is_answering

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def check(self, now: float) -> None:
        """End what has taken too long. ``now``: of the loop's clock."""
        if self.transport.is_closing() and self._phase is not _Phase.NOTHING:
            self._enter(_Phase.NOTHING)  # there is still something to be sent
        unsent = self._unsent
        if self.scheme == "https" and bool(unsent) != (self._full is not None):  # asyncio looks above TLS alone
            self._full = _Full(now, unsent) if unsent else None
        if self._full is not None:
            taken = self._full.unsent - unsent
            if now - self._full.since > self._limits.timeout + taken / MIN_RATE:
                self.transport.abort()
        elif self._is_answering:
            self.cycle.check(now)
        elif now - self._since > self._patience:
            if self._phase is _Phase.HEAD and self._heard:
                self._refuse(RefusedError(408, f"a head has to be sent within {self._limits.timeout:g} seconds"))
            else:
                self.transport.abort()

    @property
    def _unsent(self) -> int:
        """Bytes that wait for the client to take others, of TLS what is already in its form as well."""
        size: int = self.transport.get_write_buffer_size()
        below = getattr(getattr(self.transport, "_ssl_protocol", None), "_transport", None)  # asyncio has no other way
        return size + below.get_write_buffer_size() if below else size

    @property
    def _patience(self) -> float:
        """Seconds that the client may be waited for."""
        if self._phase is _Phase.NEXT:
            return self.timeout_keep_alive
        is_refused = self._phase is _Phase.NOTHING and not self.transport.is_closing()
        return _LINGER if is_refused else self._limits.timeout

    def shutdown(self) -> None:
        """The server stops: nothing more is asked here."""
        self._is_stopping = True
        if self._is_answering:
            self.cycle.keep_alive = False
        else:
            self._hang_up()

    # What the loop tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """One more: somebody may have to go."""
        super().connection_made(transport)
        if self.client and "." in self.client[0]:
            self.client = (self.client[0].removeprefix(_MAPPED), self.client[1])
        excess = len(self.connections) - self._limits.connections
        if excess <= 0:
            return
        waiting = [each for each in self.connections if isinstance(each, Connection) and each.is_waiting]
        waiting.remove(self)
        if waiting:
            oldest = min(waiting, key=lambda each: each._since)
            self.connections.discard(oldest)
            oldest.transport.abort()
        elif excess <= self._limits.connections // _SPARE:
            self._refuse(RefusedError(503, "too many connections: try again later", {"Retry-After": "1"}))
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        if self._phase is _Phase.NOTHING:
            return
        if self._phase is _Phase.NEXT and not self._is_answering:
            self._enter(_Phase.HEAD)
        self._heard = True
        self._told = False
        try:
            self._parse(data)
            self._silent = 0 if self._told else self._silent + len(data)
            if self._silent > MAX_HEAD:
                raise _head_too_large() if self._phase is _Phase.HEAD else RefusedError(400, "the chunks are not read")
        except RefusedError as error:
            self._refuse(error)
        except httptools.HttpParserError as error:
            reason = error.__context__
            self._refuse(reason if isinstance(reason, RefusedError) else RefusedError(400, "this is not HTTP/1.1"))

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        super().pause_writing()
        self._full = _Full(self.loop.time(), self._unsent)

    def resume_writing(self) -> None:
        """The client has taken most of it."""
        super().resume_writing()
        self._full = None

    # What the parser tells. RefusedError stops it, and comes out of ``feed_data`` as the context of another.

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._enter(_Phase.HEAD)
        self._head_size = 0

    def on_url(self, url: bytes) -> None:
        """The target, or a part of it."""
        super().on_url(url)
        if len(self.url) > MAX_TARGET:
            raise RefusedError(414, f"path and query have at most {MAX_TARGET:,} bytes; a long query can be POSTed")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole field, of a head or after a body."""
        if self._phase is not _Phase.HEAD:
            return  # a trailer
        super().on_header(name, value)
        self._head_size += len(name) + len(value)
        if self._head_size > MAX_HEAD or len(self.headers) > MAX_FIELDS:
            raise _head_too_large()

    def on_headers_complete(self) -> None:
        """The request can be passed on, unless it has to be parsed once more: see :meth:`_parse`."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise RefusedError(400, "too many requests without waiting for an answer")
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise RefusedError(501, "this server is no proxy")
            return
        version = self.parser.get_http_version()
        target = httptools.parse_url(self.url)
        path = target.path.decode("ascii")
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = version
        self.scope["raw_path"] = target.path
        self.scope["path"] = unquote(path) if "%" in path else path
        self.scope["query_string"] = target.query or b""
        is_next = not self._is_answering
        self.cycle = self._make_cycle(version != "1.0" and self.parser.should_keep_alive())
        if is_next:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        self._enter(_Phase.BODY)
        self._told = True

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        super().on_body(body)
        self._told = True

    def on_message_complete(self) -> None:
        """The body is whole."""
        if self._phase is _Phase.HEAD:
            return  # for the parser, as it leaves what follows to another protocol
        super().on_message_complete()
        self._enter(_Phase.NEXT)
        if self._is_last:
            self._hang_up()
        self._told = True

    def on_response_complete(self) -> None:
        """The app is done. There is no timer for what comes next: see :meth:`check`."""
        self._since = self.loop.time()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def _parse(self, data: bytes) -> None:
        """Have the parser tell what is in ``data``.

        It leaves the body of a request with ``Upgrade`` to the protocol that is asked for. Clients send bodies with it
        all the same, as a server may go on in HTTP/1.1, as this one does: it reads the head again, without that field.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        """As it came otherwise: what frames the body is the same, and in the same order."""
        start = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        fields = [b"%s: %s" % field for field in self.headers if field[0] != b"upgrade"]
        return b"\r\n".join([start, *fields, b"", b""])

    def _make_cycle(self, keep_alive: bool) -> Cycle:
        return Cycle(
            self._limits.timeout,
            self.loop.time,
            scope=self.scope,
            transport=_Outlet(self.transport, self._close),
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )

    def _enter(self, phase: _Phase) -> None:
        self._phase = phase
        self._since = self.loop.time()

    def _refuse(self, error: RefusedError) -> None:
        """Answer, unless it would be in the place of another answer, and read no more."""
        in_body = self._phase is _Phase.BODY
        began = self._since
        may_answer = not self.cycle.response_started if in_body else not self._is_answering
        self._enter(_Phase.NOTHING)
        if in_body:
            self.cycle.disconnected = True  # for the app it is as if the client had gone
            self.cycle.message_event.set()
        if may_answer and not self.pipeline:
            sent = self._answer(error)
            if not in_body:  # of that the app tells
                self._tell(error.status, self.loop.time() - began, sent)
        elif in_body or self.pipeline:
            self._hang_up()
        else:
            self.cycle.keep_alive = False  # closed when the answer that is due has been sent

    def _close(self) -> None:
        """After the last answer."""
        if self._phase is _Phase.BODY:
            self._is_last = True
            self._end()
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
        if self._is_stopping and self.scheme == "https":
            self._let_go()

    def _let_go(self) -> None:
        """Through TLS, closing waits until the client closes as well, and one that idles does not look."""
        if self._unsent:
            self.loop.call_later(_LOOK_AGAIN, self._let_go)
        else:
            self.transport.abort()

    def _end(self) -> None:
        """Tell the client that nothing more will be said, as far as one can (not through TLS), and hear it out."""
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _answer(self, error: RefusedError) -> int:
        """How many bytes the body has."""
        answer = error_message(error.status, error.message, {**error.headers, "Connection": "close"})
        fields = [*self.server_state.default_headers, *answer.raw_headers, *CORS_HEADERS]
        lines = [name + b": " + value + b"\r\n" for name, value in fields]
        self.transport.write(b"".join([STATUS_LINE[error.status], *lines, b"\r\n", bytes(answer.body)]))
        self._end()
        return len(answer.body)

    def _tell(self, status: int, seconds: float, sent: int) -> None:
        """Method and target are left out: how much of them was read depends on what is wrong."""
        exchange = Exchange("", None, "", status, seconds, 0, sent, self.client[0] if self.client else None, None)
        for observe in self._observers:
            observe(exchange)


class _Outlet:
    """What uvicorn writes an answer to, and would close at once."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


def _head_too_large() -> RefusedError:
    return RefusedError(431, f"a head has at most {MAX_FIELDS} fields of {MAX_HEAD:,} bytes together")
