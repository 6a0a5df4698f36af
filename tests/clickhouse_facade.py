"""ClickHouse's HTTP interface in front of chdb, the real engine, for tests: and it fails on request.

What is served, as clickhouse-connect's HTTP client and curl ask it:

* ``GET /ping``; on any other path GET (which may only read) and POST, many at once, with keep-alive;
* the statement in the parameter ``query``, in the body, or begun in one and ended in the other; an INSERT with its
  data in any input format; bodies that are chunked, compressed (gzip, deflate, lz4), or forms of fields;
* parameters: ``database``, ``query_id``, ``param_…``, ``default_format``, and every setting that the engine knows;
* answers in any output format, in chunks, compressed by lz4 or gzip when ``enable_http_compression=1`` asks for it;
  exceptions with their status, code and text, also in the midst of an answer;
* one user, by basic authentication, X-ClickHouse-User and X-ClickHouse-Key, or parameters;
* KILL QUERY by ``query_id``; a statement ends when its client goes, if both ``readonly`` and
  ``cancel_http_readonly_queries_on_client_close`` are set;
* sessions only as far as that no two statements run in one at once: nothing is kept from one to the next.

Not served: ON CLUSTER and Replicated tables, which chdb has not; other users, roles and quotas; files of external data;
``client_protocol_version``, ``compress``, ``decompress``, ``buffer_size``; progress in headers.

A test says what goes wrong, in order, and asks afterwards what was asked::

    with ClickHouseFacade(tmp_path) as facade:
        facade.fail(Reset(), of="INSERT INTO events")  # the next one is stored, and its answer is lost
        client = clickhouse_connect.get_client(host="127.0.0.1", port=facade.port, username=…, password=…)

Invariants: what an answer tells is done before its first byte is sent. Closing ends every thread and socket.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import re
import secrets
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Self, TypeAlias

import lz4.frame
from clickhouse_engine import Engine, EngineError, Statement, split
from clickhouse_http import PASSWORD, USER, Request, check, query_of, read_request, statement_of
from listening import Port

_DEFLATE: Mapping[str, Callable[[bytes], bytes]] = {"lz4": lz4.frame.compress, "gzip": gzip.compress}
"""In the order in which ClickHouse prefers them."""
_CHUNK = 65_536

Fault: TypeAlias = "Callable[[Exchange], None]"
"""What answers a statement in place of the honest :meth:`Exchange.answer`; see clickhouse_faults."""


@dataclass(frozen=True)
class Answer:
    """``plain``: the body before it is compressed by ``encoding``. ``tag``: marks an exception in the midst of it."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    plain: bytes = b""
    encoding: str = ""
    tag: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def body(self) -> bytes:
        """As it is sent, but for the chunks."""
        return _DEFLATE[self.encoding](self.plain) if self.encoding and self.plain else self.plain

    def head(self, **more: str) -> bytes:
        """The lines before the body."""
        lines = {"Connection": "Keep-Alive", "X-ClickHouse-Exception-Tag": self.tag, **self.headers, **more}
        if self.encoding and self.plain:
            lines["Content-Encoding"] = self.encoding
        head = f"HTTP/1.1 {self.status} {http.client.responses.get(self.status, 'Unknown')}\r\n"
        return (head + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n").encode()


class ClickHouseFacade:
    """Listens on a port of 127.0.0.1 from its making until :meth:`close`, over the database in ``path``.

    ``port``: 0 for a free one. ``asked``: every statement so far, without the data of inserts.
    ``address``: for ``--store``, with the password.
    """

    def __init__(self, path: Path, port: int = 0) -> None:
        self.asked: list[Statement] = []
        self.engine = Engine(str(path))
        self.stopping = threading.Event()
        self._changed = threading.Condition()
        self._faults: deque[tuple[Fault, int | None, re.Pattern[str]]] = deque()
        self._sessions: set[str] = set()
        self._port = Port(self._serve, "clickhouse", port)
        self.port = self._port.number
        self.address = f"clickhouse://{USER}:{PASSWORD}@127.0.0.1:{self.port}/default"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what goes wrong

    def fail(self, fault: Fault, times: int | None = 1, of: str = "") -> None:
        """Let ``fault`` answer the next ``times`` statements in which the pattern ``of`` is found.

        After those of the earlier faults; None: until :meth:`heal`.
        """
        with self._changed:
            self._faults.append((fault, times, re.compile(of, re.IGNORECASE)))

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
        self.engine.close()

    # --- what has happened

    def wait_for(self, pattern: str, times: int = 1, timeout: float = 10) -> None:
        """Return as soon as so many statements were asked in which ``pattern`` is found; fail the test when not."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.count(pattern) >= times, timeout):
                raise AssertionError(f"not within {timeout} s: {self.asked}")

    def count(self, pattern: str) -> int:
        """How many statements were asked in which ``pattern`` is found."""
        found = re.compile(pattern, re.IGNORECASE)
        return sum(bool(found.search(statement.text.decode(errors="replace"))) for statement in self.asked)

    # --- inside

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while request := read_request(stream):
                self._handle(connection, request)

    def _handle(self, connection: socket.socket, request: Request) -> None:
        query = query_of(request)
        if not query.strip():
            connection.sendall(
                Answer(200, {"Content-Type": "text/html; charset=UTF-8", "Content-Length": "4"}).head() + b"Ok.\n"
            )
            return
        text, form, data = split(query, request.parameters.get("default_format", "TabSeparated"))
        exchange = Exchange(self, connection, request, statement_of(request, text, form, data))
        with self._changed:
            self.asked.append(statement_of(request, text, form, None))
            fault = self._next_fault(text.decode(errors="replace"))
            self._changed.notify_all()
        fault(exchange)

    def _next_fault(self, text: str) -> Fault:
        for place, (fault, times, of) in enumerate(self._faults):
            if of.search(text):
                if times == 1:
                    del self._faults[place]
                elif times is not None:
                    self._faults[place] = fault, times - 1, of
                return fault
        return Exchange.answer

    @contextlib.contextmanager
    def session(self, name: str | None) -> Iterator[None]:
        """Nothing else runs in the session meanwhile. Raises EngineError."""
        if name is None:
            yield
            return
        with self._changed:
            if name in self._sessions:
                raise EngineError(f"Code: 373. DB::Exception: Session {name} is locked. (SESSION_IS_LOCKED)")
            self._sessions.add(name)
        try:
            yield
        finally:
            with self._changed:
                self._sessions.remove(name)


class Exchange:
    """One statement that waits for its answer: what a fault works with."""

    def __init__(
        self, facade: ClickHouseFacade, connection: socket.socket, request: Request, statement: Statement
    ) -> None:
        self.statement = statement
        self._facade = facade
        self._connection = connection
        self._request = request

    def execute(self) -> Answer:
        """Run the statement; the honest answer."""
        try:
            check(self._request)
            with self._facade.session(self._request.parameters.get("session_id")), self._watched():
                result = self._facade.engine.run(self.statement)
        except EngineError as error:
            return refusal(error)
        summary = {"read_rows": str(result.read), "written_rows": str(result.written)}
        headers = self._headers()
        headers["X-ClickHouse-Summary"] = json.dumps(summary)
        if self.statement.has_result:
            headers["X-ClickHouse-Format"] = self.statement.form
        return Answer(200, headers, result.body, self._encoding())

    def answer(self) -> None:
        """The honest answer: execute, then tell."""
        self.send(self.execute())

    def send(self, answer: Answer) -> None:
        """All of ``answer``."""
        self._connection.sendall(answer.head(**{"Transfer-Encoding": "chunked"}) + chunked(answer.body) + b"0\r\n\r\n")

    def send_bytes(self, part: bytes) -> None:
        """Whatever a fault wants to be on the wire."""
        self._connection.sendall(part)

    def pause(self, seconds: float) -> None:
        """Wait; cut short by the end of the façade."""
        if self._facade.stopping.wait(seconds):
            raise OSError("the façade is closing")

    def hang(self) -> None:
        """Wait until the client goes away, or the connection is dropped."""
        while self._connection.recv(4096):
            pass

    def reset(self) -> None:
        """End the connection with RST instead of FIN."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise OSError("reset by a fault")

    def _headers(self) -> dict[str, str]:
        return {
            "Content-Type": "application/octet-stream"
            if self.statement.form == "Native"
            else "text/plain; charset=UTF-8",
            "X-ClickHouse-Query-Id": self.statement.query_id,
            "X-ClickHouse-Timezone": self._facade.engine.timezone,
        }

    def _encoding(self) -> str:
        if self.statement.settings.get("enable_http_compression") != "1":
            return ""
        accepted = re.split(r"[\s,]+", self._request.headers.get("accept-encoding", ""))
        return next((name for name in _DEFLATE if name in accepted), "")

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Kill the statement when its client goes, if that is asked for and it may only read."""
        settings = self.statement.settings
        if settings.get("cancel_http_readonly_queries_on_client_close") != "1" or settings.get("readonly", "0") == "0":
            yield
            return
        done, wake = socket.socketpair()

        def watch() -> None:
            ready = wait([self._connection, wake])
            if wake in ready or self._connection.recv(1, socket.MSG_PEEK):
                return
            while wake not in ready:  # it may not be known yet
                self._facade.engine.kill(self.statement.query_id)
                ready = wait([wake], 0.02)

        watcher = threading.Thread(target=watch, name=f"clickhouse-{self._facade.port}-watch")
        watcher.start()
        try:
            yield
        finally:
            done.close()
            watcher.join()
            wake.close()


def refusal(error: EngineError) -> Answer:
    """What ClickHouse answers when there was an exception before the answer began."""
    headers = {"Content-Type": "text/plain; charset=UTF-8", "X-ClickHouse-Exception-Code": str(error.code)}
    return Answer(error.status, headers, str(error).encode())


def chunked(body: bytes) -> bytes:
    """``body`` in chunks, without the one that ends them."""
    parts = (body[at : at + _CHUNK] for at in range(0, len(body), _CHUNK))
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
