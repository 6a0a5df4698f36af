"""Exports from every store: each event once, in order, of one state, in each form."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count as numbers
from string import ascii_lowercase
from typing import Any

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spooling import LONG

from connect_logging._grammar.model import Condition, Query, Span
from connect_logging.rules import EventRules
from connect_logging.server.stores import tables
from connect_logging.server.stores.base import Form, NewEvent, StoppedError, Store, TooManyError

from .stores.backings import IN_PROCESS, export, lines, pieces

FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COLLECTIONS = (f"c{number}" for number in numbers())
Documents = dict[tuple[int, str], Any]
"""By timestamp in microseconds, and id."""


@pytest.fixture(scope="module", params=IN_PROCESS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One for all examples of a test: each has a collection of its own."""
    with (
        IN_PROCESS[request.param](tmp_path_factory.mktemp("store"), request) as opening,
        closing(opening()) as store,
    ):
        yield store


def insert(store: Store, documents: Documents, collection: str = "c") -> None:
    events = [
        NewEvent(identity, moment, json.dumps(each, separators=(",", ":"), ensure_ascii=False).encode())
        for (moment, identity), each in documents.items()
    ]
    store.insert("p", {collection: events}).result(30)


def table(exported: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(io.BytesIO(exported)).to_pylist()
    return rows


def moment_of(microseconds: int, timespec: str = "microseconds") -> str:
    moment = EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def test_timestamps_are_milliseconds_as_documented_or_as_they_are(any_store: Store) -> None:
    insert(any_store, {(1_700_000_000_123_456, "a"): {"n": 1}, (-62_135_596_800_000_000, "b"): {}})
    assert export(any_store, "connect") == (
        b'{"id":"b","timestamp":"0001-01-01T00:00:00.000Z"}\n{"id":"a","timestamp":"2023-11-14T22:13:20.123Z","n":1}\n'
    )
    assert [each["timestamp"] for each in lines(export(any_store, "jsonl"))] == [
        "0001-01-01T00:00:00.000000Z",
        "2023-11-14T22:13:20.123456Z",
    ]
    first, second = table(export(any_store, "parquet"))
    assert first["timestamp"] == datetime(1, 1, 1, tzinfo=UTC)
    assert second["timestamp"] == datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)


