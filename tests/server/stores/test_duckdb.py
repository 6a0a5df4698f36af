"""The DuckDB store: stored once, exactly, and only what was asked."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connect_logging.event import new_id
from connect_logging.rules import EventRules
from connect_logging.server.query.answer import TooManyResultsError
from connect_logging.server.query.parser import parse_query
from connect_logging.server.stores.base import NewEvent, QueryTimeoutError, StoreError
from connect_logging.server.stores.duckdb import DuckDBStore
from connect_logging.server.stores.duckdb_writing import DeleteEmpty, Expire, Insert


def open_store(path: Path, *, query_timeout: float = 20, memory_limit: str = "512MB") -> DuckDBStore:
    return DuckDBStore(path, memory_limit=memory_limit, threads=2, query_timeout=query_timeout, max_waiting=2**27)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[DuckDBStore]:
    with closing(open_store(path)) as opened:
        yield opened


def event(identity: str, /, **properties: Any) -> NewEvent:
    return NewEvent(identity, 0, json.dumps(properties).encode())


def insert(store: DuckDBStore, *events: NewEvent, collection: str = "c", project: str = "p") -> list[bool]:
    return list(store.insert(project, {collection: events}).result(30)[collection])


def count(store: DuckDBStore, collection: str = "c", project: str = "p") -> int:
    found: int = store.query(project, collection, parse_query("{}", 0))[0].row["_count"]
    return found


def test_an_id_is_stored_once_in_its_collection(path: Path) -> None:
    with closing(open_store(path)) as store:
        assert insert(store, event("1"), event("1"), event("2")) == [True, False, True]
        assert insert(store, event("2"), event("3")) == [False, True]
        assert insert(store, event("1"), collection="d") == [True]
        assert insert(store, event("1"), project="q") == [True]
        assert insert(store, event("1"), collection="d") == [False]
    with closing(open_store(path)) as store:
        assert insert(store, event("1"), event("4")) == [False, True]
        assert [count(store), count(store, "d"), count(store, "c", "q"), count(store, "none")] == [4, 1, 1, 0]


def test_ids_with_equal_keys_are_told_apart(store: DuckDBStore) -> None:
    # What differs is behind the part of a UUID that the key is made of.
    front = str(uuid.uuid4())[:20]
    same_key = [front + f"{number:016x}" for number in range(3)]
    assert insert(store, event(same_key[0]), event(same_key[1])) == [True, True]
    assert insert(store, event(same_key[1]), event(same_key[2])) == [False, True]


UUID = "0190a1b2-c3d4-7e5f-8123-456789abcdef"


@pytest.mark.parametrize(
    "ids",
    [
        [UUID, UUID.upper(), UUID.replace("e", "E")],
        [UUID[:-1], "f" + UUID],  # joined they look like two UUIDs
        [UUID, UUID[:-1] + "g"],
        [UUID, UUID[:-2] + "  "],
        [UUID, "0190a1b-2c3d4-7e5f-8123-456789abcdef"],
        [UUID, UUID.replace("-", "")],
        [UUID, "-" * 36],
        [UUID, "\u0660" + UUID[1:]],
    ],
)
def test_an_id_is_found_again_whatever_is_beside_it(store: DuckDBStore, ids: list[str]) -> None:
    assert insert(store, *map(event, ids)) == [True] * len(ids)
    assert [insert(store, event(each)) for each in ids] == [[False]] * len(ids)
    assert insert(store, event(""), *map(event, ids)) == [True] + [False] * len(ids)


@pytest.mark.parametrize(
    "identity",
    ["", " ", "é", "\x00", "a\x00b", '"', "\\", "\n", "x" * 36, "-" * 36, "1" * 30_000, "😀", "NULL", "1.0"],
)
def test_any_text_is_an_id(store: DuckDBStore, identity: str) -> None:
    assert insert(store, event(identity), event(identity + "!")) == [True, True]
    assert insert(store, event(identity)) == [False]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.text(max_size=2) | st.sampled_from([new_id() for _ in range(5)]), max_size=6), max_size=5))
def test_results_agree_with_a_set(tmp_path_factory: pytest.TempPathFactory, batches: list[list[str]]) -> None:
    with closing(open_store(tmp_path_factory.mktemp("store") / "e")) as store:
        seen: set[str] = set()
        futures = [store.insert("p", {"c": [event(name) for name in batch]}) for batch in batches]
        for batch, future in zip(batches, futures, strict=True):
            expected = []
            for name in batch:
                expected.append(name not in seen)
                seen.add(name)
            assert list(future.result(30)["c"]) == expected
        assert count(store) == len(seen)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=8))
def test_what_the_rules_pass_is_kept_exactly(tmp_path_factory: pytest.TempPathFactory, documents: list[Any]) -> None:
    rules = EventRules()
    valid = [{}, *(document for document in documents if not rules.check(document))]
    file = tmp_path_factory.mktemp("store") / "e"
    with closing(open_store(file)) as store:
        insert(store, *(event(str(place), **document) for place, document in enumerate(valid)))
    with duckdb.connect(file) as connection:
        rows = connection.execute("SELECT doc::JSON FROM events_1 ORDER BY id::INT").fetchall()
    kept = [json.loads(text) for (text,) in rows]
    assert list(map(repr_sorted, kept)) == list(map(repr_sorted, valid))


ODD: list[Any] = [
    None, True, False, 0, -1, 1.0, 0.1, -0.0, 1e300, 2**53 + 1, 2**63, 2**64 - 1, -(2**63), "", "1", "é", "x" * 99,
    [], {}, [1, "a", None, [2.5]], {"b": {"": 2**64 - 1}}, [{"c": 1}, {"c": "1"}],
]  # fmt: skip


def test_events_enough_to_be_shredded_stay_what_they_are(path: Path) -> None:
    random = Random(4)
    documents = [
        {name: random.choice(ODD) for name in random.sample("abcde", random.randrange(6))} for _ in range(3_000)
    ]
    select = {f"{function}{name}": {function: name} for function in ("sum", "min", "max") for name in "ab"}
    query = parse_query(json.dumps({"select": select, "groupBy": ["c", "d.b"]}), 0)
    with closing(open_store(path)) as store:
        insert(store, *(event(str(place), **document) for place, document in enumerate(documents)))
        answer = store.query("p", "c", query)
    with closing(open_store(path)) as store:
        assert store.query("p", "c", query) == answer
    with duckdb.connect(path) as connection:
        rows = connection.execute("SELECT doc::JSON FROM events_1 ORDER BY id::INT").fetchall()
        columns = connection.execute("SELECT segment_type FROM pragma_storage_info('events_1')").fetchall()
    assert [repr_sorted(json.loads(text)) for (text,) in rows] == list(map(repr_sorted, documents))
    assert ("DOUBLE",) in columns  # the most frequent type of a property has a column


def repr_sorted(document: Any) -> str:
    return json.dumps(document, sort_keys=True)


def test_times_are_kept_to_the_microsecond_from_year_1_to_9999(store: DuckDBStore, path: Path) -> None:
    moments = [-62135596800000000, -1, 0, 1700000000123456, 253402300799999999]
    insert(store, *(NewEvent(str(moment), moment, b"{}") for moment in moments))
    store.close()
    with duckdb.connect(path) as connection:
        rows = connection.execute("SELECT epoch_us(timestamp), id FROM events_1").fetchall()
    assert {(moment, str(moment)) for moment in moments} == set(rows)


def test_one_bad_request_does_not_take_others_with_it(store: DuckDBStore) -> None:
    bad = store.insert("p", {"c": [NewEvent("bad", 0, b"{not json")]})
    good = [store.insert("p", {"c": [event(str(number))], "new": [event("1")]}) for number in range(5)]
    with pytest.raises(StoreError, match="could not be stored"):
        bad.result(30)
    assert [future.result(30)["c"] for future in good] == [[True]] * 5
    assert [count(store), count(store, "new")] == [5, 1]


def test_a_failed_request_leaves_no_collection_behind(store: DuckDBStore) -> None:
    with pytest.raises(StoreError):
        store.insert("p", {"a": [event("1")], "b": [NewEvent("1", 0, b"{")]}).result(30)
    assert insert(store, event("1"), collection="a") == [True]
    assert insert(store, event("1"), collection="b") == [True]


def test_a_query_that_takes_too_long_is_stopped(path: Path) -> None:
    with closing(open_store(path, query_timeout=0.001)) as store:
        insert(store, *(event(str(number), a=number) for number in range(5_000)))
        for slow in (
            {"filter": {f"a{n}": {"neq": "x"} for n in range(100)}, "groupBy": [f"g{n}" for n in range(100)]},
            {"select": {f"m{n}": {"median": f"a{n}"} for n in range(100)}, "interval": "daily", "groupBy": "a"},
            {"select": {f"m{n}": {"distinct": f"a{n}"} for n in range(100)}, "groupBy": "a", "limit": 5},
        ):
            with pytest.raises(QueryTimeoutError, match=r"0\.001 seconds"):
                store.query("p", "c", parse_query(json.dumps(slow), 0))


def test_a_query_that_needs_too_much_memory_is_refused_and_the_next_is_answered(path: Path) -> None:
    with closing(open_store(path)) as store:
        insert(store, event("1"))
    with duckdb.connect(path) as connection:
        connection.execute(
            "INSERT INTO events_1 SELECT 1, '', TIMESTAMP '2015-01-01', '{\"a\": 1.5}'::JSON::VARIANT"
            " FROM range(1000000)"
        )
    with closing(open_store(path, memory_limit="20MB")) as store:
        with pytest.raises(StoreError, match="needs more memory"):
            store.query("p", "c", parse_query('{"select": {"m": {"median": "a"}}}', 0))
        assert count(store) == 1_000_001


def test_an_answer_that_would_fill_the_memory_is_refused(path: Path) -> None:
    with closing(open_store(path)) as store:
        insert(store, event("1"))
    with duckdb.connect(path) as connection:
        connection.execute(
            "INSERT INTO events_1 SELECT 1, '', TIMESTAMP '2015-01-01',"
            " ('{\"a\": \"' || i || repeat('x', 60000) || '\"}')::JSON::VARIANT FROM range(1200) numbers(i)"
        )
    with closing(open_store(path, memory_limit="4GB")) as store:
        with pytest.raises(TooManyResultsError, match="67,108,864 characters"):
            store.query("p", "c", parse_query('{"groupBy": "a"}', 0))
        assert len(store.query("p", "c", parse_query('{"groupBy": "a", "limit": 1000}', 0))) == 1_000


def test_a_file_that_is_no_database_is_said_to_be_none(path: Path) -> None:
    path.write_bytes(b"not a database" * 1_000)
    with pytest.raises(StoreError, match="cannot be opened"):
        open_store(path)


def test_files_and_table_names_hold_nothing_of_the_collections(store: DuckDBStore, path: Path) -> None:
    names = ["../x", "'; DROP TABLE collections; --", "a/b", "A", "a", "é"]
    for name in names:
        insert(store, event("1"), collection=name)
    assert [count(store, name) for name in names] == [1] * len(names)
    assert {file.name for file in path.parent.iterdir()} <= {path.name, path.name + ".wal"}
    store.close()
    with duckdb.connect(path) as connection:
        tables = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    assert sorted(tables) == [("collections",), *((f"events_{number}",) for number in range(1, 7))]


def test_a_deleted_collection_is_gone_for_good_and_may_begin_anew(path: Path) -> None:
    with closing(open_store(path)) as store:
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
    with closing(open_store(path)) as store:
        assert [count(store), count(store, "d"), count(store, "c", "q")] == [1, 1, 1]


def test_a_table_never_has_the_name_of_one_that_was_deleted(path: Path) -> None:
    with closing(open_store(path)) as store:
        for project in ("p", "q"):
            insert(store, event("1"), project=project)
            store.delete(project, "c").result(30)
    with closing(open_store(path)) as store:
        insert(store, event("1"), project="r")
    with duckdb.connect(path) as connection:
        assert connection.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [
            ("collections",),
            ("events_3",),
        ]
        assert connection.execute("SELECT * FROM collections ORDER BY number").fetchall() == [
            (1, "", ""),
            (2, "", ""),
            (3, "r", "c"),
        ]


def test_deletions_among_pushes_and_queries_never_fail_and_never_mix_collections(store: DuckDBStore) -> None:
    """Each round's events say in which project they are; whoever reads another's would see it."""
    stop = threading.Event()

    def ask(project: str) -> int:
        asked = 0
        while not stop.is_set():
            rows = store.query(project, "c", parse_query('{"groupBy": "of"}', 0))
            assert {row["of"] for row in rows} <= {project}, rows
            described = store.describe(project, "c")
            assert described is None or [each.path for each in described[1]] == [("of",)]
            assert {each.name for each in store.collections(project)} <= {"c"}
            asked += 1
        return asked

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask, project) for project in ("p", "q")]
        pending = []
        for number in range(60):
            for project in ("p", "q"):
                made = [event(f"{number}-{each}", of=project) for each in range(20)]
                pending.append((store.insert(project, {"c": made}), store.delete(project, "c")))
        for stored, deleted in pending:
            assert sum(stored.result(30)["c"]) in (0, 20)
            assert deleted.result(30) in (True, False)
        stop.set()
        assert all(each.result(30) > 0 for each in asking)


def test_a_deletion_that_fails_leaves_the_collection_as_it_is(store: DuckDBStore) -> None:
    insert(store, event("1"))
    with store._file.cursor() as cursor:  # another writer, which has not committed
        cursor.begin()
        cursor.execute("DROP TABLE events_1")
        with pytest.raises(StoreError, match="could not be stored or deleted"):
            store.delete("p", "c").result(30)
        assert count(store) == 1
    assert store.delete("p", "c").result(30) is True


def test_closing_is_final_and_may_be_repeated(path: Path) -> None:
    store = open_store(path)
    waiting = store.insert("p", {"c": [event("1")]})
    store.close()
    store.close()
    assert waiting.result(0) == {"c": [True]}
    with pytest.raises(StoreError):
        store.insert("p", {"c": [event("2")]})
    assert path.stat().st_size > 0


def at(second: int, **properties: Any) -> NewEvent:
    """An event of a second since 1970."""
    return NewEvent(f"at {second}", second * 1_000_000, json.dumps(properties).encode())


def checkpoint(store: DuckDBStore) -> None:
    with store._file.cursor() as cursor:
        cursor.execute("CHECKPOINT")


def test_old_events_are_deleted_and_no_others(store: DuckDBStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("duckdb", "duckdb_writing"):
        monkeypatch.setattr(f"connect_logging.server.stores.{module}.EXPIRED_AT_ONCE", 7)
    insert(store, *(at(second) for second in range(30)))
    insert(store, *(at(second) for second in range(100, 103)), collection="new")
    insert(store, *(at(second) for second in range(14)), collection="old", project="q")
    assert store.expire(20_000_001) == 21 + 14
    assert [(each.name, each.events, each.first) for each in store.collections("p")] == [
        ("c", 9, 21_000_000),
        ("new", 3, 100_000_000),
    ]
    assert store.collections("q") == []
    assert store.expire(20_000_001) == 0
    assert store.query("q", "old", parse_query("{}", 0))[0].row["_count"] == 0
    assert not store.delete("q", "old").result(9)


def test_a_collection_that_became_empty_is_gone_and_can_be_filled_again(path: Path) -> None:
    with closing(open_store(path)) as store:
        insert(store, at(1, a=1))
        assert store.expire(2_000_000) == 1
        assert store.describe("p", "c") is None
        assert insert(store, at(1, a="x")) == [True]
        assert count(store) == 1
    with closing(open_store(path)) as store:
        assert [each.events for each in store.collections("p")] == [1]
        assert insert(store, at(1)) == [False]


def test_what_comes_to_an_empty_collection_before_it_is_deleted_stays(
    store: DuckDBStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The three are done in one transaction, or one after the other; there is no event between."""
    submit = store._committer.submit

    def also(request: Any, weight: int) -> Any:
        if isinstance(request, DeleteEmpty):
            insert(store, at(9))
        return submit(request, weight)

    insert(store, at(1))
    monkeypatch.setattr(store._committer, "submit", also)
    assert store.expire(2_000_000) == 1
    assert count(store) == 1


