"""What was to be reached, computed from stored results: one row per goal.

A goal compares medians of the ratios of rounds, so that it says the same on a faster machine. A stage that has not run
leaves its goals unmeasured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, Final, NamedTuple

from results import Row, ratio

NULL: Final = "NullHandler"
QUEUE: Final = "QueueHandler"
JOURNALED: Final = "ConnectHandler, journaled"
BY_PROCESS: Final = "ConnectHandler, by a process"
IN_MEMORY: Final = "ConnectHandler, in memory"
ORIGINAL: Final = "connect-client, batches"
LIMIT: Final = "limit program"
SDKS: Final = ("Segment", "Sentry logs", "OpenTelemetry", "PostHog")

_Rows = Mapping[str, list[Row]]
_Data = Mapping[str, Any]


class Goal(NamedTuple):
    """``stage``: whose results ``measure`` reads. ``sign``: ``<`` at most, ``>`` at least. ``unit``: after values."""

    stage: str
    what: str
    sign: str
    bound: float
    unit: str
    measure: Callable[[Any], float]


class Reached(NamedTuple):
    """``value`` is None when the stage has not run."""

    goal: Goal
    value: float | None

    @property
    def is_met(self) -> bool:
        """False as well when nothing was measured."""
        if self.value is None:
            return False
        return self.value <= self.goal.bound if self.goal.sign == "<" else self.value >= self.goal.bound

    @property
    def verdict(self) -> str:
        """A word for the table."""
        return "not measured" if self.value is None else "met" if self.is_met else "missed"

    @property
    def columns(self) -> tuple[str, str, str, str]:
        """What, the goal, the measured value, the verdict."""
        goal = self.goal
        value = "-" if self.value is None else _shown(self.value, goal.unit)
        return goal.what, f"{'≤' if goal.sign == '<' else '≥'} {_shown(goal.bound, goal.unit)}", value, self.verdict


def reached(stages: Mapping[str, _Data | None]) -> list[Reached]:
    """Every goal, with what the stages' results say of it."""
    rows = []
    for goal in GOALS:
        document = stages.get(goal.stage)
        try:
            value = None if document is None else goal.measure(document["data"])
        except (KeyError, IndexError):  # a candidate that was not installed
            value = None
        rows.append(Reached(goal, value))
    return rows


def _shown(value: float, unit: str) -> str:
    if unit == "%":
        return f"{value:.2%}" if value else "0"
    digits = 0 if value >= 100 or value == int(value) else 1 if value >= 20 else 2
    return f"{value:,.{digits}f} {unit}".strip()


def _per(candidate: str, other: str, value: str) -> Callable[[_Rows], float]:
    return lambda rows: ratio(rows[candidate], rows[other], value)


def best_sdk(rows: _Rows) -> list[Row]:
    """Of each round the fastest, at its defaults or enlarged."""
    rounds: dict[float, float] = {}
    for name in SDKS:
        for label in (name, f"{name}, enlarged"):
            for row in rows[label]:
                rounds[row["round"]] = max(row["rate"], rounds.get(row["round"], 0.0))
    return [{"round": number, "rate": rate} for number, rate in rounds.items()]


def _lost(rows: _Rows) -> float:
    return max(row["lost"] for name in (JOURNALED, BY_PROCESS, IN_MEMORY) for row in rows[name])


def _of_outage(value: Callable[[Mapping[str, float]], float], *names: str) -> Callable[[_Data], float]:
    return lambda rows: max(value(rows[name]) for name in names)


def _growth(row: Mapping[str, float]) -> float:
    return row["peak"] - row["before"]


def _ingest(candidate: str) -> Callable[[_Data], float]:
    return lambda data: ratio(data["rounds"][candidate], data["rounds"]["DuckDB, one commit"], "rate")


def _question(name: str) -> Callable[[_Data], float]:
    def measure(data: _Data) -> float:
        served, alone = data["questions"][name]
        return float(served / alone)

    return measure


def _fairness(data: _Data) -> float:
    answers = data["answers"]
    return float(min(answers) * len(answers) / sum(answers))


_X: Final = "x"


