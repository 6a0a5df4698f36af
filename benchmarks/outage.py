"""An outage of 20 s while 200,000 events are logged: what is lost, and how memory grows.

    python benchmarks/outage.py [--events 200000] [--seconds 20] [--quick]

The sink is up until a few hundred events have come, refuses connections for so many seconds, during which the events
are logged at a steady rate, or as many as a candidate manages, and is up again. Then each candidate does what its
documentation says before the end of a process. What has not come when that is done, or two minutes later, is lost.
Events are numbered, so that those that came twice count once. Two candidates run at a time, each with a sink of its
own: no times are measured.
"""

from __future__ import annotations

import argparse
import select
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import results
from rounds import Run, available, command
from sink import Sink

RUNS: Final = [
    Run("ConnectHandler, journaled"),
    Run("ConnectHandler, in memory"),
    Run("connect-client, batches"),
    *(Run(name, wide) for name in ("Segment", "Sentry logs", "OpenTelemetry", "PostHog") for wide in (False, True)),
]
_LANES: Final = 2
_PATIENCE: Final = 130.0
"""Seconds that a candidate has after the outage."""
_LOOK: Final = 0.1

_Row = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--quick", action="store_true", help="few events and ours alone: to see that it runs")
    results.add_out(parser)
    options = parser.parse_args()
    runs = available(RUNS)
    if options.quick:
        options.events, options.seconds = 2_000, 1.0
        runs = [run for run in runs if run.candidate.startswith("ConnectHandler")]
    with ThreadPoolExecutor(_LANES) as lanes:
        # What takes longest begins first.
        begun = sorted(runs, key=lambda run: not run.is_enlarged)
        suffering = {run: lanes.submit(_suffer, run, options.events, options.seconds) for run in begun}
        rows: dict[str, _Row] = {run.label: suffering[run].result() for run in runs}
    results.write(options.out, options, rows)
    print(f"{options.events:,} events in an outage of {options.seconds:.0f} s")
    for label, row in rows.items():
        growth = row["peak"] - row["before"]
        print(f"  {label:30} lost {row['lost']:6.1%}   memory +{growth:4.0f} MiB (from {row['before']:.0f})", end="")
        print(f"   all there {row['recovered']:.1f} s after it" if not row["lost"] else "")


def _suffer(run: Run, events: int, seconds: float) -> _Row:
    """``lost``: a share. ``before``, ``peak``: MiB. ``recovered``: seconds from the end of the outage to the last."""
    sink = Sink()
    rate = int(events / seconds)
    with tempfile.TemporaryDirectory() as directory:
        words = command("outage", run, sink.url, directory, events=events, rate=rate)
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            row = _watch(process, sink, events, seconds)
            process.kill()
    sink.close()
    return row


def _watch(process: subprocess.Popen[str], sink: Sink, events: int, seconds: float) -> _Row:
    first = _heard(process)
    _wait(lambda: sink.counts().distinct >= first, 10)
    before = _memory(process.pid, "VmRSS")
    sink.down()
    down = time.monotonic()
    _go_on(process)
    logged = _heard(process)
    time.sleep(max(0.0, down + seconds - time.monotonic()))
    sink.up()
    up = changed = time.monotonic()
    _go_on(process)
    count, peak, is_done = -1, 0.0, False
    while not is_done and time.monotonic() < up + _PATIENCE:
        readable, _, _ = select.select([process.stdout], [], [], _LOOK)
        peak = max(peak, _memory(process.pid, "VmHWM"))
        counts = sink.counts()
        if counts.distinct > count:
            count, changed = counts.distinct, counts.last
        is_done = bool(readable) or count == logged
    return {
        "logged": logged,
        "lost": 1 - count / logged,
        "before": before,
        "peak": peak,
        "recovered": changed - up,
        "twice": counts.received - count,
    }


def _heard(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def _go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def _wait(is_so: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(_LOOK)


def _memory(pid: int, name: str) -> float:
    """MiB, as the kernel counts them; 0 once the process has ended."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = [line for line in text.splitlines() if line.startswith(f"{name}:")]
    return int(found[0].split()[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    main()
