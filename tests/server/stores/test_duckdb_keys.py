"""What is known of ids never hides a duplicate, and spares the question where it can."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connect_logging.event import new_id
from connect_logging.server.stores.duckdb_keys import RecentIds, keys_of

TABLES = ("t0", "t1")


@pytest.fixture(scope="module")
def database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def start(database: duckdb.DuckDBPyConnection, *keys: int) -> None:
    for table in TABLES:
        database.execute(f"CREATE OR REPLACE TABLE {table} (key UBIGINT NOT NULL)")
    insert(database, *keys)


def insert(database: duckdb.DuckDBPyConnection, *keys: int, table: str = "t0") -> None:
    database.execute(f"INSERT INTO {table} SELECT unnest(?::UBIGINT[])", [[*keys]])


def key_of(identity: str) -> int:
    """Some ids have the same."""
    return int(identity) // 2


def look(
    recent: RecentIds, database: duckdb.DuckDBPyConnection, *ids: str, table: str = "t0"
) -> tuple[set[str], list[int]]:
    seen, old = recent.look(database, table, ids, [*map(key_of, ids)])
    return seen, [*old]


def add(recent: RecentIds, *ids: str, table: str = "t0") -> None:
    recent.add(table, ids, [*map(key_of, ids)])


IDS = st.sets(st.integers(0, 60).map(str), min_size=1)
STEPS = st.lists(st.tuples(st.sampled_from(TABLES), st.sampled_from(["insert", "forget"]), IDS), max_size=12)


@settings(deadline=None, max_examples=60)
@given(first=IDS, most=st.integers(0, 8), steps=STEPS)
def test_what_is_stored_is_known_or_asked_for(
    database: duckdb.DuckDBPyConnection, first: set[str], most: int, steps: list[tuple[str, str, set[str]]]
) -> None:
    start(database, *map(key_of, first))
    stored = {"t0": set(first), "t1": set[str]()}
    recent = RecentIds(most)
    for table, step, ids in steps:
        if step == "forget":
            recent.forget(table)
            continue
        seen, old = look(recent, database, *ids, table=table)
        assert seen <= stored[table]
        assert {key_of(each) for each in stored[table] & ids - seen} <= {*old} <= {*map(key_of, ids)}
        if new := ids - stored[table]:
            insert(database, *map(key_of, new), table=table)
            add(recent, *new, table=table)
        stored[table] |= ids


def test_rising_keys_are_new_and_nothing_is_asked_for(database: duckdb.DuckDBPyConnection) -> None:
    start(database, 5, 10)
    recent = RecentIds()
    assert look(recent, database, "22", "24") == (set(), [])
    add(recent, "22", "26")
    assert look(recent, database, "24", "28") == (set(), [])
    assert look(recent, database, "23", "26", "24") == ({"26"}, []), "equal keys, but another id"
    assert look(recent, database, "26", "14", "21") == ({"26"}, [7, 10])
    add(recent, "8", "12", table="t1")
    assert look(recent, database, "10", table="t1") == (set(), []), "a new table has nothing else"


def test_more_ids_than_may_be_known_raise_the_floor(database: duckdb.DuckDBPyConnection) -> None:
    start(database)
    recent = RecentIds(most=4)
    for ids in ["18", "2"], ["4", "6"], ["24"]:
        look(recent, database, *ids)
        add(recent, *ids)
    assert look(recent, database, "8", "18", "20", "24") == ({"24"}, [4, 9])


def test_long_ids_count_for_more(database: duckdb.DuckDBPyConnection) -> None:
    start(database)
    recent = RecentIds(most=4)
    first, second = "22".zfill(250), "24".zfill(250)
    for identity in first, second:
        look(recent, database, identity)
        add(recent, identity)
    assert look(recent, database, first, second) == ({first, second}, [])
    add(recent, "26")
    assert look(recent, database, first, second, "26") == ({second, "26"}, [11])


def test_later_uuids_have_higher_keys() -> None:
    keys = keys_of([new_id() for _ in range(100)])
    assert [*keys] == sorted(keys)
    assert keys_of(["0190a1b2-c3d4-7e5f-8123-456789abcdef"]) == (0x0190A1B2C3D47E5F,)
    assert keys_of(["0190a1b2-c3d4-7e5f-8123-456789abcdef", "x"])[0] == 0x0190A1B2C3D47E5F
