"""Events in ClickHouse: one table for all projects, any number of servers in front of it.

The tables and why they are so: :mod:`.clickhouse_tables`. What one server does not know of another: whether it stores
the same id at this moment. Both then answer "stored", and the event is counted once.

An insert whose answer was lost may be there or not; either way it may be sent again. A deletion hides the rows that
are there, a whole block each: an insert is one block.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Final

from ..._grammar.model import Query
from ..query.clickhouse_dialect import ClickHouseDialect
from ..query.compiler import Line, compile_query
from .answers import MAX_ANSWER_LENGTH, collect
from .base import Collection, Commit, Figures, Form, NewEvents, Property, StoppedError, Stored, StoreError
from .clickhouse_address import ClickHouseAddress
from .clickhouse_connection import ClickHouse, Reader, Settings
from .clickhouse_export import Exporter
from .clickhouse_overview import events_of, properties, summaries, summary, times, where
from .clickhouse_tables import make_tables
from .clickhouse_writing import write
from .group_commit import GroupCommitter
from .requests import MAX_GROUP, Delete, Insert, Name

_NEVER: Final = 2**63
"""Microseconds since 1970; versions count from here downwards."""
_LOOK_AGAIN: Final = 10.0
"""Seconds after which a commit asks for the size of the database again."""
_OF_ANSWERS: Final[Settings] = {"max_result_bytes": 4 * MAX_ANSWER_LENGTH, "result_overflow_mode": "throw"}
"""A text in UTF-8 has at most four bytes a character."""
_UNITS: Final = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}


class ClickHouseStore:
    """A store in the database at ``address``; see :class:`~.base.Store`.

    ``memory_limit``: of one query, ``1GB``. ``query_timeout``: seconds. ``max_waiting``: bytes of events.
    ``on_commit`` is called on the writer's thread. ``clock``: seconds since 1970.
    Raises StoreError when the database cannot be used.
    """

    def __init__(
        self,
        address: ClickHouseAddress,
        *,
        memory_limit: str,
        query_timeout: float,
        max_waiting: int,
        on_commit: Callable[[Commit], object] = lambda commit: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._query_timeout = query_timeout
        self._on_commit = on_commit
        self._clock = clock
        self._settings = _bounds(_bytes(memory_limit))
        self._writing = threading.Lock()
        self._version = _NEVER
        self._size = 0
        self._size_known_until = 0.0
        self._database = ClickHouse(address)
        try:
            self._tables = make_tables(self._database)
            self._look_at_size()
        except BaseException:
            self._database.close()
            raise
        self._committer = GroupCommitter[Insert, Stored](self._commit, max_group=MAX_GROUP, max_waiting=max_waiting)
        self._deleter = GroupCommitter[Delete, bool](self._delete, max_group=1, max_waiting=max_waiting)

    def insert(self, project: str, events: NewEvents) -> Future[Stored]:
        """See :meth:`.base.Store.insert`."""
        request = Insert.of(project, events)
        return self._committer.submit(request, request.weight)

    def query(self, project: str, collection: str, query: Query, stopped: threading.Event | None = None) -> list[Line]:
        """See :meth:`.base.Store.query`."""
        source = events_of(self._tables, project, collection)
        with self._reading("the query could not be answered", stopped) as reader:
            statement = compile_query(query, source, ClickHouseDialect(lambda: times(reader, source)))
            return [statement.line(row) for row in collect(reader.blocks(statement.sql, statement.parameters))]

    def delete(self, project: str, collection: str) -> Future[bool]:
        """See :meth:`.base.Store.delete`."""
        return self._deleter.submit(Delete((project, collection)), 1)

    def collections(self, project: str, stopped: threading.Event | None = None) -> list[Collection]:
        """See :meth:`.base.Store.collections`."""
        with self._reading("the collections could not be listed", stopped) as reader:
            return summaries(reader, self._tables, project)

    def describe(
        self, project: str, collection: str, stopped: threading.Event | None = None
    ) -> tuple[Collection, list[Property]] | None:
        """See :meth:`.base.Store.describe`."""
        source = events_of(self._tables, project, collection)
        with self._reading("the collection could not be described", stopped) as reader:
            figures = summary(reader, source)
            return None if figures is None else (figures, properties(reader, source, figures))

    def check(self) -> None:
        """See :meth:`.base.Store.check`."""
        self._database.rows("the database does not answer", f"SELECT id FROM {self._tables.events} LIMIT 0")  # noqa: S608

    def figures(self) -> Figures:
        """See :meth:`.base.Store.figures`. The database's size is that of this server's last commit, about."""
        return Figures(self._committer.waiting, self._size)

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
        """See :meth:`.base.Store.export`. ClickHouse sorts within its bound of memory, on its disk if need be."""
        source = events_of(self._tables, project, collection)
        with self._database.reading("the events could not be exported", self._settings, stopped) as reader:
            exporter = Exporter(reader, source, query)
            if max_events is not None:
                exporter.check(max_events)
            for piece in exporter.pieces(form):
                if stopped.is_set():
                    raise StoppedError("the export was stopped")
                yield piece

    def close(self) -> None:
        """See :meth:`.base.Store.close`."""
        self._committer.close()
        self._deleter.close()
        self._database.close()

    @contextmanager
    def _reading(self, failure: str, stopped: threading.Event | None) -> Iterator[Reader]:
        """For as long as a query may take."""
        with self._database.reading(
            failure, {**self._settings, **_OF_ANSWERS}, stopped or threading.Event(), self._query_timeout
        ) as reader:
            yield reader

    def _commit(self, requests: Sequence[Insert]) -> Sequence[Stored]:
        """Store ``requests``; on the writer's thread only."""
        began = time.perf_counter()
        with self._writing:
            # It falls by one at least, also when the clock was set back: what is stored now is later than what was.
            self._version = min(self._version - 1, _NEVER - self._now())
            results = write(self._database, self._tables, requests, self._version)
        stored = sum(sum(fresh) for result in results for fresh in result.values())
        self._on_commit(Commit(time.perf_counter() - began, len(requests), stored))
        if time.monotonic() >= self._size_known_until:
            with suppress(StoreError):
                self._look_at_size()
        return results

    def _delete(self, requests: Sequence[Delete]) -> list[bool]:
        """Delete collections, not in the middle of a commit; on the deleter's thread only."""
        with self._writing:
            return [self._delete_one(request.name) for request in requests]

    def _delete_one(self, name: Name) -> bool:
        failure, tables = "the collection could not be deleted", self._tables
        source = events_of(tables, *name)
        if not self._database.rows(failure, f"SELECT id {where(source)} LIMIT 1", source.parameters):
            return False
        conditions = " AND ".join(source.conditions)
        self._database.run(
            failure,
            f"DELETE FROM {tables.stored}{tables.on_cluster} WHERE {conditions}",  # noqa: S608 - nothing of a user
            source.parameters,
        )
        return True

    def _look_at_size(self) -> None:
        [(size,)] = self._database.rows(
            "the size of the database is not known",
            "SELECT sum(total_bytes) FROM system.tables WHERE database = {database:String}",
            {"database": self._database.address.database},
        )
        self._size = int(size or 0)
        self._size_known_until = time.monotonic() + _LOOK_AGAIN

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)


def _bytes(size: str) -> int:
    """A size as the settings have it."""
    found = re.fullmatch(r"([\d.]+)([A-Za-z]+)", size)
    assert found is not None, size
    return int(float(found[1]) * _UNITS[found[2]])


def _bounds(memory: int) -> Settings:
    """What is set for all that is read."""
    return {
        "max_memory_usage": memory,
        "max_bytes_before_external_group_by": memory // 2,
        "max_bytes_before_external_sort": memory // 2,
        # An index must not skip the row that counts and leave another one with its key.
        "use_skip_indexes_if_final": 1,
        "use_skip_indexes_if_final_exact_mode": 1,
        "output_format_json_escape_forward_slashes": 0,
        "output_format_json_quote_64bit_integers": 0,
    }
