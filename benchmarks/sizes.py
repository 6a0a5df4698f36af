"""Bytes that an event takes on disk, in both stores.

With ``--file`` of JSON lines for events of your own; otherwise for page views of a shop whose prices, customers,
sessions, paths and user agents are random, and then for the regular ones of ingest.py. Nothing is timed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final

from producers import make_event

from connect_logging.event import new_id
from connect_logging.server.stores.base import NewEvent, Store
from connect_logging.server.stores.clickhouse import ClickHouseStore
from connect_logging.server.stores.clickhouse_address import parse_address
from connect_logging.server.stores.clickhouse_connection import ClickHouse
from connect_logging.server.stores.clickhouse_tables import tables_of
from connect_logging.server.stores.duckdb import DuckDBStore

_BATCH: Final = 10_000
_APART: Final = 20_000
"""Microseconds between two events."""


def varied(count: int) -> Iterator[str]:
    """Page views as they differ from each other; the same at each run."""
    random = Random(7)
    letters = "abcdefghijklmnopqrstuvwxyz-"
    paths = [f"/products/{''.join(random.choices(letters, k=random.randint(5, 30)))}" for _ in range(5_000)]
    agents = [
        f"Mozilla/5.0 (X11; Linux x86_64; rv:{random.randint(100, 140)}.0) Gecko/20100101"
        f" Firefox/{random.randint(100, 140)}.{random.randint(0, 9)}"
        for _ in range(300)
    ]
    for _ in range(count):
        event = {
            "type": random.choice(["view", "view", "view", "cart", "purchase"]),
            "price": round(random.lognormvariate(3, 1), 2),
            "customer": {
                "id": random.randint(1, 200_000),
                "country": random.choices(["AU", "DE", "FR", "JP", "NZ", "US"], [5, 4, 3, 2, 1, 9])[0],
                "age": random.randint(18, 90),
            },
            "session": f"{random.getrandbits(64):016x}",
            "path": paths[min(len(paths) - 1, int(random.paretovariate(0.6)))],
            "milliseconds": round(random.expovariate(1 / 80), 3),
            "agent": random.choice(agents),
            "tags": random.sample(["new", "sale", "gift", "club", "app", "mail"], 2),
        }
        yield json.dumps(event)


def regular(count: int) -> Iterator[str]:
    return (make_event(number) for number in range(count))


def made(lines: Iterator[str]) -> Iterator[NewEvent]:
    """Events one after the other, each with an id as our client makes them, and a time."""
    for number, line in enumerate(lines):
        event = json.loads(line)
        event.pop("timestamp", None)
        identity = event.pop("id", new_id())
        document = json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()
        yield NewEvent(str(identity), 1_764_000_000_000_000 + number * _APART + number % 977, document)


def fill(store: Store, events: Iterator[NewEvent]) -> tuple[int, float]:
    """Store ``events``: how many they were, and the mean of their bytes as JSON lines."""
    count = size = 0
    while batch := [*islice(events, _BATCH)]:
        store.insert("5f2c0a9be1d84c7fa36b1e0d", {"events": batch}).result()
        count += len(batch)
        size += sum(len(event.document) + len(event.id) for event in batch)
    return count, size / count + len('{"id":"","timestamp":"2026-11-23T12:00:00.000000Z",\n') - 1


def of_duckdb(directory: Path, events: Iterator[NewEvent]) -> tuple[float, float]:
    path = directory / "events.duckdb"
    with closing(DuckDBStore(path, memory_limit="1GB", threads=2, query_timeout=60, max_waiting=2**28)) as store:
        count, mean = fill(store, events)
    return mean, path.stat().st_size / count


def of_clickhouse(directory: Path, events: Iterator[NewEvent]) -> dict[str, float]:
    """By what: all, and each column."""
    address = parse_address(f"chdb://{directory}/clickhouse?database=sizes")
    with closing(ClickHouseStore(address, memory_limit="2GB", query_timeout=60, max_waiting=2**28)) as store:
        fill(store, events)
        with closing(ClickHouse(address)) as database:
            tables = tables_of(address)
            database.run("the parts could not be merged", f"OPTIMIZE TABLE {tables.stored} FINAL")
            parts = "FROM system.parts{} WHERE active AND database = 'sizes' AND table = 'events'".format
            [(everything,)] = database.rows("", f"SELECT sum(bytes_on_disk) / sum(rows) {parts('')}")
            columns = database.rows(
                "",
                f"SELECT column, sum(column_data_compressed_bytes) / sum(rows) {parts('_columns')} GROUP BY ALL",
            )
    return {"all": everything, **dict(columns)}


def measure(name: str, lines: Callable[[], Iterator[str]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        mean, duckdb = of_duckdb(Path(directory), made(lines()))
        clickhouse = of_clickhouse(Path(directory), made(lines()))
    print(f"{name}: {mean:.0f} bytes an event as JSON lines")
    print(f"  DuckDB, stopped      {duckdb:6.1f}")
    print(f"  ClickHouse, merged   {clickhouse.pop('all'):6.1f}")
    for column, size in sorted(clickhouse.items(), key=lambda each: -each[1]):
        print(f"    {column:18} {size:6.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--file", type=Path, help="events of your own, as JSON lines")
    options = parser.parse_args()
    if options.file:
        measure(options.file.name, lambda: islice(options.file.open(), options.events))
        return
    measure("varied", lambda: varied(options.events))
    measure("regular", lambda: regular(options.events))


if __name__ == "__main__":
    main()
