"""What a log call costs the caller's thread: median over interleaved rounds, as a multiple of NullHandler's.

    python benchmarks/emit.py [--rounds 15] [--calls 20000]

Every candidate logs the same nested event of ten properties. The endpoint is a closed port: what is measured is
the call, not the sending, which is bounded by the buffer here and measured elsewhere. One thread is measured by its
processor time, which other programs hardly change; eight by the wall clock, as they wait for each other.

The last two rows are bounds, no handlers: one function that does for each record what a journal cannot do without
(encode, frame with a checksum, write), with and without a look at whether the event is valid.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import logging.handlers
import os
import queue
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any
from zlib import crc32

import msgspec

from connect_logging import ConnectHandler
from connect_logging._journal.framing import HEAD, MAGIC
from connect_logging.rules import EventRules

_TIME = Struct("<d")

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


class Bare(logging.Handler):
    """Encodes, frames and writes, in one function; ``check`` says whether the event is valid."""

    def __init__(self, directory: str, check: Callable[[dict[str, Any]], bool]) -> None:
        super().__init__()
        self._file = os.open(f"{directory}/bare", os.O_RDWR | os.O_CREAT, 0o600)
        self._end = 0
        self._check = check
        self._encode = msgspec.json.Encoder().encode
        self._mutex = threading.RLock()

    def createLock(self) -> None:  # noqa: D102
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:  # noqa: D102
        event = record.__dict__["event"]
        if self._check(event):
            body = self._encode(event)
            time = _TIME.pack(record.created)
            framed = b"".join((HEAD.pack(MAGIC, 8 + len(body), crc32(body, crc32(time))), time, body))
            with self._mutex:
                start = self._end
                self._end += len(framed)
                os.pwrite(self._file, framed, start)
        return True

    def close(self) -> None:  # noqa: D102
        os.close(self._file)
        super().close()


@contextlib.contextmanager
def bare(check: Callable[[dict[str, Any]], bool]) -> Iterator[logging.Handler]:
    with tempfile.TemporaryDirectory() as directory, contextlib.closing(Bare(directory, check)) as handler:
        yield handler


def bare_checked() -> contextlib.AbstractContextManager[logging.Handler]:
    rules = EventRules()
    rules.check(EVENT)
    return bare(rules.surely_valid)


CANDIDATES: dict[str, Callable[[], contextlib.AbstractContextManager[logging.Handler]]] = {
    "NullHandler": null,
    "QueueHandler": queued,
    "ConnectHandler, memory": in_memory,
    "ConnectHandler, journaled": journaled,
    "check, encode, frame, write": bare_checked,
    "encode, frame, write": lambda: bare(lambda _: True),
}


def measure(candidate: str, threads: int, calls: int) -> float:
    """Seconds per call: of processor time for one thread, of wall time for several."""
    log = logging.getLogger(f"bench.{candidate}")
    log.setLevel(logging.INFO)
    log.propagate = False
    gate = threading.Barrier(threads + 1)
    used: list[float] = []

    def work() -> None:
        gate.wait()
        began = time.thread_time()
        for _ in range(calls // threads):
            log.info("paid", extra={"collection": "purchases", "event": EVENT})
        used.append(time.thread_time() - began)
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
    return (used[0] if threads == 1 else spent) / calls


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
        base, queue_handler = (statistics.median(times[name]) for name in ("NullHandler", "QueueHandler"))
        print(f"{threads} thread{'s' if threads > 1 else ''}, Python {sys.version.split()[0]}")
        for name, spent in times.items():
            median = statistics.median(spent)
            spread = f"{min(spent) * 1e6:.2f} to {max(spent) * 1e6:.2f}"
            ratios = f"x{median / base:.2f}  x{median / queue_handler:.2f} of QueueHandler"
            print(f"  {name:28} {median * 1e6:6.2f} µs  {ratios}  ({spread})")


if __name__ == "__main__":
    main()
