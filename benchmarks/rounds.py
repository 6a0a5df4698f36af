"""Runs every candidate in a process of its own, in turn, round after round.

With ``.cache/peers``, which ``make bench-peers`` makes, all candidates run there, ours as well; without it those that
this interpreter has.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from candidates import CANDIDATES

_HERE: Final = Path(__file__).parent
_PEERS: Final = _HERE.parent / ".cache" / "peers" / "bin" / "python"
_ALWAYS: Final = ("local", "bounds", "ours")
"""Modules of candidates that need nothing but this package."""


class Run(NamedTuple):
    """A candidate at its defaults, or with more room."""

    candidate: str
    is_enlarged: bool = False

    @property
    def label(self) -> str:
        """Of its row."""
        return f"{self.candidate}, enlarged" if self.is_enlarged else self.candidate


def rounds(count: int) -> Iterator[int]:
    """Their numbers from 0; tells who waits how far it is."""
    for number in range(count):
        print(f"   round {number + 1} of {count}", file=sys.stderr, flush=True)
        yield number


def python() -> str:
    """The interpreter that candidates run in."""
    return str(_PEERS) if _PEERS.exists() else sys.executable


def available(runs: Iterable[Run]) -> list[Run]:
    """Those that can run here; says so when the peers are missing."""
    asked = list(runs)
    if _PEERS.exists():
        return asked
    there = [run for run in asked if CANDIDATES[run.candidate].function.split(":")[0] in _ALWAYS]
    if there != asked:
        print("The peers are not installed, so they are left out: make bench-peers installs them.", file=sys.stderr)
    return there


def command(measure: str, run: Run, url: str, directory: str, **options: int) -> list[str]:
    """What measures ``run``; ``options`` are those of measuring.py."""
    words = [f"--{name}={value}" for name, value in options.items()]
    if run.is_enlarged:
        words.append("--enlarged")
    return [python(), str(_HERE / "measuring.py"), measure, run.candidate, url, directory, *words]


def measured(measure: str, run: Run, url: str, **options: int) -> dict[str, Any]:
    """What one process measured. Raises RuntimeError with what it wrote to stderr when it failed."""
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            command(measure, run, url, directory, **options), capture_output=True, text=True, timeout=300
        )
    if done.returncode:
        raise RuntimeError(f"{run.label}: {done.stderr[-2_000:]}")
    values: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return values
