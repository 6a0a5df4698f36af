"""From the first log call to the last event received: events a second, losses, processor time.

    python benchmarks/delivery.py [--rounds 5] [--events 200000] [--peers 50000] [--quick]

One sink, a process of its own, takes and counts the events of all. Each candidate logs as fast as it goes and then does
what its documentation says before the end of a process. The reference is a NullHandler that is called as often, and
the limit program. Peers are slower: they log fewer events, in every other round, once at their defaults and once with
their queue enlarged. The processor time is that of the logging process and of those that it starts, which is from the
first call to the end, and so with the start of a process that sends.
"""

from __future__ import annotations

import argparse
from statistics import median
from typing import Any, Final

import results
from rounds import Run, available, measured, rounds
from sink import Sink

FAST: Final = [
    Run("NullHandler"),
    Run("limit program"),
    Run("ConnectHandler, in memory"),
    Run("ConnectHandler, journaled"),
    Run("ConnectHandler, by a process"),
    Run("ConnectHandler, journaled, gzip"),
]
PEERS: Final = [
    Run("connect-client, batches"),
    *(Run(name, wide) for name in ("Segment", "Sentry logs", "OpenTelemetry", "PostHog") for wide in (False, True)),
]
SINGLE: Final = Run("connect-client, single")
_SINGLE_SHARE: Final = 25
"""One of so many events: it takes two milliseconds for each."""

_Row = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--peers", type=int, default=50_000)
    parser.add_argument("--quick", action="store_true", help="one round of few events: to see that it runs")
    results.add_out(parser)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.events, options.peers = 1, 5_000, 1_000
    numbers = dict.fromkeys(FAST, options.events) | dict.fromkeys(PEERS, options.peers)
    numbers[SINGLE] = options.peers // _SINGLE_SHARE
    runs = available(numbers)
    rows: dict[str, list[_Row]] = {run.label: [] for run in runs}
    sink = Sink()
    for number in rounds(options.rounds):
        for run in runs:
            if run in FAST or number % 2 == 0:
                rows[run.label].append({"round": number, **_deliver(sink, run, numbers[run])})
    sink.close()
    results.write(options.out, options, rows)
    print(f"{'':32} {'events/s':>9}  {'spread':17} of NullHandler   lost   CPU s per 100,000   MiB")
    for label, row in rows.items():
        rates = [each["rate"] for each in row]
        spread = f"{min(rates):,.0f}-{max(rates):,.0f}"
        share = results.ratio(row, rows["NullHandler"], "rate")
        lost, cpu, peak = (median(each[name] for each in row) for name in ("lost", "cpu", "peak"))
        print(f"{label:32} {median(rates):9,.0f}  {spread:17} x{share:5.3f}        {lost:6.1%}", end="")
        print(f"  {cpu:8.2f}      {peak:8.0f}")


def _deliver(sink: Sink, run: Run, events: int) -> _Row:
    """``rate``: events a second. ``lost``: a share. ``cpu``: seconds per 100,000 that were received."""
    sink.reset()
    values: dict[str, Any] = measured("delivery", run, sink.url, events=events)
    counts = sink.counts()
    is_sent = run.candidate != "NullHandler"
    received = counts.received if is_sent else events
    end = counts.last if is_sent else values["logged"]
    return {
        "rate": received / (end - values["began"]),
        "lost": 1 - received / events,
        "cpu": values["cpu"] / received * 100_000,
        "peak": values["peak"],
        "seconds_logging": values["logged"] - values["began"],
        "requests": counts.requests,
        "bytes": counts.bytes,
    }


if __name__ == "__main__":
    main()
