"""An open DuckDB file: closed to the outside, and opened again when it broke."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest
from full_disks import files_limited_to

from connect_logging.server.stores.duckdb_file import ROW_GROUP_SIZE, DuckDBFile, bytes_of, planned


class Opened:
    """Counts how often the file was opened, and fails when told to."""

    def __init__(self) -> None:
        self.times = 0
        self.fails = False

    def __call__(self, connection: duckdb.DuckDBPyConnection) -> None:
        if self.fails:
            raise duckdb.IOException("the disk is gone")
        self.times += 1
        connection.execute("CREATE TABLE IF NOT EXISTS t (a INTEGER)")


@pytest.fixture
def opened() -> Opened:
    return Opened()


@pytest.fixture
def file(tmp_path: Path, opened: Opened) -> Iterator[DuckDBFile]:
    with closing(DuckDBFile(tmp_path / "x", memory_limit="256MB", threads=1, on_open=opened)) as made:
        yield made


def break_it(file: DuckDBFile) -> None:
    with pytest.raises(duckdb.FatalException), file.cursor():
        raise duckdb.FatalException("fsync failed")


def numbers(rows: int) -> str:
    return f"INSERT INTO t SELECT hash(i) % 2_000_000_000 FROM range({rows}) AS r(i)"


def repeat(file: DuckDBFile, statement: str) -> None:
    with file.cursor() as cursor:
        for _ in range(1_000):
            cursor.execute(statement)


def count(file: DuckDBFile) -> int:
    with file.cursor() as cursor:
        return len(cursor.execute("SELECT a FROM t").fetchall())


def test_it_cannot_reach_outside(file: DuckDBFile, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for statement in (
        f"SELECT * FROM read_csv('{secret}')",
        f"COPY t TO '{tmp_path / 'out.csv'}'",
        f"ATTACH '{tmp_path / 'other.duckdb'}'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '99GB'",
    ):
        with file.cursor() as cursor, pytest.raises(duckdb.Error):
            cursor.execute(statement)


PLANS = "SELECT current_setting('enable_optimizer')"


def test_only_the_writer_goes_without_plans_and_has_them_where_it_asks(file: DuckDBFile) -> None:
    with file.writer() as writer:
        assert writer.execute(PLANS).fetchall() == [(False,)]
        with planned(writer):
            assert writer.execute(PLANS).fetchall() == [(True,)]
        with file.cursor() as cursor:
            assert cursor.execute(PLANS).fetchall() == [(True,)]
        assert writer.execute(PLANS).fetchall() == [(False,)]


def test_the_writer_is_the_same_until_a_block_fails_and_takes_its_transaction_with_it(file: DuckDBFile) -> None:
    with file.writer() as first:
        first.execute("INSERT INTO t VALUES (1)")
    with suppress(RuntimeError), file.writer() as again:
        assert again is first
        again.begin()
        again.execute("INSERT INTO t VALUES (2)")
        raise RuntimeError
    assert count(file) == 1
    with file.writer() as new:
        assert new is not first
        assert new.execute(PLANS).fetchall() == [(False,)]
        new.execute("INSERT INTO t VALUES (3)")
    assert count(file) == 2


def test_a_broken_one_has_a_new_writer(file: DuckDBFile, opened: Opened) -> None:
    with file.writer() as writer:
        writer.execute("INSERT INTO t VALUES (1)")
    break_it(file)
    with file.writer() as writer:
        writer.execute("INSERT INTO t VALUES (2)")
    assert (count(file), opened.times) == (2, 2)


def test_an_ordinary_error_does_not_open_it_again(file: DuckDBFile, opened: Opened) -> None:
    with pytest.raises(duckdb.Error), file.cursor() as cursor:
        cursor.execute("SELECT nonsense")
    assert (count(file), opened.times) == (0, 1)


def test_a_broken_one_is_opened_again_with_what_was_committed(file: DuckDBFile, opened: Opened) -> None:
    with file.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (1)")
    break_it(file)
    assert (count(file), opened.times) == (1, 2)
    assert (count(file), opened.times) == (1, 2)


@pytest.mark.parametrize("statement", ["CHECKPOINT", numbers(20_000)], ids=["asked for", "its own"])
def test_one_whose_checkpoint_failed_is_opened_again(
    file: DuckDBFile, opened: Opened, tmp_path: Path, statement: str
) -> None:
    """DuckDB refuses everything from then on, but calls none of it fatal."""
    with file.cursor() as cursor:
        cursor.execute(numbers(9_000_000))  # so that the file is longer than the log becomes
        cursor.execute("CHECKPOINT")
        cursor.execute(numbers(20_000))
    with files_limited_to((tmp_path / "x").stat().st_size):
        with pytest.raises(duckdb.IOException, match="has been invalidated"):
            repeat(file, statement)
        with file.cursor() as cursor:
            [(count,)] = cursor.execute("SELECT count(*) FROM t").fetchall()
            assert count >= 9_020_000
    with file.cursor() as cursor:
        cursor.execute("CHECKPOINT")
        assert cursor.execute("SELECT count(*) FROM t").fetchall() == [(count,)]
    assert (file.log_size, opened.times) == (0, 2)


def test_it_waits_for_those_who_still_work_on_the_broken_one(file: DuckDBFile, opened: Opened) -> None:
    with ThreadPoolExecutor(3) as threads:
        with file.cursor() as cursor:
            break_it(file)
            started = threading.Barrier(4)

            def ask() -> int:
                started.wait(timeout=9)
                return count(file)

            waiting = [threads.submit(ask) for _ in range(3)]
            started.wait(timeout=9)
            assert cursor.execute("SELECT 1").fetchall() == [(1,)]
            assert opened.times == 1
        assert [future.result(9) for future in waiting] == [0, 0, 0]
    assert opened.times == 2


def test_one_that_cannot_be_opened_again_is_tried_again(file: DuckDBFile, opened: Opened) -> None:
    break_it(file)
    opened.fails = True
    for _ in range(2):
        with pytest.raises(duckdb.IOException):
            count(file)
    opened.fails = False
    assert count(file) == 0


def test_a_file_that_broke_while_it_was_held_is_held(file: DuckDBFile, opened: Opened) -> None:
    def threshold() -> str:
        with file.cursor() as cursor:
            [(text,)] = cursor.execute("SELECT current_setting('checkpoint_threshold')").fetchall()
        return str(text)

    usual = threshold()
    file.hold(held=True)
    held = threshold()
    break_it(file)
    assert threshold() == held != usual
    file.hold(held=False)
    assert (threshold(), opened.times) == (usual, 2)


def test_a_file_that_is_held_stays_as_it_is(file: DuckDBFile, tmp_path: Path) -> None:
    def fill() -> bytes:
        """Commits of more than a checkpoint waits for; the front of the file, which each checkpoint changes."""
        for _ in range(4):
            with file.cursor() as cursor:
                cursor.execute("INSERT INTO t SELECT hash(i) % 2_000_000_000 FROM range(300_000) AS r(i)")
        with (tmp_path / "x").open("rb") as read:
            return read.read(3 * 4_096)

    file.hold(held=True)
    before = fill()
    log = file.log_size
    assert not file.checkpoint()
    assert fill() == before
    assert file.log_size > log
    assert file.size == (tmp_path / "x").stat().st_size + file.log_size
    file.hold(held=False)
    assert file.checkpoint()
    assert file.log_size == 0
    with file.cursor() as cursor:
        threshold = cursor.execute("SELECT current_setting('checkpoint_threshold')").fetchall()
    assert threshold == [("30.5 MiB",)]  # 32MB


@pytest.mark.parametrize("limit", ["20MB", "1.5MiB", "2GB", "0.5GiB"])
def test_a_limit_is_what_duckdb_takes_it_for(limit: str) -> None:
    with duckdb.connect(config={"memory_limit": f"{bytes_of(limit)}B"}) as told, duckdb.connect() as given:
        given.execute(f"SET memory_limit = '{limit}'")
        asked = "SELECT current_setting('memory_limit')"
        assert told.execute(asked).fetchall() == given.execute(asked).fetchall()


def groups(path: Path) -> list[int]:
    """How many rows each group of a table's has."""
    with duckdb.connect(path) as connection:
        segments = "SELECT row_group_id, sum(count) FROM pragma_storage_info('t') WHERE segment_type = 'INTEGER'"
        return [rows for _, rows in connection.execute(f"{segments} GROUP BY ALL ORDER BY ALL").fetchall()]


def test_groups_of_rows_are_small_also_in_a_file_that_has_larger_ones(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "it's x"
    with duckdb.connect(path) as connection:
        opened(connection)
        connection.execute("INSERT INTO t SELECT unnest(range(100_000))")
    assert groups(path) == [100_000]
    with closing(DuckDBFile(path, memory_limit="256MB", threads=1, on_open=opened)) as file, file.cursor() as cursor:
        cursor.execute("INSERT INTO t SELECT unnest(range(70_000))")
        assert count(file) == 170_000
    assert groups(path) == [100_000, ROW_GROUP_SIZE, ROW_GROUP_SIZE, 70_000 - 2 * ROW_GROUP_SIZE]


def test_what_does_not_fit_into_memory_goes_beside_the_file(file: DuckDBFile, tmp_path: Path) -> None:
    with file.cursor() as cursor:
        assert cursor.execute("SELECT current_setting('temp_directory')").fetchall() == [(str(tmp_path / "x.tmp"),)]


def test_a_file_of_a_later_version_is_refused_and_left_as_it_is(file: DuckDBFile, tmp_path: Path) -> None:
    file.close()
    path = tmp_path / "x"
    content = bytearray(path.read_bytes())
    content[12:20] = struct.pack("<Q", 5_000)
    checksum = 5_381
    for (word,) in struct.iter_unpack("<Q", content[8:4_096]):
        checksum ^= word * 0xBF58_476D_1CE4_E5B9 % 2**64
    content[:8] = struct.pack("<Q", checksum)
    path.write_bytes(content)
    with pytest.raises(duckdb.IOException, match="storage version number 5000, but we can only read"):
        DuckDBFile(path, memory_limit="256MB", threads=1, on_open=lambda connection: None)
    assert path.read_bytes() == content


def test_rows_keep_their_row_ids_when_others_are_deleted(tmp_path: Path, opened: Opened) -> None:
    """What is learned of a table's first rows rests on that."""

    def rows_after(*statements: str) -> dict[int, int]:
        options: dict[str, Any] = {"memory_limit": "256MB", "threads": 1, "on_open": opened}
        with closing(DuckDBFile(tmp_path / "x", **options)) as file, file.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
                cursor.execute("CHECKPOINT")
            return dict(cursor.execute("SELECT a, rowid FROM t").fetchall())

    fill = "INSERT INTO t SELECT unnest(range({}, {}))".format
    before = rows_after(fill(0, 150_000), fill(150_000, 151_000), "DELETE FROM t WHERE a < 130000 OR a % 3 = 0")
    after = rows_after(fill(151_000, 152_000))
    assert before[150_998] == 150_998
    assert {a: place for a, place in after.items() if a < 151_000} == before
    assert min(after[a] for a in after if a >= 151_000) > max(before.values())


def test_what_a_killed_process_has_left_beside_the_file_goes(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "events.duckdb"
    left = [tmp_path / "events.duckdb.scratch" / "x.parquet", tmp_path / "events.duckdb.tmp" / "duckdb_temp_1.tmp"]
    for each in left:
        each.parent.mkdir()
        each.write_bytes(b"events")
    with closing(DuckDBFile(path, memory_limit="256MB", threads=1, on_open=opened)):
        assert not any(each.exists() for each in left)
