"""Events in a DuckDB file: a table per collection, one writer, any number of readers.

    collections(number, project, name)                  the catalogue; a table is named by its number
    events_<number>(key UBIGINT, id, timestamp, doc)    doc: a VARIANT object without id and timestamp

Why it is so:

* A number is never given again, or a query that has just looked one up could read another project's events. So a
  deleted collection leaves its row in the catalogue, without the names.
* ``key`` finds duplicates; ids whose keys are equal are compared themselves. Time-ordered ids have rising keys, by
  which most are known to be new (:mod:`.duckdb_keys`); of others DuckDB's zone maps skip all old row groups; random
  ones cost the scan of one integer column. The PRIMARY KEY that was measured instead halved the rate of inserts, and
  with millions of rows stored its ON CONFLICT read the whole table.
* A group's events arrive as a parameter a column: JSON arrays, and of the documents a text with one on each line, so
  that DuckDB reads each but once. Within a tenth of an Arrow table, which would need a further package; one JSON array
  of all took a third longer, a parameter a value, or ``executemany``, 1.5 and 100 times as long.
* Where all documents of a group have the same shape, they become a STRUCT and then a VARIANT: the same one in half the
  time, as what JSON makes a VARIANT of is looked at value by value.
* DuckDB syncs its log at every commit (``fdatasync``), so a commit is what a 200 stands on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb

from ..._grammar.model import Query
from ..query.compiler import Line, compile_query
from ..query.dialect import Source
from ..query.duckdb_dialect import DuckDBDialect
from .answers import collect
from .base import Collection, Commit, Figures, Form, NewEvents, Property, StoppedError, Stored, StoreError, TooManyError
from .duckdb_calls import Readers, ran_out_of_memory, stoppable, store_errors
from .duckdb_export import PIECE_BYTES, Exporter
from .duckdb_file import DuckDBFile, bytes_of
from .duckdb_keys import RecentIds
from .duckdb_lines import MICROSECONDS, MILLISECONDS, json_line
from .duckdb_overview import properties, summary, times
from .duckdb_types import PropertyTypes
from .duckdb_writing import (
    EXPIRED_AT_ONCE,
    DeleteEmpty,
    Expire,
    Request,
    Transaction,
    find_table,
    is_empty,
    table_of,
)
from .group_commit import GroupCommitter
from .requests import MAX_GROUP, Delete, Insert, Name

MAX_COLLECTIONS: Final = 10_000
_NO_EVENTS: Final = "(SELECT NULL::VARCHAR AS id, NULL::TIMESTAMP AS timestamp, NULL::VARIANT AS doc WHERE false)"
_JSON_LINES: Final = {"connect": json_line(MILLISECONDS), "jsonl": json_line(MICROSECONDS)}
_FRESH_BYTES: Final = 56 * 1024
"""Of memory that a table takes, however few its events, from the first of them until the log is written into the file,
and that nothing else frees. The log itself has a kilobyte of it."""
_FETCH: Final = 100
"""Rows: of 100 columns some milliseconds' work."""


class Held(NamedTuple):
    """A state that the file has, with the first ``log_bytes`` of its log: it holds so many ``events``."""

    log_bytes: int
    events: int


