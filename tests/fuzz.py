"""``make fuzz``: what the tests try with a few cases, tried with new ones until the time is over.

CONNECT_FUZZ_SECONDS (3600 unless set) for all targets, which take turns. A case that fails is made as small as it
can be, and written into the target's directory, where the tests find it. Exit code 1 when there was one.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.strategies import SearchStrategy
from server.query.asking import Asked, asked, differ, hide, survive
from server.query.generating import CASES, DOCUMENTS, queries

FOUND = Path(__file__).parent / "server" / "query" / "found"
ROUND = 40
"""Cases of a target in its turn."""
REPORT = 60.0
"""Seconds from line to line."""


class Target(NamedTuple):
    """``try_`` raises when a case that was drawn from ``cases`` fails, and returns how many things it has tried."""

    name: str
    cases: SearchStrategy[Any]
    try_: Callable[[Asked, Any], int]


TARGETS = [
    Target("differential", CASES, lambda server, case: differ(server, **case)),
    Target("documents", DOCUMENTS, survive),
    Target("statements", queries(), lambda _, query: hide(query)),
]


def run(target: Target, server: Asked, number: int, tried: Counter[str]) -> str | None:
    """One turn. What went wrong, if anything did; the smallest case is kept."""
    last: list[Any] = []

    @seed(number)
    @settings(
        max_examples=ROUND,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
    )
    @given(target.cases)
    def turn(case: Any) -> None:
        last[:] = [case]
        tried[target.name] += target.try_(server, case)

    try:
        turn()
    except Exception as error:
        text = json.dumps(last[0], indent=1)
        FOUND.mkdir(exist_ok=True)
        file = FOUND / f"{target.name}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}.json"
        file.write_text(text + "\n")
        return f"{target.name}, seed {number}, kept in {file.name}: {error}"
    return None


def main(seconds: float) -> int:
    """Until the time is over. A target that has failed is not tried again."""
    begun = time.monotonic()
    tried: Counter[str] = Counter()
    failures: list[str] = []
    targets = list(TARGETS)
    reported = begun

    def report() -> None:
        counts = ", ".join(f"{tried[target.name]:,} {target.name}" for target in TARGETS)
        print(f"{time.monotonic() - begun:6.0f} s: {counts}; failures: {len(failures)}", flush=True)

    while targets and time.monotonic() - begun < seconds:
        with asked() as server:
            for _ in range(10):
                for target in list(targets):
                    if time.monotonic() - begun >= seconds:
                        break
                    failure = run(target, server, secrets.randbits(32), tried)
                    if failure:
                        print(failure, flush=True)
                        failures.append(failure)
                        targets.remove(target)
                if time.monotonic() - reported >= REPORT:
                    report()
                    reported = time.monotonic()
    report()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(float(os.environ.get("CONNECT_FUZZ_SECONDS", "3600"))))
