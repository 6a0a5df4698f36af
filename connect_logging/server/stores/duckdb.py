"""Events in a DuckDB file: a table per collection, one writer, any number of readers.

    collections(number, project, name)                  the catalogue; a table is named by its number
    events_<number>(key UBIGINT, id, timestamp, doc)    doc: a VARIANT object without id and timestamp

Why it is so:

* A number is never given again, or a query that has just looked one up could read another project's events. So a
  deleted collection leaves its row in the catalogue, without the names.
* ``key`` finds duplicates. It is the front of a UUID, or 64 bits of a digest of another id. Time-ordered ids
  have rising keys, so that DuckDB's zone maps skip all old row groups; random ones cost the scan of one integer
  column. The PRIMARY KEY that was measured instead halved the rate of inserts, and with millions of rows stored
  its ON CONFLICT read the whole table. Ids whose keys are equal are compared themselves.
* A group's events arrive as a parameter a column: JSON arrays, and of the documents a text with one on each line, so
  that DuckDB reads each but once. Within a tenth of an Arrow table, which would need a further package; one JSON array
  of all took a third longer, a parameter a value, or ``executemany``, 1.5 and 100 times as long.
* DuckDB syncs its log at every commit (``fdatasync``), so a commit is what a 200 stands on.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from itertools import compress
from pathlib import Path
from struct import unpack
from typing import Any, Final, NamedTuple, Self, TypeAlias

import duckdb
import msgspec

from ..._grammar.model import Query
from ..query.compiler import Line, compile_query
from ..query.dialect import DuckDBDialect
from .base import Collection, Commit, Figures, NewEvent, NewEvents, Property, Stored, StoreError
from .duckdb_calls import deadline, store_errors
from .duckdb_file import DuckDBFile
from .duckdb_overview import properties, summary
from .group_commit import GroupCommitter

_MAX_GROUP: Final = 16 * 1024 * 1024
"""Bytes of events in one commit: about 50,000 events, half a second's work."""
_EVENT_OVERHEAD: Final = 100
"""Bytes an event weighs besides its document."""
_NO_EVENTS: Final = "(SELECT NULL::VARCHAR AS id, NULL::TIMESTAMP AS timestamp, NULL::VARIANT AS doc WHERE false)"
_UUID_LENGTH: Final = 36
_DASHES: Final = (8, 13, 18, 23)

_Name: TypeAlias = tuple[str, str]
"""Project and collection."""

_encode = msgspec.json.Encoder().encode


class _Insert(NamedTuple):
    project: str
    events: NewEvents


class _Delete(NamedTuple):
    name: _Name


class Held(NamedTuple):
    """A state that the file has, with the first ``log_bytes`` of its log: it holds so many ``events``."""

    log_bytes: int
    events: int


