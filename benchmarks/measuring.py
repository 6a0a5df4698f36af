"""Measures one candidate, once, in this process, and prints what it measured as a line of JSON.

    python benchmarks/measuring.py call "NullHandler" URL DIRECTORY --events 10000 [--enlarged]

``call``: seconds of a log call on the caller's thread. URL never answers. One thread is measured by its own processor
time, which other programs hardly change; eight by the wall clock, as they wait for each other, once for the mean and
once for how long single calls took.
``delivery``: events logged as fast as it goes, then whatever finishes the candidate. The sink knows what came.
``outage``: numbered events, logged at a steady rate, or as many as it manages in that time, once a line on stdin says
that the sink is down; one more says that it is up again.

The other modules here start it, once per candidate and round.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from candidates import COLLECTION, EVENT, MARK, Opened, Target, open_candidate

_WARM_UP: Final = 1_000
_THREADS: Final = 8
_GIVE_UP: Final = 120.0
"""Seconds for a candidate to send what it holds."""
_TICK: Final = 0.01
"""Seconds from one bunch of events to the next during an outage."""
_DELIVERED_BEFORE: Final = 500
"""Events before an outage: by then everything is connected, imported and warm."""

_Measured = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", choices=sorted(_MEASURES))
    parser.add_argument("candidate")
    parser.add_argument("url")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=10_000)
    parser.add_argument("--enlarged", action="store_true")
    options = parser.parse_args()
    opened = open_candidate(options.candidate, Target(options.url, options.directory, options.enlarged))
    log = logging.getLogger("shop")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(opened.handler)
    logging.getLogger().addHandler(logging.NullHandler())  # what candidates log of themselves
    measured = _MEASURES[options.measure](log, opened, options)
    print(json.dumps(measured), flush=True)
    os._exit(0)  # a candidate may go on for minutes trying to send


def call(log: logging.Logger, _: Opened, options: argparse.Namespace) -> _Measured:
    """Seconds per call: ``one`` thread, ``eight``, and of ``eight`` what 1 of 1,000 calls takes longer than."""
    _log(log, _WARM_UP)
    began = time.thread_time()
    _log(log, options.events)
    one = (time.thread_time() - began) / options.events
    share = options.events // _THREADS
    eight = _in_threads(lambda: _log(log, share)) / (share * _THREADS)
    waits: list[list[int]] = []
    _in_threads(lambda: waits.append(_log_timed(log, share)))
    longest = sorted(wait for each in waits for wait in each)
    return {"one": one, "eight": eight, "p999": longest[int(len(longest) * 0.999)] / 1e9}


def delivery(log: logging.Logger, opened: Opened, options: argparse.Namespace) -> _Measured:
    """When it ``began`` and had ``logged``, in monotonic seconds, and the processor's seconds of it all."""
    cpu, began = _processor_time(), time.monotonic()
    _log(log, options.events)
    logged = time.monotonic()
    opened.finish(_GIVE_UP)
    return {
        "began": began,
        "logged": logged,
        "cpu": _processor_time() - cpu,
        "peak": _memory("VmHWM") + _largest_child(),
    }


def outage(log: logging.Logger, opened: Opened, options: argparse.Namespace) -> _Measured:
    """Says on stdout how many events it has logged before the outage, then in all, and that it has done what it can."""
    for number in range(_DELIVERED_BEFORE):
        _log_numbered(log, number)
    _pause(_DELIVERED_BEFORE)
    bunch = int(options.rate * _TICK)
    due = time.monotonic()
    end = due + options.events / options.rate
    logged = 0
    while logged < options.events and time.monotonic() < end:
        for number in range(bunch):
            _log_numbered(log, _DELIVERED_BEFORE + logged + number)
        logged += bunch
        due += _TICK
        time.sleep(max(0.0, due - time.monotonic()))
    _pause(_DELIVERED_BEFORE + logged)
    opened.finish(_GIVE_UP)
    _pause(_DELIVERED_BEFORE + logged)
    return {}


def _processor_time() -> float:
    """Seconds of this process and of those that it has started and that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _largest_child() -> float:
    """MiB, at its largest, of the largest process that it has started and that has ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


_MEASURES: Final = {"call": call, "delivery": delivery, "outage": outage}


def _log(log: logging.Logger, calls: int) -> None:
    for _ in range(calls):
        log.info("paid", extra={"collection": COLLECTION, "event": EVENT})


def _log_timed(log: logging.Logger, calls: int) -> list[int]:
    """Nanoseconds of each call."""
    clock = time.perf_counter_ns
    waits = []
    for _ in range(calls):
        began = clock()
        log.info("paid", extra={"collection": COLLECTION, "event": EVENT})
        waits.append(clock() - began)
    return waits


def _log_numbered(log: logging.Logger, number: int) -> None:
    log.info("paid", extra={"collection": COLLECTION, "event": {**EVENT, "type": f"{MARK}-{number}"}})


def _in_threads(work: Callable[[], object]) -> float:
    """Seconds that eight threads take, which begin together."""
    gate = threading.Barrier(_THREADS + 1)

    def run() -> None:
        gate.wait()
        work()
        gate.wait()

    threads = [threading.Thread(target=run) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    gate.wait()
    began = time.perf_counter()
    gate.wait()
    spent = time.perf_counter() - began
    for thread in threads:
        thread.join()
    return spent


def _pause(count: int) -> None:
    """Say where we are, and wait to be told to go on."""
    print(count, flush=True)
    sys.stdin.readline()


def _memory(name: str) -> float:
    """MiB, as the kernel counts them."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) / 1024


if __name__ == "__main__":
    main()
