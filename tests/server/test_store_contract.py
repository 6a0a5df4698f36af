"""What every store keeps, whichever database is behind it: stored once, exactly, and only what was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from itertools import count as numbers
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connect_logging.event import new_id
from connect_logging.rules import EventRules
from connect_logging.server.query.parser import parse_query
from connect_logging.server.stores.base import (
    Collection,
    NewEvent,
    QueryTimeoutError,
    StoppedError,
    Store,
    StoreError,
)
from connect_logging.server.stores.shapes import MAX_PROPERTIES

from .stores.backings import BACKINGS, OpenStore, count, event, insert, kept


@pytest.fixture(scope="module", params=BACKINGS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One for all examples of a test: each has a collection of its own."""
    with BACKINGS[request.param](tmp_path_factory.mktemp("store"), request) as opening, closing(opening()) as store:
        yield store


COLLECTIONS = (f"c{number}" for number in numbers())


def test_an_id_is_stored_once_in_its_collection(open_store: OpenStore) -> None:
    with closing(open_store()) as store:
        assert insert(store, event("1"), event("1"), event("2")) == [True, False, True]
        assert insert(store, event("2"), event("3")) == [False, True]
        assert insert(store, event("1"), collection="d") == [True]
        assert insert(store, event("1"), project="q") == [True]
        assert insert(store, event("1"), collection="d") == [False]
    with closing(open_store()) as store:
        assert insert(store, event("1"), event("4")) == [False, True]
        assert [count(store), count(store, "d"), count(store, "c", "q"), count(store, "none")] == [4, 1, 1, 0]


def test_a_request_may_have_very_many_ids_and_long_ones(any_store: Store) -> None:
    ids = [*(new_id() for _ in range(6_000)), *("\x00" * 10_000 + str(number) for number in range(6)), "é" * 32_000]
    documents = [event(each) for each in ids]
    stored = any_store.insert("p", {"c": documents[1:], "d": documents[:1], "e": documents[-1:]}).result(30)
    assert all(all(fresh) for fresh in stored.values())
    stored = any_store.insert("p", {"c": documents, "d": documents[:2], "e": documents[-1:]}).result(30)
    assert [sum(stored[name]) for name in ("c", "d", "e")] == [1, 1, 0]
    assert [count(any_store, name) for name in ("c", "d", "e")] == [len(ids), 2, 1]


def test_the_first_that_was_stored_stays(any_store: Store) -> None:
    assert insert(any_store, NewEvent("1", 1_000_000, b'{"a":1}'), NewEvent("1", 2_000_000, b'{"a":2}')) == [
        True,
        False,
    ]
    assert insert(any_store, NewEvent("1", 3_000_000, b'{"a":3}')) == [False]
    assert kept(any_store) == {"1": {"timestamp": "1970-01-01T00:00:01.000000Z", "a": 1}}


@pytest.mark.parametrize(
    "identity",
    ["", " ", "é", "\x00", "a\x00b", '"', "\\", "\n", "'", ",", "x" * 36, "1" * 30_000, "😀", "NULL", "1.0"],
)
def test_any_text_is_an_id(shared: Store, identity: str) -> None:
    collection = next(COLLECTIONS)
    assert insert(shared, event(identity), event(identity + "!"), collection=collection) == [True, True]
    assert insert(shared, event(identity), collection=collection) == [False]
    assert {*kept(shared, collection)} == {identity, identity + "!"}


@settings(deadline=None, max_examples=20)
@given(st.lists(st.lists(st.text(max_size=2) | st.sampled_from([new_id() for _ in range(5)]), max_size=6), max_size=5))
def test_results_agree_with_a_set(shared: Store, batches: list[list[str]]) -> None:
    collection = next(COLLECTIONS)
    seen: set[str] = set()
    futures = [shared.insert("p", {collection: [event(name) for name in batch]}) for batch in batches]
    for batch, future in zip(batches, futures, strict=True):
        expected = []
        for name in batch:
            expected.append(name not in seen)
            seen.add(name)
        assert list(future.result(30)[collection]) == expected
    assert count(shared, collection) == len(seen)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)  # fmt: skip


@settings(deadline=None, max_examples=20)
@given(st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=8))
def test_what_the_rules_pass_is_kept_exactly(shared: Store, documents: list[Any]) -> None:
    rules = EventRules()
    valid = [{}, *(document for document in documents if not rules.check(document))]
    collection = next(COLLECTIONS)
    insert(shared, *(event(str(place), **document) for place, document in enumerate(valid)), collection=collection)
    found = kept(shared, collection)
    expected = [{**document, "timestamp": "1970-01-01T00:00:00.000000Z"} for document in valid]
    assert [repr_sorted(found[str(place)]) for place in range(len(valid))] == list(map(repr_sorted, expected))


