"""Health, readiness and metrics, of the app and of the real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backed import backed
from server_process import ServerProcess

from connect_logging.server.app import make_app
from connect_logging.server.routes import operations
from connect_logging.server.settings import Settings
from connect_logging.server.stores.base import Figures, StoreError

from ..asgi import ask


class StoreThatAnswers:
    """Its answer can be held back, or be an error."""

    def __init__(self) -> None:
        self.error: StoreError | None = None
        self.answers = threading.Event()
        self.answers.set()

    def check(self) -> None:
        self.answers.wait()
        if self.error:
            raise self.error

    def figures(self) -> Figures:
        return Figures(3, 4)


@pytest.fixture
def store() -> Iterator[StoreThatAnswers]:
    made = StoreThatAnswers()
    yield made
    made.answers.set()


def app(store: Any, path: Path, **more: Any) -> Any:
    settings = Settings(path, **{name: more.pop(name) for name in ("metrics",) if name in more})
    return make_app(settings, backed(path, store), **more)


def test_health_needs_no_database(tmp_path: Path) -> None:
    answer = ask(app(None, tmp_path), "GET", "/health")
    assert (answer.status, answer.json()) == (200, {"status": "alive"})


def test_ready_is_what_the_database_says(tmp_path: Path, store: StoreThatAnswers) -> None:
    answer = ask(app(store, tmp_path), "GET", "/ready")
    assert (answer.status, answer.json()) == (200, {"status": "ready"})
    store.error = StoreError("the database does not answer: it is broken")
    answer = ask(app(store, tmp_path), "GET", "/ready")
    assert (answer.status, answer.json()) == (503, {"errorMessage": "the database does not answer: it is broken"})


def test_a_database_that_hangs_is_not_ready_in_time(
    tmp_path: Path, store: StoreThatAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "READY_WITHIN", 0.05)
    store.answers.clear()
    threading.Timer(0.3, store.answers.set).start()  # the loop of the test waits for the thread
    answer = ask(app(store, tmp_path), "GET", "/ready")
    assert (answer.status, answer.json()) == (
        503,
        {"errorMessage": "the database did not answer within 0.05 seconds"},
    )


def test_who_is_stopping_is_not_ready(tmp_path: Path, store: StoreThatAnswers) -> None:
    answer = ask(app(store, tmp_path, is_stopping=lambda: True), "GET", "/ready")
    assert (answer.status, answer.json()) == (503, {"errorMessage": "the server is stopping"})


def test_metrics_are_not_here_when_they_have_an_address_of_their_own(tmp_path: Path, store: StoreThatAnswers) -> None:
    answer = ask(app(store, tmp_path, metrics="127.0.0.1:9100"), "GET", "/metrics")
    assert (answer.status, answer.json()) == (404, {"errorMessage": "the metrics have an address of their own"})


def test_the_real_server_counts_what_it_does_and_names_nobody(server: ServerProcess) -> None:
    assert server.request("GET", "/health", headers={}).status_code == 200
    assert server.request("GET", "/ready", headers={}).json() == {"status": "ready"}
    server.push("secretname", {"id": 1}, {"id": 2})
    server.request("POST", "/events", {"secretname": [{"id": 1}, {"a.b": 1}]})
    server.request("POST", "/events/secretname", b"nonsense")
    server.request("POST", "/events/secretname", {}, headers={})
    server.request("GET", "/nowhere")
    answer = server.request("GET", "/metrics", headers={})
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    for line in (
        'connect_events_total{outcome="stored"} 2.0',
        'connect_events_total{outcome="duplicate"} 1.0',
        'connect_events_total{outcome="rejected"} 2.0',
        'connect_requests_total{method="POST",route="/events",status="200"} 2.0',
        'connect_requests_total{method="POST",route="/events/{collection}",status="400"} 1.0',
        'connect_requests_total{method="POST",route="/events/{collection}",status="401"} 1.0',
        'connect_requests_total{method="GET",route="other",status="404"} 1.0',
        "connect_failed_keys_total 1.0",
        "connect_commit_events_total 2.0",
        "connect_waiting_bytes 0.0",
    ):
        assert line in lines
    figures = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(figures["connect_database_bytes"]) > 10_000
    for secret in ("secretname", server.project_id, *server.keys.values()):
        assert secret not in answer.text
