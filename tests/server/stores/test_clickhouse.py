"""What is the ClickHouse store's own; what every store keeps, the tests of the contract try."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from connect_logging.server.query.answer import TooManyResultsError
from connect_logging.server.query.parser import parse_query
from connect_logging.server.stores.base import Collection, Commit, Form, NewEvent, StoreError, StoreUnavailableError
from connect_logging.server.stores.clickhouse import ClickHouseStore
from connect_logging.server.stores.clickhouse_address import ClickHouseAddress, parse_address
from connect_logging.server.stores.clickhouse_connection import ClickHouse
from connect_logging.server.stores.clickhouse_tables import tables_of

from .backings import count, event, export, insert, kept


def open_store(address: ClickHouseAddress, memory_limit: str = "512MB", ahead: float = 0.0) -> ClickHouseStore:
    """``ahead``: seconds by which this server's clock is."""
    return ClickHouseStore(
        address, memory_limit=memory_limit, query_timeout=20, max_waiting=2**27, clock=lambda: time.time() + ahead
    )


@pytest.fixture
def store(clickhouse_address: ClickHouseAddress) -> Iterator[ClickHouseStore]:
    with closing(open_store(clickhouse_address)) as opened:
        yield opened


def put(address: ClickHouseAddress, values: str) -> None:
    """Rows that no server has asked about; ``values``: what SELECT makes id, timestamp, version and raw of."""
    with closing(ClickHouse(address)) as database:
        database.run(
            "", f"INSERT INTO {tables_of(address).events} (project, collection, id, timestamp, version, raw) {values}"
        )


def asked(store: ClickHouseStore, query: object) -> list[dict[str, object]]:
    return [line.row for line in store.query("p", "c", parse_query(json.dumps(query), 0))]


@pytest.mark.parametrize("form", ["connect", "jsonl", "csv", "parquet"])
def test_what_a_server_has_stored_whose_clock_is_ahead_is_exported_by_all(
    clickhouse_address: ClickHouseAddress, form: Form
) -> None:
    with (
        closing(open_store(clickhouse_address, ahead=3_600)) as ahead,
        closing(open_store(clickhouse_address)) as other,
    ):
        insert(ahead, event("here first", n=1))
        insert(other, event("then here", m=2))
        exported = export(other, form)
    assert all(id_.encode() in exported for id_ in ("here first", "then here"))