def _journaled(name: str, words: str) -> list[Goal]:
    """Of deliveries with a spool, sent by a thread, the default, or by a process."""
    received = f"log → received, {words}"
    return [
        Goal("delivery", f"{received}, of NullHandler's rate", ">", 0.42, _X, _per(name, NULL, "rate")),
        Goal(
            "delivery",
            f"{received}, of the best SDK's rate",
            ">",
            8,
            _X,
            lambda rows: ratio(rows[name], best_sdk(rows), "rate"),
        ),
        Goal("delivery", f"{received}, of the original client's batches", ">", 3.3, _X, _per(name, ORIGINAL, "rate")),
        Goal(
            "delivery",
            f"processor time per event, {words}, of the limit program's",
            "<",
            1.6,
            _X,
            _per(name, LIMIT, "cpu"),
        ),
    ]


GOALS: Final = [
    Goal("emit", "journaled log call, one thread, of NullHandler's", "<", 1.7, _X, _per(JOURNALED, NULL, "one")),
    Goal("emit", "journaled log call, one thread, of QueueHandler's", "<", 0.7, _X, _per(JOURNALED, QUEUE, "one")),
    Goal("emit", "journaled log call, 8 threads, of QueueHandler's", "<", 0.8, _X, _per(JOURNALED, QUEUE, "eight")),
    Goal(
        "emit", "journaled log call, 8 threads, p99.9, of QueueHandler's", "<", 1.0, _X, _per(JOURNALED, QUEUE, "p999")
    ),
    Goal("emit", "log call in memory, one thread, of NullHandler's", "<", 1.6, _X, _per(IN_MEMORY, NULL, "one")),
    Goal("emit", "log call in memory, 8 threads, of NullHandler's", "<", 2.1, _X, _per(IN_MEMORY, NULL, "eight")),
    *_journaled(JOURNALED, "journaled"),
    *_journaled(BY_PROCESS, "by a process"),
    Goal("delivery", "log → received, in memory, of NullHandler's rate", ">", 0.5, _X, _per(IN_MEMORY, NULL, "rate")),
    Goal("delivery", "log → received, lost", "<", 0, "%", _lost),
    Goal(
        "delivery",
        "processor time per event, in memory, of the limit program's",
        "<",
        1.6,
        _X,
        _per(IN_MEMORY, LIMIT, "cpu"),
    ),
    Goal(
        "single_pushes",
        "single pushes through the client, of the original's",
        ">",
        50,
        _X,
        _per("ConnectClient", "connect-client", "together"),
    ),
    Goal("outage", "20 s outage, lost", "<", 0, "%", _of_outage(lambda row: row["lost"], JOURNALED, IN_MEMORY)),
    Goal("outage", "20 s outage, growth of memory with a spool", "<", 64, "MiB", _of_outage(_growth, JOURNALED)),
    Goal("outage", "20 s outage, growth of memory without", "<", 130, "MiB", _of_outage(_growth, IN_MEMORY)),
    Goal(
        "imports",
        "import connect_logging, of import requests",
        "<",
        1.3,
        _X,
        _per("connect_logging", "requests", "seconds"),
    ),
    Goal(
        "imports",
        "modules of the server that it imports",
        "<",
        0,
        "",
        lambda rows: max(row["server_modules"] for row in rows["connect_logging"]),
    ),
    Goal(
        "ingest", "server: ingest in batches of 5,000, of DuckDB alone", ">", 0.7, _X, _ingest("HTTP, batches of 5,000")
    ),
    Goal("ingest", "server: ingest in batches of 500, of DuckDB alone", ">", 0.7, _X, _ingest("HTTP, batches of 500")),
    Goal(
        "ingest",
        "server: ingest with 10,000,000 events stored, of that with none",
        ">",
        0.8,
        _X,
        lambda data: median(data["stored"]["rate"]),
    ),
    Goal("query", "server: sum by one property, of a flat table", "<", 3, _X, _question("sum by one property")),
    Goal(
        "query",
        "server: count and sum by two, filtered, of a flat table",
        "<",
        3,
        _X,
        _question("count and sum by two, filtered"),
    ),
    Goal("query", "server: the slowest of 32 clients, of the mean", ">", 0.8, _X, _fairness),
    Goal(
        "small_pushes",
        "server: 200 producers of small batches, of the large-batch rate",
        ">",
        0.6,
        _X,
        lambda rows: ratio(rows, rows, "rate", "large"),
    ),
    Goal(
        "small_pushes",
        "server: 200 producers of small batches, p99, of a commit's own time there",
        "<",
        20,
        _X,
        lambda rows: ratio(rows, rows, "slow", "commit"),
    ),
]
