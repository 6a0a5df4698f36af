"""Instructions of one log call and of one event's way to the server, which do not depend on the machine's mood.

    python benchmarks/instructions.py          # counts, and compares with benchmarks/instructions.json
    python benchmarks/instructions.py --keep   # counts, and keeps the counts there

valgrind's callgrind counts (Debian: ``apt-get install valgrind``); without it nothing is compared, and this says so.
One process imports everything and forks a child for each count, which logs so many events and ends. The difference
between a short and a long run is what one event costs: start-up, imports and the first calls cancel out. A drain is
what remains of logging and flushing once the log call is taken off: the pusher's thread, its requests, the answers.
Records are made at the times of a program that logs 80,000 a second: with those of valgrind, which is slow, each event
would begin a millisecond, or share it, as the machine is.

A rise of more than 5 % is named, and fails nothing: what makes it worth its price is for a reviewer to say, and another
build of the same Python may count a little more. Counts of another Python are not compared.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

from candidates import COLLECTION, EVENT
from sink import Sink

from connect_logging import ConnectHandler

KEPT: Final = Path(__file__).with_suffix(".json")
TOLERANCE: Final = 0.05
_WARM_UP: Final = 250
_EVENTS: Final = 1_000
"""Of the long run, after the warm-up, which is all of the short one; drained at once, as by default."""

_BEGIN: Final = 1_764_000_000.0
_RATE: Final = 80_000

Counts = Mapping[str, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="keep the counts as those to compare with")
    parser.add_argument("--child", nargs=2, metavar=("URL", "DIRECTORY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _run_programs(options.child[0], Path(options.child[1]))
        return
    if shutil.which("valgrind") is None:
        print("Instruction counts were not compared: there is no valgrind here (Debian: apt-get install valgrind).")
        return
    here, counts = interpreter(), count()
    kept = json.loads(KEPT.read_text())
    if kept["python"] != here:
        print(f"Instruction counts were not compared: those kept are of {kept['python']}, and this is {here}.")
    print("Instructions, counted by valgrind:")
    for line in compared(kept["counts"] if kept["python"] == here else {}, counts):
        print(line)
    if options.keep:
        KEPT.write_text(json.dumps({"python": here, "counts": counts}, indent=1) + "\n")


def interpreter() -> str:
    """Whose counts may be compared."""
    return f"{platform.python_implementation()} {platform.python_version()}, {platform.python_compiler()}"


def compared(kept: Counts, counts: Counts) -> list[str]:
    """A line for each of ``counts``; those that rose by more than the tolerance say so."""
    lines = []
    for name, number in counts.items():
        before = kept.get(name)
        line = f"  {name:32} {number:8,} instructions"
        if before:
            line += f"  {number / before - 1:+.1%}"
            if number > before * (1 + TOLERANCE):
                line = f"! {line[2:]}: more than {TOLERANCE:.0%} above the {before:,} of {KEPT.name}"
        lines.append(line)
    return lines


def count() -> dict[str, int]:
    """Instructions per event of each program. Raises RuntimeError when valgrind fails."""
    sink = Sink()
    with tempfile.TemporaryDirectory() as directory:
        words = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={directory}/%p.out", "--quiet"]
        done = subprocess.run(
            [*words, sys.executable, __file__, "--child", sink.url, directory],
            env={**os.environ, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"valgrind failed: {done.stderr[-2_000:]}")
        totals = {name: _total(Path(directory, f"{pid}.out")) for name, pid in json.loads(done.stdout).items()}
    sink.close()
    each = {name: (totals[f"{name} {_EVENTS}"] - totals[f"{name} 0"]) // _EVENTS for name in _PROGRAMS}
    return {
        "log call, NullHandler": each["null"],
        "log call, in memory": each["in memory"],
        "log call, journaled": each["journaled"],
        "drain of an event, in memory": each["drain in memory"] - each["in memory"],
        "drain of an event, journaled": each["drain journaled"] - each["journaled"],
    }


def _total(path: Path) -> int:
    found = re.search(r"^(?:totals|summary): (\d+)", path.read_text(), re.M)
    assert found, f"{path} has no total"
    return int(found[1])


def _run_programs(url: str, directory: Path) -> None:
    """In valgrind: each program, in a short and a long run; prints their processes' ids."""
    import_module("connect_logging._journal.spool")  # else the first child would, and at times compile it as well
    time.time = iter([_BEGIN + number / _RATE for number in range(10 * _EVENTS)]).__next__
    gc.collect()
    gc.freeze()  # else a collection of all that was imported falls into one run, and not into another
    pids = {}
    for name, program in _PROGRAMS.items():
        for events in (0, _EVENTS):
            child = os.fork()
            if child == 0:
                program(url, directory / f"{name} {events}", events)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            assert status == 0, f"{name}: {status}"
            pids[f"{name} {events}"] = child
    print(json.dumps(pids))


def _null(_: str, __: Path, events: int) -> None:
    _log(logging.NullHandler(), events)


def _in_memory(_: str, __: Path, events: int) -> None:
    _log(_handler("http://127.0.0.1:9"), events)


def _journaled(_: str, directory: Path, events: int) -> None:
    _log(_handler("http://127.0.0.1:9", spool=directory), events)


def _drain_in_memory(url: str, _: Path, events: int) -> None:
    _drain(_handler(url), events)


def _drain_journaled(url: str, directory: Path, events: int) -> None:
    _drain(_handler(url, spool=directory), events)


_PROGRAMS: Final[dict[str, Callable[[str, Path, int], None]]] = {
    "null": _null,
    "in memory": _in_memory,
    "journaled": _journaled,
    "drain in memory": _drain_in_memory,
    "drain journaled": _drain_journaled,
}


def _handler(url: str, spool: Path | None = None) -> ConnectHandler:
    """One that sends when it is flushed, and not before."""
    return ConnectHandler("p", "k", url, spool=spool, flush_events=5_000, flush_bytes=2**30, flush_interval=3_600)


def _logger(handler: logging.Handler) -> logging.Logger:
    log = logging.getLogger("shop")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    return log


def _log(handler: logging.Handler, events: int) -> None:
    log = _logger(handler)
    for _ in range(_WARM_UP + events):
        _log_one(log)


def _drain(handler: ConnectHandler, events: int) -> None:
    log = _logger(handler)
    for some in (_WARM_UP, events):
        for _ in range(some):
            _log_one(log)
        assert handler.flush(120)


def _log_one(log: logging.Logger) -> None:
    log.info("paid", extra={"collection": COLLECTION, "event": EVENT})


if __name__ == "__main__":
    main()
