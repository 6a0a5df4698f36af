"""One batch, one POST, one answer. Never retries, never follows a redirect, never raises for what a server does.

Invariants:

* A request ends within its deadline whatever the server does: the deadline is for the whole of it, not for each
  read (a server that sends a byte a second would satisfy any read timeout).
* An :class:`Answer` and its message never hold the key; exceptions of the HTTP library, whose ``request`` carries
  the headers, do not leave this module.
* The body is the events' own bytes, joined.

Source of the meanings of statuses and bodies: sections 2 to 4 of the protocol (docs/http-api.md).
"""

from __future__ import annotations

import gzip
import io
import logging
import socket
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, NoReturn, TypeAlias

import msgspec
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from ._settings import Connection
from ._types import Answer, AnswerKind, Clock, Outcome
from .event import Event

GZIP_FROM: Final = 1_024
"""Bytes. A smaller body fits one packet anyway."""
MAX_ANSWER: Final = 16 * 1024 * 1024
"""Bytes read of an answer: 5,000 results with long messages are far below; an endless body is not."""

_UNAVAILABLE: Final = frozenset({408, 425, 429})
_DENIED: Final = frozenset({401, 403, 407})
_MISDIRECTED: Final = frozenset({404, 405, 410, 501})

_HTTP_LOGGERS: Final = tuple(
    logging.getLogger(f"urllib3.{module}")
    for module in ("connection", "connectionpool", "poolmanager", "response", "util.retry")
)
"""Those that urllib3 speaks through in a request."""

_Results: TypeAlias = dict[str, list[dict[str, Any]]]