def test_an_id_that_two_servers_store_at_once_is_counted_once(clickhouse_address: ClickHouseAddress) -> None:
    ids = [f"{number}" for number in range(50)]
    with (
        closing(open_store(clickhouse_address)) as one,
        closing(open_store(clickhouse_address)) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        found = [pool.submit(insert, store, *map(event, ids)) for store in (one, other) for _ in range(5)]
        assert all(len(each.result(30)) == 50 for each in found)
        assert count(one) == count(other) == 50
        [figures] = one.collections("p")
        assert figures.events == 50
        assert {*kept(other)} == {*ids}
        assert insert(other, *map(event, ids)) == [False] * 50


def test_the_one_that_was_stored_first_counts_and_no_index_brings_another(
    store: ClickHouseStore, clickhouse_address: ClickHouseAddress
) -> None:
    first, later = 2**63 - 1, 2**63 - 2
    put(clickhouse_address, f"SELECT 'p', 'c', '1', 0, {first}, '{{\"a\":\"first\"}}'")
    put(clickhouse_address, f"SELECT 'p', 'c', '1', 2000000000000000, {later}, '{{\"a\":\"second\"}}'")
    put(clickhouse_address, f"SELECT 'p', 'c', '2', 2000000000000000, {later}, '{{\"a\":\"other\"}}'")
    assert asked(store, {"groupBy": "a"}) == [{"a": "first", "_count": 1}, {"a": "other", "_count": 1}]
    late = {"start": "2030-01-01T00:00:00Z"}
    assert asked(store, {"groupBy": "a", "timeframe": late}) == [{"a": "other", "_count": 1}]
    assert asked(store, {"filter": {"a": "second"}}) == [{"_count": 0}]
    assert [each["a"] for each in kept(store).values()] == ["first", "other"]


def test_versions_fall_with_the_clock(clickhouse_address: ClickHouseAddress) -> None:
    now = [1_000.0]
    with closing(
        ClickHouseStore(clickhouse_address, memory_limit="1GB", query_timeout=9, max_waiting=9**9, clock=lambda: now[0])
    ) as store:
        insert(store, event("1"))
        now[0] += 1
        insert(store, event("2"))
        now[0] -= 900  # and go on falling when that is set back
        insert(store, event("3"))
    with closing(ClickHouse(clickhouse_address)) as database:
        rows = database.rows("", f"SELECT version FROM {tables_of(clickhouse_address).events} ORDER BY id")
    assert rows == [(2**63 - 1_000_000_000,), (2**63 - 1_001_000_000,), (2**63 - 1_001_000_001,)]


def test_a_commit_is_told(clickhouse_address: ClickHouseAddress) -> None:
    told: list[Commit] = []
    store = ClickHouseStore(
        clickhouse_address, memory_limit="1GiB", query_timeout=9, max_waiting=9**9, on_commit=told.append
    )
    with closing(store):
        insert(store, event("1"), event("1"), event("2"))
        insert(store, event("1"))
    assert [(each.requests, each.events) for each in told] == [(1, 2), (1, 0)]


def test_a_query_that_needs_too_much_memory_is_refused_and_the_next_is_answered(
    clickhouse_address: ClickHouseAddress,
) -> None:
    with closing(open_store(clickhouse_address, memory_limit="10MB")) as store:
        put(clickhouse_address, "SELECT 'p', 'c', toString(number), 0, 1, '{\"a\":1.5}' FROM numbers(300000)")
        with pytest.raises(StoreError, match="needs more memory"):
            asked(store, {"select": {"m": {"median": "a"}, "d": {"distinct": "a"}}})
        assert count(store) == 300_000


def test_an_answer_that_would_fill_the_memory_is_refused(clickhouse_address: ClickHouseAddress) -> None:
    with closing(open_store(clickhouse_address, memory_limit="4GB")) as store:
        text = "concat('{\"a\":\"', toString(number), repeat('x', 60000), '\"}')"
        put(clickhouse_address, f"SELECT 'p', 'c', toString(number), 0, 1, {text} FROM numbers(1200)")
        with pytest.raises(TooManyResultsError, match="67,108,864 characters"):
            asked(store, {"groupBy": "a"})
        assert len(asked(store, {"groupBy": "a", "limit": 1_000})) == 1_000


def test_of_many_events_a_sample_is_looked_at(store: ClickHouseStore, clickhouse_address: ClickHouseAddress) -> None:
    more = "multiIf(number = 0, ',\"oldest\":1', number = 59999, ',\"newest\":1', number = 41235, ',\"rare\":1', '')"
    raw = f"concat('{{\"n\":', toString(number), {more}, '}}')"
    put(clickhouse_address, f"SELECT 'p', 'c', toString(number), number * 1000, 1, {raw} FROM numbers(60000)")
    described = store.describe("p", "c")
    assert described is not None
    figures, found = described
    assert figures == Collection("c", 60_000, figures.bytes, 0, 59_999_000)
    assert [each.path for each in found] == [("n",), ("newest",), ("oldest",)]


def test_a_database_that_cannot_be_used_is_told_at_once_and_leaves_nothing_behind() -> None:
    before = threading.active_count()
    with pytest.raises(StoreUnavailableError, match="the tables could not be made: the database cannot be reached"):
        open_store(parse_address("clickhouse://me:5ecret@127.0.0.1:1/d"))
    assert threading.active_count() == before


def test_a_request_of_many_collections_is_one_block(
    store: ClickHouseStore, clickhouse_address: ClickHouseAddress
) -> None:
    events = {f"c{number}": [NewEvent("1", 0, b"{}")] for number in range(300)}
    assert store.insert("p", events).result(30) == {name: [True] for name in events}
    assert store.insert("p", events).result(30) == {name: [False] for name in events}
    assert len(store.collections("p")) == 300
    with closing(ClickHouse(clickhouse_address)) as database:
        parts = database.rows(
            "",
            "SELECT count(), sum(rows) FROM system.parts WHERE active AND database = {name:String}",
            {"name": clickhouse_address.database},
        )
    assert parts == [(1, 300)]
