"""Events in a DuckDB file: a table per collection, one writer, any number of readers.

    collections(number, project, name)                  the catalogue; a table is named by its number
    events_<number>(key UBIGINT, id, timestamp, doc)    doc: a VARIANT object without id and timestamp

Why it is so:

* ``key`` finds duplicates. It is the front of a UUID, or 64 bits of a digest of another id. Time-ordered ids
  have rising keys, so that DuckDB's zone maps skip all old row groups; random ones cost the scan of one integer
  column. The PRIMARY KEY that was measured instead halved the rate of inserts, and with millions of rows stored
  its ON CONFLICT read the whole table. Ids whose keys are equal are compared themselves.
* A group's events arrive as one JSON array in one parameter: within a tenth of the fastest way measured that needs
  no further package, where a parameter a value, or ``executemany``, is 1.5 and 100 times slower.
* DuckDB syncs its log at every commit (``fdatasync``), so a commit is what a 200 stands on.
"""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, Self, TypeAlias

import duckdb
import msgspec

from ..query.compiler import Row, compile_query
from ..query.dialect import DuckDBDialect
from ..query.model import Query
from .base import NewEvent, NewEvents, QueryTimeoutError, Stored, StoreError
from .duckdb_file import DuckDBFile
from .group_commit import GroupCommitter

_MAX_GROUP: Final = 16 * 1024 * 1024
"""Bytes of events in one commit: about 50,000 events, half a second's work."""
_EVENT_OVERHEAD: Final = 100
"""Bytes an event weighs besides its document."""
_NO_EVENTS: Final = "(SELECT NULL::VARCHAR AS id, NULL::TIMESTAMP AS timestamp, NULL::VARIANT AS doc WHERE false)"
_INTERRUPT_AGAIN: Final = 0.05
"""Seconds."""
_UUID_LENGTH: Final = 36

_Name: TypeAlias = tuple[str, str]
"""Project and collection."""

_encode_text = msgspec.json.Encoder().encode


class _Insert(NamedTuple):
    project: str
    events: NewEvents


class DuckDBStore:
    """A store in the file ``path``; see :class:`~.base.Store`.

    ``memory_limit``: as DuckDB writes it, ``1GB``. ``query_timeout``: seconds. ``max_waiting``: bytes of events.
    Raises StoreError when the file cannot be opened.
    """

    def __init__(self, path: Path, *, memory_limit: str, threads: int, query_timeout: float, max_waiting: int) -> None:
        self._query_timeout = query_timeout
        self._tables: dict[_Name, str] = {}
        with _errors("the events cannot be opened"):
            self._file = DuckDBFile(path, memory_limit=memory_limit, threads=threads, on_open=self._read_catalogue)
        self._committer = GroupCommitter[_Insert, Stored](self._commit, max_group=_MAX_GROUP, max_waiting=max_waiting)

    def insert(self, project: str, events: NewEvents) -> Future[Stored]:
        """See :meth:`.base.Store.insert`."""
        weight = sum(
            len(event.document) + len(event.id) + _EVENT_OVERHEAD for each in events.values() for event in each
        )
        return self._committer.submit(_Insert(project, events), weight)

    def query(self, project: str, collection: str, query: Query) -> list[Row]:
        """See :meth:`.base.Store.query`. Reads the last commit, beside the writer."""
        statement = compile_query(query, self._tables.get((project, collection), _NO_EVENTS), DuckDBDialect())
        with _errors("the query could not be answered"), self._file.cursor() as cursor:
            try:
                with _deadline(cursor, self._query_timeout):
                    rows = cursor.execute(statement.sql, statement.parameters).fetchall()
            except duckdb.InterruptException:
                raise QueryTimeoutError(
                    f"the query was stopped after {self._query_timeout:g} seconds: ask for less"
                ) from None
        return [statement.row(row) for row in rows]

    def close(self) -> None:
        """See :meth:`.base.Store.close`."""
        self._committer.close()
        with _errors("the events could not be closed"):
            self._file.close()

    def _read_catalogue(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS collections"
            "(number INTEGER NOT NULL, project VARCHAR NOT NULL, name VARCHAR NOT NULL)"
        )
        rows = connection.execute("SELECT project, name, number FROM collections").fetchall()
        self._tables = {(project, name): _table(number) for project, name, number in rows}

    def _commit(self, inserts: Sequence[_Insert]) -> list[Stored]:
        """Store ``inserts`` in one transaction; on the writer's thread only."""
        results: list[dict[str, Sequence[bool]]] = [{} for _ in inserts]
        parts: defaultdict[_Name, list[tuple[dict[str, Sequence[bool]], Sequence[NewEvent]]]] = defaultdict(list)
        for insert, result in zip(inserts, results, strict=True):
            for collection, events in insert.events.items():
                parts[insert.project, collection].append((result, events))
        with (
            _errors("the events could not be stored"),
            self._file.cursor() as cursor,
            _Transaction(cursor, self._tables) as transaction,
        ):
            for name, requests in parts.items():
                fresh = transaction.insert(name, [event for _, events in requests for event in events])
                position = 0
                for result, events in requests:
                    result[name[1]] = fresh[position : position + len(events)]
                    position += len(events)
        self._tables = transaction.tables
        return list(results)


