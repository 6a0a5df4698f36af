"""Types are learned once, of every event there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from connect_logging.server.stores.duckdb_types import PropertyTypes


@pytest.fixture
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE events (doc VARIANT)")
        yield connection


def insert(database: duckdb.DuckDBPyConnection, *events: Any) -> None:
    database.execute("INSERT INTO events SELECT unnest(?::VARCHAR[])::JSON::VARIANT", [[*map(json.dumps, events)]])


def replace(database: duckdb.DuckDBPyConnection, *events: Any) -> None:
    """What the store never does: other events in the places of those that were looked at."""
    database.execute("CREATE OR REPLACE TABLE events (doc VARIANT)")
    insert(database, *events)


def test_types_are_those_of_the_values_that_are_there(database: duckdb.DuckDBPyConnection) -> None:
    types = PropertyTypes(step=2)
    assert types.of(database, "events", ("a",)) == set()
    insert(database, {"a": None}, {}, {"a": 1}, {"b": {"c": "x"}}, {"b": 7}, {"a": 2})
    assert types.of(database, "events", ("a",)) == {"UINT64"}
    assert types.of(database, "events", ("b", "c")) == {"VARCHAR"}
    assert len(types.of(database, "events", ("b",))) == 2


def test_what_comes_later_is_learned_and_the_rest_not_again(database: duckdb.DuckDBPyConnection) -> None:
    types = PropertyTypes(step=2)
    insert(database, *({"a": 1} for _ in range(5)))
    assert types.of(database, "events", ("a",)) == {"UINT64"}
    replace(database, *({"a": -1} for _ in range(5)))
    assert types.of(database, "events", ("a",)) == {"UINT64"}, "the old rows were not looked at"
    insert(database, {"a": "x"})
    assert types.of(database, "events", ("a",)) == {"UINT64", "VARCHAR"}


def test_a_transaction_that_began_earlier_may_be_told_of_later_types(database: duckdb.DuckDBPyConnection) -> None:
    types = PropertyTypes()
    insert(database, {"a": 1})
    with database.cursor() as earlier:
        earlier.begin()
        assert types.of(earlier, "events", ("a",)) == {"UINT64"}
        insert(database, {"a": "x"})
        assert types.of(earlier, "events", ("a",)) == {"UINT64"}
        assert types.of(database, "events", ("a",)) == {"UINT64", "VARCHAR"}
        assert types.of(earlier, "events", ("a",)) == {"UINT64", "VARCHAR"}


def test_as_many_properties_as_anyone_asks_for_are_not_remembered(database: duckdb.DuckDBPyConnection) -> None:
    types = PropertyTypes(most=2)
    insert(database, {"a": 1, "b": 1, "c": 1})
    for name in "abc":
        types.of(database, "events", (name,))
    replace(database, {"a": -1, "b": -1, "c": -1})
    assert types.of(database, "events", ("a",)) == {"INT64"}, "it was forgotten"
    assert types.of(database, "events", ("c",)) == {"UINT64"}


def test_without_a_table_what_was_learned_of_it_is_forgotten(database: duckdb.DuckDBPyConnection) -> None:
    types = PropertyTypes()
    database.execute("CREATE TABLE others (doc VARIANT)")
    database.execute("""INSERT INTO others VALUES ('{"a":1}'::JSON::VARIANT)""")
    insert(database, {"a": 1})
    for table in ("events", "others"):
        assert types.of(database, table, ("a",)) == {"UINT64"}
    without = types.without("events")
    for table in ("events", "others"):
        database.execute(f"""UPDATE {table} SET doc = '{{"a":-1}}'::JSON::VARIANT""")
    assert without.of(database, "events", ("a",)) == {"INT64"}
    assert without.of(database, "others", ("a",)) == {"UINT64"}
    assert types.of(database, "events", ("a",)) == {"UINT64"}, "who began before goes on as before"


def test_where_rows_are_gone_the_others_are_learned_of(database: duckdb.DuckDBPyConnection) -> None:
    types = PropertyTypes(step=3)
    insert(database, *({"a": place} for place in range(20)), {"a": "x"})
    database.execute("DELETE FROM events WHERE rowid < 10 OR rowid = 15")
    assert types.of(database, "events", ("a",)) == {"UINT64", "VARCHAR"}
