"""What a log call costs the caller's thread, as a multiple of NullHandler's, and of the stock QueueHandler's.

    python benchmarks/emit.py [--rounds 7] [--calls 10000] [--quick]

Every candidate logs the same nested event of ten properties, in a process of its own, with room for all of them. The
address takes connections and never answers: what is measured is the call, not the sending, which delivery.py measures.
Ratios are medians of the ratios of each round.
"""

from __future__ import annotations

import argparse
from contextlib import closing
from statistics import median
from typing import Final

import results
from candidates import CANDIDATES
from rounds import Run, available, measured, rounds
from sink import Silence

_NOT_HERE: Final = (
    "limit program",
    "connect-client, batches",
    "ConnectHandler, journaled, gzip",
    "ConnectHandler, by a process",
)
"""Their calls wait for the network, or gather, or are those of another candidate."""

RUNS: Final = [Run(name, bool(candidate.enlarged)) for name, candidate in CANDIDATES.items() if name not in _NOT_HERE]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="one round of few calls: to see that it runs")
    results.add_out(parser)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.calls = 1, 800
    runs = available(RUNS)
    rows: dict[str, list[dict[str, float]]] = {run.candidate: [] for run in runs}
    for number in rounds(options.rounds):
        for run in runs:
            with closing(Silence()) as silence:
                row = measured("call", run, silence.url, events=options.calls)
            rows[run.candidate].append({"round": number, **row})
    results.write(options.out, options, rows)
    print(f"{'':28} {'one thread':>34}   {'eight threads':>34}   p99.9")
    for name, row in rows.items():
        columns = [_column(row, rows, which) for which in ("one", "eight")]
        print(f"{name:28} {columns[0]}   {columns[1]}  {median(each['p999'] for each in row) * 1e3:6.1f} ms")


def _column(row: list[dict[str, float]], rows: dict[str, list[dict[str, float]]], which: str) -> str:
    """Median and spread in µs, and the ratios."""
    spent = [each[which] * 1e6 for each in row]
    null, queue = (results.ratio(row, rows[name], which) for name in ("NullHandler", "QueueHandler"))
    spread = f"({min(spent):.1f}-{max(spent):.1f})"
    return f"{median(spent):6.1f} µs {spread:13} x{null:5.2f} x{queue:4.2f}"


if __name__ == "__main__":
    main()
