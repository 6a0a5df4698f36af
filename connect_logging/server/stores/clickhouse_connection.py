"""A ClickHouse that is spoken to: the one place that makes clients and knows what its errors mean.

A statement has a client to itself, which is kept for the next one. So any number of threads may call, and what reads
can be ended by another statement, ``KILL QUERY``, that finds it by a name of ours in its ``log_comment``.

Invariants: what a call raises is a StoreError, or StoppedError or TooManyResultsError of one who reads; its text is
ours, with ClickHouse's name for the error at most, as their texts quote statements, data and addresses. Parameters
never stand in a URL, which libraries write into logs. Tables are named with their database, so that no client has one.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any, Final, NamedTuple, TypeAlias, cast

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, Error
from clickhouse_connect.driver.httputil import get_pool_manager_options
from urllib3 import BaseHTTPResponse, PoolManager
from urllib3.exceptions import HTTPError

from ...exceptions import ConnectError
from .answers import too_large
from .base import QueryTimeoutError, StoppedError, StoreError, StoreUnavailableError
from .clickhouse_address import ClickHouseAddress
from .clickhouse_remedies import remedy
from .interrupting import LOOK_AGAIN, interrupting

Settings: TypeAlias = Mapping[str, int | float | str]
"""Of ClickHouse, for a statement. They are ours; no user's text is among them."""

_CONNECT_WITHIN: Final = 10
"""Seconds."""
_SILENCE: Final = 60
"""Seconds without a byte; ClickHouse tells of its progress more often."""
_CLIENT: Final[Settings] = {
    "max_query_size": 256 * 1024 * 1024,
    "max_ast_elements": 10_000_000,
    "max_expanded_ast_elements": 10_000_000,
    "max_ast_depth": 10_000,
    "max_parser_depth": 10_000,
    "max_parser_backtracks": 100_000_000,
}
"""Statements are ours, however long. These bounds have to be known before one is read."""
_PIECE: Final = 256 * 1024
_TAG: Final = "X-ClickHouse-Exception-Tag"
_TAIL: Final = 64 * 1024
"""Bytes at the end of an answer that an exception may be in."""
_FIELD: Final = 30_000
"""Characters, of at most four bytes."""
_CONNECTIONS: Final = 64
"""That are kept open."""
_FAILED: Final = (ClickHouseError, HTTPError, OSError)

_TIMEOUT: Final = 159
_CANCELLED: Final = 394
_MEMORY: Final = 241
_TOO_MUCH: Final = 396
_UNAVAILABLE: Final = frozenset(
    {
        198,  # DNS_ERROR
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        203,  # NO_FREE_CONNECTION
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        225,  # NO_ZOOKEEPER
        236,  # ABORTED: the server is stopping
        242,  # TABLE_IS_READ_ONLY
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS
        279,  # ALL_CONNECTION_TRIES_FAILED
        285,  # TOO_FEW_LIVE_REPLICAS
        286,  # UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
        319,  # UNKNOWN_STATUS_OF_INSERT
        425,  # SYSTEM_ERROR
        516,  # AUTHENTICATION_FAILED
        999,  # KEEPER_EXCEPTION
    }
)
"""Errors that are of the database's state, whatever it was asked."""


# It writes of every failure, with a traceback, what is raised as well.
logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)


class Column(NamedTuple):
    """A column of an insert. ``type``: as ClickHouse writes it."""

    name: str
    type: str
    values: Sequence[Any]


class _Pool(PoolManager):
    """Connections that carry statements of any length.

    ClickHouse takes 128 KiB in a field of a form, and of several fields with a statement it makes one.
    """

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        fields: Any = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        **more: Any,
    ) -> BaseHTTPResponse:
        """The statement is in no field, in one, or in several."""
        if isinstance(fields, dict) and "query" in fields:
            text = fields["query"]
            parts = [("query", text[at : at + _FIELD]) for at in range(0, len(text), _FIELD)]
            fields = [*parts, *((name, value) for name, value in fields.items() if name != "query")]
        return super().request(method, url, body, fields, headers, json, **more)


