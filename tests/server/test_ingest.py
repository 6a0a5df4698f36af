"""Bodies become events: by the rules of the client, with a result for each."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_logging._grammar.model import Query
from connect_logging.exceptions import InvalidEventError
from connect_logging.rules import MAX_BATCH_EVENTS, MAX_EVENT_BYTES
from connect_logging.server.ingest import MAX_BATCH_COLLECTIONS, Ingest, MalformedError, TooManyEventsError
from connect_logging.server.stores.base import NewEvents


class MemoryStore:
    """Stores in a dict."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str, str], tuple[int, Any]] = {}

    def insert(self, project: str, events: NewEvents) -> Future[Mapping[str, list[bool]]]:
        future: Future[Mapping[str, list[bool]]] = Future()
        results: dict[str, list[bool]] = {}
        for collection, each in events.items():
            for identity, moment, document in each:
                key = (project, collection, identity)
                results.setdefault(collection, []).append(key not in self.events)
                self.events.setdefault(key, (moment, json.loads(document)))
        future.set_result(results)
        return future

    def query(self, project: str, collection: str, query: Query) -> list[Any]:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def ingest(store: MemoryStore) -> Ingest:
    return Ingest(store, clock=lambda: 1_700_000_000.25, make_id=lambda: "made")


def push(ingest: Ingest, body: bytes, collection: str = "c") -> bool:
    return asyncio.run(ingest.push("p", collection, body))


def batch(ingest: Ingest, document: Any) -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return json.loads(asyncio.run(ingest.push_batch("p", body)))


OK = {"success": True, "duplicate": False, "message": None}
DUPLICATE = {"success": True, "duplicate": True, "message": None}


def test_id_and_time_are_taken_out_of_the_event_or_filled_in(ingest: Ingest, store: MemoryStore) -> None:
    assert push(ingest, b'{"id": 7.0, "timestamp": "2023-11-14T23:13:20.5+01:00", "a": 1.0}')
    assert push(ingest, b"{}")
    assert store.events == {
        ("p", "c", "7"): (1_700_000_000_500_000, {"a": 1.0}),
        ("p", "c", "made"): (1_700_000_000_250_000, {}),
    }


def test_a_name_given_twice_means_its_last_value(ingest: Ingest, store: MemoryStore) -> None:
    push(ingest, b'{"id": 1, "a": 1, "a": 2}')
    assert store.events["p", "c", "1"][1] == {"a": 2}


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"3", b"null", b'"x"', b"{", b'{"a": NaN}', b'{"a": Infinity}', b'{"a": 1e400}', b'{"a": "\\ud800"}',
     b'{"a": "\xff"}', b"\xef\xbb\xbf{}", b"{'a': 1}", b'{"a": 01}', b"[" * 30_000, b'{"a":' * 10_000,
     b'{"a": 1' + b"0" * 5_000 + b"}"],
)  # fmt: skip
def test_what_is_no_json_object_is_malformed(ingest: Ingest, store: MemoryStore, body: bytes) -> None:
    with pytest.raises(MalformedError):
        push(ingest, body)
    result = batch(ingest, {"c": [1]})["c"][0]
    assert (result["success"], result["duplicate"]) == (False, False)
    assert not store.events


def test_broken_rules_are_named(ingest: Ingest) -> None:
    with pytest.raises(InvalidEventError) as caught:
        push(ingest, b'{"a.b": 1, "timestamp": "today", "id": true, "big": 1' + b"0" * 30 + b"}")
    assert set(caught.value.errors) == {"a.b", "timestamp", "id", "big"}
    with pytest.raises(InvalidEventError) as caught:
        push(ingest, b"{}", collection="a/b")
    assert set(caught.value.errors) == {"collection"}


def test_a_dollar_is_accepted(ingest: Ingest, store: MemoryStore) -> None:
    assert push(ingest, b'{"$set": {"$a": 1}}')


def test_the_size_in_a_batch_is_that_of_the_compact_event(ingest: Ingest) -> None:
    fits = {"id": "1", "a": "x" * (MAX_EVENT_BYTES - len('{"id":"1","a":""}'))}
    spaced = json.dumps(fits, indent=8).encode()
    over = {**fits, "a": fits["a"] + "x"}
    numbers = b'{"id":"2","n":[' + b",".join([b"1e15"] * 5_000) + b"]}"  # 25 kB that we would write as 90 kB
    results = batch(ingest, b'{"c":[' + spaced + b"," + json.dumps(over).encode() + b"," + numbers + b"]}")["c"]
    assert [result["success"] for result in results] == [True, False, False]
    assert "65,536" in results[1]["message"]


def test_results_are_in_the_order_of_the_request(ingest: Ingest) -> None:
    document = {"a": [{"id": 1}, {"x.y": 1}, {"id": 1}, 5], "b": [], "a b": [{"id": 1}], "bad/name": [{}, {}]}
    results = batch(ingest, document)
    assert list(results) == list(document)
    assert results["a"][0] == OK
    assert results["a"][2] == DUPLICATE
    assert "x.y" in results["a"][1]["message"]
    assert [result["success"] for result in results["a"]] == [True, False, True, False]
    assert results["b"] == []
    assert results["a b"] == [OK]
    assert [result["success"] for result in results["bad/name"]] == [False, False]


def test_a_duplicate_is_told_from_what_is_new_also_where_nothing_was_refused(ingest: Ingest) -> None:
    assert batch(ingest, {"a": [{"id": 1}, {"id": 2}, {"id": 1}]}) == {"a": [OK, OK, DUPLICATE]}


def test_an_id_counts_for_the_size_of_an_event(ingest: Ingest) -> None:
    assert push(ingest, b'{"text": "its name is known"}')
    [result] = batch(ingest, {"a": [{"id": "x" * 60_000, "text": "y" * 6_000}]})["a"]
    assert "65,536" in result["message"]


