"""What every request to a server shares: a session whose deadlines hold, and the reading of refusals.

Invariants:

* A timeout is for the whole of a request from the connection on, proxy and TLS included, not for each read: a server
  that sends a byte a second would satisfy any read timeout. Only the look for the host's addresses is outside of it.
  Of a stream, the reader sets it again for each piece; see :func:`renew_deadline`.
* An answer is the final one: those before it are read past.
* The key is in the headers of a request and nowhere else: no password file is read, :func:`cause` says in a line what a
  request died of, as the HTTP library's exceptions carry the headers, and :func:`hide` takes it out of what a server
  says.
"""

from __future__ import annotations

import http.client
import io
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from email.utils import mktime_tz, parsedate_tz
from typing import Any, Final

import msgspec
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, InvalidHeader, NewConnectionError
from urllib3.util import Retry
from urllib3.util.connection import allowed_gai_family

from ._settings import Connection
from ._types import Clock

HTTP_LOGGERS: Final = tuple(
    logging.getLogger(f"urllib3.{module}")
    for module in ("connection", "connectionpool", "poolmanager", "response", "util.retry")
)
"""Those that urllib3 speaks through in a request."""

_NOT_NOW: Final = frozenset({408, 425, 429})
_NEVER: Final = frozenset({501, 505})
_SHORTEST_KEY: Final = 8
"""Characters. A shorter one is nobody's key, and part of many words."""
_LEAST: Final = 0.001
"""Seconds. Zero would be a socket that never waits."""


def open_session(clock: Clock, connections: int) -> requests.Session:
    """A session that keeps up to ``connections`` to its server, sends no other authentication and retries nothing."""
    session = requests.Session()
    session.auth = _as_it_is
    adapter = _DeadlineAdapter(clock, connections)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def headers_of(connection: Connection) -> dict[str, str]:
    """Who asks, and in what form the answer is wanted."""
    return {
        "X-Project-Id": connection.project_id,
        "X-Api-Key": connection.api_key,
        "Accept": "application/json",
        "User-Agent": "connect-logging",
    }


def renew_deadline(response: requests.Response, timeout: float) -> None:
    """``timeout`` seconds from now for what is read of a streamed ``response`` until the next call."""
    connection: Any = response.raw.connection
    if connection is not None:  # else all has been read
        connection.deadline_socket.renew(timeout)


def error_message(content: bytes) -> str | None:
    """The ``errorMessage`` of a refusal's body; None when it has another shape."""
    try:
        message = msgspec.json.decode(content).get("errorMessage")
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, RecursionError):
        return None
    return message[:500] if isinstance(message, str) else None


def hide(content: bytes, key: str) -> bytes:
    """``content`` of a server, which may repeat what it was sent, without the key."""
    return content.replace(key.encode(), b"(the key)") if len(key) >= _SHORTEST_KEY else content


def reason(response: requests.Response, key: str) -> str:
    """Of a status without a body that says more."""
    return hide((response.reason or "no reason given").encode(), key).decode()


def is_temporary(status: int) -> bool:
    """Whether the same request may be answered otherwise later."""
    return status in _NOT_NOW or (status >= 500 and status not in _NEVER)


def retry_after(response: requests.Response) -> float | None:
    """Seconds, of either form of the header; None when absent or unreadable.

    A date is by the server's clock, and so from the answer's own date on where there is one: by ours, one that is an
    hour behind would make an hour of a second.
    """
    value = response.headers.get("Retry-After")
    if value is None:
        return None
    try:
        said, until = _moment(response.headers.get("Date")), _moment(value)
        if said is not None and until is not None:
            value = str(max(0, until - said))
        return Retry().parse_retry_after(value)
    except (InvalidHeader, OverflowError, ValueError):
        return None


def _moment(date: str | None) -> int | None:
    """Of a date as headers have it, in seconds since 1970; None for anything else."""
    with suppress(OverflowError, ValueError):  # a year of eight digits
        read = None if date is None else parsedate_tz(date)
        return None if read is None else mktime_tz(read)
    return None