def repr_sorted(document: Any) -> str:
    return json.dumps(document, sort_keys=True)


def test_times_are_kept_to_the_microsecond_from_year_1_to_9999(any_store: Store) -> None:
    moments = [-62135596800000000, -1, 0, 1700000000123456, 253402300799999999]
    insert(any_store, *(NewEvent(str(moment), moment, b"{}") for moment in moments))
    assert [each["timestamp"] for each in kept(any_store).values()] == [
        "0001-01-01T00:00:00.000000Z",
        "1969-12-31T23:59:59.999999Z",
        "1970-01-01T00:00:00.000000Z",
        "2023-11-14T22:13:20.123456Z",
        "9999-12-31T23:59:59.999999Z",
    ]
    [figures] = any_store.collections("p")
    assert (figures.first, figures.last) == (moments[0], moments[-1])


def test_one_bad_request_does_not_take_others_with_it(any_store: Store) -> None:
    bad = any_store.insert("p", {"c": [NewEvent("bad", 0, b"{not json")]})
    good = [any_store.insert("p", {"c": [event(str(number))], "new": [event("1")]}) for number in range(5)]
    with pytest.raises(StoreError, match="could not be stored"):
        bad.result(30)
    assert [future.result(30)["c"] for future in good] == [[True]] * 5
    assert [count(any_store), count(any_store, "new")] == [5, 1]


def test_a_failed_request_leaves_no_collection_behind(any_store: Store) -> None:
    with pytest.raises(StoreError):
        any_store.insert("p", {"a": [event("1")], "b": [NewEvent("1", 0, b"{")]}).result(30)
    assert any_store.collections("p") == []
    assert insert(any_store, event("1"), collection="a") == [True]
    assert insert(any_store, event("1"), collection="b") == [True]


def test_a_query_that_takes_too_long_is_stopped(open_store: OpenStore) -> None:
    """It takes longer than LOOK_AGAIN: the first interruption is lost where the database still plans."""
    with closing(open_store(query_timeout=0.001)) as store:
        insert(store, *(event(str(number), a=number) for number in range(50_000)))
        for slow in (
            {"filter": {f"a{n}": {"neq": "x"} for n in range(15)}, "groupBy": [f"g{n}" for n in range(15)]},
            {"select": {f"m{n}": {"median": f"a{n}"} for n in range(15)}, "interval": "daily", "groupBy": "a"},
            {"select": {f"m{n}": {"distinct": f"a{n}"} for n in range(15)}, "groupBy": "a", "limit": 5},
        ):
            with pytest.raises(QueryTimeoutError, match=r"0\.001 seconds"):
                store.query("p", "c", parse_query(json.dumps(slow), 0))


def test_a_query_that_nobody_waits_for_is_stopped(any_store: Store) -> None:
    insert(any_store, *(event(str(number), a=number) for number in range(20_000)))
    percentiles = {f"m{n}": {"percentile": {"property": "a", "p": n}} for n in range(90)}
    slow = {"select": percentiles, "groupBy": "a", "limit": 5}
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(StoppedError):
        any_store.query("p", "c", parse_query(json.dumps(slow), 0), stopped)
    assert count(any_store) == 20_000


def test_names_are_never_read_as_anything_else(any_store: Store) -> None:
    names = ["../x", "'; DROP TABLE collections; --", "a/b", "A", "a", "é", "{x:String}", "`", "\\", "%s", "\x00"]
    for name in names:
        insert(any_store, event("1"), collection=name)
    assert [count(any_store, name) for name in names] == [1] * len(names)
    assert [each.name for each in any_store.collections("p")] == sorted(names)
    assert any_store.delete("p", names[1]).result(30)
    assert len(any_store.collections("p")) == len(names) - 1


def test_a_deleted_collection_is_gone_for_good_and_may_begin_anew(open_store: OpenStore) -> None:
    with closing(open_store()) as store:
        insert(store, event("1"), event("2"))
        insert(store, event("1"), collection="d")
        insert(store, event("1"), project="q")
        assert store.delete("p", "c").result(30) is True
        assert store.delete("p", "c").result(30) is False
        assert store.delete("p", "never").result(30) is False
        assert [count(store), count(store, "d"), count(store, "c", "q")] == [0, 1, 1]
        assert [each.name for each in store.collections("p")] == ["d"]
        assert store.describe("p", "c") is None
        assert insert(store, event("1"), event("1")) == [True, False]
    with closing(open_store()) as store:
        assert [count(store), count(store, "d"), count(store, "c", "q")] == [1, 1, 1]