@pytest.mark.parametrize(("name", "value"), [("id", True), ("id", 1.5), ("timestamp", "yesterday"), ("timestamp", 1)])
def test_a_bad_id_or_time_is_named_also_where_all_names_are_known(ingest: Ingest, name: str, value: object) -> None:
    assert push(ingest, b'{"n": 1}')
    with pytest.raises(InvalidEventError, match=name):
        push(ingest, json.dumps({"n": 1, name: value}).encode())


def test_every_event_is_counted_once(store: MemoryStore) -> None:
    counts: Counter[str] = Counter()
    ingest = Ingest(store, clock=lambda: 0.0, count=lambda outcome, count: counts.update({outcome: count}))
    for body in (b'{"id": 1}', b'{"id": 1}', b'{"a.b": 1}', b"["):
        with suppress(MalformedError, InvalidEventError):
            push(ingest, body)
    assert counts == {"stored": 1, "duplicate": 1, "rejected": 2}
    batch(ingest, {"c": [{"id": 1}, {"id": 2}, {"a.b": 1}], "d": [{}], "bad/name": [{}, {}]})
    assert counts == {"stored": 3, "duplicate": 2, "rejected": 5}


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"c": {}}', b'{"c": 3}', b'{"c": [}', b'{"c":[{"a":1e}]}', b'{"c":[NaN]}', b'{"c":[{}],"c":[{}]}',
     b'{"errorMessage":[{}]}', b'{"\xff":[]}', b'{"c":' + b"[" * 20_000],
)  # fmt: skip
def test_a_malformed_batch_is_refused_as_a_whole(ingest: Ingest, store: MemoryStore, body: bytes) -> None:
    with pytest.raises(MalformedError):
        batch(ingest, body)
    assert not store.events


def test_what_is_no_array_of_events_is_named(ingest: Ingest) -> None:
    with pytest.raises(MalformedError, match=r"arrays of events: Expected `array`, got `object` - at 'a b'$"):
        batch(ingest, {"c": [{}], "a b": {}})


def test_a_batch_has_5000_events_over_all_its_collections(ingest: Ingest) -> None:
    half = [{} for _ in range(MAX_BATCH_EVENTS // 2)]
    assert len(batch(ingest, {"a": half, "b": half})["b"]) == MAX_BATCH_EVENTS // 2
    with pytest.raises(TooManyEventsError, match="at most 5,000 events, and this one has more"):
        batch(ingest, {"a": half, "b": [*half, {}]})


def test_a_batch_has_500_collections(ingest: Ingest, store: MemoryStore) -> None:
    full = {f"c{number}": [{}] for number in range(MAX_BATCH_COLLECTIONS)}
    assert len(batch(ingest, full)) == MAX_BATCH_COLLECTIONS
    stored = len(store.events)
    with pytest.raises(TooManyEventsError, match="at most 500 collections, and this one has more"):
        batch(ingest, {**full, "more": []})
    assert len(store.events) == stored


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    """Whether what is done takes less than ``limit`` bytes at any time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "body",
    [b'{"c":[' + b"1," * 1_000_000 + b"1]}",
     b'{"c":[' + b"{}," * 1_000_000 + b"{}]}",
     b"{" + b",".join(b'"c%x":[]' % number for number in range(100_000)) + b"}",
     b"{" + b",".join(b'"c%d":[%b1]' % (number, b"1," * 4_999) for number in range(200)) + b"}"],
    ids=["numbers", "objects", "collections", "all"],
)  # fmt: skip
def test_too_many_are_refused_before_they_take_memory(ingest: Ingest, body: bytes) -> None:
    with memory_below(5_000_000), pytest.raises(TooManyEventsError, match="and this one has more"):
        batch(ingest, body)


@pytest.mark.parametrize("values", [b"1.5," * 1_500_000, (b"[" * 80 + b"]" * 80 + b",") * 30_000], ids=["many", "deep"])
def test_an_event_of_too_many_values_is_refused_before_they_take_memory(ingest: Ingest, values: bytes) -> None:
    with memory_below(25_000_000):
        results = batch(ingest, b'{"c":[{"id":1},{"id":2,"x":[' + values + b"1]}]}")["c"]
    assert [result["success"] for result in results] == [True, False]
    assert "at most 65,536 bytes" in results[1]["message"]


def test_a_full_batch_of_large_events_is_stored(ingest: Ingest, store: MemoryStore) -> None:
    properties = {f"p{number}": "a, [b], {c}" for number in range(60)}
    events = [
        {"id": str(number), "timestamp": "2023-11-14T22:13:20Z", **properties} for number in range(MAX_BATCH_EVENTS)
    ]
    body = json.dumps({"c": events}).encode()
    assert batch(ingest, body)["c"] == [OK] * MAX_BATCH_EVENTS
    assert batch(ingest, body)["c"] == [DUPLICATE] * MAX_BATCH_EVENTS
    assert store.events["p", "c", "4999"][1] == properties
    with pytest.raises(MalformedError, match=r"Expected `array`, got `str` - at 'd'$"):
        batch(ingest, json.dumps({"d": "x" * 5_000_000}).encode())


def test_a_batch_without_events_is_answered(ingest: Ingest) -> None:
    assert batch(ingest, {}) == {}
    assert batch(ingest, {"a": []}) == {"a": []}


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,0123456789eE.-+aA\\un ').map(str.encode))
def test_no_body_breaks_it(body: bytes) -> None:
    ingest = Ingest(MemoryStore(), clock=lambda: 0.0)
    for call in (push, batch):
        with suppress(MalformedError, InvalidEventError):
            call(ingest, body)
