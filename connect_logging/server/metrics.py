"""What the server counts of its own work, for Prometheus.

Invariant: the number of series is bounded. No label holds what a client chose: a route is its template, a method one
that the server knows, and names of collections, projects and keys are nowhere.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import product
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Metric, ProcessCollector
from prometheus_client.exposition import choose_encoder

from .observing import Exchange, ReadOutcome, TransferKind, TransferOutcome
from .stores.base import Commit, Outcome

METHODS: Final = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")
"""Those that a route may have; others are counted as one."""

_REQUEST_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_GROUP_SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)


class _Registry(CollectorRegistry):
    """Leaves out when each counter was made, which would double the series."""

    def collect(self) -> Iterator[Metric]:
        for metric in super().collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


class Metrics:
    """A registry of its own. Safe to share between threads."""

    def __init__(self) -> None:
        self.registry = _Registry()
        ProcessCollector(registry=self.registry)
        info = {"version": version("connect-logging"), "duckdb": version("duckdb"), "python": platform.python_version()}
        Info("connect_build", "What is running.", registry=self.registry).info(info)
        self._requests = Counter(
            "connect_requests", "Requests answered.", ["route", "method", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "connect_request_duration_seconds",
            "From the head of a request to the end of its answer.",
            ["route", "method"],
            buckets=_REQUEST_SECONDS,
            registry=self.registry,
        )
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        """Of requests, by route, method and status: to find them by their labels takes longer than to count."""
        self._received = Counter("connect_received_bytes", "Bodies as received.", registry=self.registry)
        self._sent = Counter("connect_sent_bytes", "Bodies as sent.", registry=self.registry)
        events = Counter("connect_events", "Events pushed or imported.", ["outcome"], registry=self.registry)
        self._events = {outcome: events.labels(outcome) for outcome in get_args(Outcome)}
        self._commit_seconds = Histogram(
            "connect_commit_duration_seconds",
            "Commits of the writer.",
            buckets=_REQUEST_SECONDS,
            registry=self.registry,
        )
        self._commit_requests = Histogram(
            "connect_commit_requests", "Requests in a commit.", buckets=_GROUP_SIZES, registry=self.registry
        )
        self._commit_events = Counter("connect_commit_events", "New events in commits.", registry=self.registry)
        self._queries = Counter(
            "connect_queries", "Queries and other reads that ended.", ["outcome"], registry=self.registry
        )
        for outcome in get_args(ReadOutcome):
            self._queries.labels(outcome)
        self._transfers = Counter(
            "connect_transfers", "Imports and exports that ended.", ["kind", "outcome"], registry=self.registry
        )
        for kind, ended in product(get_args(TransferKind), get_args(TransferOutcome)):
            self._transfers.labels(kind, ended)
        self._failed_keys = Counter("connect_failed_keys", "Requests with a wrong key.", registry=self.registry)

    def observe(self, exchange: Exchange) -> None:
        """Count a request."""
        route = exchange.route or "other"
        method = exchange.method if exchange.method in METHODS else "other"
        series = self._series.get((route, method, exchange.status))
        requests, seconds = series or self._find(route, method, exchange.status)
        requests.inc()
        seconds.observe(exchange.seconds)
        self._received.inc(exchange.received)
        self._sent.inc(exchange.sent)

    def _find(self, route: str, method: str, status: int) -> tuple[Counter, Histogram]:
        found = self._requests.labels(route, method, str(status)), self._seconds.labels(route, method)
        self._series[route, method, status] = found
        return found

    def count_events(self, outcome: Outcome, count: int) -> None:
        """Count events by what became of them."""
        self._events[outcome].inc(count)

    def count_query(self, outcome: ReadOutcome) -> None:
        """Count a query, or another read, by what became of it."""
        self._queries.labels(outcome).inc()

    def count_transfer(self, kind: TransferKind, outcome: TransferOutcome) -> None:
        """Count an import or an export by how it ended."""
        self._transfers.labels(kind, outcome).inc()

    def count_failed_key(self) -> None:
        """Count a request with a wrong key."""
        self._failed_keys.inc()

    def observe_commit(self, commit: Commit) -> None:
        """Count a commit of the writer."""
        self._commit_seconds.observe(commit.seconds)
        self._commit_requests.observe(commit.requests)
        self._commit_events.inc(commit.events)

    def watch(self, name: str, what: str, read: Callable[[], float]) -> None:
        """A gauge whose value is read when it is asked for. ``name``: without the prefix."""
        Gauge(f"connect_{name}", what, registry=self.registry).set_function(read)

    def text(self, accept: str) -> tuple[bytes, str]:
        """All of it in the format that an ``Accept`` header asks for, and the type of that."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type
