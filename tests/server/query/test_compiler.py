"""Queries on the real database, against a plain reading of the same rules in Python."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest

from connect_logging.server.query.clickhouse_dialect import ClickHouseDialect
from connect_logging.server.query.compiler import Row, compile_matching, compile_query
from connect_logging.server.query.dialect import Source
from connect_logging.server.query.duckdb_dialect import DuckDBDialect
from connect_logging.server.query.parser import parse_export_query, parse_query
from connect_logging.server.stores.base import NewEvent
from connect_logging.server.stores.clickhouse_connection import ClickHouse
from connect_logging.server.stores.clickhouse_overview import events_of
from connect_logging.server.stores.clickhouse_tables import make_tables, tables_of
from connect_logging.server.stores.clickhouse_writing import write
from connect_logging.server.stores.duckdb_types import PropertyTypes
from connect_logging.server.stores.requests import Insert

from ..clickhouse_database import fresh_database, in_process

NOW = 1_448_373_600.0
"""2015-11-24T14:00:00Z, a Tuesday."""


Ask = Callable[[list[Any], Any], list[Row]]
"""The rows that answer a query about these documents."""


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


@pytest.fixture(scope="module")
def clickhouse(engine_directory: Path) -> Iterator[ClickHouse]:
    with fresh_database(in_process(engine_directory)) as address, closing(ClickHouse(address)) as opened:
        make_tables(opened)
        yield opened


@pytest.fixture(params=["database", "clickhouse"])
def ask(request: pytest.FixtureRequest) -> Ask:
    asking: dict[str, Callable[..., list[Row]]] = {"database": ask_duckdb, "clickhouse": ask_clickhouse}
    return partial(asking[request.param], request.getfixturevalue(request.param))


def ask_duckdb(database: duckdb.DuckDBPyConnection, events: list[Any], query: Any) -> list[Row]:
    database.execute("CREATE OR REPLACE TEMP TABLE events (timestamp TIMESTAMP, doc VARIANT)")
    if events:
        texts = [json.dumps(event) for event in events]
        database.execute(
            "INSERT INTO events SELECT TIMESTAMP '2015-11-24', unnest(?::VARCHAR[])::JSON::VARIANT", [texts]
        )
    unknown, known = (
        compile_query(parse_query(json.dumps(query), NOW), Source("events"), dialect)
        for dialect in (DuckDBDialect(), DuckDBDialect(partial(PropertyTypes().of, database, "events")))
    )
    rows = [unknown.line(row).row for row in database.execute(unknown.sql, unknown.parameters).fetchall()]
    same = [known.line(row).row for row in database.execute(known.sql, known.parameters).fetchall()]
    assert repr(rows) == repr(same), "knowing the types makes a difference"
    return rows


def ask_clickhouse(clickhouse: ClickHouse, events: list[Any], query: Any) -> list[Row]:
    tables, collection = tables_of(clickhouse.address), secrets.token_hex(8)
    made = [NewEvent(f"{place}", 1_448_323_200_000_000, json.dumps(each).encode()) for place, each in enumerate(events)]
    write(clickhouse, tables, [Insert.of("p", {collection: made})], 1)
    statement = compile_query(
        parse_query(json.dumps(query), NOW), events_of(tables, "p", collection), ClickHouseDialect()
    )
    return [statement.line(row).row for row in clickhouse.rows("", statement.sql, statement.parameters)]


VALUES: list[Any] = [1, 1.0, 2, 2.5, "1", "a", "A", "", "%", "a_b", True, False, None, [1], {"b": 1}]
EVENTS = [{}, *({"a": value} for value in VALUES)]


OF_ONE_TYPE: list[list[Any]] = [
    [0, 1, 2, 2**53 + 1, 2**53 + 2, 2**64 - 1],
    [-1, -2, -(2**53) - 1, -(2**63)],
    [0.0, -0.0, 1.0, 2.5, 1e19, 1e300, 5e-324, 0.1, 2.0**53],
    ["", "1", "a", "A b", "a", "é", '"', "true", "\n"],
    [True, True],
    [[1], ["a"]],
    [None],
]


@pytest.mark.parametrize("values", OF_ONE_TYPE, ids=lambda values: type(values[0]).__name__ + repr(values)[:9])
def test_values_of_one_type_are_read_as_what_they_are(database: duckdb.DuckDBPyConnection, values: list[Any]) -> None:
    events = [{}, {"a": None}, *({"a": value, "b": {"c": value}} for value in values)]
    operators = ("eq", "neq", "gt", "lte", "startsWith", "contains")
    filters: list[Any] = [
        {"b.c": {operator: operand}}
        for operand in (0, 1, -2, 2.5, 2**53 + 1, 2**64 - 1, -(2**63), "a", "1", "", True, False, None)
        for operator in operators
        if isinstance(operand, str)
        or (operator in operators[:4] and operand not in (True, False, None))
        or operator == "eq"
    ]
    filters += [{"a": [1, 2.5, 2**53 + 1]}, {"a": ["a", "1"]}, {"a": {"exists": True}}, {"a": {"exists": False}}]
    for each in filters:
        ask_duckdb(database, events, {"filter": each})
    functions = ("sum", "avg", "min", "max", "distinct", "median")
    ask_duckdb(database, events, {"select": {function: {function: "a"} for function in functions}})
    groups = ask_duckdb(database, events, {"groupBy": "a"})
    scalars = {repr(value) for value in values if not isinstance(value, list | float) and value is not None}
    assert scalars <= {repr(row["a"]) for row in groups}


@pytest.mark.parametrize(
    ("filters", "matching"),
    [
        ({"a": 1}, [1, 1.0]),
        ({"a": 1.0}, [1, 1.0]),
        ({"a": "1"}, ["1"]),
        ({"a": True}, [True]),
        ({"a": None}, ["missing", None]),
        ({"a": {"neq": None}}, [value for value in VALUES if value is not None]),
        ({"a": {"neq": 1}}, ["missing", *VALUES[2:]]),
        ({"a": {"gt": 1}}, [2, 2.5]),
        ({"a": {"gte": 1, "lt": 2.5}}, [1, 1.0, 2]),
        ({"a": {"gt": "A"}}, ["a", "a_b"]),
        ({"a": {"lt": "A"}}, ["1", "", "%"]),
        ({"a": {"exists": True}}, [value for value in VALUES if value is not None]),
        ({"a": {"exists": False}}, ["missing", None]),
        ({"a": {"startsWith": "a"}}, ["a", "a_b"]),
        ({"a": {"endsWidth": "b"}}, ["a_b"]),
        ({"a": {"contains": "%"}}, ["%"]),
        ({"a": {"contains": "_"}}, ["a_b"]),
        ({"a": {"contains": ""}}, ["1", "a", "A", "", "%", "a_b"]),
        ({"a": ["a", "1"]}, ["1", "a"]),
        ({"a": [1, 2.5]}, [1, 1.0, 2.5]),
        ({"a": [True]}, [True]),
        ({"a": []}, []),
        ({"a.b": 1}, [{"b": 1}]),
        ({"A": 1}, []),
        ({"or": [{"a": 1}, {"a": {"startsWith": "a"}}]}, [1, 1.0, "a", "a_b"]),
        ({"or": [{"a": "a"}, {"a": 1}], "a": {"gt": "A"}}, ["a"]),
        ({"or": [{"a": {"gt": 1}, "n": {"lt": 4}}, {"or": [{"a": True}, {"a.b": 1}]}]}, [2, True, {"b": 1}]),
        ({"or": [{"b": 1}, {}]}, ["missing", *VALUES]),
        ({"or": [{"a": {"neq": 1}}, {"a": 1}]}, ["missing", *VALUES]),
        ({"or": []}, []),
    ],
)
def test_every_operator(ask: Ask, filters: Any, matching: list[Any]) -> None:
    events = [{"n": place, **event} for place, event in enumerate(EVENTS)]
    rows = ask(events, {"filter": filters, "groupBy": "n"})
    found = [events[row["n"]].get("a", "missing") for row in sorted(rows, key=lambda row: row["n"])]
    assert list(map(repr, found)) == list(map(repr, matching))


def test_events_that_match_are_read_with_all_their_columns(database: duckdb.DuckDBPyConnection) -> None:
    ask_duckdb(database, [{"a": 1}, {"a": 2, "b": [1]}], {})
    inside = {"start": "2015-11-24T00:00:00Z", "end": "2015-11-24T00:00:00.000001Z"}
    for timeframe, found in ((inside, 1), ({"end": inside["start"]}, 0), ({"start": inside["end"]}, 0), ("today", 1)):
        query = parse_export_query({"filter": {"or": [{"a": 2}, {"b.c": 1}]}, "timeframe": timeframe}, NOW)
        matching = compile_matching(query, Source("events"), DuckDBDialect())
        sql = f"SELECT epoch_us(timestamp), doc::JSON {matching.sql}"
        rows = database.execute(sql, matching.parameters).fetchall()
        assert rows == [(1_448_323_200_000_000, '{"a":2,"b":[1]}')][:found]


@pytest.mark.parametrize("big", [2**53 + 1, 2**63 - 1, 2**64 - 1, -(2**63), 1234567890123456789])
def test_integers_are_compared_exactly(ask: Ask, big: int) -> None:
    events = [{"a": big}, {"a": big - 1 if big > 0 else big + 1}]
    assert ask(events, {"filter": {"a": big}}) == [{"_count": 1}]
    assert ask(events, {"filter": {"a": [big, "x"][:1]}}) == [{"_count": 1}]
    assert len(ask(events, {"groupBy": "a"})) == 2
    assert {"a": big, "_count": 1} in ask(events, {"groupBy": "a"})


def test_large_doubles_are_compared_as_doubles(ask: Ask) -> None:
    events: list[Any] = [{"a": 1e300}, {"a": 1e17}, {"a": 0.5}]
    assert ask(events, {"filter": {"a": {"gte": 1e300}}}) == [{"_count": 1}]
    assert ask(events, {"filter": {"a": {"gt": 9e16}}}) == [{"_count": 2}]
    assert ask(events, {"filter": {"a": [1e300, 1e17]}}) == [{"_count": 2}]


def test_groups(ask: Ask) -> None:
    rows = ask(EVENTS, {"select": {"n": "count"}, "groupBy": "a"})
    counted = {json.dumps(row["a"]): row["n"] for row in rows}
    # 1 and 1.0 are one group; missing, null, and what cannot be queried are one as well.
    assert counted == {
        "1": 2, "2": 1, "2.5": 1, '"1"': 1, '"a"': 1, '"A"': 1, '""': 1, '"%"': 1, '"a_b"': 1,
        "true": 1, "false": 1, "null": 4,
    }  # fmt: skip


def test_aggregates_take_numbers_only(ask: Ask) -> None:
    select = {"n": "count", **{name: {name: "a"} for name in ("sum", "avg", "min", "max")}}
    assert ask(EVENTS, {"select": select}) == [{"n": len(EVENTS), "sum": 6.5, "avg": 1.625, "min": 1, "max": 2.5}]
    assert ask([{"a": "text"}], {"select": select}) == [{"n": 1, "sum": None, "avg": None, "min": None, "max": None}]
    assert ask([], {"select": select}) == [{"n": 0, "sum": None, "avg": None, "min": None, "max": None}]
    assert ask([], {"select": select, "groupBy": "a"}) == []


def test_whole_results_are_integers_and_infinite_ones_null(ask: Ask) -> None:
    [row] = ask([{"a": 1.5}, {"a": 1.5}], {"select": {"s": {"sum": "a"}}})
    assert repr(row["s"]) == "3"
    wide = {"s": {"sum": "a"}, "m": {"avg": "a"}, "d": {"median": "a"}}
    assert ask([{"a": 1.7e308}] * 2, {"select": wide}) == [{"s": None, "m": None, "d": 1.7e308}]
    [row] = ask([{"a": 1.7e308}, {"a": -1.7e308}], {"select": {"d": {"median": "a"}}})
    assert row["d"] == 0


def test_a_sum_of_prices_is_what_an_accountant_expects(ask: Ask) -> None:
    [row] = ask([{"a": 0.1}] * 20_000, {"select": {"s": {"sum": "a"}}})
    assert row["s"] == 2_000


def test_a_query_without_select_counts(ask: Ask) -> None:
    assert ask(EVENTS, {}) == [{"_count": len(EVENTS)}]


def test_hostile_names_find_what_they_name(ask: Ask) -> None:
    for name in ('"', "'", "`", "null", "size0", "a'b", "$[0]", "é", "a\x00b", "/x", "*", " ", "0"):
        rows = ask([{name: {name: name}}, {}], {"groupBy": f"{name}.{name}", "filter": {f"{name}.{name}": name}})
        assert rows == [{f"{name}.{name}": name, "_count": 1}]


def test_distinct_counts_values_that_can_be_compared(ask: Ask) -> None:
    assert ask(EVENTS, {"select": {"n": {"distinct": "a"}}}) == [{"n": 11}]
    assert ask([{"a": 2**53}, {"a": 2**53 + 1}, {"a": [1]}], {"select": {"n": {"distinct": "a"}}}) == [{"n": 2}]
    assert ask([{}], {"select": {"n": {"distinct": "a"}}}) == [{"n": 0}]


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (25, 1.75), (50, 2.5), (100, 10), (75, 4.75), (1 / 3, 1.01), (95, 8.95)]
)
def test_percentiles_lie_between_ranks(ask: Ask, percent: float, expected: float) -> None:
    select = {"p": {"percentile": {"property": "a", "p": percent}}, "m": {"median": "a"}}
    [row] = ask([{"a": 10}, {"a": 1}, {"a": 3}, {"a": 2}, {"a": "9"}, {}], {"select": select})
    assert row == {"p": pytest.approx(expected), "m": 2.5}
    assert ask([{"a": "9"}], {"select": select}) == [{"p": None, "m": None}]


def test_rows_are_in_one_order_whatever_is_asked(ask: Ask) -> None:
    groups: list[Any] = [-1, 0.5, 2, 10, 2**53, 2**53 + 1, "", "10", "B", "a", "a!", 'a"', "é", "😀", False, True, None]
    events = [{"g": group} for group in reversed(groups)]
    assert [row["g"] for row in ask(events, {"groupBy": "g"})] == groups
    found = [row["g"] for row in ask(events, {"groupBy": "g", "orderBy": {"g": "DESC"}})]
    assert found == [*reversed(groups[:-1]), None]


def test_order_and_limit(ask: Ask) -> None:
    events = [{"g": group, "n": number} for group, number in (("a", 1), ("b", 3), ("c", 3), ("d", None))]
    query: dict[str, Any] = {"groupBy": "g", "select": {"s": {"sum": "n"}}}

    def groups(**more: Any) -> str:
        return "".join(row["g"] for row in ask(events, {**query, **more}))

    assert groups(orderBy="s") == "abcd"
    assert groups(orderBy={"s": "desc"}) == "bcad"
    assert groups(orderBy=[{"s": "desc"}, {"g": "desc"}]) == "cbad"
    assert groups(orderBy=["s", {"s": "desc"}]) == "abcd"
    assert groups(limit=2) == "ab"
    assert groups(limit=1, orderBy={"s": "desc"}) == "b"
    assert ask(events, {"orderBy": "_count", "limit": 1}) == [{"_count": 4}]


@pytest.mark.parametrize(
    ("wanted", "matching"),
    [
        ("a", ["xay", ["a"], ["b", "a", None]]),
        ("", ["xay", "1", [""]]),
        ("1", ["1", ["1"]]),
        (1, [[1, True], [1.0]]),
        (2**53 + 1, [[2**53 + 1]]),
        (0.5, [[0.5]]),
        (True, [[1, True]]),
        ('"', [['"']]),
        ("\x00", [["\x00"]]),
    ],
)
def test_an_array_contains_its_elements(ask: Ask, wanted: Any, matching: list[Any]) -> None:
    values: list[Any] = [
        "xay",
        "1",
        1,
        True,
        None,
        {"a": "a"},
        [],
        ["a"],
        ["b", "a", None],
        [["a"]],
        [{"a": "a"}],
        [""],
    ]
    values += [["1"], [1, True], [1.0], [2**53 + 1], [2**53], [0.5], ['"'], ["\x00"]]
    events = [{"n": place, "a": value} for place, value in enumerate(values)]
    rows = ask(events, {"filter": {"a": {"contains": wanted}}, "groupBy": "n"})
    assert repr([values[row["n"]] for row in rows]) == repr(matching)
