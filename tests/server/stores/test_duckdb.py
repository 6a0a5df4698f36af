"""What is the DuckDB store's own; what every store keeps, test_store_contract.py tries."""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest
from full_disks import files_limited_to

from connect_logging.event import new_id
from connect_logging.server.query.answer import TooManyResultsError
from connect_logging.server.query.parser import parse_query
from connect_logging.server.stores.base import NewEvent, StoreError, TooManyError
from connect_logging.server.stores.batch import Batch, Shape
from connect_logging.server.stores.duckdb import DuckDBStore
from connect_logging.server.stores.duckdb_writing import DeleteEmpty, Expire, Insert, Transaction

from .backings import count, event, insert, kept


def open_store(path: Path, *, query_timeout: float = 20, memory_limit: str = "512MB") -> DuckDBStore:
    return DuckDBStore(path, memory_limit=memory_limit, threads=2, query_timeout=query_timeout, max_waiting=2**27)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[DuckDBStore]:
    with closing(open_store(path)) as opened:
        yield opened


def test_ids_with_equal_keys_are_told_apart(store: DuckDBStore) -> None:
    # What differs is behind the part of a UUID that the key is made of.
    front = str(uuid.uuid4())[:20]
    same_key = [front + f"{number:016x}" for number in range(3)]
    assert insert(store, event(same_key[0]), event(same_key[1])) == [True, True]
    assert insert(store, event(same_key[1]), event(same_key[2])) == [False, True]


