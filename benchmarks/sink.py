"""A process that takes what every candidate sends, says 200 in its words, and counts the events.

It is not a server: it parses nothing, so that it is faster than whatever sends to it. An event is known by the mark
that each holds once (:data:`candidates.MARK`). When the marks are numbered (``purchase-17``), it tells them apart.

    sink = Sink()               # in the process that measures
    sink.url; sink.down(); sink.up(); sink.reset(); sink.counts(); sink.close()

:class:`Silence` is the other end: an address that takes connections and never answers.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any, Final, NamedTuple

from candidates import COLLECTION, MARK

_MARK: Final = MARK.encode()
_NUMBERED: Final = re.compile(_MARK + rb"-(\d+)")
_RESULT: Final = b'{"success":true,"duplicate":false,"message":null}'
_ANSWERS: Final = {
    "/v1/logs": (b"application/x-protobuf", b""),  # OpenTelemetry
    "/v1/batch": (b"application/json", b'{"success":true}'),  # Segment
    "/batch/": (b"application/json", b'{"status":"Ok"}'),  # PostHog
}


class Counts(NamedTuple):
    """``received``: events, those that came twice as well. ``distinct``: numbered ones. ``last``: monotonic seconds."""

    received: int
    distinct: int
    last: float
    requests: int
    bytes: int


class Sink:
    """Starts the process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = f"http://127.0.0.1:{self._ask('up')}"

    def down(self) -> None:
        """From here on connections are refused, and those that are open are cut."""
        self._ask("down")

    def up(self) -> None:
        """Listen again, at the same port."""
        self._ask("up")

    def reset(self) -> None:
        """Count from 0."""
        self._ask("reset")

    def counts(self) -> Counts:
        """Since the last reset."""
        return Counts(*self._ask("counts"))

    def close(self) -> None:
        """End the process."""
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()

    def _ask(self, word: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


class Silence:
    """Senders wait here and use no processor: what is left is the log call."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        """Refuse from here on."""
        self._socket.close()


class _Tally:
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._received = self._requests = self._bytes = 0
        self._last = 0.0
        self._numbers: set[bytes] = set()

    def add(self, body: bytes) -> int:
        """How many events ``body`` holds."""
        events = body.count(_MARK)
        self._received += events
        self._requests += 1
        self._bytes += len(body)
        self._last = time.monotonic()
        self._numbers.update(_NUMBERED.findall(body))
        return events

    def counts(self) -> Counts:
        return Counts(self._received, len(self._numbers), self._last, self._requests, self._bytes)


class _Connection(asyncio.Protocol):
    """Requests with a Content-Length, or chunked, one after the other."""

    def __init__(self, tally: _Tally, connections: set[asyncio.Transport]) -> None:
        self._tally = tally
        self._connections = connections
        self._parts: list[bytes] = []
        self._size = 0
        self._needed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        while self._size and self._size >= self._needed:
            whole = b"".join(self._parts)
            head, found, rest = whole.partition(b"\r\n\r\n")
            self._parts = [whole]
            if not found:
                return
            lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            length = int(headers.get("content-length", "0"))
            self._needed = len(head) + 4 + length
            if len(rest) < length:
                return
            self._parts = [rest[length:]]
            self._size -= self._needed
            self._needed = 0
            self._transport.write(self._answer(lines[0].split()[1], headers, rest[:length]))

    def _answer(self, path: str, headers: dict[str, str], body: bytes) -> bytes:
        if headers.get("content-encoding") in ("gzip", "deflate"):
            body = zlib.decompress(body, 47)
        events = self._tally.add(body)
        kind, text = _ANSWERS.get(path, (b"application/json", b"{}"))
        if path.endswith("/events"):
            text = b'{"%b":[%b]}' % (COLLECTION.encode(), b",".join([_RESULT] * events))
        wish = b"Accept-Encoding: gzip\r\n" if path.startswith("/gzip/") else b""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n" % (kind, len(text), wish)
        return head + text


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    tally, connections, port = _Tally(), set[asyncio.Transport](), 0
    server: asyncio.Server | None = None
    words = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    while word := (await words.readline()).decode().strip():
        answer: object = port
        if word == "up":
            server = await loop.create_server(lambda: _Connection(tally, connections), "127.0.0.1", port, backlog=128)
            answer = port = server.sockets[0].getsockname()[1]
        elif word == "down" and server is not None:
            server.close()
            for transport in list(connections):
                transport.abort()
        elif word == "counts":
            answer = tally.counts()
        else:
            tally.reset()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve())