def cause(error: BaseException, key: str) -> str:
    """The innermost cause in a line: the outer texts repeat it among addresses of objects."""
    while isinstance(inner := error.__cause__ or getattr(error, "reason", None) or error.__context__, Exception):
        if isinstance(error, http.client.IncompleteRead):
            break
        error = inner
    if isinstance(error, http.client.IncompleteRead):  # within it is what could not be made of no bytes
        return "the answer broke off"
    return hide(f"{type(error).__name__}: {error}".encode(errors="backslashreplace"), key).decode()


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No further authentication: without any, requests would look for a password in ~/.netrc."""
    return request


class _FinalResponse(http.client.HTTPResponse):
    """Past 100 http.client reads, of other interim answers it takes the first for the final one."""

    def _read_status(self) -> tuple[str, int, str]:
        read: Callable[[], tuple[str, int, str]] = super()._read_status  # type: ignore[misc]
        version, status, reason = read()
        while 100 <= status < 200:
            if status == 101:
                raise http.client.BadStatusLine("101, and nobody has asked for another protocol")
            http.client.parse_headers(self.fp)
            version, status, reason = read()
        return version, status, reason


class _DeadlineSocket:
    """A connected socket from which all is read by one deadline, which only :meth:`renew` puts off."""

    def __init__(self, connected: socket.socket, clock: Clock, timeout: float) -> None:
        self._socket = connected
        self._clock = clock
        self.renew(timeout)

    def renew(self, timeout: float) -> None:
        """``timeout`` seconds from now."""
        self._deadline = self._clock() + timeout
        self._socket.settimeout(max(timeout, _LEAST))

    def settimeout(self, timeout: float) -> None:
        """Not later than before: urllib3 sets it anew between a request and its answer."""
        self.renew(min(timeout, self._deadline - self._clock()))

    def recv_into(self, *args: Any) -> int:
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
    """``pool`` with connections of which a request has ``timeout`` seconds, and what connects for it a part of them."""

    class DeadlineConnection(connection):  # type: ignore[valid-type, misc]
        host: str
        timeout: float
        response_class = _FinalResponse
        _deadline: float | None = None

        def request(self, *args: Any, **options: Any) -> None:
            if self.sock is not None:
                self.sock.renew(self._left())
            super().request(*args, **options)

        def getresponse(self) -> Any:
            self._deadline = None  # the socket keeps it; another request has its own
            return super().getresponse()

        def connect(self) -> None:
            self._left()
            super().connect()
            self.sock: Any = _DeadlineSocket(self.sock, clock, self._left())
            self.deadline_socket = self.sock  # of which a connection that the server closes lets go

        def _new_conn(self) -> socket.socket:
            """Connected to one of the host's addresses. One that does not answer leaves as much time to each other."""
            host, timeout = self.host, self.timeout
            addresses = _addresses(host, self.port)
            try:
                for tried, self.host in enumerate(addresses, start=1):
                    self.timeout = self._left() / (1 + len(addresses) - tried)
                    try:
                        connected: socket.socket = super()._new_conn()
                    except (ConnectTimeoutError, NewConnectionError):
                        if tried == len(addresses):
                            raise
                    else:
                        connected.settimeout(self._left())
                        return connected
                raise AssertionError("a host has an address")
            finally:
                self.host, self.timeout = host, timeout

        def _tunnel(self) -> None:
            connected = self.sock
            self.sock = _DeadlineSocket(connected, clock, self._left())
            try:
                super()._tunnel()
            finally:
                self.sock = connected
            connected.settimeout(self._left())  # for TLS, which is to have the socket itself

        def _left(self) -> float:
            """Seconds of the request that is under way, or begins now."""
            if self._deadline is None:
                self._deadline = clock() + self.timeout
            return max(self._deadline - clock(), _LEAST)

    return type("DeadlinePool", (pool,), {"ConnectionCls": DeadlineConnection})


def _addresses(host: str, port: int) -> list[str]:
    """Of ``host``; itself where they cannot be found, which urllib3 is to tell."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, allowed_gai_family(), socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return [host]
    return [str(address[0]) for *_, address in found]


class _DeadlineAdapter(HTTPAdapter):
    def __init__(self, clock: Clock, connections: int) -> None:
        self._pools = {
            "http": _deadline_pool(HTTPConnectionPool, HTTPConnection, clock),
            "https": _deadline_pool(HTTPSConnectionPool, HTTPSConnection, clock),
        }
        super().__init__(pool_connections=1, pool_maxsize=connections, max_retries=0)

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