def of_two_types(store: DuckDBStore, change: Callable[[], None]) -> list[Any]:
    """What is counted of ``a`` after ``change``, when numbers have been asked for before, and the last ones are gone.

    New rows get the ids that theirs had.
    """
    insert(store, *(at(100 + second, a=1) for second in range(5)))
    checkpoint(store)
    insert(store, *(at(second, a=1) for second in range(5)))
    assert summed(store) == [{"sum": 10, "n": 10}]
    change()
    found = summed(store)
    with store._file.cursor() as cursor:
        [table] = store._tables.values()
        assert cursor.execute(f"SELECT max(rowid) FROM {table}").fetchall() == [(6,)]
    return found


def summed(store: DuckDBStore) -> list[Any]:
    query = parse_query('{"select": {"sum": {"sum": "a"}, "n": "count"}}', 0)
    return [line.row for line in store.query("p", "c", query)]


def expire_and_refill(store: DuckDBStore) -> None:
    assert store.expire(50_000_000) == 5
    checkpoint(store)
    insert(store, at(200, a="7"), at(201, a="7"))


def test_what_was_learned_of_events_that_are_gone_is_not_believed_of_others(store: DuckDBStore) -> None:
    assert of_two_types(store, lambda: expire_and_refill(store)) == [{"sum": 5, "n": 7}]


def test_nor_by_who_had_looked_at_it_before_they_went(store: DuckDBStore, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = store._reading

    @contextmanager
    def late(*arguments: Any) -> Iterator[Any]:
        monkeypatch.setattr(store, "_reading", reading)
        expire_and_refill(store)
        with reading(*arguments) as cursor:
            yield cursor

    assert of_two_types(store, lambda: monkeypatch.setattr(store, "_reading", late)) == [{"sum": 5, "n": 7}]


def test_events_whose_deletion_failed_are_found_again(store: DuckDBStore) -> None:
    identities = sorted(new_id() for _ in range(2))
    assert insert(store, event(identities[1])) == [True]
    with pytest.raises(StoreError):
        store._commit([
            Expire(("p", "c"), 1), Insert("p", {"c": [event(identities[0])], "d": [NewEvent("bad", 0, b"{")]})
        ])  # fmt: skip
    assert insert(store, event(identities[1])) == [False]


def test_an_event_that_was_deleted_for_its_age_may_come_again(store: DuckDBStore) -> None:
    identity = new_id()
    assert insert(store, event(identity), NewEvent("2", 5, b"{}")) == [True, True]
    assert store.expire(1) == 1
    assert insert(store, event(identity)) == [True]