class ClickHouse:
    """Safe to share between threads. ``silence``: seconds without a byte after which an answer is given up."""

    def __init__(self, address: ClickHouseAddress, *, silence: int = _SILENCE) -> None:
        self._address = address
        self._silence = silence
        self._lock = threading.Lock()
        self._free: list[Client] = []
        self._pool = _Pool(**get_pool_manager_options(ca_cert=address.ca, maxsize=_CONNECTIONS))
        self._is_closed = False

    @property
    def address(self) -> ClickHouseAddress:
        """Where it is."""
        return self._address

    def run(self, failure: str, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """A statement that answers nothing. ``failure``: what could not be done. Raises StoreError."""
        with self._store_errors(failure), self._client() as client:
            client.raw_query(sql, parameters={**(parameters or {})})  # command() has parameters in the URL

    def rows(self, failure: str, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """All rows of a statement that is answered in no time. Raises StoreError."""
        with self._store_errors(failure), self._client() as client:
            return [tuple(row) for row in client.query(sql, parameters={**(parameters or {})}).result_rows]

    def insert(self, failure: str, table: str, columns: Sequence[Column], settings: Settings) -> None:
        """Store rows, in one block. Raises StoreError."""
        with self._store_errors(failure), self._client() as client:
            client.insert(
                table,
                [column.values for column in columns],
                column_names=[column.name for column in columns],
                column_type_names=[column.type for column in columns],
                column_oriented=True,
                settings={**settings},
            )

    @contextmanager
    def reading(
        self, failure: str, settings: Settings, stopped: threading.Event, seconds: float | None = None
    ) -> Iterator[Reader]:
        """Read until the time is over or ``stopped`` is set. A reader is of one thread, and has one answer at a time.

        Raises QueryTimeoutError, StoppedError or StoreError.
        """
        name = secrets.token_hex(8)
        ends = None if seconds is None else time.monotonic() + seconds
        limited: Settings = {} if seconds is None else {"max_execution_time": seconds}

        def is_over() -> bool:
            return stopped.is_set() or (ends is not None and time.monotonic() >= ends)

        first = LOOK_AGAIN if seconds is None else min(seconds, LOOK_AGAIN)
        try:
            with (
                self._store_errors(failure),
                self._client() as client,
                interrupting(lambda: self._kill(name), first, is_over),
            ):
                yield Reader(client, {**settings, **limited, "log_comment": name})
        except StoreError as error:
            if stopped.is_set():  # an answer that has begun just breaks off then
                raise StoppedError("what was read is not wanted any more") from None
            if seconds is None or not isinstance(error, _EndedError):
                raise
            raise QueryTimeoutError(f"the query was stopped after {seconds:g} seconds: ask for less") from None

    def close(self) -> None:
        """Let go of all connections; those in use follow when they are not any more. May be called again."""
        with self._lock:
            self._is_closed = True
            clients, self._free = self._free, []
        for client in clients:
            client.close()
        self._pool.clear()

    @contextmanager
    def _client(self) -> Iterator[Client]:
        with self._lock:
            client = self._free.pop() if self._free else None
        if client is None:
            client = self._connect()
        try:
            yield client
        finally:
            with self._lock:
                is_kept = not self._is_closed
                if is_kept:
                    self._free.append(client)
            if not is_kept:
                client.close()

    def _connect(self) -> Client:
        address = self._address
        if address.path is not None:
            return clickhouse_connect.get_client(interface="chdb", path=address.path, settings={**_CLIENT})
        return clickhouse_connect.get_client(
            interface="https" if address.scheme == "clickhouses" else "http",
            host=address.host,
            port=address.port,
            username=address.user,
            password=address.password,
            pool_mgr=self._pool,
            connect_timeout=_CONNECT_WITHIN,
            send_receive_timeout=self._silence,
            autogenerate_session_id=False,
            form_encode_query_params=True,
            settings={**_CLIENT},
        )

    @contextmanager
    def _store_errors(self, what: str) -> Iterator[None]:
        """Turn what the client raises into a StoreError. Without its cause, as that has a text."""
        try:
            yield
        except _FAILED as error:
            raise _meaning(what, error, remedy(self._address, error)) from None

    def _kill(self, name: str) -> None:
        """End what reads under ``name``. Were it not, its own bound of time would still end it."""
        cluster = self._address.cluster
        everywhere = f" ON CLUSTER `{cluster}`" if cluster else ""
        with suppress(StoreError):
            self.run(
                "a query could not be stopped",
                f"KILL QUERY{everywhere} WHERE Settings['log_comment'] = {{name:String}} ASYNC",
                {"name": name},
            )


class Reader:
    """Made by :meth:`ClickHouse.reading`, within which its errors have their meaning."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._settings = "".join(
            f"{', ' if place else ' SETTINGS '}{name} = {value!r}"
            for place, (name, value) in enumerate(settings.items())
        )

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """All rows."""
        return [row for block in self.blocks(sql, parameters) for row in block]

    def blocks(self, sql: str, parameters: Mapping[str, Any]) -> Iterator[Sequence[tuple[Any, ...]]]:
        """All rows, some thousand at a time."""
        with self._client.query_row_block_stream(sql + self._settings, parameters={**parameters}) as blocks:
            yield from blocks

    def pieces(self, sql: str, parameters: Mapping[str, Any], form: str) -> Iterator[bytes]:
        """The answer in one of ClickHouse's formats. What failed midway is never taken for the end of it."""
        stream = cast(IO[bytes], self._client.raw_stream(sql + self._settings, parameters={**parameters}, fmt=form))
        tag = getattr(stream, "headers", {}).get(_TAG)
        held = b""
        try:
            while piece := stream.read(_PIECE):
                held += piece
                if len(held) > _TAIL:
                    yield held[:-_TAIL]
                    held = held[-_TAIL:]
        finally:
            stream.close()
        if tag and f"__exception__\r\n{tag}".encode() in held:
            raise ClickHouseError("an exception in the midst of an answer")
        if held:
            yield held


class _EndedError(StoreError):
    """The statement was ended, by a bound of time or by KILL QUERY."""


def _meaning(what: str, error: Exception, remedy: str) -> ConnectError:
    code, name = (error.code, error.name) if isinstance(error, Error) else (None, None)
    if code in (_TIMEOUT, _CANCELLED):
        return _EndedError(f"{what}: the database has ended it")
    if code == _TOO_MUCH:
        return too_large()
    if code == _MEMORY:
        return StoreError(f"{what}: it needs more memory than it may use")
    if code is None:
        return StoreUnavailableError(f"{what}: the database cannot be reached", remedy)
    reason = f"{what}: ClickHouse's error {code}" + (f", {name}" if name else "")
    return (StoreUnavailableError if code in _UNAVAILABLE else StoreError)(reason, remedy)