class DuckDBStore:
    """A store in the file ``path``; see :class:`~.base.Store`.

    ``memory_limit``: as DuckDB writes it, ``1GB``. ``query_timeout``: seconds. ``max_waiting``: bytes of events.
    ``on_commit`` is called on the writer's thread.
    Raises StoreError when the file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        memory_limit: str,
        threads: int,
        query_timeout: float,
        max_waiting: int,
        on_commit: Callable[[Commit], object] = lambda commit: None,
    ) -> None:
        self._query_timeout = query_timeout
        self._on_commit = on_commit
        self._committing = threading.Lock()
        self._tables: dict[_Name, str] = {}
        with store_errors("the events cannot be opened"):
            self._file = DuckDBFile(path, memory_limit=memory_limit, threads=threads, on_open=self._read_catalogue)
        self._committer = GroupCommitter[_Insert | _Delete, Any](
            self._commit, max_group=_MAX_GROUP, max_waiting=max_waiting
        )

    def insert(self, project: str, events: NewEvents) -> Future[Stored]:
        """See :meth:`.base.Store.insert`."""
        weight = sum(
            len(event.document) + len(event.id) + _EVENT_OVERHEAD for each in events.values() for event in each
        )
        return self._committer.submit(_Insert(project, events), weight)

    def query(self, project: str, collection: str, query: Query) -> list[Line]:
        """See :meth:`.base.Store.query`. Reads the last commit, beside the writer."""
        table = self._tables.get((project, collection), _NO_EVENTS)
        statement = compile_query(query, table, DuckDBDialect())
        try:
            with self._reading("the query could not be answered") as cursor:
                rows = cursor.execute(statement.sql, statement.parameters).fetchall()
        except StoreError:
            if table == self._tables.get((project, collection), _NO_EVENTS):
                raise
            return self.query(project, collection, query)  # the table was deleted meanwhile
        return [statement.line(row) for row in rows]

    def delete(self, project: str, collection: str) -> Future[bool]:
        """See :meth:`.base.Store.delete`."""
        return self._committer.submit(_Delete((project, collection)), 0)

    def collections(self, project: str) -> list[Collection]:
        """See :meth:`.base.Store.collections`."""
        with self._reading("the collections could not be listed") as cursor:
            cursor.execute("SELECT name, number FROM collections WHERE project = ? ORDER BY name", [project])
            return [summary(cursor, name, _table(number)) for name, number in cursor.fetchall()]

    def describe(self, project: str, collection: str) -> tuple[Collection, list[Property]] | None:
        """See :meth:`.base.Store.describe`."""
        with self._reading("the collection could not be described") as cursor:
            table = _find(cursor, (project, collection))
            if table is None:
                return None
            figures = summary(cursor, collection, table)
            return figures, properties(cursor, table, figures)

    def check(self) -> None:
        """See :meth:`.base.Store.check`."""
        with self._reading("the database does not answer") as cursor:
            cursor.execute("SELECT count(*) FROM collections").fetchall()

    def figures(self) -> Figures:
        """See :meth:`.base.Store.figures`."""
        return Figures(self._committer.waiting, self._file.size)

    @contextmanager
    def held(self) -> Iterator[Held]:
        """Keep the file as it is, for a copy, while inserts go on into the log. One at a time.

        The log must not grow for ever: see :attr:`log_size`. Raises StoreError.
        """
        with store_errors("the events cannot be held"):
            with self._committing:
                self._file.hold(held=True)
                held = Held(self._file.log_size, self.count())
            try:
                yield held
            finally:
                self._file.hold(held=False)

    @property
    def log_size(self) -> int:
        """Bytes of what was committed since the last checkpoint."""
        return self._file.log_size

    def close(self) -> None:
        """See :meth:`.base.Store.close`."""
        self._committer.close()
        with store_errors("the events could not be closed"):
            self._file.close()

    def count(self) -> int:
        """All events of all projects. Raises StoreError."""
        with store_errors("the events cannot be counted"), self._file.cursor() as cursor:
            total = 0
            for table in self._tables.values():
                [(count,)] = cursor.execute(f"SELECT count(*) FROM {table}").fetchall()  # noqa: S608 - a name of ours
                total += count
            return total

    def _read_catalogue(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS collections"
            "(number INTEGER NOT NULL, project VARCHAR NOT NULL, name VARCHAR NOT NULL)"
        )
        rows = connection.execute("SELECT project, name, number FROM collections WHERE name <> ''").fetchall()
        self._tables = {(project, name): _table(number) for project, name, number in rows}

    @contextmanager
    def _reading(self, failure: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """A transaction that reads one state of the file, for as long as a query may take."""
        with (
            store_errors(failure),
            self._file.cursor() as cursor,
            deadline(cursor, self._query_timeout),
        ):
            cursor.begin()
            yield cursor

    def _commit(self, requests: Sequence[_Insert | _Delete]) -> list[Any]:
        """Do ``requests`` in one transaction; on the writer's thread only."""
        with self._committing:
            return self._commit_now(requests)

    def _commit_now(self, requests: Sequence[_Insert | _Delete]) -> list[Any]:
        began = time.perf_counter()
        tables = self._tables
        deleted = {request.name for request in requests if isinstance(request, _Delete)}
        # Readers stop looking for a table before it is gone.
        self._tables = {name: table for name, table in tables.items() if name not in deleted}
        try:
            with (
                store_errors("the events could not be stored or deleted"),
                self._file.cursor() as cursor,
                _Transaction(cursor, tables) as transaction,
            ):
                results = transaction.do(requests)
        except BaseException:
            self._tables = tables
            raise
        self._tables = transaction.tables
        self._on_commit(Commit(time.perf_counter() - began, len(requests), transaction.stored))
        return results