def test_every_day_is_written_as_it_is_called(any_store: Store) -> None:
    days = [
        datetime(year, month, 28, 23, 59, 59, 999_999, UTC)
        for year in (1, 4, 1900, 2000, 2100)
        for month in range(1, 13)
    ]
    days += [day + timedelta(days=ahead) for day in days for ahead in (1, 2, 3, 4)]
    moments = sorted({(day - EPOCH) // timedelta(microseconds=1) for day in days})
    insert(any_store, {(moment, f"{moment}"): {} for moment in moments})
    assert [each["timestamp"] for each in lines(export(any_store, "jsonl"))] == list(map(moment_of, moments))


def test_only_what_meets_filters_and_timeframe_is_exported(any_store: Store) -> None:
    insert(any_store, {(moment, f"{moment}"): {"n": moment % 3, "a": {"b": f"{moment}"}} for moment in range(30)})
    query = Query(filters=(Condition(("n",), "eq", 1), Condition(("a", "b"), "neq", "7")), span=Span(start=3, end=20))
    expected = [str(moment) for moment in range(3, 20) if moment % 3 == 1 and moment != 7]
    assert [each["id"] for each in lines(export(any_store, "jsonl", query))] == expected
    assert [row["id"] for row in csv.DictReader(io.StringIO(export(any_store, "csv", query).decode()))] == expected
    assert [row["id"] for row in table(export(any_store, "parquet", query))] == expected


def test_a_collection_nobody_has_pushed_to_is_exported_like_an_empty_one(any_store: Store) -> None:
    assert export(any_store, "connect") == export(any_store, "jsonl") == b""
    assert export(any_store, "csv") == b'"id","timestamp"\r\n'
    found = pyarrow.parquet.read_table(io.BytesIO(export(any_store, "parquet")))
    assert (found.column_names, found.num_rows) == (["id", "timestamp"], 0)


def test_an_export_may_be_held_to_a_number_of_events(any_store: Store) -> None:
    insert(any_store, {(0, str(number)): {} for number in range(4)})
    assert len(lines(export(any_store, "connect", max_events=4))) == 4
    with pytest.raises(TooManyError, match="4 events; this export has at most 3"):
        export(any_store, "connect", max_events=3)
    assert len(lines(export(any_store, "connect", Query(span=Span(end=0)), max_events=0))) == 0


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_events_come_in_order_each_once_and_of_one_state(any_store: Store, form: Form) -> None:
    keys = [(number * 7_919 % 97, f"{number}") for number in range(3_000)]
    insert(any_store, {(moment, identity): {"n": moment, "of": {"id": identity}} for moment, identity in keys})
    export_ = pieces(any_store, form)
    first = next(export_)
    insert(any_store, {(10**14, "later"): {"more": 1}})
    any_store.delete("p", "c").result(30)
    insert(any_store, {(0, "of another"): {}})
    exported = first + b"".join(export_)
    found: list[Any] = {
        "jsonl": lambda: [(each["n"], each["id"], each["of"]["id"]) for each in lines(exported)],
        "csv": lambda: [
            (int(row["n"]), row["id"], row["of.id"])
            for row in csv.DictReader(io.StringIO(exported.decode(), newline=""))
        ],
        "parquet": lambda: [(row["n"], row["id"], row["of.id"]) for row in table(exported)],
    }[form]()
    assert found == [(moment, identity, identity) for moment, identity in sorted(keys)]


@pytest.mark.parametrize("form", ["connect", "jsonl"])
def test_a_piece_is_a_number_of_whole_lines(any_store: Store, form: Form) -> None:
    insert(any_store, {(number, f"{number}"): {"text": "é" * (number % 1_000)} for number in range(2_000)})
    found = [*pieces(any_store, form)]
    assert len(found) > 1
    assert sum(len(lines(piece)) for piece in found) == 2_000
    assert all(piece.endswith(b"\n") for piece in found)


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_an_export_stops_when_it_is_told_to(any_store: Store, form: Form) -> None:
    insert(any_store, {(0, "1"): {}})
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(StoppedError):
        export(any_store, form, stopped=stopped)


def test_an_export_that_is_left_alone_ends_with_its_iterator(any_store: Store) -> None:
    insert(any_store, {(0, "1"): {}})
    export_ = pieces(any_store, "jsonl")
    next(export_)
    export_.close()  # type: ignore[attr-defined]
    assert "interrupter" not in {thread.name for thread in threading.enumerate()}
    assert any_store.delete("p", "c").result(30)


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


def alike(found: Any, expected: Any) -> bool:
    """Equal as JSON, but that in arrays a double without a fraction may be written without one."""
    match expected:
        case list():
            return len(found) == len(expected) and all(map(inside, found, expected))
        case _:
            return same(found, expected)


def inside(found: Any, expected: Any) -> bool:
    """What :func:`alike` is of elements."""
    match expected:
        case list():
            return isinstance(found, list) and alike(found, expected)
        case dict():
            return found.keys() == expected.keys() and all(inside(found[name], expected[name]) for name in expected)
        case float():
            return isinstance(found, int | float) and not isinstance(found, bool) and float(found) == expected
        case _:
            return same(found, expected)


@settings(deadline=None, max_examples=15)
@given(DOCUMENTS)
def test_each_form_holds_what_was_stored(shared: Store, documents: Documents) -> None:
    rules = EventRules()
    documents = {key: each for key, each in documents.items() if not rules.check(each)}
    documents = {key: documents[key] for key in sorted({key[1]: key for key in documents}.values())}
    collection = next(COLLECTIONS)
    if documents:
        insert(shared, documents, collection)
    found = lines(export(shared, "jsonl", collection=collection))
    expected = [{"id": key[1], "timestamp": moment_of(key[0]), **each} for key, each in documents.items()]
    assert same(found, expected)
    flat = [dict(flattened(each)) for each in expected]
    names = ["id", "timestamp", *sorted({name for each in documents.values() for name, _ in flattened(each)})]
    check_csv(export(shared, "csv", collection=collection).decode(), names, flat)
    check_parquet(export(shared, "parquet", collection=collection), names, flat)


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
                assert alike(json.loads(written), value)


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
                assert alike(json.loads(written), value)


def test_columns_of_parquet_have_the_types_of_their_values(any_store: Store) -> None:
    one: dict[str, Any] = {"whole": 1, "big": 2**64 - 1, "huge": -1, "n": 1, "s": "a", "b": True, "mix": 1, "l": [1]}
    two = {"whole": -(2**63), "big": 0, "huge": 2**64 - 1, "n": 0.5, "s": None, "mix": "1", "o": {}}
    insert(any_store, {(0, "1"): {**one, "o": {"x": None}}, (1, "2"): two})
    found = pyarrow.parquet.read_table(io.BytesIO(export(any_store, "parquet")))
    assert {name: str(found.schema.field(name).type) for name in found.column_names} == {
        "id": "string",
        "timestamp": "timestamp[us, tz=UTC]",
        "b": "bool",
        "big": "decimal128(20, 0)",
        "huge": "decimal128(20, 0)",
        "l": "string",
        "mix": "string",
        "n": "double",
        "o": "string",
        "o.x": "string",
        "s": "string",
        "whole": "int64",
    }
    first, second = found.to_pylist()
    assert (first["l"], first["mix"], first["o"], first["o.x"], first["big"]) == ("[1]", "1", None, None, 2**64 - 1)
    assert (second["mix"], second["o"], second["whole"], second["n"]) == ('"1"', "{}", -(2**63), 0.5)


def test_an_empty_text_and_nothing_are_told_apart_in_csv(any_store: Store) -> None:
    insert(any_store, {(0, "1"): {"a": "", "b": None, "c": -5}, (0, "2"): {"a": "-5", "d": "@SUM(A1)"}})
    assert export(any_store, "csv").decode().splitlines() == [
        '"id","timestamp","a","b","c","d"',
        '"1",1970-01-01T00:00:00.000000Z,"",,-5,',
        '''"2",1970-01-01T00:00:00.000000Z,"'-5",,,"'@SUM(A1)"''',
    ]


def test_numbers_are_written_as_what_they_are(any_store: Store) -> None:
    numbers = [
        0,
        -0.0,
        1.0,
        1.5,
        1e15,
        1e16,
        1e20,
        1e21,
        1e300,
        5e-324,
        0.000001,
        1e-7,
        2**64 - 1,
        -(2**63),
        123456.789,
    ]
    insert(any_store, {(place, f"{place}"): {"n": number} for place, number in enumerate(numbers)})
    written = [row["n"] for row in csv.DictReader(io.StringIO(export(any_store, "csv").decode()))]
    assert written == [
        "0", "-0.0", "1.0", "1.5", "1000000000000000.0", "10000000000000000.0", "100000000000000000000.0", "1e21",
        "1e300", "5e-324", "0.000001", "1e-7", "18446744073709551615", "-9223372036854775808", "123456.789",
    ]  # fmt: skip


def test_more_properties_than_columns_can_be_made_of_are_refused(
    any_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 1_000 if LONG else 60
    monkeypatch.setattr(tables, "MAX_COLUMNS", most)
    wide = {f"p{number}": number for number in range(most)}
    insert(any_store, {(0, "1"): wide})
    assert len(pyarrow.parquet.read_table(io.BytesIO(export(any_store, "parquet"))).column_names) == most + 2
    assert export(any_store, "csv").count(b",") == 2 * (most + 1)
    insert(any_store, {(0, "2"): {"one more": 1}})
    for form in ("csv", "parquet"):
        with pytest.raises(TooManyError, match=f"more than {most:,} properties"):
            export(any_store, form)
    assert len(lines(export(any_store, "jsonl"))) == 2


def test_columns_that_are_called_as_ours_change_neither_order_nor_values(any_store: Store) -> None:
    """As what the statement is made of, and as timestamp or id in another case, which DuckDB takes for the same."""
    ours = [f"{column}{suffix}" for column in ("x0", "x_0", "c0", "extracted") for suffix in ("", *ascii_lowercase)]
    names = ["Above", "ID", "TIMESTAMP", "Timestamp", "doc", "project", "raw", *ours]
    values = [{name: f"{place}" if n % 2 else 9 * place - n for place, name in enumerate(names)} for n in range(4)]
    insert(any_store, {(n, f"id{9 - n}"): document for n, document in enumerate(values)})
    found = pyarrow.parquet.read_table(io.BytesIO(export(any_store, "parquet")))
    rows = zip(*(column.to_pylist() for column in found.columns), strict=True)
    assert [(identity, [*map(json.loads, cells)]) for identity, _, *cells in rows] == [
        (f"id{9 - n}", [document[name] for name in sorted(names)]) for n, document in enumerate(values)
    ]


def test_names_that_are_hostile_to_sql_are_columns_like_others(any_store: Store) -> None:
    names = [
        '"; DROP TABLE collections; --',
        "')",
        "a'b",
        "$1",
        "?",
        "*",
        "\\",
        "x" * 255,
        "é\x00\n",
        "`",
        "\\`",
        "{a:String}",
    ]
    insert(any_store, {(0, "1"): {name: place for place, name in enumerate(names)}})
    row = table(export(any_store, "parquet"))[0]
    assert [row[name] for name in names] == [*range(len(names))]
    assert [each.name for each in any_store.collections("p")] == ["c"]
