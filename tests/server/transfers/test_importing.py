"""An import: what is committed, counted and told, also when it ends early."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from typing import Any

import pytest

from connect_logging._grammar.model import Query
from connect_logging.server.ingest import Ingest
from connect_logging.server.stores.base import NewEvents, StoppedError, Store, StoreBusyError, Stored, StoreError
from connect_logging.server.stores.duckdb import DuckDBStore
from connect_logging.server.transfers.importing import MAX_ERRORS, Import, LineError
from connect_logging.server.transfers.lines import Line


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBStore]:
    path = tmp_path_factory.mktemp("store") / "events.duckdb"
    with closing(DuckDBStore(path, memory_limit="256MB", threads=1, query_timeout=9, max_waiting=2**26)) as opened:
        yield opened


class Recorded:
    """An import of which all calls are kept. ``at``: the time of events that have none."""

    def __init__(self, store: Store, collection: str, **options: Any) -> None:
        self.counts = {"stored": 0, "duplicate": 0, "rejected": 0}
        self.reported: list[tuple[int, int]] = []
        self.stopped = threading.Event()
        self.run = Import(
            store,
            Ingest(store, lambda: 1.5),
            "p",
            collection,
            count=self._count,
            report=lambda: self.reported.append((self.run.progress.lines, self.run.progress.imported)),
            stopped=self.stopped,
            **options,
        )

    def _count(self, outcome: str, count: int) -> None:
        self.counts[outcome] += count


def numbered(*lines: bytes | None) -> list[Line]:
    return [*enumerate(lines, 1)]


def events(store: DuckDBStore, collection: str) -> list[dict[str, Any]]:
    exported = b"".join(store.export("p", collection, Query(), "connect", stopped=threading.Event()))
    return [json.loads(line) for line in exported.splitlines()]


def test_good_lines_are_stored_and_bad_ones_told_of_by_number(store: DuckDBStore) -> None:
    recorded = Recorded(store, "some")
    recorded.run.feed(
        numbered(
            b'{"id":1,"a":2}',
            b"{",
            None,
            b'{"id":"1"}',
            b"[]",
            b'{"_id":1}',
            b'{"id":2}',
            b'{"a":"%s"}' % (b"x" * 65_600),
        )
    )
    progress = recorded.run.progress
    assert (progress.lines, progress.imported, progress.duplicates, progress.failed) == (8, 2, 1, 5)
    assert [error.line for error in progress.errors] == [2, 3, 5, 6, 8]
    assert progress.errors[1] == LineError(3, "a line has at most 1,048,576 bytes")
    assert "65,536" in progress.errors[-1].message
    assert recorded.counts == {"stored": 2, "duplicate": 1, "rejected": 5}
    assert events(store, "some") == [
        {"id": "1", "timestamp": "1970-01-01T00:00:01.500Z", "a": 2},
        {"id": "2", "timestamp": "1970-01-01T00:00:01.500Z"},
    ]


def test_many_lines_are_committed_in_chunks_in_their_order(store: DuckDBStore) -> None:
    recorded = Recorded(store, "many")
    recorded.run.feed((number, b'{"id":%d}' % number) for number in range(1, 12_001))
    assert recorded.reported == [(5_000, 5_000), (10_000, 10_000), (12_000, 12_000)]


def test_large_events_are_committed_in_chunks_of_bytes(store: DuckDBStore) -> None:
    recorded = Recorded(store, "large")
    recorded.run.feed((number, b'{"id":%d,"a":"%s"}' % (number, b"x" * 60_000)) for number in range(1, 151))
    assert [lines for lines, _ in recorded.reported] == [70, 140, 150]


def test_what_was_committed_stays_when_the_source_breaks_off(store: DuckDBStore) -> None:
    def breaking() -> Iterator[Line]:
        for number in range(1, 7_001):
            yield number, b'{"id":%d}' % number
        raise OSError("gone")

    recorded = Recorded(store, "broken")
    with pytest.raises(OSError, match="gone"):
        recorded.run.feed(breaking())
    assert (recorded.run.progress.lines, recorded.run.progress.imported) == (5_000, 5_000)
    again = Recorded(store, "broken")
    again.run.feed((number, b'{"id":%d}' % number) for number in range(1, 7_001))
    assert (again.run.progress.imported, again.run.progress.duplicates) == (2_000, 5_000)


def test_it_stops_when_it_is_told_to(store: DuckDBStore) -> None:
    recorded = Recorded(store, "stopped")

    def lines() -> Iterator[Line]:
        for number in range(1, 20_000):
            if number == 6_000:
                recorded.stopped.set()
            yield number, b"{}"

    with pytest.raises(StoppedError):
        recorded.run.feed(lines())
    assert recorded.run.progress.lines == 5_000


def test_lines_without_an_id_get_one_by_their_number(store: DuckDBStore) -> None:
    for _ in range(2):
        recorded = Recorded(store, "numbered", make_id=lambda number: f"line {number}")
        recorded.run.feed(numbered(b"{}", b'{"id":"own"}', b"{}"))
    assert [event["id"] for event in events(store, "numbered")] == ["line 1", "line 3", "own"]
    assert recorded.run.progress.duplicates == 3


def test_errors_are_bounded_in_number_and_length(store: DuckDBStore) -> None:
    recorded = Recorded(store, "bad")
    long_name = b'{"%s.":{"%s.":1}}' % (b"n" * 600, b"m" * 600)
    recorded.run.feed((number, long_name) for number in range(1, 301))
    progress = recorded.run.progress
    assert (progress.failed, len(progress.errors), progress.lines) == (300, MAX_ERRORS, 300)
    assert all(len(error.message) <= 501 for error in progress.errors)


class Failing:
    """A store that is busy twice, then stores nothing and says so. ``error``: what its futures fail with."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked = 0
        self._error = error

    def insert(self, project: str, events: NewEvents) -> Future[Stored]:
        self.asked += 1
        if self.asked < 3:
            raise StoreBusyError("full")
        future: Future[Stored] = Future()
        if self._error:
            future.set_exception(self._error)
        else:
            future.set_result({name: [True] * len(each) for name, each in events.items()})
        return future


def test_a_store_that_has_too_much_waiting_is_asked_again() -> None:
    store = Failing()
    recorded = Recorded(store, "c")  # type: ignore[arg-type]
    recorded.run.feed(numbered(b"{}", b"{}"))
    assert (store.asked, recorded.run.progress.imported) == (3, 2)


def test_who_waits_for_a_busy_store_can_be_stopped() -> None:
    recorded = Recorded(Failing(), "c")  # type: ignore[arg-type]

    def lines() -> Iterator[Line]:
        yield 1, b"{}"
        recorded.stopped.set()

    with pytest.raises(StoppedError):
        recorded.run.feed(lines())
    assert recorded.run.progress.lines == 0


def test_a_store_that_fails_ends_the_import() -> None:
    recorded = Recorded(Failing(StoreError("no disk")), "c")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="no disk"):
        recorded.run.feed(numbered(b"{}"))
    assert (recorded.run.progress.lines, recorded.counts["stored"]) == (0, 0)