class _Transaction:
    """One transaction of the writer. ``tables`` become the store's once it is committed."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, tables: Mapping[_Name, str]) -> None:
        self._cursor = cursor
        self.tables = dict(tables)
        self.stored = 0
        """New events."""

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

    def do(self, requests: Sequence[_Insert | _Delete]) -> list[Any]:
        """What each of ``requests`` came to. They came together and have no order, so deletions go first."""
        results: list[Any] = [self.delete(request.name) if isinstance(request, _Delete) else {} for request in requests]
        parts: defaultdict[_Name, list[tuple[dict[str, Sequence[bool]], Sequence[NewEvent]]]] = defaultdict(list)
        for request, result in zip(requests, results, strict=True):
            if isinstance(request, _Insert):
                for collection, events in request.events.items():
                    parts[request.project, collection].append((result, events))
        for name, inserts in parts.items():
            fresh = self.insert(name, [event for _, events in inserts for event in events])
            position = 0
            for result, events in inserts:
                result[name[1]] = fresh[position : position + len(events)]
                position += len(events)
        return results

    def delete(self, name: _Name) -> bool:
        """Delete a collection; False when there is none."""
        table = self.tables.pop(name, None)
        if table is not None:
            self._cursor.execute(f"DROP TABLE {table}")
            self._cursor.execute(
                "UPDATE collections SET project = '', name = '' WHERE project = ? AND name = ?", [*name]
            )
        return table is not None

    def insert(self, name: _Name, events: Sequence[NewEvent]) -> list[bool]:
        """Insert what is new among ``events``, and say of each whether it was."""
        keys = _keys([event.id for event in events])
        table = self.tables.get(name)
        seen = self._stored(table, keys) if table else set()
        fresh = []
        for identity, _, _ in events:
            fresh.append(identity not in seen)
            seen.add(identity)
        self.stored += sum(fresh)
        if any(fresh):
            self._append(table or self._create(name), [*compress(keys, fresh)], [*compress(events, fresh)])
        return fresh

    def _append(self, table: str, keys: Sequence[int], events: Sequence[NewEvent]) -> None:
        ids, times, documents = zip(*events, strict=True)
        self._cursor.execute(
            f"INSERT INTO {table}"  # noqa: S608 - a name of ours
            " SELECT key, id, make_timestamp(time), document::JSON::VARIANT FROM (SELECT"
            " unnest(?::JSON::UBIGINT[]) AS key, unnest(?::JSON::VARCHAR[]) AS id, unnest(?::JSON::BIGINT[]) AS time,"
            " unnest(string_split(?, chr(10))) AS document)",
            [*(_encode(column).decode() for column in (keys, ids, times)), b"\n".join(documents).decode()],
        )

    def _stored(self, table: str, keys: Sequence[int]) -> set[str]:
        """The ids in ``table`` that have one of ``keys``.

        In two steps, so that only keys are read of rows that do not match; asked in one, five times slower.
        """
        self._cursor.execute(
            f"SELECT id FROM {table} WHERE rowid IN"  # noqa: S608 - a name of ours
            f" (SELECT rowid FROM {table} WHERE key IN (SELECT unnest(?::JSON::UBIGINT[])))",
            [_encode(keys).decode()],
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


def _find(cursor: duckdb.DuckDBPyConnection, name: _Name) -> str | None:
    """The table of a collection in the state that a transaction reads."""
    cursor.execute("SELECT number FROM collections WHERE project = ? AND name = ?", [*name])
    found = cursor.fetchone()
    return None if found is None else _table(found[0])


def _table(number: int) -> str:
    return f"events_{number}"


def _keys(ids: Sequence[str]) -> Sequence[int]:
    """:func:`_key` of each; when all are UUIDs, as nearly always, in a quarter of the time."""
    text = "".join(ids)
    if {*map(len, ids)} == {_UUID_LENGTH} and all(text[place::_UUID_LENGTH] == "-" * len(ids) for place in _DASHES):
        with suppress(ValueError):  # not hexadecimal
            halves = bytes.fromhex(text.replace("-", ""))
            if len(halves) == 16 * len(ids):  # no white space either
                return unpack(f">{2 * len(ids)}Q", halves)[::2]
    return [*map(_key, ids)]


def _key(identity: str) -> int:
    """64 bits of an id by which its duplicates are looked for; part of the file's format."""
    if len(identity) == _UUID_LENGTH:
        try:
            return int.from_bytes(bytes.fromhex(identity[:8] + identity[9:13] + identity[14:18]), "big")
        except ValueError:
            pass  # another text of this length
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest(), "big")
