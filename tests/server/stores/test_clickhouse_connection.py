"""What a ClickHouse is asked, how that is ended, and what is told when it fails."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from clickhouse_faults import Fails
from clickhouse_process import FacadeProcess

from connect_logging.server.stores.base import QueryTimeoutError, StoppedError, StoreError, StoreUnavailableError
from connect_logging.server.stores.clickhouse_address import ClickHouseAddress, parse_address
from connect_logging.server.stores.clickhouse_connection import ClickHouse, Column

ENDLESS = "SELECT sum(cityHash64(number)) FROM numbers(1000000000000)"


@pytest.fixture
def database(clickhouse_address: ClickHouseAddress) -> Iterator[ClickHouse]:
    with closing(ClickHouse(clickhouse_address)) as opened:
        yield opened


@pytest.mark.parametrize("text", ["", "'", "\\", "\\'", "\n\t\r\x00\b", "é😀", "{x}", "%s", "\\N", "a'); DROP"])
def test_parameters_arrive_as_they_are(database: ClickHouse, text: str) -> None:
    sql = "SELECT {one:String}, {many:Array(String)}"
    assert database.rows("", sql, {"one": text, "many": [text, text + "'"]}) == [(text, [text, text + "'"])]
    with database.reading("", {"max_threads": 1}, threading.Event(), 10) as reader:
        assert reader.rows(sql, {"one": text, "many": [text]}) == [(text, [text])]
        assert b"".join(reader.pieces("SELECT hex({one:String}) AS x", {"one": text}, "JSONEachRow")) == (
            f'{{"x":"{text.encode().hex().upper()}"}}\n'.encode()
        )


def test_rows_are_inserted_a_column_at_a_time(database: ClickHouse) -> None:
    name = f"`{database.address.database}`"
    database.run("", f"CREATE DATABASE {name}")
    database.run("", f"CREATE TABLE {name}.t (a String, b UInt64) ENGINE = MergeTree ORDER BY b")
    columns = [Column("b", "UInt64", [2**64 - 1, 0]), Column("a", "String", [b"\xc3\xa9\x00", b""])]
    database.insert("", f"{name}.t", columns, {"async_insert": 1, "wait_for_async_insert": 1})
    assert database.rows("", f"SELECT * FROM {name}.t ORDER BY b") == [("", 0), ("é\x00", 2**64 - 1)]


def test_what_takes_too_long_is_ended(database: ClickHouse) -> None:
    with (
        pytest.raises(QueryTimeoutError, match=r"after 0\.05 seconds"),
        database.reading("", {}, threading.Event(), 0.05) as reader,
    ):
        reader.rows(ENDLESS, {})


@pytest.mark.parametrize("seconds", [None, 60])
def test_what_is_not_wanted_any_more_is_ended(database: ClickHouse, seconds: float | None) -> None:
    stopped = threading.Event()
    threading.Timer(0.05, stopped.set).start()
    with pytest.raises(StoppedError), database.reading("", {}, stopped, seconds) as reader:
        reader.rows(ENDLESS, {})
    stopped.clear()
    numbers = "SELECT number FROM numbers(1000000000000)"
    with pytest.raises(StoppedError), database.reading("", {}, stopped, seconds) as reader:
        _ = [stopped.set() for _ in reader.pieces(numbers, {}, "TabSeparated")]
    assert database.rows("", "SELECT count() FROM system.processes") == [(1,)]
    assert "interrupter" not in {thread.name for thread in threading.enumerate()}


def test_one_that_is_ended_leaves_others_alone(database: ClickHouse) -> None:
    def read(seconds: float) -> int:
        with database.reading("", {"max_block_size": 1}, threading.Event(), seconds) as reader:
            return len(reader.rows("SELECT sleepEachRow(0.02) FROM numbers(20)", {}))

    with ThreadPoolExecutor(2) as pool:
        short, long = pool.submit(read, 0.05), pool.submit(read, 60)
        assert long.result(30) == 20
        with pytest.raises(QueryTimeoutError):
            short.result(30)


def test_what_cannot_be_killed_is_ended_by_its_own_bound(clickhouse_process: FacadeProcess) -> None:
    clickhouse_process.fail(Fails(497, "ACCESS_DENIED"), None, "KILL QUERY")
    try:
        with (
            closing(ClickHouse(parse_address(clickhouse_process.address_of("default")))) as database,
            pytest.raises(QueryTimeoutError),
            database.reading("", {}, threading.Event(), 0.2) as reader,
        ):
            reader.rows(ENDLESS, {})
    finally:
        clickhouse_process.heal()


def test_too_much_memory_is_told_as_such(database: ClickHouse) -> None:
    with (
        pytest.raises(StoreError, match=r"^no: it needs more memory"),
        database.reading("no", {"max_memory_usage": 10_000_000}, threading.Event(), 60) as reader,
    ):
        reader.rows("SELECT length(groupArray(number)) FROM numbers(100000000)", {})


def test_an_error_says_nothing_of_data_and_statements(database: ClickHouse) -> None:
    secret = "5ecret"
    for failing in (
        lambda: database.run("no", f"DROP TABLE {secret}"),
        lambda: database.rows("no", "SELECT {x:String}::JSON", {"x": f'{{"a": {secret}'}),
        lambda: database.insert("no", "nothing.here", [Column("a", "String", [secret])], {}),
    ):
        with pytest.raises(StoreError, match=r"^no: ClickHouse's error \d+, [A-Z_]+$") as caught:
            failing()
        assert not isinstance(caught.value, StoreUnavailableError)
        assert caught.value.__cause__ is None


def test_a_database_that_is_not_there_is_unavailable(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with closing(ClickHouse(parse_address(f"clickhouse://me:5ecret@127.0.0.1:{port}/d"))) as database:
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match=r"^no: the database cannot be reached$"):
                database.rows("no", "SELECT {x:String}", {"x": "5ecret"})
    assert "5ecret" not in caplog.text


def test_closing_is_final_and_may_be_repeated(database: ClickHouse) -> None:
    with database.reading("", {}, threading.Event(), 10) as reader:
        database.close()
        database.close()
        assert reader.rows("SELECT 1", {}) == [(1,)]
    assert database._free == []


def test_closing_ends_the_connections_that_are_kept(clickhouse_process: FacadeProcess) -> None:
    before = connections_to(clickhouse_process.port)
    with closing(ClickHouse(parse_address(clickhouse_process.address_of("default")))) as database:
        assert database.rows("", "SELECT 1") == [(1,)]
        assert connections_to(clickhouse_process.port) > before
    assert connections_to(clickhouse_process.port) == before


def test_what_is_not_read_to_its_end_lets_go_of_its_connection(clickhouse_process: FacadeProcess) -> None:
    with closing(ClickHouse(parse_address(clickhouse_process.address_of("default")))) as database:
        assert database.rows("", "SELECT 1") == [(1,)]
        before = connections_to(clickhouse_process.port)
        with database.reading("", {}, threading.Event(), 60) as reader:
            pieces = reader.pieces("SELECT number FROM numbers(3000000)", {}, "TSV")
            next(pieces)
            with pytest.raises(ZeroDivisionError) as caught:
                pieces.throw(ZeroDivisionError("of who reads"))  # type: ignore[attr-defined]
            assert connections_to(clickhouse_process.port) < before, f"also while somebody keeps {caught.value!r}"


def connections_to(port: int) -> int:
    """How many this process has."""
    remote = f":{port:04X}"
    own = {each.readlink().name for each in Path("/proc/self/fd").iterdir() if each.is_socket()}
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(remote) and f"socket:[{row[9]}]" in own for row in rows)


def test_a_statement_may_be_long_by_http_as_well(clickhouse_process: FacadeProcess) -> None:
    with closing(ClickHouse(parse_address(clickhouse_process.address_of("default")))) as database:
        sql = f"SELECT length('{'é' * 150_000}'), {{text:String}}"
        assert database.rows("", sql, {"text": "ä'"}) == [(300_000, "ä'")]
        with database.reading("", {}, threading.Event(), 10) as reader:
            assert reader.rows(sql, {"text": "ä'"}) == [(300_000, "ä'")]
            assert b"".join(reader.pieces(sql, {"text": "ä'"}, "TSVRaw")) == "300000\tä'\n".encode()


def test_what_looks_like_an_exception_is_read_as_it_is(clickhouse_process: FacadeProcess) -> None:
    """As an event may have it: an exception of ClickHouse has a tag that no data knows."""
    with (
        closing(ClickHouse(parse_address(clickhouse_process.address_of("default")))) as database,
        database.reading("", {}, threading.Event(), 10) as reader,
    ):
        text = "__exception__\r\ntag\r\n"
        assert b"".join(reader.pieces("SELECT {text:String}", {"text": text}, "RawBLOB")) == text.encode()


def test_no_parameter_is_in_an_address_that_libraries_write_into_logs(
    clickhouse_process: FacadeProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="urllib3")
    with closing(ClickHouse(parse_address(clickhouse_process.address_of("default")))) as database:
        database.run("", "SELECT {one:String}", {"one": "5ecret"})
        database.rows("", "SELECT {one:String}", {"one": "5ecret"})
        with database.reading("", {}, threading.Event(), 10) as reader:
            reader.rows("SELECT {one:String}", {"one": "5ecret"})
            list(reader.pieces("SELECT {one:String}", {"one": "5ecret"}, "TSV"))
    assert "POST /?" in caplog.text
    assert "session_id" not in caplog.text, "which is locked while a statement is still being ended"
    assert "5ecret" not in caplog.text
