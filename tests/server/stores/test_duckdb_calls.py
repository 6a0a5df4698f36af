"""Reads end when their time is over, when nobody waits for them, and when events need their memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

from connect_logging.server.stores.base import NewEvent, QueryTimeoutError, StoppedError, StoreError
from connect_logging.server.stores.duckdb import DuckDBStore
from connect_logging.server.stores.duckdb_calls import Readers, ran_out_of_memory, store_errors

ENDLESS = "SELECT count(*) FROM range(1_000_000_000_000) AS r(i) WHERE i % 7 = 3"


@pytest.fixture
def readers() -> Readers:
    return Readers()


def read(readers: Readers, seconds: float, stopped: threading.Event, begun: threading.Event) -> None:
    """Read without end."""
    with closing(duckdb.connect()) as connection, readers.reading(connection, seconds, stopped):
        begun.set()
        connection.execute(ENDLESS)


def test_a_read_ends_when_its_time_is_over(readers: Readers) -> None:
    with pytest.raises(QueryTimeoutError, match=r"stopped after 0\.05 seconds"):
        read(readers, 0.05, threading.Event(), threading.Event())


def test_a_read_ends_when_it_is_stopped_or_has_to_leave(readers: Readers) -> None:
    stopped, begun = threading.Event(), [threading.Event() for _ in range(3)]
    with ThreadPoolExecutor(3) as threads:
        one = threads.submit(read, readers, 60, stopped, begun[0])
        others = [threads.submit(read, readers, 60, threading.Event(), each) for each in begun[1:]]
        for each in begun:
            assert each.wait(9)
        stopped.set()
        with pytest.raises(StoppedError):
            one.result(9)
        readers.evict()
        assert not readers._reading
        for other in others:
            with pytest.raises(StoreError, match="needed its memory"):
                other.result(9)
    readers.evict()


class ShortOfMemory(DuckDBStore):
    """Whose first commits fail as those do for which no memory is left."""

    failures: Sequence[duckdb.Error] = ()

    def _commit_now(self, requests: Any) -> list[Any]:
        errors = iter(self.failures)
        self.failures = list(self.failures[1:])
        with store_errors("the events could not be stored"):
            for error in errors:
                raise error
        return super()._commit_now(requests)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ShortOfMemory]:
    path = tmp_path / "events.duckdb"
    with closing(ShortOfMemory(path, memory_limit="256MB", threads=1, query_timeout=60, max_waiting=1_000)) as opened:
        yield opened


OUT = duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate data of size 2.0 KiB")
OUT_IN_COMMIT = duckdb.TransactionException("Failed to commit: failed to allocate data of size 512 bytes")
OUT_OF_BLOCKS, OUT_OF_PINS, OUT_OF_ROOM, OUT_OF_RESERVES = (
    duckdb.TransactionException(f"Failed to commit: {what} of size 4.0 KiB (1/1 used)")
    for what in (
        "could not allocate block",
        "failed to pin block",
        "failed to offload data block",
        "failed to reserve memory data",
    )
)
BROKEN = duckdb.FatalException("FATAL Error: database has been invalidated")


@pytest.mark.parametrize(
    "failures",
    [
        [OUT],
        [OUT_IN_COMMIT],
        [OUT_IN_COMMIT, BROKEN],
        [OUT_OF_BLOCKS, BROKEN],
        [OUT_OF_PINS, BROKEN],
        [OUT_OF_ROOM],
        [OUT_OF_RESERVES],
        [OUT, OUT],
    ],
)
def test_events_are_stored_with_the_memory_of_those_who_read(
    store: ShortOfMemory, failures: Sequence[duckdb.Error]
) -> None:
    begun = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(read, store._readers, 60, threading.Event(), begun)
        assert begun.wait(9)
        store.failures = failures
        assert store.insert("p", {"c": [NewEvent("1", 0, json.dumps({}).encode())]}).result(9) == {"c": [True]}
        with pytest.raises(StoreError, match="needed its memory"):
            reading.result(9)


@pytest.mark.parametrize("failures", [[BROKEN], [OUT, OUT, OUT]])
def test_what_memory_does_not_help_fails(store: ShortOfMemory, failures: Sequence[duckdb.Error]) -> None:
    store.failures = failures
    with pytest.raises(StoreError) as caught:
        store.insert("p", {"c": [NewEvent("1", 0, b"{}")]}).result(9)
    assert ran_out_of_memory(caught.value) == (failures[0] is OUT)
    assert store.count() == 0
