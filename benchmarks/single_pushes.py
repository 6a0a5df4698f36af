"""Single pushes through our client and through the original: a future for each, all waited for.

    python benchmarks/single_pushes.py [--rounds 5] [--pushes 20000] [--original 1000] [--quick]

``together``: all are pushed, then their futures are waited for. ``in turn``: each is waited for before the next, which
cannot be shared. Each client runs in a process of its own, interleaved, against one sink.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Future
from statistics import median
from typing import Any, Final

import results
from candidates import COLLECTION, EVENT
from rounds import Run, available, python, rounds
from sink import Sink

OURS: Final = "ConnectClient"
ORIGINAL: Final = "connect-client"
_TURNS: Final = 200
"""Pushes that are each waited for."""

_Push = Callable[[str, dict[str, Any]], "Future[Any]"]


def ours(url: str) -> _Push:
    from connect_logging import ConnectClient

    return ConnectClient("p", "k", url).push_event


def original(url: str) -> _Push:
    from connect.client import ConnectClient

    push: _Push = ConnectClient("p", "k", base_url=url).push_event
    return push


CLIENTS: Final = {OURS: ours, ORIGINAL: original}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pushes", type=int, default=20_000)
    parser.add_argument("--original", type=int, default=1_000)
    parser.add_argument("--quick", action="store_true", help="one round of few pushes: to see that it runs")
    parser.add_argument("--client", nargs=2, metavar=("NAME", "URL"), help=argparse.SUPPRESS)
    results.add_out(parser)
    options = parser.parse_args()
    if options.client:
        name, url = options.client
        print(json.dumps(_push(CLIENTS[name](url), options.pushes)))
        return
    if options.quick:
        options.rounds, options.pushes, options.original = 1, 1_000, 50
    numbers = {OURS: options.pushes}
    if available([Run("connect-client, single")]):
        numbers[ORIGINAL] = options.original
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in numbers}
    sink = Sink()
    for number in rounds(options.rounds):
        for name, pushes in numbers.items():
            sink.reset()
            rows[name].append({"round": number, **_measured(name, sink.url, pushes)})
            assert sink.counts().received == pushes + _TURNS
    sink.close()
    results.write(options.out, options, rows)
    for name, row in rows.items():
        together, turns = (median(each[way] for each in row) for way in ("together", "in_turn"))
        print(f"{name:16} {together:9,.0f} pushes/s together   {turns:7,.0f} pushes/s in turn")
    if ORIGINAL in rows:
        print(f"x{results.ratio(rows[OURS], rows[ORIGINAL], 'together'):.0f} together")


def _push(push: _Push, pushes: int) -> dict[str, float]:
    """Pushes a second."""
    began = time.perf_counter()
    for _ in range(_TURNS):
        assert push(COLLECTION, dict(EVENT)).result(30).success
    in_turn = time.perf_counter() - began
    began = time.perf_counter()
    futures = [push(COLLECTION, dict(EVENT)) for _ in range(pushes)]
    assert all(future.result(60).success for future in futures)
    return {"together": pushes / (time.perf_counter() - began), "in_turn": _TURNS / in_turn}


def _measured(name: str, url: str, pushes: int) -> dict[str, float]:
    done = subprocess.run(
        [python(), __file__, "--client", name, url, "--pushes", str(pushes)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2_000:])
    values: dict[str, float] = json.loads(done.stdout)
    return values


if __name__ == "__main__":
    main()
