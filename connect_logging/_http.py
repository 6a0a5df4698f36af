"""What every request to a server shares: a session whose deadlines hold, and the reading of refusals.

Invariants:

* A timeout is for all that is read after it was set, not for each read: a server that sends a byte a second would
  satisfy any read timeout. Of a stream, the reader sets it again for each piece; see :func:`renew_deadline`.
* The key is in the headers of a request and nowhere else: no password file is read, and :func:`cause` says in a line
  what a request died of, as the HTTP library's exceptions carry the headers.
"""

from __future__ import annotations

import io
import logging
import socket
from typing import Any, Final

import msgspec
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from ._settings import Connection
from ._types import Clock

HTTP_LOGGERS: Final = tuple(
    logging.getLogger(f"urllib3.{module}")
    for module in ("connection", "connectionpool", "poolmanager", "response", "util.retry")
)
"""Those that urllib3 speaks through in a request."""

_NOT_NOW: Final = frozenset({408, 425, 429})
_NEVER: Final = frozenset({501, 505})


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
        connection.deadline_socket.settimeout(timeout)


def error_message(content: bytes) -> str | None:
    """The ``errorMessage`` of a refusal's body; None when it has another shape."""
    try:
        message = msgspec.json.decode(content).get("errorMessage")
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, RecursionError):
        return None
    return message[:500] if isinstance(message, str) else None


def is_temporary(status: int) -> bool:
    """Whether the same request may be answered otherwise later."""
    return status in _NOT_NOW or (status >= 500 and status not in _NEVER)


def retry_after(response: requests.Response) -> float | None:
    """Seconds, of either form of the header; None when absent or unreadable."""
    value = response.headers.get("Retry-After")
    if value is None:
        return None
    try:
        return Retry().parse_retry_after(value)
    except (InvalidHeader, OverflowError, ValueError):
        return None


def cause(error: BaseException) -> str:
    """The innermost cause in a line: the outer texts repeat it among addresses of objects."""
    while isinstance(inner := error.__cause__ or getattr(error, "reason", None) or error.__context__, Exception):
        error = inner
    return f"{type(error).__name__}: {error}"


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No further authentication: without any, requests would look for a password in ~/.netrc."""
    return request


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
            self.deadline_socket = self.sock  # of which a connection that the server closes lets go

    return type("DeadlinePool", (pool,), {"ConnectionCls": DeadlineConnection})


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
