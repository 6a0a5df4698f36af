"""What a store tells of its collections: figures, and properties with their types."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connect_logging.server.stores.base import Collection, NewEvent, Property
from connect_logging.server.stores.duckdb import DuckDBStore
from connect_logging.server.stores.duckdb_overview import MAX_PROPERTIES


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


def properties(store: DuckDBStore, *documents: Any) -> dict[str, tuple[str, ...]]:
    insert(store, [*documents])
    described = store.describe("p", "c")
    assert described is not None
    return {".".join(each.path): each.types for each in described[1]}


def line(place: int, document: Any) -> str:
    """An event as a line of JSON, as :func:`insert` makes them."""
    moment = datetime.fromtimestamp(place * 1.5, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    text = json.dumps({"id": f"{place}", "timestamp": moment, **document}, separators=(",", ":"), ensure_ascii=False)
    return text + "\n"


def test_figures_are_exact_for_a_small_collection(store: DuckDBStore) -> None:
    documents: list[Any] = [{}, {"name": "é\n\x00", "n": 1.5}, {"a": {"b": [1, None]}}]
    insert(store, documents, "é")
    insert(store, documents[:1], "b")
    insert(store, [{}], "b", project="q")
    size = sum(len(line(place, document).encode()) for place, document in enumerate(documents))
    assert store.collections("p") == [
        Collection("b", 1, len(line(0, {})), 0, 0),
        Collection("é", 3, size, 0, 3_000_000),
    ]
    assert store.collections("nobody") == []
    assert store.describe("q", "é") is None


def test_each_property_is_told_with_all_its_types(store: DuckDBStore) -> None:
    found = properties(
        store,
        {"a": 1, "deep": {"er": {"x": True}}, "empty": {}, "list": [1, "a", {"b": 1}], "": {"": 1}},
        {"a": "1", "deep": {"er": None}, "empty": {"not": 1}, "list": 3},
        {"a": None, "n": -1, "N": 1.5},
        {"a": 18446744073709551615, "n": 1e300, "o": [], "a-b c": False},
    )
    assert found == {
        "a": ("string", "number", "null"),
        ".": ("number",),
        "N": ("number",),
        "a-b c": ("boolean",),
        "deep.er": ("null",),
        "deep.er.x": ("boolean",),
        "empty": ("object",),
        "empty.not": ("number",),
        "list": ("number", "array"),
        "n": ("number",),
        "o": ("array",),
    }


def test_events_without_properties_have_none(store: DuckDBStore) -> None:
    assert properties(store, {}, {}) == {}


def test_of_many_properties_the_first_are_told(store: DuckDBStore) -> None:
    insert(store, [{f"p{event:02}{each:03}": 1 for each in range(300)} for event in range(20)])
    described = store.describe("p", "c")
    assert described is not None
    assert len(described[1]) == MAX_PROPERTIES


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


def test_where_old_events_were_deleted_the_sample_is_as_large(store: DuckDBStore) -> None:
    documents: list[Any] = [{"n": 1} for _ in range(60_000)]
    documents[36_750]["rare"] = 1
    documents[35_000]["oldest"] = documents[-1]["newest"] = 1
    insert(store, documents)
    assert store.expire(35_000 * 1_500_000) == 35_000
    described = store.describe("p", "c")
    assert described is not None
    figures, found = described
    assert [each.path for each in found] == [("n",), ("newest",), ("oldest",)]
    size = sum(len(line(place, document)) for place, document in [*enumerate(documents)][35_000:])
    assert (figures.events, figures.bytes) == (25_000, pytest.approx(size, rel=0.03))