class DuckDBStore:
    """A store in the file ``path``; see :class:`~.base.Store`.

    ``memory_limit``: as DuckDB writes it, ``1GB``. ``query_timeout``: seconds. ``max_waiting``: bytes of events.
    ``max_collections``: of a project, each of which is a table; those that wait to be made are not counted.
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
        max_collections: int = MAX_COLLECTIONS,
        on_commit: Callable[[Commit], object] = lambda commit: None,
    ) -> None:
        self._query_timeout = query_timeout
        self._max_collections = max_collections
        self._on_commit = on_commit
        self._committing = threading.Lock()
        self._readers = Readers()
        self._tables: dict[Name, str] = {}
        self._fresh: set[str] = set()
        """Tables that may have events in memory alone, and in the log."""
        self._most_fresh = bytes_of(memory_limit) * 2 // 3 // _FRESH_BYTES
        with store_errors(f"the events cannot be opened with DuckDB {duckdb.__version__}"):
            self._file = DuckDBFile(path, memory_limit=memory_limit, threads=threads, on_open=self._read_catalogue)
        self._committer = GroupCommitter[Request, Any](self._commit, max_group=MAX_GROUP, max_waiting=max_waiting)

    def insert(self, project: str, events: NewEvents) -> Future[Stored]:
        """See :meth:`.base.Store.insert`."""
        if new := {collection for collection in events if (project, collection) not in self._tables}:
            there = sum(owner == project for owner, _ in self._tables)
            if there + len(new) > self._max_collections:
                most = f"a project has at most {self._max_collections:,} collections"
                raise TooManyError(f"{most}, and would have one more: {min(new)}")
        request = Insert.of(project, events)
        return self._committer.submit(request, request.weight)

    def query(self, project: str, collection: str, query: Query, stopped: threading.Event | None = None) -> list[Line]:
        """See :meth:`.base.Store.query`. Reads the last commit, beside the writer."""
        table = self._tables.get((project, collection), _NO_EVENTS)
        types = self._types
        try:
            with self._reading("the query could not be answered", stopped) as cursor:
                if types is not self._types:  # rows may have been deleted before the transaction began
                    types = PropertyTypes()
                statement = compile_query(query, Source(table), _dialect(cursor, table, types))
                cursor.execute(statement.sql, statement.parameters)
                return [statement.line(row) for row in collect(_parts(cursor))]
        except StoreError:
            if table == self._tables.get((project, collection), _NO_EVENTS):
                raise
            return self.query(project, collection, query, stopped)  # the table was deleted meanwhile

    def delete(self, project: str, collection: str) -> Future[bool]:
        """See :meth:`.base.Store.delete`."""
        return self._committer.submit(Delete((project, collection)), 0)

    def expire(self, before: int, stopped: threading.Event) -> int:
        """Delete all events from before ``before``, in microseconds since 1970, and collections that are empty then.

        How many events it were. Blocks, for as long as it takes or until ``stopped`` is set; others go on meanwhile.
        Raises StoreError.
        """
        total = 0
        for name in self._tables:
            if stopped.is_set():
                break
            if not self._is_due(name, before):
                continue
            count = EXPIRED_AT_ONCE
            while count == EXPIRED_AT_ONCE and not stopped.is_set():
                count = self._committer.submit(Expire(name, before), 0).result()
                total += count
            self._committer.submit(DeleteEmpty(name), 0).result()
        return total

    def _is_to_go(self, request: Delete | Expire | DeleteEmpty) -> bool:
        """Whether a request ends a collection; on the writer's thread, as nobody else fills one that is empty."""
        if not isinstance(request, DeleteEmpty) or request.name not in self._tables:
            return isinstance(request, Delete)
        with store_errors("an empty collection cannot be found"), self._file.cursor() as cursor:
            return is_empty(cursor, self._tables[request.name])

    def _is_due(self, name: Name, before: int) -> bool:
        """Whether a collection is there, and empty or with old events; looked at beside the writer."""
        with store_errors("old events cannot be found"), self._file.cursor() as cursor:
            cursor.begin()
            table = find_table(cursor, name)
            if table is None:
                return False
            cursor.execute(
                f"SELECT count(*) = 0 OR min(timestamp) < make_timestamp(?) FROM {table}",  # noqa: S608 - ours
                [before],
            )
            [(is_due,)] = cursor.fetchall()
            return bool(is_due)

    def collections(self, project: str, stopped: threading.Event | None = None) -> list[Collection]:
        """See :meth:`.base.Store.collections`."""
        with self._reading("the collections could not be listed", stopped) as cursor:
            cursor.execute("SELECT name, number FROM collections WHERE project = ? ORDER BY name", [project])
            found = [summary(cursor, name, table_of(number)) for name, number in cursor.fetchall()]
        return [each for each in found if each]

    def describe(
        self, project: str, collection: str, stopped: threading.Event | None = None
    ) -> tuple[Collection, list[Property]] | None:
        """See :meth:`.base.Store.describe`."""
        with self._reading("the collection could not be described", stopped) as cursor:
            table = find_table(cursor, (project, collection))
            figures = summary(cursor, collection, table) if table else None
            return (figures, properties(cursor, table, figures)) if table and figures else None

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

    def export(
        self,
        project: str,
        collection: str,
        query: Query,
        form: Form,
        *,
        stopped: threading.Event,
        max_events: int | None = None,
    ) -> Generator[bytes, None, None]:
        """See :meth:`.base.Store.export`. A transaction is open from the first piece to the last, but for Parquet."""
        with (
            store_errors("the events could not be exported"),
            self._file.cursor() as cursor,
            stoppable(cursor, stopped),
        ):
            cursor.begin()
            exporter = Exporter(cursor, find_table(cursor, (project, collection)) or _NO_EVENTS, query)
            if max_events is not None:
                exporter.check(max_events)
            if form == "parquet":
                file = exporter.parquet(self._file.scratch)
            else:
                pieces = exporter.csv() if form == "csv" else exporter.json_lines(_JSON_LINES[form])
                for piece in pieces:
                    if stopped.is_set():
                        raise StoppedError("the export was stopped")
                    yield piece
                return
        with file:
            while piece := file.read(PIECE_BYTES):
                if stopped.is_set():
                    raise StoppedError("the export was stopped")
                yield piece

    def close(self) -> None:
        """See :meth:`.base.Store.close`."""
        self._committer.close()
        self._readers.evict()
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
        self._tables = {(project, name): table_of(number) for project, name, number in rows}
        self._types = PropertyTypes()
        self._recent = RecentIds()
        self._fresh = {*self._tables.values()}  # the log may have events of each

    @contextmanager
    def _reading(self, failure: str, stopped: threading.Event | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A transaction that reads one state of the file, for as long as a query may take."""
        with (
            store_errors(failure),
            self._file.cursor() as cursor,
            self._readers.reading(cursor, self._query_timeout, stopped or threading.Event()),
        ):
            cursor.begin()
            yield cursor

    def _commit(self, requests: Sequence[Request]) -> list[Any]:
        """Do ``requests`` in one transaction; on the writer's thread only."""
        with self._committing:
            try:
                return self._commit_now(requests)
            except StoreError as error:
                if not ran_out_of_memory(error):
                    raise
            self._readers.evict()
            with suppress(StoreError):
                return self._commit_now(requests)
            # Running out in the middle of a commit breaks the open file, which is opened again by now.
            return self._commit_now(requests)

    def _commit_now(self, requests: Sequence[Request]) -> list[Any]:
        began = time.perf_counter()
        with store_errors("the events cannot be opened again"):
            self._file.mend()  # which may have what failed, and then knows more tables
        tables = self._tables
        deleted = {request.name for request in requests if not isinstance(request, Insert) and self._is_to_go(request)}
        if deleted:  # readers stop looking for a table before it is gone
            self._tables = {name: table for name, table in tables.items() if name not in deleted}
        looked_at = self._tables
        try:
            with (
                store_errors("the events could not be stored or deleted"),
                self._file.writer() as cursor,
                Transaction(cursor, tables, self._recent) as transaction,
            ):
                results = transaction.do(requests)
        except BaseException:
            if self._tables is looked_at:  # else somebody has opened the file again, and what is in it is known
                self._tables = tables
            self._recent = RecentIds()  # it may have been told of a state that never came to be
            raise
        finally:
            for expired in {request.name for request in requests if isinstance(request, Expire)} & tables.keys():
                self._types = self._types.without(tables[expired])
        self._tables = transaction.tables
        self._fresh.update(transaction.filled)
        if len(self._fresh) > self._most_fresh:
            self._write_log()
        self._on_commit(Commit(time.perf_counter() - began, len(requests), transaction.stored))
        return results

    def _write_log(self) -> None:
        """Into the file, so that memory need not hold it as well. Where that cannot be now, the next commit tries."""
        with suppress(StoreError), store_errors("the log cannot be written into the file"):
            if self._file.checkpoint():
                self._fresh.clear()


def _dialect(cursor: duckdb.DuckDBPyConnection, table: str, types: PropertyTypes) -> DuckDBDialect:
    if table == _NO_EVENTS:
        return DuckDBDialect()
    return DuckDBDialect(lambda path: types.of(cursor, table, path), lambda: times(cursor, table))


def _parts(cursor: duckdb.DuckDBPyConnection) -> Iterator[list[tuple[Any, ...]]]:
    """All rows. In pieces, as no other thread runs while DuckDB makes Python's objects of them."""
    while part := cursor.fetchmany(_FETCH):
        yield part
