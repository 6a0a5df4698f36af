"""How fast the server takes events over HTTP, as a ratio of what DuckDB alone inserts.

    python benchmarks/ingest.py [--events 200000] [--rounds 5] [--stored 1000000] [--connections 8]

The reference is DuckDB by itself, in this process: one INSERT of all events from an Arrow table of their JSON text
into a table with a VARIANT column, committed. The server takes the same text in bodies of 500 and of 5,000 events,
from so many connections at a time: it reads HTTP, checks every event and its id, and syncs every commit. Both have the
same two threads of DuckDB, and the server shares the processors with the process that sends.

Each round measures every candidate once, on a new file. Then the rate with ``--stored`` events in the collection is
compared with the rate with none, in rounds as well.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import duckdb
import pyarrow
import results
from producers import COLLECTION, ServerProcess, Used, make_bodies, make_event, send

from connect_logging.server.stores.duckdb_file import ROW_GROUP_SIZE

BATCHES = (500, 5_000)
LONG = 4
"""How many times as many events are sent where servers with and without stored events are compared."""


class Measured(NamedTuple):
    """``rate``: events a second. ``cpu``: microseconds of processor time an event, in the process that stores."""

    rate: float
    cpu: float


@contextmanager
def new_server() -> Iterator[ServerProcess]:
    with tempfile.TemporaryDirectory() as directory:
        server = ServerProcess(Path(directory) / "data")
        try:
            yield server
        finally:
            server.stop()


def by_duckdb(events: Sequence[str], commits_of: int) -> Measured:
    """What is in memory as Arrow becomes VARIANT, with a commit for so many events."""
    tables = [
        pyarrow.table({"event": events[start : start + commits_of]}) for start in range(0, len(events), commits_of)
    ]
    with (
        tempfile.TemporaryDirectory() as directory,
        duckdb.connect(Path(directory) / "events.duckdb", config={"threads": 2}) as database,
    ):
        database.execute("CREATE TABLE events (doc VARIANT NOT NULL)")
        cpu, begin = time.process_time(), time.perf_counter()
        for table in tables:
            database.register("source", table)
            database.execute("INSERT INTO events SELECT event::JSON::VARIANT FROM source")
            database.unregister("source")
        return _measured(len(events), time.perf_counter() - begin, time.process_time() - cpu)


def over_http(server: ServerProcess, bodies: Sequence[bytes], count: int, connections: int) -> Measured:
    before = Used.by(server.pid)
    seconds = send(server, bodies, connections)
    return _measured(count, seconds, Used.by(server.pid).cpu - before.cpu)


def _measured(count: int, seconds: float, cpu: float) -> Measured:
    return Measured(count / seconds, cpu / count * 1e6)


def compare(options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """The server beside DuckDB, nothing stored: what each round measured."""
    events = [make_event(number) for number in range(options.events)]
    bodies = {batch: make_bodies(events, batch) for batch in BATCHES}

    def http(batch: int) -> Measured:
        with new_server() as server:
            measured = over_http(server, bodies[batch], len(events), options.connections)
            assert server.count(COLLECTION) == len(events)
            return measured

    candidates: dict[str, Callable[[], Measured]] = {
        "DuckDB, one commit": lambda: by_duckdb(events, len(events)),
        "DuckDB, commits of 5,000": lambda: by_duckdb(events, 5_000),
        "HTTP, batches of 500": lambda: http(500),
        "HTTP, batches of 5,000": lambda: http(5_000),
    }
    rounds = [{name: measure() for name, measure in candidates.items()} for _ in range(options.rounds)]
    reference = next(iter(candidates))
    print(f"{options.events:,} events, {options.connections} connections, median of {options.rounds} rounds")
    for name in candidates:
        rates = [measured[name].rate for measured in rounds]
        ratio = median(measured[name].rate / measured[reference].rate for measured in rounds)
        cpu = median(measured[name].cpu for measured in rounds)
        print(f"  {name:26} {median(rates):9,.0f} events/s  x{ratio:.2f}  {cpu:5.2f} µs of processor time an event")
    return {
        name: [{"round": number, **measured[name]._asdict()} for number, measured in enumerate(rounds)]
        for name in candidates
    }


def fill(server: ServerProcess, count: int) -> None:
    """Put so many events more into the server's file, by SQL: over HTTP it would take minutes."""
    assert server.stop() == 0
    with duckdb.connect(config={"threads": 2}) as database:
        # As the server has it, in groups of the same size.
        database.execute(
            f"ATTACH OR REPLACE '{server.data / 'events.duckdb'}' AS memory (ROW_GROUP_SIZE {ROW_GROUP_SIZE})"
        )
        [(table,)] = database.execute("SELECT 'events_' || number FROM collections").fetchall()
        database.execute(
            f"INSERT INTO {table} SELECT ('0x' || replace(id, '-', '')[1:16])::UBIGINT, id, '2026-11-23'::TIMESTAMP,"
            """ format('{{"type":"purchase","price":{},"customer":{{"country":"AU","age":{}}}}}',"""
            " 0.25 + n % 90, n % 80)::JSON::VARIANT"
            " FROM (SELECT uuidv7()::VARCHAR AS id, n FROM range(?) AS r(n))",
            [count],
        )
    server.restart()


def compare_stored(options: argparse.Namespace) -> dict[str, list[float]]:
    """A server with events beside one without, which is a new one in each round: ratios of rate and processor time.

    Both take so many that they write their logs into the file several times, which a new server does not do at first.
    """
    ratios, costs = [], []
    events = LONG * options.events
    with new_server() as full:
        send(full, make_bodies([make_event(0)], 1), 1)
        fill(full, options.stored)
        for _ in range(options.rounds):
            bodies = make_bodies([make_event(number) for number in range(events)], 5_000)
            with new_server() as empty:
                none = over_http(empty, bodies, events, options.connections)
            some = over_http(full, bodies, events, options.connections)
            ratios.append(some.rate / none.rate)
            costs.append(some.cpu / none.cpu)
        peak = Used.by(full.pid).peak
        assert full.count(COLLECTION) == 1 + options.stored + options.rounds * events
    print(f"With {options.stored:,} stored, batches of 5,000: x{median(ratios):.2f} of the rate with none", end="")
    print(f" ({min(ratios):.2f} to {max(ratios):.2f}), x{median(costs):.2f} of the processor time")
    print(f"  the server took {options.rounds * events:,} events more with {peak:,.0f} MiB of memory")
    return {"rate": ratios, "cpu": costs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stored", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--quick", action="store_true", help="one round of few events: to see that it runs")
    results.add_out(parser)
    options = parser.parse_args()
    if options.quick:
        options.events, options.rounds, options.stored = 10_000, 1, 20_000
    rounds = compare(options)
    stored = compare_stored(options) if options.stored else {}
    results.write(options.out, options, {"rounds": rounds, "stored": stored})


if __name__ == "__main__":
    main()
