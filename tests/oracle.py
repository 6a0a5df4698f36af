"""The oracle: a real HTTP server that knows what truly arrived, and fails on request.

It speaks the batch route, deduplicates by (collection, id) as a Connect server does, and keeps every request and
the exact bytes of every event. Other routes are answered by faults alone. A test says what goes wrong, in order, and
asks afterwards what became of it::

    with Oracle() as oracle:
        oracle.fail(Status(503, retry_after=1), times=3)  # the next three requests
        oracle.fail(Reset())                              # then one whose answer is lost
        client = ConnectClient(base_url=oracle.url, …)
        oracle.wait_for(lambda o: len(o.stored) == 500)
        assert oracle.duplicates == 0

Invariants: what an answer promises is recorded before its last byte is sent, so who has seen the answer sees the
record. Closing ends every thread and socket, whatever they wait for.
"""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self, TypeAlias

import msgspec
from listening import Port

Key: TypeAlias = tuple[str, str]
"""A collection, and the text of an id in it."""

Fault: TypeAlias = "Callable[[Exchange], None]"
"""What answers a request in place of the honest :meth:`Exchange.answer`; see oracle_faults."""

Refusal: TypeAlias = Callable[[dict[str, Any]], str | None]
"""Why an event is not stored; None when it is."""

_split = msgspec.json.Decoder(dict[str, list[msgspec.Raw]]).decode


class _Identified(msgspec.Struct):
    id: str | int | float


_identify = msgspec.json.Decoder(_Identified).decode


class Request(NamedTuple):
    """One request as it arrived: when (monotonic), header names in lower case, body inflated."""

    at: float
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def batch(self) -> dict[str, list[bytes]]:
        """The exact bytes of its events by collection."""
        return {name: [bytes(event) for event in events] for name, events in _split(self.body).items()}


@dataclass
class Seen:
    """What is known of one event: every payload it came with, how often it came, and how often a success was told."""

    payloads: set[bytes] = field(default_factory=set)
    received: int = 0
    acknowledged: int = 0


