"""How long events are kept is changed when it has to be, and what is past its time goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from connect_logging.server.stores.clickhouse_address import ClickHouseAddress, parse_address
from connect_logging.server.stores.clickhouse_connection import ClickHouse
from connect_logging.server.stores.clickhouse_retention import keep
from connect_logging.server.stores.clickhouse_tables import make_tables, tables_of

DAY = 86_400 * 1_000_000


class Counting(ClickHouse):
    """Tells what was changed."""

    def __init__(self, address: ClickHouseAddress) -> None:
        super().__init__(address)
        self.changes: list[str] = []

    def run(self, failure: str, sql: str, *more: object) -> None:
        self.changes.append(sql)
        super().run(failure, sql)


@pytest.fixture
def database(clickhouse_address: ClickHouseAddress) -> Iterator[Counting]:
    with closing(Counting(clickhouse_address)) as opened:
        make_tables(opened)
        opened.changes.clear()
        yield opened


@pytest.mark.parametrize(
    ("days", "kept"),
    [
        (30, ["29 days", "tomorrow", "2150", "9999"]),
        (36_500, ["1960", "31 days", "29 days", "tomorrow", "2150", "9999"]),
    ],
)
def test_events_go_so_many_days_after_their_timestamp(database: Counting, days: int, kept: list[str]) -> None:
    tables, now = tables_of(database.address), time.time_ns() // 1_000
    times = {
        "year 1": -62_135_596_800_000_000,
        "1815": -4_891_363_200_000_000,
        "1960": -315_619_200_000_000,
        "31 days": now - 31 * DAY,
        "29 days": now - 29 * DAY,
        "tomorrow": now + DAY,
        "2150": 5_680_281_600_000_000,
        "9999": 253_402_300_799_999_999,
    }
    for identity, moment in times.items():
        database.run(
            "",
            f"INSERT INTO {tables.events} (project, id, timestamp, raw) VALUES ('p', '{identity}', {moment}, '{{}}')",
        )
    keep(database, tables, days)
    database.run("", f"OPTIMIZE TABLE {tables.stored} FINAL")
    left = database.rows("", f"SELECT id FROM {tables.events} FINAL ORDER BY timestamp")
    assert [identity for (identity,) in left] == kept


def test_it_is_changed_only_when_it_differs(database: Counting) -> None:
    tables = tables_of(database.address)
    for days, changed in ((None, 0), (30, 1), (30, 0), (36_500, 1), (None, 1), (None, 0)):
        database.changes.clear()
        keep(database, tables, days)
        assert len(database.changes) == changed, days


def test_what_somebody_else_has_set_stays_until_the_option_says_otherwise(database: Counting) -> None:
    tables = tables_of(database.address)
    database.run("", f"ALTER TABLE {tables.stored} MODIFY TTL toDate(fromUnixTimestamp64Micro(timestamp)) + 7")
    database.changes.clear()
    keep(database, tables, None)
    assert database.changes == []
    keep(database, tables, 9)
    assert len(database.changes) == 1


def test_on_a_cluster_every_server_is_told(database: Counting) -> None:
    tables = tables_of(parse_address("clickhouse://h/d?cluster=main"))
    told: list[str] = []

    class Cluster(Counting):
        def rows(self, *_: object) -> list[tuple[object, ...]]:
            return [("CREATE TABLE d.events_local …",)]

        def run(self, failure: str, sql: str, *more: object) -> None:
            told.append(sql)

    keep(Cluster(database.address), tables, 5)
    [statement] = told
    assert database.rows("", f"EXPLAIN AST {statement}")[0][0].startswith("AlterQuery")
    assert "`d`.events_local ON CLUSTER `main`" in statement
