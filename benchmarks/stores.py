"""DuckDB and ClickHouse side by side: how fast each stores events, and answers and exports them.

    python benchmarks/stores.py [--events 1000000] [--rounds 11] [--grow]

Both are asked through the Store interface, without HTTP, in this process: ClickHouse's engine through chdb, which has
no network in its way. Both have the same events, batches and questions, and take turns: a hundred thousand events each,
each question once a round. Every commit of either is on disk when it is told. With ``--grow`` the same once more at 2,
5 and 10 times as many events.

First what a store takes by itself, then while it is asked for the ids of events that it has: a batch sent again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import Any, Final

import results
from producers import COLLECTION, make_event

from connect_logging._grammar.model import Query
from connect_logging.server.query.parser import parse_query
from connect_logging.server.stores.base import NewEvent, Store, Stored
from connect_logging.server.stores.clickhouse import ClickHouseStore
from connect_logging.server.stores.clickhouse_address import parse_address
from connect_logging.server.stores.duckdb import DuckDBStore

PROJECT: Final = "5f2c0a9be1d84c7fa36b1e0d"
TURN: Final = 100_000
BATCH: Final = 5_000
AT_A_TIME: Final = 4
"""Batches that wait for their commit, as those of so many connections."""
GROWN: Final = (2, 5, 10)

QUESTIONS: Final[dict[str, dict[str, Any]]] = {
    "count": {},
    "sum of all": {"select": {"total": {"sum": "price"}}},
    "sum by one property": {"select": {"total": {"sum": "price"}}, "groupBy": "customer.country"},
    "count and sum by two, filtered": {
        "select": {"n": "count", "total": {"sum": "price"}},
        "filter": {"customer.age": {"gte": 18}},
        "groupBy": ["customer.country", "path"],
    },
    "median by one property": {"select": {"m": {"median": "price"}}, "groupBy": "path"},
    "each hour, of a day": {
        "interval": "hourly",
        "timeframe": {"start": "2025-11-25T00:00:00Z", "end": "2025-11-26T00:00:00Z"},
    },
    "an element of an array": {"filter": {"tags": {"contains": "a"}}},
}


class Side:
    """A store, and what it took so far. ``rates``: events a second, of each turn."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.rates: list[float] = []
        self.repeated: list[float] = []

    def take(self, events: Sequence[NewEvent], are_new: bool = True) -> None:
        """Store a turn's events; or those that are there, which are to be found."""
        begin = time.perf_counter()
        waiting: list[Future[Stored]] = []
        for start in range(0, len(events), BATCH):
            if len(waiting) == AT_A_TIME:
                check(waiting.pop(0), are_new)
            waiting.append(self.store.insert(PROJECT, {COLLECTION: events[start : start + BATCH]}))
        for future in waiting:
            check(future, are_new)
        (self.rates if are_new else self.repeated).append(len(events) / (time.perf_counter() - begin))

    def ask(self, query: Query) -> float:
        """The seconds of an answer."""
        begin = time.perf_counter()
        self.store.query(PROJECT, COLLECTION, query)
        return time.perf_counter() - begin

    def export(self) -> float:
        """The seconds of all events as JSON lines."""
        begin = time.perf_counter()
        for _ in self.store.export(PROJECT, COLLECTION, Query(), "jsonl", stopped=threading.Event()):
            pass
        return time.perf_counter() - begin


def check(future: Future[Stored], are_new: bool) -> None:
    assert all(each is are_new for each in future.result()[COLLECTION])


def made(first: int, count: int) -> list[NewEvent]:
    """A day's events after each other, with ids in their order."""
    found = []
    for number in range(first, first + count):
        event = json.loads(make_event(number))
        identity = event.pop("id")
        del event["timestamp"]
        document = json.dumps(event, separators=(",", ":")).encode()
        found.append(NewEvent(identity, 1_764_000_000_000_000 + number * 100_000, document))
    return found


def grow(sides: Sequence[Side], first: int, last: int) -> None:
    """Store events, by turns."""
    for side in sides:
        side.rates, side.repeated = [], []
    for start in range(first, last, TURN):
        events = made(start, min(TURN, last - start))
        for side in sides:
            side.take(events)
    for side in sides:
        side.take(events, are_new=False)


def compare(sides: Sequence[Side], rounds: int) -> Iterator[tuple[str, list[float]]]:
    """By question, the median of the seconds of each side."""
    for name, document in QUESTIONS.items():
        query = parse_query(json.dumps(document), 0)
        answers = [side.store.query(PROJECT, COLLECTION, query) for side in sides]
        assert len({len(lines) for lines in answers}) == 1, name
        taken = [[side.ask(query) for side in sides] for _ in range(rounds)]
        yield name, [median(each) for each in zip(*taken, strict=True)]
    yield "all of them as JSON lines", [side.export() for side in sides]


def report(sides: Sequence[Side], events: int, rounds: int) -> dict[str, list[float]]:
    """Print what was measured with so many events stored."""
    found = {
        "events/s stored": [median(side.rates) for side in sides],
        "events/s that were there": [median(side.repeated) for side in sides],
    }
    print(f"{events:,} events{'':27}DuckDB  ClickHouse    ratio")
    for name, (one, other) in found.items():
        print(f"  {name:32} {one:10,.0f}  {other:10,.0f}   x{other / one:.2f}", flush=True)
    for name, (one, other) in compare(sides, rounds):
        found[name] = [one, other]
        print(f"  {name:32} {one * 1e3:7.1f} ms  {other * 1e3:7.1f} ms   x{other / one:.2f}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--grow", action="store_true", help="and at 2, 5 and 10 times as many")
    parser.add_argument("--quick", action="store_true", help="few events and rounds: to see that it runs")
    results.add_out(parser)
    options = parser.parse_args()
    if options.quick:
        options.events, options.rounds = 20_000, 2
    with tempfile.TemporaryDirectory() as directory, ExitStack() as opened:
        makers: list[Callable[[], Store]] = [
            lambda: DuckDBStore(
                Path(directory) / "events.duckdb", memory_limit="2GB", threads=2, query_timeout=600, max_waiting=2**28
            ),
            lambda: ClickHouseStore(
                parse_address(f"chdb://{directory}/clickhouse?database=stores"),
                memory_limit="2GB",
                query_timeout=600,
                max_waiting=2**28,
            ),
        ]
        sides = [Side(opened.enter_context(closing(make()))) for make in makers]
        measured, stored = {}, 0
        for times in (1, *(GROWN if options.grow else ())):
            grow(sides, stored, options.events * times)
            stored = options.events * times
            measured[stored] = report(sides, stored, options.rounds)
        results.write(options.out, options, {"events": measured})


if __name__ == "__main__":
    main()
