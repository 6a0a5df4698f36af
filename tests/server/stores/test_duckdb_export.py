"""Exports from a store: every event once, in order, of one state, in each form."""

from __future__ import annotations

import csv
import io
import json
import random
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spooling import LONG

from connect_logging._grammar.model import Condition, Query, Span
from connect_logging.rules import EventRules
from connect_logging.server.stores import tables
from connect_logging.server.stores.base import Form, NewEvent, StoppedError, StoreError, TooManyError
from connect_logging.server.stores.duckdb import DuckDBStore

FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Documents = dict[tuple[int, str], Any]
"""By timestamp in microseconds, and id."""


def open_store(path: Path) -> DuckDBStore:
    return DuckDBStore(path, memory_limit="512MB", threads=2, query_timeout=20, max_waiting=2**27)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[DuckDBStore]:
    with closing(open_store(path)) as opened:
        yield opened


def insert(store: DuckDBStore, documents: Documents, collection: str = "c") -> None:
    events = [NewEvent(identity, moment, json.dumps(each).encode()) for (moment, identity), each in documents.items()]
    store.insert("p", {collection: events}).result(30)


def export(store: DuckDBStore, form: Form, query: Query | None = None, **options: Any) -> bytes:
    return b"".join(pieces(store, form, query, **options))


def pieces(store: DuckDBStore, form: Form, query: Query | None = None, **options: Any) -> Iterator[bytes]:
    return store.export("p", "c", query or Query(), form, **{"stopped": threading.Event(), **options})


def lines(exported: bytes) -> list[Any]:
    return [json.loads(line) for line in exported.splitlines()]


def table(exported: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(io.BytesIO(exported)).to_pylist()
    return rows


def moment_of(microseconds: int, timespec: str = "microseconds") -> str:
    moment = EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def test_timestamps_are_milliseconds_as_documented_or_as_they_are(store: DuckDBStore) -> None:
    insert(store, {(1_700_000_000_123_456, "a"): {"n": 1}, (-62_135_596_800_000_000, "b"): {}})
    assert export(store, "connect") == (
        b'{"id":"b","timestamp":"0001-01-01T00:00:00.000Z"}\n{"id":"a","timestamp":"2023-11-14T22:13:20.123Z","n":1}\n'
    )
    assert [each["timestamp"] for each in lines(export(store, "jsonl"))] == [
        "0001-01-01T00:00:00.000000Z",
        "2023-11-14T22:13:20.123456Z",
    ]
    assert table(export(store, "parquet"))[1]["timestamp"] == datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)


def test_only_what_meets_filters_and_timeframe_is_exported(store: DuckDBStore) -> None:
    insert(store, {(moment, f"{moment}"): {"n": moment % 3, "a": {"b": f"{moment}"}} for moment in range(30)})
    query = Query(filters=(Condition(("n",), "eq", 1), Condition(("a", "b"), "neq", "7")), span=Span(start=3, end=20))
    expected = [str(moment) for moment in range(3, 20) if moment % 3 == 1 and moment != 7]
    assert [each["id"] for each in lines(export(store, "jsonl", query))] == expected
    assert [row["id"] for row in csv.DictReader(io.StringIO(export(store, "csv", query).decode()))] == expected
    assert [row["id"] for row in table(export(store, "parquet", query))] == expected


def test_a_collection_nobody_has_pushed_to_is_exported_like_an_empty_one(store: DuckDBStore) -> None:
    assert export(store, "connect") == export(store, "jsonl") == b""
    assert export(store, "csv") == b'"id","timestamp"\r\n'
    found = pyarrow.parquet.read_table(io.BytesIO(export(store, "parquet")))
    assert (found.column_names, found.num_rows) == (["id", "timestamp"], 0)


def test_an_export_may_be_held_to_a_number_of_events(store: DuckDBStore) -> None:
    insert(store, {(0, str(number)): {} for number in range(4)})
    assert len(lines(export(store, "connect", max_events=4))) == 4
    with pytest.raises(TooManyError, match="4 events; this export has at most 3"):
        export(store, "connect", max_events=3)
    assert len(lines(export(store, "connect", Query(span=Span(end=0)), max_events=0))) == 0


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DuckDBStore, list[tuple[int, str]]]]:
    """45,000 events, in slices; half of them share few timestamps, and one comes long after all others."""
    chance = random.Random(4)
    keys = [(chance.randrange(10) if number % 2 else chance.randrange(10**15), f"{number}") for number in range(45_000)]
    keys[0] = (253_402_300_799_999_999, "last")
    with closing(open_store(tmp_path_factory.mktemp("large") / "e")) as store:
        insert(store, {(moment, identity): {"n": moment, "of": {"id": identity}} for moment, identity in keys})
        yield store, sorted(keys)


