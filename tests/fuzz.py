"""``make fuzz``: what the tests try with a few cases, tried with new ones until the time is over.

CONNECT_FUZZ_SECONDS (3600 unless set) for all targets, which take turns. A case that fails is made as small as it
can be and written into ``FOUND``, where the tests find it. Exit code 1 when there was one.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.strategies import SearchStrategy
from server.clickhouse_database import in_process
from server.query.asking import Asked, asked, differ, hide, survive
from server.query.generating import CASES, DOCUMENTS, queries
from server.stores.backings import in_clickhouse, in_duckdb

FOUND = Path(__file__).parent / "server" / "query" / "found"
ROUND = 40
"""Cases of a target in its turn."""
ROUNDS = 10
"""Turns of each until the server is made anew, which has a collection for each case."""
REPORT = 60.0
"""Seconds from line to line."""


class Target(NamedTuple):
    """``try_`` raises when a case that was drawn from ``cases`` fails, and returns how many things it has tried.

    ``backing``: of the server that it is tried on.
    """

    cases: SearchStrategy[Any]
    try_: Callable[[Asked, Any], int]
    backing: str = "DuckDB"


def differential(server: Asked, case: Any) -> int:
    return differ(server, **case)


TARGETS = {
    "differential": Target(CASES, differential),
    "clickhouse": Target(CASES, differential, "ClickHouse"),
    "documents": Target(DOCUMENTS, survive),
    "clickhousedocuments": Target(DOCUMENTS, survive, "ClickHouse"),
    "statements": Target(queries(), lambda _, query: hide(query)),
}
"""A case is JSON; the file of one that was found begins with the target's name and a hyphen."""


def turn(name: str, server: Asked, number: int, tried: Counter[str]) -> str | None:
    """What went wrong, if anything did; the smallest case of it is kept."""
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
    @given(TARGETS[name].cases)
    def cases(case: Any) -> None:
        last[:] = [case]
        tried[name] += TARGETS[name].try_(server, case)

    try:
        cases()
    except Exception as error:
        text = json.dumps(fewer_events(last[0], lambda case: TARGETS[name].try_(server, case)), indent=1) + "\n"
        file = FOUND / f"{name}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}.json"
        file.write_text(text)
        return f"{name}, seed {number}, kept in {file.name}: {error}"
    return None


def fewer_events(case: Any, try_: Callable[[Any], object]) -> Any:
    """The case with none of those events that it fails without as well; hypothesis knows only the seed of them all."""
    if not isinstance(case, dict) or "queries" not in case:
        return case
    for event in case["events"]:
        without = {**case, "events": [each for each in case["events"] if each is not event]}
        try:
            try_(without)
        except Exception:
            case = without
    return case


@contextmanager
def asking(directory: Path) -> Iterator[dict[str, Asked]]:
    """A server on each kind of store."""
    with tempfile.TemporaryDirectory(dir=directory) as data, ExitStack() as opened:
        backings = {"DuckDB": in_duckdb(Path(data)), "ClickHouse": in_clickhouse(in_process(directory / "clickhouse"))}
        yield {name: opened.enter_context(asked(backing)) for name, backing in backings.items()}


def main(seconds: float, directory: Path) -> int:
    """Until the time is over. A target that has failed is not tried again. ``directory``: for the databases."""
    begun = reported = time.monotonic()
    tried: Counter[str] = Counter()
    failures: list[str] = []
    left = list(TARGETS)

    def report() -> None:
        counts = ", ".join(f"{tried[name]:,} {name}" for name in TARGETS)
        print(f"{time.monotonic() - begun:6.0f} s: {counts}; failures: {len(failures)}", flush=True)

    while left and time.monotonic() - begun < seconds:
        with asking(directory) as servers:
            for name in left * ROUNDS:
                if time.monotonic() - begun >= seconds or name not in left:
                    continue
                if failure := turn(name, servers[TARGETS[name].backing], secrets.randbits(32), tried):
                    print(failure, flush=True)
                    failures.append(failure)
                    left.remove(name)
                if time.monotonic() - reported >= REPORT:
                    report()
                    reported = time.monotonic()
    report()
    return 1 if failures else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        sys.exit(main(float(os.environ.get("CONNECT_FUZZ_SECONDS", "3600")), Path(directory)))
