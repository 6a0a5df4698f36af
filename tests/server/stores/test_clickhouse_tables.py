"""The tables are made once, as written; those of a cluster are read by ClickHouse's own parser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from connect_logging.server.stores.clickhouse_address import ClickHouseAddress, parse_address
from connect_logging.server.stores.clickhouse_connection import ClickHouse
from connect_logging.server.stores.clickhouse_tables import definitions, make_tables


@pytest.fixture
def database(clickhouse_address: ClickHouseAddress) -> Iterator[ClickHouse]:
    with closing(ClickHouse(clickhouse_address)) as opened:
        yield opened


def test_what_is_missing_is_made_and_what_is_there_stays(database: ClickHouse) -> None:
    tables = make_tables(database)
    database.run("", f"INSERT INTO {tables.projects} VALUES ('p', '{{}}', 1)")
    assert make_tables(database) == tables
    found = database.rows(
        "",
        "SELECT name, engine_full FROM system.tables WHERE database = {database:String} ORDER BY name",
        {"database": database.address.database},
    )
    assert [name for name, _ in found] == ["events", "jobs", "projects"]
    for part in ("ReplacingMergeTree(version", "fsync_after_insert = 1", "fsync_part_directory = 1"):
        assert all(part in engine for _, engine in found), part
    assert "toIntervalDay(30)" in dict(found)["jobs"]
    assert database.rows("", f"SELECT count() FROM {tables.projects} FINAL") == [(1,)]


def test_the_first_event_and_the_last_project_of_an_id_count(database: ClickHouse) -> None:
    tables = make_tables(database)
    for version, document in ((3, "first"), (2, "second")):
        database.run(
            "", f"INSERT INTO {tables.events} (id, version, raw) VALUES ('1', {version}, '{{\"a\":\"{document}\"}}')"
        )
    assert database.rows("", f"SELECT doc.a::String FROM {tables.events} FINAL") == [("first",)]
    for version, document in ((2, "second"), (1, "first")):
        database.run("", f"INSERT INTO {tables.projects} VALUES ('p', '{document}', {version})")
    assert database.rows("", f"SELECT document FROM {tables.projects} FINAL") == [("second",)]


@pytest.mark.parametrize("name", ["main", "my-cluster_2"])
def test_the_tables_of_a_cluster_are_what_clickhouse_takes(database: ClickHouse, name: str) -> None:
    statements = definitions(parse_address(f"clickhouse://h/my-events?cluster={name}"))
    kinds = [database.rows("", f"EXPLAIN AST {statement}")[0][0].split()[0] for statement in statements]
    assert kinds == ["CreateQuery"] * 5
    formatted = [database.rows("", "SELECT formatQuery({sql:String})", {"sql": each})[0][0] for each in statements]
    assert all(f"ON CLUSTER `{name}`" in each or f"ON CLUSTER {name}" in each for each in formatted)
    events, distributed = formatted[1], formatted[4]
    assert (
        "ReplicatedReplacingMergeTree('/clickhouse/tables/{database}/{table}/{shard}', '{shard}-{replica}', version)"
        in events
    )
    assert "events_local" in distributed
    assert "cityHash64(project, collection, id)" in distributed