class _Transaction:
    """One transaction of the writer. ``tables`` become the store's once it is committed."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, tables: Mapping[_Name, str]) -> None:
        self._cursor = cursor
        self.tables = dict(tables)

    def __enter__(self) -> Self:
        self._cursor.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Commit, or roll back when the block failed. What neither has ended, closing the cursor does."""
        if kind is None:
            self._cursor.commit()
        else:
            with suppress(duckdb.Error):
                self._cursor.rollback()

    def insert(self, name: _Name, events: Sequence[NewEvent]) -> list[bool]:
        """Insert what is new among ``events``, and say of each whether it was."""
        keys = [_key(event.id) for event in events]
        table = self.tables.get(name)
        seen = self._stored(table, keys) if table else set()
        fresh = []
        rows = []
        for key, (identity, timestamp, document) in zip(keys, events, strict=True):
            is_new = identity not in seen
            fresh.append(is_new)
            if is_new:
                seen.add(identity)
                rows.append(b"[%d,%b,%d,%b]" % (key, _encode_text(identity), timestamp, document))
        if rows:
            self._cursor.execute(
                f"INSERT INTO {table or self._create(name)}"  # noqa: S608 - a name of ours
                " SELECT (event->0)::UBIGINT, event->>1, make_timestamp((event->2)::BIGINT), (event->3)::VARIANT"
                " FROM (SELECT unnest(?::JSON::JSON[]) AS event)",
                [f"[{b','.join(rows).decode()}]"],
            )
        return fresh

    def _stored(self, table: str, keys: Sequence[int]) -> set[str]:
        """The ids in ``table`` that have one of ``keys``.

        In two steps, so that only keys are read of rows that do not match; asked in one, five times slower.
        """
        self._cursor.execute(
            f"SELECT id FROM {table} WHERE rowid IN"  # noqa: S608 - a name of ours
            f" (SELECT rowid FROM {table} WHERE key IN (SELECT unnest(?::JSON::UBIGINT[])))",
            [f"[{','.join(map(str, keys))}]"],
        )
        return {identity for (identity,) in self._cursor.fetchall()}

    def _create(self, name: _Name) -> str:
        """The table of a collection that has none."""
        [number] = self._cursor.execute("SELECT coalesce(max(number), 0) + 1 FROM collections").fetchall()[0]
        self._cursor.execute("INSERT INTO collections VALUES (?, ?, ?)", [number, *name])
        self._cursor.execute(
            f"CREATE TABLE {_table(number)}"
            "(key UBIGINT NOT NULL, id VARCHAR NOT NULL, timestamp TIMESTAMP NOT NULL, doc VARIANT NOT NULL)"
        )
        return self.tables.setdefault(name, _table(number))


@contextmanager
def _deadline(cursor: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    """Interrupt ``cursor`` once the time is over, again and again: while it plans, it does not listen."""
    done = threading.Event()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            cursor.interrupt()
            wait = _INTERRUPT_AGAIN

    watcher = threading.Thread(target=watch, name="query-deadline", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


@contextmanager
def _errors(what: str) -> Iterator[None]:
    """Turn what DuckDB raises into a StoreError, with its first line for the reason."""
    try:
        yield
    except duckdb.Error as error:
        raise StoreError(f"{what}: {str(error).partition(chr(10))[0]}") from error


def _table(number: int) -> str:
    return f"events_{number}"


def _key(identity: str) -> int:
    """64 bits of an id by which its duplicates are looked for; part of the file's format."""
    if len(identity) == _UUID_LENGTH:
        try:
            return int.from_bytes(bytes.fromhex(identity[:8] + identity[9:13] + identity[14:18]), "big")
        except ValueError:
            pass  # another text of this length
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest(), "big")