class Oracle:
    """Listens on a free port of 127.0.0.1 from its making until :meth:`close`.

    ``accepts_gzip``: whether it says so in its answers; if not, a compressed body is answered with 415.

    ``requests``: all so far. ``seen``: every event of them. ``stored``: the payloads of those that were committed.
    ``duplicates``: how often an event came again that was stored already.
    """

    def __init__(self, *, accepts_gzip: bool = False) -> None:
        self.accepts_gzip = accepts_gzip
        self.requests: list[Request] = []
        self.seen: dict[Key, Seen] = {}
        self.stored: dict[Key, bytes] = {}
        self.duplicates = 0
        self.stopping = threading.Event()
        self._changed = threading.Condition()
        self._faults: deque[tuple[Fault, int | None]] = deque()
        self._port = Port(self._serve, "oracle")
        self.port = self._port.number
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what goes wrong

    def fail(self, fault: Fault, times: int | None = 1) -> None:
        """Let ``fault`` answer ``times`` requests, after those of the earlier faults; None: until :meth:`heal`."""
        with self._changed:
            self._faults.append((fault, times))

    def heal(self) -> None:
        """Forget all faults that have not come yet, or that go on for ever."""
        with self._changed:
            self._faults.clear()

    def refuse(self) -> None:
        """Refuse connections, and drop those that are open."""
        self._port.refuse()

    def listen(self) -> None:
        """Accept connections, again on the same port."""
        self._port.listen()

    def close(self) -> None:
        """Stop at once. Idempotent."""
        self.stopping.set()
        self._port.close()

    # --- what has happened

    def wait_for(self, happened: Callable[[Self], object], timeout: float = 10) -> None:
        """Return as soon as ``happened(self)``; fail the test when it has not within ``timeout`` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: happened(self), timeout):
                raise AssertionError(
                    f"not within {timeout} s; {len(self.requests)} requests, {len(self.seen)} events seen,"
                    f" {len(self.stored)} stored, {self.duplicates} duplicates"
                )

    def events(self, collection: str) -> list[dict[str, Any]]:
        """The stored events of ``collection``, decoded, in the order in which they were stored."""
        with self._changed:
            return [json.loads(payload) for (name, _), payload in self.stored.items() if name == collection]

    # --- inside

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while request := _read_request(stream):
                self._handle(Exchange(self, connection, request))

    def _handle(self, exchange: Exchange) -> None:
        request = exchange.request
        with self._changed:
            self.requests.append(request)
            for key, payload in exchange.events:
                seen = self.seen.setdefault(key, Seen())
                seen.payloads.add(payload)
                seen.received += 1
            fault = self._next_fault()
            self._changed.notify_all()
        if (request.method, request.path.rstrip("/")) != ("POST", "/events"):
            if fault is Exchange.answer:
                exchange.send(404, error_body("there is no such route"))
            else:
                fault(exchange)
        elif "content-encoding" in request.headers and not self.accepts_gzip:
            exchange.send(415, error_body("bodies cannot be compressed here"))
        elif not exchange.is_batch:
            exchange.send(400, error_body("the body must be lists of events, each with an id, by collection"))
        else:
            fault(exchange)

    def _next_fault(self) -> Fault:
        if not self._faults:
            return Exchange.answer
        fault, times = self._faults[0]
        if times is not None:
            self._faults.popleft()
            if times > 1:
                self._faults.appendleft((fault, times - 1))
        return fault

    def commit(self, exchange: Exchange, refusal: Refusal | None) -> Committed:
        """Store the events of ``exchange``, but those for which ``refusal`` has a message."""
        results: dict[str, list[dict[str, object]]] = {name: [] for name in exchange.request.batch}
        successes = []
        with self._changed:
            for key, payload in exchange.events:
                message = refusal(json.loads(payload)) if refusal else None
                duplicate = message is None and key in self.stored
                if message is None:
                    self.duplicates += duplicate
                    self.stored.setdefault(key, payload)
                    successes.append(key)
                result: dict[str, object] = {"success": message is None, "duplicate": duplicate, "message": message}
                results[key[0]].append(result)
            self._changed.notify_all()
        return Committed(json.dumps(results).encode(), successes)

    def acknowledge(self, successes: list[Key]) -> None:
        """Record that a client is told of ``successes``."""
        with self._changed:
            for key in successes:
                self.seen[key].acknowledged += 1
            self._changed.notify_all()


class Committed(NamedTuple):
    """The honest answer to a batch, and the events whose success it tells."""

    body: bytes
    successes: list[Key]


class Exchange:
    """One request that waits for its answer: what a fault works with.

    ``events``: every event of the batch with its key; none when the request ``is_batch`` not.
    """

    def __init__(self, oracle: Oracle, connection: socket.socket, request: Request) -> None:
        self.request = request
        self._oracle = oracle
        self._connection = connection
        try:
            self.events = [
                ((collection, str(_identify(payload).id)), payload)
                for collection, payloads in request.batch.items()
                for payload in payloads
            ]
            self.is_batch = True
        except msgspec.DecodeError:  # a ValidationError too: not objects, or without id
            self.events = []
            self.is_batch = False

    def commit(self, refusal: Refusal | None = None) -> Committed:
        """Store the events, but those with a ``refusal``."""
        return self._oracle.commit(self, refusal)

    def answer(self, refusal: Refusal | None = None) -> None:
        """The honest answer: store, then tell."""
        committed = self.commit(refusal)
        self.send(200, committed.body, successes=committed.successes)

    def send(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        successes: list[Key] | None = None,
        pace: Callable[[bytes], Iterator[bytes]] = lambda answer: iter((answer,)),
    ) -> None:
        """Answer, in the parts that ``pace`` makes of it. ``successes`` count as told before the last byte."""
        lines = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
        if self._oracle.accepts_gzip:
            lines["Accept-Encoding"] = "gzip"
        head = f"HTTP/1.1 {status} {http.client.responses.get(status, 'Unknown')}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        answer = f"{head}\r\n".encode() + body
        for part in pace(answer[:-1]):
            self._connection.sendall(part)
        self._oracle.acknowledge(successes or [])
        self._connection.sendall(answer[-1:])

    def pause(self, seconds: float) -> None:
        """Wait; cut short by the end of the oracle."""
        if self._oracle.stopping.wait(seconds):
            raise OSError("the oracle is closing")

    def hang(self) -> None:
        """Wait until the client goes away, or the connection is dropped."""
        while self._connection.recv(4096):
            pass

    def reset(self) -> None:
        """End the connection with RST instead of FIN."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise OSError("reset by a fault")


# --- HTTP


def _read_request(stream: Any) -> Request | None:
    line = stream.readline(65_536).split()
    if len(line) != 3:
        return None
    headers = {name.lower(): value for name, value in http.client.parse_headers(stream).items()}
    length = int(headers.get("content-length", 0))
    body = stream.read(length)
    if len(body) < length:
        return None
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    return Request(time.monotonic(), line[0].decode(), line[1].decode(), headers, body)


def error_body(message: str) -> bytes:
    """A body in the protocol's shape for a refused request."""
    return json.dumps({"errorMessage": message}).encode()
