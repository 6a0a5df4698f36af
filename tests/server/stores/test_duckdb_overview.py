"""What a store tells of its collections: figures, and properties with their types."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connect_logging.server.stores.base import NewEvent, Property
from connect_logging.server.stores.duckdb import DuckDBStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckDBStore]:
    path = tmp_path / "events.duckdb"
    with closing(DuckDBStore(path, memory_limit="512MB", threads=2, query_timeout=20, max_waiting=2**27)) as opened:
        yield opened


def insert(store: DuckDBStore, documents: list[Any], collection: str = "c", project: str = "p") -> None:
    events = [
        NewEvent(
            f"{place}", place * 1_500_000, json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
        )
        for place, document in enumerate(documents)
    ]
    store.insert(project, {collection: events}).result(30)


def line(place: int, document: Any) -> str:
    """An event as a line of JSON, as :func:`insert` makes them."""
    moment = datetime.fromtimestamp(place * 1.5, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    text = json.dumps({"id": f"{place}", "timestamp": moment, **document}, separators=(",", ":"), ensure_ascii=False)
    return text + "\n"


def test_of_many_events_a_sample_is_looked_at(store: DuckDBStore) -> None:
    rare = 41_234
    documents = [{"n": number, "text": "x" * (number % 100)} for number in range(60_000)]
    documents[rare]["rare"] = 1
    documents[-1]["newest"] = 1
    documents[0]["oldest"] = 1
    insert(store, documents)
    started = time.perf_counter()
    described = store.describe("p", "c")
    print(f"60,000 events described in {time.perf_counter() - started:.3f} s")
    assert described is not None
    figures, found = described
    assert [each.path for each in found] == [("n",), ("newest",), ("oldest",), ("text",)]
    assert figures.events == 60_000
    exact = sum(len(line(place, document)) for place, document in enumerate(documents))
    assert figures.bytes == pytest.approx(exact, rel=0.03)
    assert found[0] == Property(("n",), ("number",))


def test_newest_events_that_are_larger_count_for_no_more_than_they_are(store: DuckDBStore) -> None:
    """Half of the sample are the newest ones."""
    documents = [{"text": "x" * (20 if number < 59_000 else 4_000)} for number in range(60_000)]
    insert(store, documents)
    [found] = store.collections("p")
    exact = sum(len(line(place, document)) for place, document in enumerate(documents))
    assert found.bytes == pytest.approx(exact, rel=0.03)


def test_where_old_events_were_deleted_the_sample_is_as_large(store: DuckDBStore) -> None:
    documents: list[Any] = [{"n": 1} for _ in range(60_000)]
    documents[36_750]["rare"] = 1
    documents[35_000]["oldest"] = documents[-1]["newest"] = 1
    insert(store, documents)
    assert store.expire(35_000 * 1_500_000, threading.Event()) == 35_000
    described = store.describe("p", "c")
    assert described is not None
    figures, found = described
    assert [each.path for each in found] == [("n",), ("newest",), ("oldest",)]
    size = sum(len(line(place, document)) for place, document in [*enumerate(documents)][35_000:])
    assert (figures.events, figures.bytes) == (25_000, pytest.approx(size, rel=0.03))
