"""How fast the server answers questions, as a ratio of the same ones to a flat table, and its clients' shares.

    python benchmarks/query.py [--events 1000000] [--rounds 21] [--clients 32] [--seconds 5]

The events are nested and come over HTTP. The reference is DuckDB by itself, in this process, with the same two
threads: a table with a typed column for each property that is asked for, and the question in SQL. Its sums are plain
ones. The server's are compensated, which costs as much again as a sum without groups: so that question is compared
with its equal as well. Rounds are interleaved. Then many clients ask at a time, each as fast as it is answered.
"""

from __future__ import annotations

import argparse
import http.client
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple
from urllib.parse import quote

import duckdb
import pyarrow
import results
from producers import COLLECTION, ServerProcess, make_bodies, make_event, send


class Question(NamedTuple):
    """The same to the server and to the flat table."""

    query: dict[str, Any]
    sql: str


QUESTIONS = {
    "sum by one property": Question(
        {"select": {"total": {"sum": "price"}}, "groupBy": "customer.country"},
        "SELECT country, sum(price) FROM flat GROUP BY ALL ORDER BY ALL",
    ),
    "count and sum by two, filtered": Question(
        {
            "select": {"n": "count", "total": {"sum": "price"}},
            "filter": {"customer.age": {"gte": 18}},
            "groupBy": ["customer.country", "path"],
        },
        "SELECT country, path, count(*), sum(price) FROM flat WHERE age >= 18 GROUP BY ALL ORDER BY country, path",
    ),
    "sum of all": Question({"select": {"total": {"sum": "price"}}}, "SELECT sum(price) FROM flat"),
    "sum of all, as exact": Question({"select": {"total": {"sum": "price"}}}, "SELECT fsum(price) FROM flat"),
}


class Client:
    """One connection that asks."""

    def __init__(self, server: ServerProcess) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port)
        self._headers = server.headers()

    def ask(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        """The rows of the answer."""
        self._connection.request("GET", f"/events/{COLLECTION}?query={quote(json.dumps(query))}", headers=self._headers)
        answer = self._connection.getresponse()
        document = json.loads(answer.read())
        if answer.status != 200:
            raise RuntimeError(f"a query failed: {answer.status} {document}")
        rows: list[dict[str, Any]] = document["results"]
        return rows

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def load(server: ServerProcess, count: int) -> pyarrow.Table:
    """Fill the server, and return the same events as a flat table."""
    columns: dict[str, list[Any]] = {"country": [], "age": [], "path": [], "price": []}
    step = 100_000
    for start in range(0, count, step):
        events = [make_event(number) for number in range(start, min(start + step, count))]
        send(server, make_bodies(events, 5_000), 4)
        for event in map(json.loads, events):
            columns["country"].append(event["customer"]["country"])
            columns["age"].append(event["customer"]["age"])
            columns["path"].append(event["path"])
            columns["price"].append(event["price"])
    return pyarrow.table(columns)


@contextmanager
def flat_database(table: pyarrow.Table) -> Iterator[duckdb.DuckDBPyConnection]:
    with (
        tempfile.TemporaryDirectory() as directory,
        duckdb.connect(Path(directory) / "flat.duckdb", config={"threads": 2}) as database,
    ):
        database.register("source", table)
        database.execute("CREATE TABLE flat AS SELECT * FROM source")
        database.unregister("source")
        database.execute("CHECKPOINT")
        yield database


def compare(client: Client, flat: duckdb.DuckDBPyConnection, question: Question, rounds: int) -> tuple[float, float]:
    """The medians of seconds: of the server, and of the flat table."""
    served, alone = [], []
    for _ in range(rounds):
        begin = time.perf_counter()
        rows = client.ask(question.query)
        served.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        expected = flat.execute(question.sql).fetchall()
        alone.append(time.perf_counter() - begin)
    assert [[*row.values()][:-1] for row in rows] == [[*row][:-1] for row in expected]
    assert all(abs(row["total"] / right[-1] - 1) < 1e-9 for row, right in zip(rows, expected, strict=True))
    return median(served), median(alone)


def ask_together(server: ServerProcess, query: dict[str, Any], clients: int, seconds: float) -> list[int]:
    """How many answers each of so many clients got."""
    answers = [0] * clients
    gate = threading.Barrier(clients)

    def work(number: int) -> None:
        client = Client(server)
        gate.wait()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            client.ask(query)
            answers[number] += 1
        client.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--quick", action="store_true", help="few events and little time: to see that it runs")
    results.add_out(parser)
    options = parser.parse_args()
    if options.quick:
        options.events, options.rounds, options.clients, options.seconds = 20_000, 3, 4, 1.0
    asked: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        server = ServerProcess(Path(directory) / "data")
        try:
            table = load(server, options.events)
            server.stop()
            server.restart()  # all of it is in the file now, as it is for the other
            client = Client(server)
            print(f"{options.events:,} nested events over HTTP beside a flat table, median of {options.rounds} rounds")
            with flat_database(table) as flat:
                for name, question in QUESTIONS.items():
                    served, alone = asked[name] = compare(client, flat, question, options.rounds)
                    print(f"  {name:32} {served * 1e3:6.1f} ms  {alone * 1e3:6.1f} ms  x{served / alone:.2f}")
            client.close()
            query = next(iter(QUESTIONS.values())).query
            answers = ask_together(server, query, options.clients, options.seconds)
            results.write(options.out, options, {"questions": asked, "answers": answers})
            print(f"{options.clients} clients at a time: {sum(answers) / options.seconds:,.0f} answers/s", end="")
            print(f", the slowest got x{min(answers) / mean(answers):.2f} of the mean")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
