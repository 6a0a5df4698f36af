"""What a log call costs the caller's thread: median over interleaved rounds, as a multiple of NullHandler's.

    python benchmarks/emit.py [--rounds 15] [--calls 20000]

Every candidate logs the same nested event of ten properties. The endpoint is a closed port: what is measured is
the call, not the sending, which is bounded by the buffer here and measured elsewhere.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import logging.handlers
import queue
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

from connect_logging import ConnectHandler

UNREACHABLE = "http://127.0.0.1:9"

EVENT = {
    "type": "purchase",
    "price": 34.95,
    "quantity": 2,
    "paid": True,
    "customer": {"firstName": "Tom", "lastName": "Smith", "country": "AU", "age": 33},
    "product": {"name": "shirt", "category": "clothes"},
}


@contextlib.contextmanager
def null() -> Iterator[logging.Handler]:
    yield logging.NullHandler()


@contextlib.contextmanager
def queued() -> Iterator[logging.Handler]:
    yield logging.handlers.QueueHandler(queue.Queue(-1))


@contextlib.contextmanager
def in_memory() -> Iterator[logging.Handler]:
    with contextlib.closing(ConnectHandler("p", "k", UNREACHABLE, max_events=1_000_000, exit_timeout=0)) as handler:
        yield handler


@contextlib.contextmanager
def journaled() -> Iterator[logging.Handler]:
    with (
        tempfile.TemporaryDirectory() as spool,
        contextlib.closing(ConnectHandler("p", "k", UNREACHABLE, spool=spool, exit_timeout=0)) as handler,
    ):
        yield handler


CANDIDATES: dict[str, Callable[[], contextlib.AbstractContextManager[logging.Handler]]] = {
    "NullHandler": null,
    "QueueHandler": queued,
    "ConnectHandler, memory": in_memory,
    "ConnectHandler, journaled": journaled,
}


def measure(candidate: str, threads: int, calls: int) -> float:
    """Seconds of wall time per call."""
    log = logging.getLogger(f"bench.{candidate}")
    log.setLevel(logging.INFO)
    log.propagate = False
    gate = threading.Barrier(threads + 1)

    def work() -> None:
        gate.wait()
        for _ in range(calls // threads):
            log.info("paid", extra={"collection": "purchases", "event": EVENT})
        gate.wait()

    with CANDIDATES[candidate]() as handler:
        log.handlers = [handler]
        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        gate.wait()
        began = time.perf_counter()
        gate.wait()
        spent = time.perf_counter() - began
        for worker in workers:
            worker.join()
    return spent / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=20_000)
    options = parser.parse_args()
    logging.getLogger("connect_logging").addHandler(logging.NullHandler())
    logging.getLogger("connect_logging").propagate = False
    for threads in (1, 8):
        times: dict[str, list[float]] = {name: [] for name in CANDIDATES}
        for _ in range(options.rounds):
            for name, spent in times.items():
                spent.append(measure(name, threads, options.calls))
        base = statistics.median(times["NullHandler"])
        print(f"{threads} thread{'s' if threads > 1 else ''}, Python {sys.version.split()[0]}")
        for name, spent in times.items():
            median = statistics.median(spent)
            spread = f"{min(spent) * 1e6:.2f} to {max(spent) * 1e6:.2f}"
            print(f"  {name:26} {median * 1e6:6.2f} µs  x{median / base:.2f}  ({spread})")


if __name__ == "__main__":
    main()