def test_what_is_looked_up_is_planned_and_what_is_inserted_is_not(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unplanned, a look for one id among ten million takes a hundred times as long."""
    planned: dict[str, list[bool]] = {"_stored": [], "_append": []}

    def watch(name: str, method: Callable[..., Any]) -> None:
        def watched(self: Transaction, *given: Any) -> Any:
            [(is_planned,)] = self._cursor.execute("SELECT current_setting('enable_optimizer')").fetchall()
            planned[name].append(is_planned)
            return method(self, *given)

        monkeypatch.setattr(Transaction, name, watched)

    for name in planned:
        watch(name, getattr(Transaction, name))
    for _ in range(2):  # who opens the file does not know yet what is in it
        with closing(open_store(path)) as store:
            insert(store, event("b"))
            assert insert(store, event("a"), event("b"), event(new_id())) == [not planned["_stored"], False, True]
    assert planned == {"_stored": [True, True], "_append": [False, False, False]}


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


def test_a_file_of_another_database_is_not_taken_for_one_that_lacks_an_extension(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE events (id TEXT)")
    with pytest.raises(StoreError, match=r"cannot be opened.*not a valid DuckDB database file"):
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


def test_a_deletion_that_fails_leaves_the_collection_as_it_is(store: DuckDBStore) -> None:
    insert(store, event("1"))
    with store._file.cursor() as cursor:  # another writer, which has not committed
        cursor.begin()
        cursor.execute("DROP TABLE events_1")
        with pytest.raises(StoreError, match="could not be stored or deleted"):
            store.delete("p", "c").result(30)
        assert count(store) == 1
    assert store.delete("p", "c").result(30) is True


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
    assert store.expire(20_000_001, threading.Event()) == 21 + 14
    assert [(each.name, each.events, each.first) for each in store.collections("p")] == [
        ("c", 9, 21_000_000),
        ("new", 3, 100_000_000),
    ]
    assert store.collections("q") == []
    assert store.expire(20_000_001, threading.Event()) == 0
    assert store.query("q", "old", parse_query("{}", 0))[0].row["_count"] == 0
    assert not store.delete("q", "old").result(9)


def test_of_collections_that_are_deleted_meanwhile_the_others_are_seen_to(
    store: DuckDBStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for collection in ("a", "b", "z"):
        insert(store, at(1), collection=collection)
    is_due = store._is_due

    def deleted_first(name: tuple[str, str], before: int) -> bool:
        if name[1] == "b":
            assert store.delete(*name).result(9)
        return is_due(name, before)

    monkeypatch.setattr(store, "_is_due", deleted_first)
    assert store.expire(2_000_000, threading.Event()) == 2
    assert store.collections("p") == []


def test_who_stops_does_not_wait_for_the_other_collections(store: DuckDBStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for collection in ("a", "b", "z"):
        insert(store, at(1), collection=collection)
    stopped = threading.Event()
    looked_at = []

    def stopping(name: tuple[str, str], before: int) -> bool:
        looked_at.append(name)
        stopped.set()
        return True

    monkeypatch.setattr(store, "_is_due", stopping)
    assert store.expire(2_000_000, stopped) == 0
    assert looked_at == [("p", "a")]


def test_a_collection_that_became_empty_is_gone_and_can_be_filled_again(path: Path) -> None:
    with closing(open_store(path)) as store:
        insert(store, at(1, a=1))
        assert store.expire(2_000_000, threading.Event()) == 1
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
    assert store.expire(2_000_000, threading.Event()) == 1
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
    assert store.expire(50_000_000, threading.Event()) == 5
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


def test_a_project_has_so_many_collections(path: Path) -> None:
    with closing(
        DuckDBStore(path, memory_limit="256MB", threads=1, query_timeout=9, max_waiting=2**20, max_collections=2)
    ) as store:
        store.insert("p", {"a": [event("1")], "b": [event("1")]}).result(30)
        with pytest.raises(TooManyError, match=r"a project has at most 2 collections, and would have one more: c$"):
            store.insert("p", {"a": [event("2")], "c": [event("1")]})
        assert (count(store, "a"), insert(store, event("3"), collection="a")) == (1, [True])
        assert insert(store, event("1"), collection="c", project="q") == [True]
        assert store.delete("p", "b").result(30)
        assert insert(store, event("1"), collection="c") == [True]


def test_more_new_collections_than_memory_holds_are_written_into_the_file(path: Path) -> None:
    """What is in the log alone fills it long before the log is so long that DuckDB writes it by itself."""
    with closing(open_store(path, memory_limit="20MB")) as store:
        for hundred in range(5):
            new = {f"c{number}": [event("1", price=5)] for number in range(100 * hundred, 100 * hundred + 100)}
            assert all(stored == [True] for stored in store.insert("p", new).result(60).values())
        assert store.count() == 500


def test_who_opens_it_again_before_a_commit_has_told_that_it_failed_knows_all_collections(
    store: DuckDBStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader may be quicker than the writer, whose commit is durable though it failed."""
    writer = store._file.writer

    @contextmanager
    def with_a_quick_reader() -> Iterator[duckdb.DuckDBPyConnection]:
        try:
            with writer() as cursor:
                yield cursor
                raise duckdb.FatalException("stored, but it was the last")
        except duckdb.FatalException:
            store.check()
            raise

    with monkeypatch.context() as patched:
        patched.setattr(store._file, "writer", with_a_quick_reader)
        with pytest.raises(StoreError):
            insert(store, event("1"), collection="new")
    assert insert(store, event("1"), event("2"), collection="new") == [False, True]
    assert [each.name for each in store.collections("p")] == ["new"]


def test_what_is_stored_though_its_checkpoint_failed_is_there_once(path: Path) -> None:
    with closing(open_store(path)) as store:
        insert(store, event("1"))
    with duckdb.connect(path) as connection:  # so that the file is longer than the log becomes
        connection.execute(
            "INSERT INTO events_1 SELECT hash(i), '', TIMESTAMP '2015-01-01', '{\"a\": 1}'::JSON::VARIANT"
            " FROM range(6_000_000) numbers(i)"
        )
    with closing(open_store(path)) as store:
        with store.held():
            insert(store, *(event(str(number), text="x" * 60_000) for number in range(2, 600)))
        with files_limited_to(path.stat().st_size), pytest.raises(StoreError):
            insert(store, event("1"), collection="new")
        assert insert(store, event("1"), event("2"), collection="new") == [False, True]
        assert [each.name for each in store.collections("p")] == ["c", "new"]


SHAPED: Shape = (("a", "text"), ("n", "whole"), ("o", (("f", "fraction"), ("t", "texts"), ("b", "boolean"))))


def shaped(first: int, shape: Shape | None = SHAPED) -> Batch:
    lines = [
        b'{"o":{"t":["x","%d"],"b":true,"f":%d.5},"n":%d,"a":"\\u00e9\\n\\""}\n' % (n, n, n)
        for n in range(first, first + 3)
    ]
    return Batch([f"id {n}" for n in range(first, first + 3)], [first] * 3, b"".join(lines), shape)


def test_a_document_is_the_same_whether_its_shape_is_known_or_not(store: DuckDBStore) -> None:
    assert store.insert("p", {"c": shaped(0), "d": shaped(0, None)}).result(30) == {"c": [True] * 3, "d": [True] * 3}
    assert store.insert("p", {"c": shaped(2), "d": shaped(2, None)}).result(30) == {
        collection: [False, True, True] for collection in "cd"
    }
    assert kept(store, "c") == kept(store, "d")
    assert kept(store, "c")["id 4"]["o"] == {"b": True, "f": 4.5, "t": ["x", "4"]}


def test_documents_of_several_shapes_are_stored_together(store: DuckDBStore) -> None:
    with_fraction = Batch(["f"], [0], b'{"n":1.0}\n', (("n", "fraction"),))
    parts = [
        shaped(0),
        with_fraction,
        Batch.of([event("e", n=None)]),
        Batch(["w"], [0], b'{"n":1}\n', (("n", "whole"),)),
    ]
    stored = store._commit([Insert("p", {"c": part}) for part in parts])
    assert stored == [{"c": [True] * len(part)} for part in parts]
    found = kept(store)
    assert {name: repr(found[name]["n"]) for name in "few"} == {"f": "1.0", "e": "None", "w": "1"}
    assert found["id 1"]["o"]["f"] == 1.5


def test_events_whose_deletion_failed_are_found_again(store: DuckDBStore) -> None:
    identities = sorted(new_id() for _ in range(2))
    assert insert(store, event(identities[1])) == [True]
    with pytest.raises(StoreError):
        store._commit([
            Expire(("p", "c"), 1), Insert.of("p", {"c": [event(identities[0])], "d": [NewEvent("bad", 0, b"{")]})
        ])  # fmt: skip
    assert insert(store, event(identities[1])) == [False]


def test_of_events_that_fail_together_none_is_stored_or_known(store: DuckDBStore) -> None:
    identities = [new_id() for _ in range(3)]
    assert insert(store, event(identities[0])) == [True]
    with pytest.raises(StoreError):
        insert(store, event(identities[1]), NewEvent(identities[2], 0, b"{"))
    assert insert(store, *map(event, identities)) == [False, True, True]


def test_an_event_that_was_deleted_for_its_age_may_come_again(store: DuckDBStore) -> None:
    identity = new_id()
    assert insert(store, event(identity), NewEvent("2", 5, b"{}")) == [True, True]
    assert store.expire(1, threading.Event()) == 1
    assert insert(store, event(identity)) == [True]


def test_a_collection_whose_first_events_cannot_be_stored_is_not_there(store: DuckDBStore) -> None:
    with pytest.raises(StoreError):
        insert(store, NewEvent("1", 0, b"{"))
    with store._file.cursor() as cursor:
        assert cursor.execute("SELECT count(*) FROM collections").fetchall() == [(0,)]
    assert insert(store, event("1")) == [True]