def test_many_events_come_in_order_each_once_and_of_one_state(large: tuple[DuckDBStore, list[tuple[int, str]]]) -> None:
    store, keys = large
    export_ = pieces(store, "jsonl")
    first = next(export_)
    insert(store, {(10**14, "later"): {}})
    store.delete("p", "c").result(30)
    insert(store, {(0, "of another"): {}})
    found = lines(first + b"".join(export_))
    assert [(each["n"], each["id"]) for each in found] == keys
    store.delete("p", "c").result(30)
    insert(store, {(moment, identity): {"n": moment, "of": {"id": identity}} for moment, identity in keys})


def test_many_events_come_in_order_in_tables_as_well(large: tuple[DuckDBStore, list[tuple[int, str]]]) -> None:
    store, keys = large
    rows = [*csv.DictReader(io.StringIO(export(store, "csv").decode(), newline=""))]
    assert [(int(row["n"]), row["id"]) for row in rows] == keys
    assert all(row["of.id"] == row["id"] for row in rows)
    assert [(row["n"], row["id"]) for row in table(export(store, "parquet"))] == keys


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_an_export_stops_when_it_is_told_to(large: tuple[DuckDBStore, list[tuple[int, str]]], form: Form) -> None:
    store, _ = large
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(StoppedError):
        export(store, form, stopped=stopped)
    assert [*store._file.scratch.glob("*")] == []


def test_an_export_that_is_left_alone_ends_with_its_iterator(store: DuckDBStore) -> None:
    insert(store, {(0, "1"): {}})
    export_ = pieces(store, "jsonl")
    next(export_)
    export_.close()  # type: ignore[attr-defined]
    assert store._file._users == 0
    assert "interrupter" not in {thread.name for thread in threading.enumerate()}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["a", "b", "B", "", "=x", 'q"', "n\n"]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
DOCUMENTS = st.dictionaries(
    st.tuples(st.integers(0, 2), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3)),
    st.dictionaries(st.sampled_from(["a", "A", "b", "", "=x", "é\x00", "1;2", "--"]), JSON_VALUES, max_size=4),
    max_size=6,
)


def flattened(document: Any, path: str | None = None) -> Iterable[tuple[str, Any]]:
    for name, value in document.items():
        inner = name if path is None else f"{path}.{name}"
        if isinstance(value, dict) and value:
            yield from flattened(value, inner)
        else:
            yield inner, value


def cell(value: Any) -> str:
    """What a cell of CSV must be, numbers and arrays aside."""
    if isinstance(value, str):
        return f"'{value}" if value and value[0] in FORMULA else value
    return "" if value is None else json.dumps(value)


def same(found: Any, expected: Any) -> bool:
    """Equal as JSON: with their types, and down to the sign of zero."""
    return json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)


@settings(deadline=None, max_examples=25)
@given(DOCUMENTS)
def test_each_form_holds_what_was_stored(tmp_path_factory: pytest.TempPathFactory, documents: Documents) -> None:
    rules = EventRules()
    documents = {key: each for key, each in documents.items() if not rules.check(each)}
    documents = {key: documents[key] for key in sorted({key[1]: key for key in documents}.values())}
    with closing(open_store(tmp_path_factory.mktemp("store") / "e")) as store:
        insert(store, documents)
        found = lines(export(store, "jsonl"))
        expected = [{"id": key[1], "timestamp": moment_of(key[0]), **each} for key, each in documents.items()]
        assert same(found, expected)
        flat = [dict(flattened(each)) for each in expected]
        names = ["id", "timestamp", *sorted({name for each in documents.values() for name, _ in flattened(each)})]
        check_csv(export(store, "csv").decode(), names, flat)
        check_parquet(export(store, "parquet"), names, flat)


def check_csv(text: str, names: list[str], flat: list[dict[str, Any]]) -> None:
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert sorted(header) == sorted(map(cell, names))
    assert len(rows) == len(flat)
    assert all(len(row) == len(header) for row in rows)
    places = {name: header.index(cell(name)) for name in names}
    for row, each in zip(rows, flat, strict=True):
        for name in names:
            value, written = each.get(name), row[places[name]]
            if value is None or isinstance(value, str):
                assert written == cell(value)
            else:
                assert same(json.loads(written), value)


def check_parquet(exported: bytes, names: list[str], flat: list[dict[str, Any]]) -> None:
    """Its names may differ in case alone, which DuckDB numbers: the columns are told by their place."""
    found = pyarrow.parquet.read_table(io.BytesIO(exported))
    assert (found.num_rows, found.num_columns) == (len(flat), len(names))
    ordered = ["id", "timestamp", *sorted(names[2:], key=lambda name: name.split("."))]
    for place, name in enumerate(ordered):
        if name == "timestamp":
            continue
        values = [each.get(name) for each in flat]
        kinds = {type(value) for value in values if value is not None}
        for written, value in zip(found.column(place).to_pylist(), values, strict=True):
            if value is None:
                assert written is None
            elif kinds in ({str}, {bool}):
                assert written == value
            elif kinds <= {int, float}:
                assert written == value if kinds == {int} else written == float(value)
            else:
                assert same(json.loads(written), value)


