"""Many producers that each push little, beside a few that push much, and how long they wait.

    python benchmarks/small_pushes.py [--producers 200] [--seconds 5] [--rounds 3]

Each producer pushes a batch of 1 to 50 events, waits for the answer, and pushes the next. A commit takes all that has
come since the last one: so the rate should come near that of large batches, and the longest wait should be a few
commits. What a commit takes is what the server's metrics say of those in that load; beside it stands a push of one
event by one producer. All producers are one process, beside the server's. As a bound, the same producers push to
:mod:`bare_server`.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import results
from bare_server import BareServer
from producers import COLLECTION, Pushed, ServerProcess, make_bodies, make_event, send

LARGEST = 50


class Commits(NamedTuple):
    """Of a server so far: how many, and the seconds of all."""

    count: float
    seconds: float

    @classmethod
    def of(cls, server: ServerProcess) -> Commits:
        """Ask for its metrics."""
        lines = (line.rpartition(" ") for line in server.request("GET", "/metrics").text.splitlines())
        values = {name: value for name, _, value in lines}
        return cls(*(float(values[f"connect_commit_duration_seconds_{name}"]) for name in ("count", "sum")))

    def mean_since(self, before: Commits) -> float:
        """Seconds of a commit."""
        return (self.seconds - before.seconds) / (self.count - before.count)


async def produce(server: Pushed, sizes: random.Random, largest: int, end: float) -> tuple[int, list[float]]:
    """Push until ``end``: how many events, and the seconds of each push."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    headers = "".join(f"{name}: {value}\r\n" for name, value in server.headers().items())
    events, waits = 0, []
    while (begin := time.perf_counter()) < end:
        batch = [make_event(number) for number in range(sizes.randint(1, largest))]
        [body] = make_bodies(batch, LARGEST)
        begin = time.perf_counter()
        writer.write(
            f"POST /events HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200"), head
        await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r")[0]))
        waits.append(time.perf_counter() - begin)
        events += len(batch)
    writer.close()
    return events, waits


async def together(server: Pushed, producers: int, largest: int, seconds: float) -> tuple[float, list[float]]:
    """Events a second of all producers, and their waits."""
    end = time.perf_counter() + seconds
    work = (produce(server, random.Random(number), largest, end) for number in range(producers))
    done = await asyncio.gather(*work)
    return sum(events for events, _ in done) / seconds, [wait for _, waits in done for wait in waits]


def measure(producers: int, seconds: float) -> dict[str, float]:
    """On new servers: ``large``, ``rate`` and ``bare`` in events a second, the other values in seconds.

    ``bare``: the rate of the bare server. ``alone``: of a push of one event by itself. ``commit``: what a commit takes
    under the load, as the server tells. ``middle``, ``slow``: of a push among many, and what 1 of 100 takes longer
    than.
    """
    with tempfile.TemporaryDirectory() as directory:
        server = ServerProcess(Path(directory) / "data")
        try:
            bodies = make_bodies([make_event(number) for number in range(100_000)], 5_000)
            large = 100_000 / send(server, bodies, 8)
            _, alone = asyncio.run(together(server, 1, 1, 1.0))
            before = Commits.of(server)
            rate, waits = asyncio.run(together(server, producers, LARGEST, seconds))
            commit = Commits.of(server).mean_since(before)
            assert server.count(COLLECTION) >= rate * seconds
        finally:
            server.stop()
    with tempfile.TemporaryDirectory() as directory, BareServer(Path(directory)) as least:
        send(least, make_bodies([make_event(number) for number in range(1_000)], 500), 1)  # so that it knows the shape
        bare, _ = asyncio.run(together(least, producers, LARGEST, seconds))
    middle, slow = (quantiles(waits, n=100)[place] for place in (49, 98))
    return {
        "large": large,
        "rate": rate,
        "bare": bare,
        "alone": median(alone),
        "commit": commit,
        "middle": middle,
        "slow": slow,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--producers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few producers and little time: to see that it runs")
    results.add_out(parser)
    options = parser.parse_args()
    if options.quick:
        options.producers, options.seconds, options.rounds = 20, 1.0, 1
    rows = [{"round": number, **measure(options.producers, options.seconds)} for number in range(options.rounds)]
    results.write(options.out, options, rows)
    large, rate, bare, alone, commit, middle, slow = (median(row[name] for row in rows) for name in list(rows[0])[1:])
    share, most, times, more = (
        results.ratio(rows, rows, *names)
        for names in (("rate", "large"), ("bare", "large"), ("slow", "commit"), ("slow", "alone"))
    )
    print(f"{options.producers} producers of 1 to {LARGEST} events: {rate:,.0f} events/s", end="")
    print(f", x{share:.2f} of the rate of batches of 5,000, {large:,.0f}")
    print(f"  behind the least HTTP that there can be: {bare:,.0f}, x{most:.2f}")
    print(
        f"  a push waits {middle * 1e3:.1f} ms, 1 of 100 more than {slow * 1e3:.1f} ms: x{times:.1f} of a commit",
        end="",
    )
    print(f" there, {commit * 1e3:.1f} ms, and x{more:.1f} of a push alone, {alone * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
