"""The databases that a store may have: what is true of every store is tried on each of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from connect_logging._grammar.model import Query
from connect_logging.server.query.parser import parse_query
from connect_logging.server.stores.base import Form, NewEvent, Store
from connect_logging.server.stores.clickhouse import ClickHouseStore
from connect_logging.server.stores.duckdb import DuckDBStore

from ..clickhouse_database import fresh_database, in_process


class OpenStore(Protocol):
    """Opens a store on the test's database, which keeps what it has when that is closed."""

    def __call__(self, *, query_timeout: float = 20, memory_limit: str = "512MB") -> Store: ...


@contextmanager
def in_duckdb(directory: Path) -> Iterator[OpenStore]:
    yield lambda query_timeout=20, memory_limit="512MB": DuckDBStore(
        directory / "events.duckdb",
        memory_limit=memory_limit,
        threads=2,
        query_timeout=query_timeout,
        max_waiting=2**27,
    )


@contextmanager
def in_clickhouse(address_of: Callable[[str], str]) -> Iterator[OpenStore]:
    """``address_of``: of a database, by its name."""
    with fresh_database(address_of) as address:
        yield lambda query_timeout=20, memory_limit="512MB": ClickHouseStore(
            address, memory_limit=memory_limit, query_timeout=query_timeout, max_waiting=2**27
        )


IN_PROCESS: dict[str, Callable[[Path, pytest.FixtureRequest], AbstractContextManager[OpenStore]]] = {
    "DuckDB": lambda directory, request: in_duckdb(directory),
    "ClickHouse": lambda directory, request: in_clickhouse(in_process(request.getfixturevalue("engine_directory"))),
}
BACKINGS = {
    **IN_PROCESS,
    "ClickHouse by HTTP": lambda directory, request: in_clickhouse(
        request.getfixturevalue("clickhouse_process").address_of
    ),
}
"""By name, what makes a database of a directory for the test, or of ClickHouse's engine, which is a fixture."""


def event(identity: str, /, **properties: Any) -> NewEvent:
    return NewEvent(identity, 0, json.dumps(properties, separators=(",", ":"), ensure_ascii=False).encode())


def insert(store: Store, *events: NewEvent, collection: str = "c", project: str = "p") -> list[bool]:
    return list(store.insert(project, {collection: events}).result(30)[collection])


def count(store: Store, collection: str = "c", project: str = "p") -> int:
    found: int = store.query(project, collection, parse_query("{}", 0))[0].row["_count"]
    return found


def pieces(store: Store, form: Form, query: Query | None = None, **options: Any) -> Iterator[bytes]:
    collection = options.pop("collection", "c")
    return store.export("p", collection, query or Query(), form, **{"stopped": threading.Event(), **options})


def export(store: Store, form: Form, query: Query | None = None, **options: Any) -> bytes:
    return b"".join(pieces(store, form, query, **options))


def lines(exported: bytes) -> list[Any]:
    return [json.loads(line) for line in exported.splitlines()]


def kept(store: Store, collection: str = "c") -> dict[str, Any]:
    """The documents of a collection by id, with their timestamps."""
    return {each.pop("id"): each for each in lines(export(store, "jsonl", collection=collection))}
