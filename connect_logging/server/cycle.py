"""A request and its answer on a connection: what is between uvicorn's parser and the app.

Invariants:

* A client has some seconds for the body of its request, and one more for each ``MIN_RATE`` bytes of it. They count
  while the app waits for the client, and not while the client waits for the app. A late one is answered 408 by the app,
  if the answer has not begun. :meth:`Cycle.check` has to be called about every second: no request has a timer.
* The head of an answer is sent with the first part of its body. An answer that is whole, as almost all are, is one
  write; what else an answer can be is left to uvicorn.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, RequestResponseCycle

from .._types import Clock
from .answers import RefusedError

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent, ASGISendEvent, HTTPResponseBodyEvent, HTTPResponseStartEvent

MIN_RATE: Final = 8_192
"""Bytes a second below which a client that sends or takes a lot is given up."""
_LINES: Final = 1_024
"""Fields of answers that are not put together anew. Most are in every answer."""
_FRAMING: Final = frozenset({b"connection", b"transfer-encoding"})
"""Fields that decide how an answer is sent."""


class Cycle(RequestResponseCycle):
    """Made with ``grace``, the seconds for a body, and the loop's ``clock``, before uvicorn's own arguments."""

    def __init__(self, grace: float, clock: Clock, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._left = grace
        self._clock = clock
        self._waiting_since: float | None = None
        """For the body."""
        self._is_late = False
        self._start: HTTPResponseStartEvent | None = None
        """Of an answer that has been given but not sent."""

    def check(self, now: float) -> None:
        """End the wait for a body that takes too long. ``now``: of the clock."""
        if self._waiting_since is not None and now - self._waiting_since > self._left:
            self._is_late = True
            self.message_event.set()

    async def receive(self) -> ASGIReceiveEvent:
        """A part of the body. Raises RefusedError, 408."""
        if self.more_body and not self.message_event.is_set():
            self._waiting_since = self._clock()
        try:
            message = await super().receive()
        finally:
            if self._waiting_since is not None:
                self._left -= self._clock() - self._waiting_since
                self._waiting_since = None
        if self._is_late:
            raise RefusedError(408, "the body is sent too slowly", {"Connection": "close"})
        if message["type"] == "http.request":
            self._left += len(message["body"]) / MIN_RATE
        return message

    async def send(self, message: ASGISendEvent) -> None:
        """A part of the answer."""
        if message["type"] == "http.response.start" and not self.response_started:
            self._start = message
            return
        if self._start is not None:
            start, self._start = self._start, None
            if message["type"] == "http.response.body" and self._send_whole(start, message):
                return
            await super().send(start)
        await super().send(message)

    def _send_whole(self, start: HTTPResponseStartEvent, message: HTTPResponseBodyEvent) -> bool:
        """Send an answer, if that can be done at once, and as most are."""
        body = message.get("body", b"")
        if (
            message.get("more_body", False)
            or self.disconnected
            or self.flow.write_paused
            or not self.keep_alive
            or self.scope["method"] == "HEAD"
        ):
            return False
        lines = [STATUS_LINE[start["status"]], *[_line(*field) for field in self.default_headers]]
        size = None
        for name, value in start.get("headers", ()):
            if name in _FRAMING:
                return False
            if name == b"content-length":
                size = value
            lines.append(_line(name, value))
        if size != b"%d" % len(body):
            return False
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        lines += b"\r\n", body
        self.transport.write(b"".join(lines))
        self.message_event.set()
        self.on_response()
        return True


@lru_cache(_LINES)
def _line(name: bytes, value: bytes) -> bytes:
    """A field of a head; nothing in it can end its line."""
    if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
        raise RuntimeError("this is no field of a head")
    return b"%s: %s\r\n" % (name, value)
