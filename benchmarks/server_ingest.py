"""How fast the server takes events over HTTP, beside DuckDB inserting the same events by itself.

    python benchmarks/server_ingest.py [events]

All keep the same table and sync each commit. DuckDB reads from a table of text in memory, so that nothing but its own
work is measured, once with a commit for every BATCH events and once with a single one for all. The server also
looks for duplicates, and shares the processors with the one process that sends over four connections.
"""

from __future__ import annotations

import http.client
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import duckdb

from connect_logging.event import new_id

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from server_process import ServerProcess

BATCH = 5_000
SENDERS = 4


def make_event(number: int) -> str:
    """A purchase of about 190 bytes."""
    return (
        f'{{"id":"{new_id()}","timestamp":"2026-11-23T12:00:{number % 60:02d}.{number % 1_000_000:06d}Z",'
        f'"type":"purchase","price":{34.95 + number % 100:.2f},"customer":{{"firstName":"Tom","age":{number % 80}}},'
        f'"path":"/products/{number % 50}","tags":["a","b"]}}'
    )


def over_http(server: ServerProcess, events: Sequence[str]) -> float:
    """Events a second."""
    bodies: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for start in range(0, len(events), BATCH):
        bodies.put(f'{{"events":[{",".join(events[start : start + BATCH])}]}}'.encode())

    def send() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        while True:
            try:
                body = bodies.get_nowait()
            except queue.Empty:
                connection.close()
                return
            connection.request("POST", "/events", body, server.headers())
            answer = connection.getresponse()
            assert b'"success":false' not in answer.read()
            assert answer.status == 200

    threads = [threading.Thread(target=send) for _ in range(SENDERS)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(events) / (time.perf_counter() - begin)


def by_duckdb(path: Path, events: Sequence[str], batch: int) -> float:
    """Events a second, with a commit for each ``batch``."""
    with duckdb.connect(path, config={"threads": 2}) as database:
        database.execute("CREATE TABLE events (key UBIGINT, id VARCHAR, timestamp TIMESTAMP, doc VARIANT)")
        database.execute("CREATE TEMP TABLE source (place BIGINT, id VARCHAR, event VARCHAR)")
        for start in range(0, len(events), BATCH):
            part = list(events[start : start + BATCH])
            database.execute(
                "INSERT INTO source SELECT ? + row_number() OVER (), uuidv7()::VARCHAR, event"
                " FROM (SELECT unnest(?::VARCHAR[]) AS event)",
                [start, part],
            )
        begin = time.perf_counter()
        for start in range(0, len(events), batch):
            database.execute(
                "INSERT INTO events SELECT hash(id), id, make_timestamp(place), event::JSON::VARIANT FROM source"
                " WHERE place > ? AND place <= ?",
                [start, start + batch],
            )
        return len(events) / (time.perf_counter() - begin)


def main() -> None:
    """Print the rates and their ratios."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    with tempfile.TemporaryDirectory() as directory:
        events = [make_event(number) for number in range(count)]
        own = by_duckdb(Path(directory) / "own.duckdb", events, BATCH)
        at_once = by_duckdb(Path(directory) / "at_once.duckdb", events, count)
        server = ServerProcess(Path(directory) / "data")
        try:
            first = over_http(server, [make_event(number) for number in range(count)])
            second = over_http(server, [make_event(number) for number in range(count)])
            stored = server.count("events")
        finally:
            server.stop()
    print(f"DuckDB, one commit             {at_once:10,.0f} events/s")
    print(f"DuckDB, commits of {BATCH:,d}       {own:10,.0f} events/s")
    ratios = f"{first / at_once:.2f} and {first / own:.2f} of these"
    print(f"HTTP, none stored              {first:10,.0f} events/s   {ratios}")
    print(f"HTTP, {count:9,d} stored         {second:10,.0f} events/s   {second / first:.2f} of the first")
    assert stored == 2 * count


if __name__ == "__main__":
    main()