def test_columns_of_parquet_have_the_types_of_their_values(store: DuckDBStore) -> None:
    one: dict[str, Any] = {"whole": 1, "big": 2**64 - 1, "huge": -1, "n": 1, "s": "a", "b": True, "mix": 1, "l": [1]}
    two = {"whole": -(2**63), "big": 0, "huge": 2**64 - 1, "n": 0.5, "s": None, "mix": "1", "o": {}, "N": 2}
    insert(store, {(0, "1"): {**one, "o": {"x": None}}, (1, "2"): two})
    found = pyarrow.parquet.read_table(io.BytesIO(export(store, "parquet")))
    assert {name: str(found.schema.field(name).type) for name in found.column_names} == {
        "id": "string",
        "timestamp": "timestamp[us, tz=UTC]",
        "N": "int64",
        "b": "bool",
        "big": "decimal128(20, 0)",
        "huge": "decimal128(20, 0)",
        "l": "string",
        "mix": "string",
        "n_1": "double",
        "o": "string",
        "o.x": "string",
        "s": "string",
        "whole": "int64",
    }
    first, second = found.to_pylist()
    assert (first["l"], first["mix"], first["o"], first["o.x"], first["big"]) == ("[1]", "1", None, None, 2**64 - 1)
    assert (second["mix"], second["o"], second["whole"], second["n_1"]) == ('"1"', "{}", -(2**63), 0.5)


def test_an_empty_text_and_nothing_are_told_apart_in_csv(store: DuckDBStore) -> None:
    insert(store, {(0, "1"): {"a": "", "b": None, "c": -5}, (0, "2"): {"a": "-5", "d": "@SUM(A1)"}})
    assert export(store, "csv").decode().splitlines() == [
        '"id","timestamp","a","b","c","d"',
        '"1",1970-01-01T00:00:00.000000Z,"",,-5,',
        '''"2",1970-01-01T00:00:00.000000Z,"'-5",,,"'@SUM(A1)"''',
    ]


def test_more_properties_than_columns_can_be_made_of_are_refused(
    store: DuckDBStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 1_000 if LONG else 60
    monkeypatch.setattr(tables, "MAX_COLUMNS", most)
    wide = {f"p{number}": number for number in range(most)}
    insert(store, {(0, "1"): wide})
    assert len(pyarrow.parquet.read_table(io.BytesIO(export(store, "parquet"))).column_names) == most + 2
    assert export(store, "csv").count(b",") == 2 * (most + 1)
    insert(store, {(0, "2"): {"one more": 1}})
    for form in ("csv", "parquet"):
        with pytest.raises(TooManyError, match=f"more than {most:,} properties"):
            export(store, form)
    assert len(lines(export(store, "jsonl"))) == 2


def test_names_that_are_hostile_to_sql_are_columns_like_others(store: DuckDBStore, path: Path) -> None:
    names = ['"; DROP TABLE collections; --', "')", "a'b", "$1", "?", "*", "\\", "x" * 255, "é\x00\n"]
    insert(store, {(0, "1"): {name: place for place, name in enumerate(names)}})
    row = table(export(store, "parquet"))[0]
    assert [row[name] for name in names] == [*range(len(names))]
    assert [each.name for each in store.collections("p")] == ["c"]


def test_what_a_killed_process_has_left_goes_when_the_file_is_opened(path: Path) -> None:
    scratch = path.with_name(path.name + ".scratch")
    scratch.mkdir()
    (scratch / "half.parquet").write_bytes(b"PAR1")
    with closing(open_store(path)) as store:
        assert not scratch.exists()
        insert(store, {(0, "1"): {}})
        assert export(store, "parquet")[:4] == b"PAR1"
        assert scratch.stat().st_mode & 0o777 == 0o700
        assert [*scratch.iterdir()] == []


def test_a_disk_that_fails_is_a_store_error(store: DuckDBStore) -> None:
    insert(store, {(0, "1"): {}})
    store._file.scratch.write_text("not a directory")
    with pytest.raises(StoreError, match="could not be exported"):
        export(store, "parquet")


def test_no_statement_reaches_other_files(store: DuckDBStore, path: Path) -> None:
    outside = path.with_name("outside")
    outside.write_text("secret")
    with store._file.cursor() as cursor:
        for statement in (
            f"SELECT * FROM read_text('{outside}')",
            f"SELECT * FROM read_text('{store._file.scratch}/../outside')",
            f"COPY (SELECT 1) TO '{outside}.csv'",
            f"ATTACH '{outside}.duckdb'",
            "SET enable_external_access = true",
            "SET allowed_directories = ['/']",
            "INSTALL httpfs",
        ):
            with pytest.raises(Exception, match=r"disabled|locked|Cannot|file system"):
                cursor.execute(statement)