class HttpTransport:
    """Pushes batches to one project over a kept-alive connection.

    ``timeout``: seconds for the whole of one request. Used by one thread at a time; :meth:`close` by any.
    """

    def __init__(self, connection: Connection, timeout: float, clock: Clock) -> None:
        self._url = f"{connection.base_url}/events"
        self._headers = {
            "X-Project-Id": connection.project_id,
            "X-Api-Key": connection.api_key,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "connect-logging",
        }
        self._timeout = timeout
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Begin with a session of its own: a forked child must not write to its parent's connection."""
        self._session = requests.Session()
        self._session.auth = _as_it_is
        adapter = _DeadlineAdapter(self._clock)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        self._gzip = False

    def __reduce__(self) -> NoReturn:
        raise TypeError("a transport holds a key and connections, and cannot be pickled")

    def prepare(self) -> None:
        """Wait for logging's lock, should somebody hold it, so that :meth:`push` does not have to.

        A logger that is asked for its level after a change of the configuration takes that lock once.
        ``dictConfig`` holds it while it closes handlers, which wait for what they have under way.
        """
        for logger in _HTTP_LOGGERS:
            logger.isEnabledFor(logging.DEBUG)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def push(self, events: Sequence[Event]) -> Answer:
        """POST ``events`` as one batch. The outcomes are in their order."""
        ordered = sorted(range(len(events)), key=lambda at: events[at].collection)
        body = batch_body([events[at] for at in ordered])
        headers = self._headers
        if self._gzip and len(body) >= GZIP_FROM:
            body = gzip.compress(body, compresslevel=1)
            headers = {**headers, "Content-Encoding": "gzip"}
        try:
            with self._session.post(
                self._url,
                data=body,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                content = response.raw.read(MAX_ANSWER, decode_content=True)
        except Exception as error:  # noqa: BLE001 - whatever a request dies of, its events are to be sent again
            return Answer(AnswerKind.UNAVAILABLE, None, _reason(error))
        self._gzip = "gzip" in response.headers.get("Accept-Encoding", "")
        if response.status_code == 415 and "Content-Encoding" in headers:
            return Answer(AnswerKind.UNAVAILABLE, 415, "the server no longer takes gzip")
        return _read_answer(response, content, events, ordered)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No further authentication: without any, requests would look for a password in ~/.netrc."""
    return request


def batch_body(events: Sequence[Event]) -> bytes:
    """The batch document of ``events``, which lie together by collection; their bytes are used as they are."""
    parts = [
        msgspec.json.encode(collection) + b":[" + b",".join([event.body for event in group]) + b"]"
        for collection, group in groupby(events, attrgetter("collection"))
    ]
    return b"{" + b",".join(parts) + b"}"


def _read_answer(
    response: requests.Response, content: bytes, events: Sequence[Event], ordered: Sequence[int]
) -> Answer:
    status = response.status_code
    if status == 200:
        outcomes = _read_outcomes(content, events, ordered)
        if outcomes is None:
            return Answer(AnswerKind.MISDIRECTED, status, "the answer is not that of a Connect server")
        return Answer(AnswerKind.ANSWERED, status, "", outcomes)
    message = f"HTTP {status}: {_error_message(content) or response.reason or 'no reason given'}"
    if status in _DENIED:
        return Answer(AnswerKind.DENIED, status, message)
    if status < 400 or status in _MISDIRECTED:
        return Answer(AnswerKind.MISDIRECTED, status, message)
    if status == 413:
        return Answer(AnswerKind.TOO_LARGE, status, message)
    if status >= 500 or status in _UNAVAILABLE:
        after = _retry_after(response.headers.get("Retry-After"))
        return Answer(AnswerKind.UNAVAILABLE, status, message, retry_after=after)
    return Answer(AnswerKind.REFUSED, status, message)


def _read_outcomes(content: bytes, events: Sequence[Event], ordered: Sequence[int]) -> tuple[Outcome, ...] | None:
    """One outcome per event in the order of ``events``; None when the answer has another shape."""
    try:
        results = {name: iter(rows) for name, rows in msgspec.json.decode(content, type=_Results).items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    outcomes: list[Outcome | None] = [None] * len(events)
    for at in ordered:
        row = next(results.get(events[at].collection, iter(())), None)
        if row is None or not isinstance(row.get("success"), bool):
            return None
        duplicate = row.get("duplicate") is True
        message = row.get("message")
        outcomes[at] = Outcome(row["success"] or duplicate, duplicate, message if isinstance(message, str) else None)
    return tuple(outcome for outcome in outcomes if outcome is not None)


def _error_message(content: bytes) -> str | None:
    try:
        message = msgspec.json.decode(content).get("errorMessage")
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, RecursionError):
        return None
    return message[:500] if isinstance(message, str) else None


def _retry_after(value: str | None) -> float | None:
    """Seconds, of either form of the header; None when absent or unreadable."""
    if value is None:
        return None
    try:
        return Retry().parse_retry_after(value)
    except (InvalidHeader, OverflowError, ValueError):
        return None


def _reason(error: BaseException) -> str:
    """The innermost cause in a line: the outer texts repeat it among addresses of objects."""
    while isinstance(cause := error.__cause__ or getattr(error, "reason", None) or error.__context__, Exception):
        error = cause
    return f"{type(error).__name__}: {error}"


class _DeadlineSocket:
    """A connected socket whose ``settimeout`` bounds all that is read from then on, not each read."""

    def __init__(self, connected: socket.socket, clock: Clock) -> None:
        self._socket = connected
        self._clock = clock
        self._deadline: float | None = None

    def settimeout(self, timeout: float | None) -> None:
        self._deadline = None if timeout is None else self._clock() + timeout
        self._socket.settimeout(timeout)

    def recv_into(self, *args: Any) -> int:
        if self._deadline is not None:
            left = self._deadline - self._clock()
            if left <= 0:
                raise TimeoutError("the server did not answer in time")
            self._socket.settimeout(left)
        return self._socket.recv_into(*args)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """As socket.makefile("rb"), the one form that http.client uses, but reading through this object."""
        self._socket._io_refs += 1  # type: ignore[attr-defined]  # the file keeps a closed socket's descriptor
        return io.BufferedReader(socket.SocketIO(self, "r"))  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def _deadline_pool(pool: type[HTTPConnectionPool], connection: type[HTTPConnection], clock: Clock) -> Any:
    """``pool`` with connections that wrap their socket once it is connected."""

    class DeadlineConnection(connection):  # type: ignore[valid-type, misc]
        def connect(self) -> None:
            super().connect()
            self.sock: Any = _DeadlineSocket(self.sock, clock)

    return type("DeadlinePool", (pool,), {"ConnectionCls": DeadlineConnection})


class _DeadlineAdapter(HTTPAdapter):
    def __init__(self, clock: Clock) -> None:
        self._pools = {
            "http": _deadline_pool(HTTPConnectionPool, HTTPConnection, clock),
            "https": _deadline_pool(HTTPSConnectionPool, HTTPSConnection, clock),
        }
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def close(self) -> None:
        """Close the connections now: at exit urllib3 leaves that to a finalizer, which may have run already."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - no Mapping: it cannot be iterated
                pool = manager.pools.get(key)
                if pool is not None:
                    pool.close()
        super().close()

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager
