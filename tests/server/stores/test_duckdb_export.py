"""Exports from a store: every event once, in order, of one state, in each form."""

from __future__ import annotations

import csv
import io
import json
import random
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from connect_logging._grammar.model import Query
from connect_logging.server.stores.base import Form, NewEvent, StoppedError, StoreError
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