def test_deletions_among_pushes_and_queries_never_fail_and_never_mix_collections(any_store: Store) -> None:
    """Each round's events say in which project they are; whoever reads another's would see it."""
    stop = threading.Event()

    def ask(project: str) -> int:
        asked = 0
        while not stop.is_set():
            rows = any_store.query(project, "c", parse_query('{"groupBy": "of"}', 0))
            assert {row["of"] for _, row in rows} <= {project}, rows
            described = any_store.describe(project, "c")
            assert described is None or {each.path for each in described[1]} <= {("of",)}
            assert {each.name for each in any_store.collections(project)} <= {"c"}
            asked += 1
        return asked

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask, project) for project in ("p", "q")]
        pending = []
        for number in range(15):
            for project in ("p", "q"):
                made = [event(f"{number}-{each}", of=project) for each in range(20)]
                pending.append((any_store.insert(project, {"c": made}), any_store.delete(project, "c")))
        for stored, deleted in pending:
            assert sum(stored.result(30)["c"]) == 20
            assert deleted.result(30) in (True, False)
        stop.set()
        assert all(each.result(30) > 0 for each in asking)
    assert {count(any_store, "c", project) % 20 for project in ("p", "q")} == {0}


def test_closing_stores_what_waits_is_final_and_may_be_repeated(open_store: OpenStore) -> None:
    store = open_store()
    waiting = store.insert("p", {"c": [event("1")]})
    store.close()
    store.close()
    assert waiting.result(0) == {"c": [True]}
    with pytest.raises(StoreError):
        store.insert("p", {"c": [event("2")]})
    with pytest.raises(StoreError):
        store.delete("p", "c")
    with closing(open_store()) as store:
        store.check()
        assert count(store) == 1
        assert store.figures().waiting_bytes == 0
        assert store.figures().bytes > 0


def insert_documents(store: Store, documents: list[Any], collection: str = "c", project: str = "p") -> None:
    insert(
        store,
        *(event(f"{place}", **each)._replace(timestamp=place * 1_500_000) for place, each in enumerate(documents)),
        collection=collection,
        project=project,
    )


def line(place: int, document: Any) -> str:
    """An event as a line of JSON, as :func:`insert_documents` makes them."""
    moment = datetime.fromtimestamp(place * 1.5, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    text = json.dumps({"id": f"{place}", "timestamp": moment, **document}, separators=(",", ":"), ensure_ascii=False)
    return text + "\n"


def test_figures_are_exact_for_a_small_collection(any_store: Store) -> None:
    documents: list[Any] = [{}, {"name": "é\n\x00", "n": 1.5}, {"a": {"b": [1, None]}}]
    insert_documents(any_store, documents, "é")
    insert_documents(any_store, documents[:1], "b")
    insert_documents(any_store, [{}], "b", project="q")
    size = sum(len(line(place, document).encode()) for place, document in enumerate(documents))
    assert any_store.collections("p") == [
        Collection("b", 1, len(line(0, {})), 0, 0),
        Collection("é", 3, size, 0, 3_000_000),
    ]
    assert any_store.collections("nobody") == []
    assert any_store.describe("q", "é") is None


def properties(store: Store, *documents: Any) -> dict[str, tuple[str, ...]]:
    insert_documents(store, [*documents])
    described = store.describe("p", "c")
    assert described is not None
    return {".".join(each.path): each.types for each in described[1]}


def test_each_property_is_told_with_all_its_types(any_store: Store) -> None:
    found = properties(
        any_store,
        {"a": 1, "deep": {"er": {"x": True}}, "empty": {}, "list": [1, "a", {"b": 1}], "": {"": 1}},
        {"a": "1", "deep": {"er": None}, "empty": {"not": 1}, "list": 3},
        {"a": None, "n": -1, "N": 1.5, 'q": [': ["e", "a]", '"', ["true", 1e5]], "1.5": "x,1]"},
        {"a": 18446744073709551615, "n": 1e300, "o": [], "a-b c": False, "\\": '\\":', "t": {"true": "null"}},
    )
    assert found == {
        "a": ("string", "number", "null"),
        ".": ("number",),
        "1.5": ("string",),
        "N": ("number",),
        "\\": ("string",),
        "a-b c": ("boolean",),
        "deep.er": ("null",),
        "deep.er.x": ("boolean",),
        "empty": ("object",),
        "empty.not": ("number",),
        "list": ("number", "array"),
        "n": ("number",),
        "o": ("array",),
        'q": [': ("array",),
        "t.true": ("string",),
    }


def test_events_without_properties_have_none(any_store: Store) -> None:
    assert properties(any_store, {}, {}) == {}


def test_of_many_properties_the_first_are_told(any_store: Store) -> None:
    insert_documents(any_store, [{f"p{event:02}{each:03}": 1 for each in range(300)} for event in range(20)])
    described = any_store.describe("p", "c")
    assert described is not None
    assert len(described[1]) == MAX_PROPERTIES
