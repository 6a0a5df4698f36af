from __future__ import annotations

import asyncio
import datetime as dt
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from oracle import Oracle
from oracle_faults import Hang, RefuseEvents, Status
from pushing import CANARY, balanced

from connect_logging import (
    ClosedError,
    ConfigurationError,
    ConnectClient,
    InvalidEventError,
    PushBatchResponse,
    PushResponse,
)

MakeClient = Callable[..., ConnectClient]


@pytest.fixture
def make_client(oracle: Oracle) -> Iterator[MakeClient]:
    made: list[ConnectClient] = []

    def make(**options: Any) -> ConnectClient:
        made.append(ConnectClient(**{"project_id": "p", "api_key": CANARY, "base_url": oracle.url, **options}))
        return made[-1]

    yield make
    for client in made:
        client.close(0)
        assert balanced(client.stats())


@pytest.fixture
def client(make_client: MakeClient) -> ConnectClient:
    return make_client()


def test_a_push_returns_a_future_of_what_became_of_it(oracle: Oracle, client: ConnectClient) -> None:
    event = {"type": "cycling", "distance": 21255}
    future = client.push_event("activity", event)
    assert isinstance(future, Future)
    response = future.result(10)
    assert isinstance(response, PushResponse)
    assert (response.success, response.error_message, response.http_status_code) == (True, None, 200)
    assert response.event["distance"] == 21255
    assert dt.datetime.fromisoformat(response.event["timestamp"]).tzinfo is not None
    assert oracle.events("activity") == [response.event]
    assert event == {"type": "cycling", "distance": 21255}, "the caller's dict is never changed"


def test_a_push_returns_at_once_whatever_the_server_does(oracle: Oracle, client: ConnectClient) -> None:
    oracle.fail(Hang(), times=None)
    futures = [client.push_event("a", {"n": n}) for n in range(1_000)]
    assert not any(future.done() for future in futures)
    assert not futures[0].cancel(), "it is on its way"


def test_an_invalid_event_comes_back_in_the_future(oracle: Oracle, client: ConnectClient) -> None:
    future = client.push_event("activity", {"a.b": 1, "nested": {"$x": float("nan")}, "tp_y": 1})
    error = future.exception(10)
    assert isinstance(error, InvalidEventError)
    assert set(error.errors) == {"a.b", "nested.$x", "tp_y"}
    assert oracle.requests == []
    assert client.stats()["accepted"] == 0


@pytest.mark.parametrize("collection", ["", "a/b", "errorMessage", None])
def test_an_invalid_collection_comes_back_in_the_future(client: ConnectClient, collection: Any) -> None:
    error = client.push_event(collection, {}).exception(10)
    assert isinstance(error, InvalidEventError)
    assert set(error.errors) == {"collection"}


def test_single_pushes_made_close_together_share_a_request(oracle: Oracle, client: ConnectClient) -> None:
    oracle.fail(RefuseEvents(), times=None)
    futures = [client.push_event("ab"[n % 2], {"n": n, "poison": n == 150}) for n in range(300)]
    responses = [future.result(20) for future in futures]
    assert [response.event["n"] for response in responses] == list(range(300))
    assert [n for n, response in enumerate(responses) if not response.success] == [150]
    assert responses[150].error_message == "poisoned"
    assert len(oracle.requests) < 20


def test_over_5000_events_are_split_and_one_future_answers_for_all(oracle: Oracle, client: ConnectClient) -> None:
    batch = {"a": [{"n": n} for n in range(7_000)], "b": [{"n": n} for n in range(5_001)], "c": []}
    response = client.push_events(batch).result(30)
    assert isinstance(response, PushBatchResponse)
    assert (response.success, response.error_message, response.http_status_code) == (True, None, 200)
    assert {name: [r.event["n"] for r in results] for name, results in response.results.items()} == {
        name: [event["n"] for event in events] for name, events in batch.items()
    }
    sizes = [sum(map(len, request.batch.values())) for request in oracle.requests]
    assert max(sizes) <= 5_000
    assert sum(sizes) == 12_001


def test_a_batch_fails_where_one_of_its_events_fails(oracle: Oracle, client: ConnectClient) -> None:
    oracle.fail(RefuseEvents(), times=None)
    response = client.push_events({"a": [{"n": 1}, {"poison": True}]}).result(20)
    assert (response.success, response.error_message) == (False, "poisoned")
    assert [result.success for result in response.results["a"]] == [True, False]


def test_an_invalid_event_of_a_batch_keeps_all_of_it_back(oracle: Oracle, client: ConnectClient) -> None:
    error = client.push_events({"a": [{"n": 1}, {"x.y": 2, "z": {1}}], "b/": [{}]}).exception(10)
    assert isinstance(error, InvalidEventError)
    assert set(error.errors) == {"a[1].x.y", "a[1].z", "b/[0].collection"}
    assert oracle.requests == []


@pytest.mark.parametrize("batch", [None, [{}], {"a": {}}, {"a": "events"}, {"a": [1]}, {1: [{}]}])
def test_a_batch_of_another_shape_comes_back_in_the_future(client: ConnectClient, batch: Any) -> None:
    assert isinstance(client.push_events(batch).exception(10), InvalidEventError)


def test_an_empty_batch_is_answered_without_a_request(oracle: Oracle, client: ConnectClient) -> None:
    assert client.push_events({}).result(0) == PushBatchResponse(True, None, 200, {})
    assert oracle.requests == []


def test_a_duplicate_is_a_success(client: ConnectClient) -> None:
    assert client.push_event("a", {"id": 1}).result(10).success
    assert client.push_event("a", {"id": "1"}).result(10).success
    assert (client.stats()["delivered"], client.stats()["duplicate"]) == (1, 1)


@pytest.mark.parametrize(("status", "reason"), [(401, "denied"), (404, "misdirected")])
def test_a_wrong_key_or_address_is_told_at_once(
    oracle: Oracle, client: ConnectClient, status: int, reason: str
) -> None:
    oracle.fail(Status(status, b'{"errorMessage": "no"}'), times=None)
    for _ in range(3):
        response = client.push_event("a", {}).result(10)
        assert (response.success, response.http_status_code) == (False, status)
        assert response.error_message == f"HTTP {status}: no"
    assert client.stats()["dropped"] == {reason: 3}


def test_an_outage_is_ridden_out(oracle: Oracle, client: ConnectClient) -> None:
    oracle.fail(Status(503), times=2)
    assert client.push_event("a", {}).result(10).success


def test_an_outage_that_lasts_is_told(oracle: Oracle, make_client: MakeClient) -> None:
    oracle.refuse()
    client = make_client(retry_for=0.2)
    futures = [client.push_event("a", {}) for _ in range(3)]
    batch = client.push_events({"a": [{}]})
    for response in [*(future.result(10) for future in futures), batch.result(10)]:
        assert (response.success, response.http_status_code) == (False, None)
        assert "refused" in (response.error_message or "")
    assert client.stats()["dropped"] == {"gave_up": 4}


def test_a_full_buffer_is_told_at_once(oracle: Oracle, make_client: MakeClient) -> None:
    oracle.refuse()
    client = make_client(max_events=2)
    futures = [client.push_event("a", {}) for _ in range(3)]
    response = futures[2].result(0)
    assert not response.success
    assert "max_events" in (response.error_message or "")


def test_close_waits_for_what_was_pushed(oracle: Oracle, make_client: MakeClient) -> None:
    with make_client() as client:
        future = client.push_event("a", {})
    assert future.result(0).success
    assert client.close()


def test_close_says_in_the_future_what_it_could_not_send(oracle: Oracle, make_client: MakeClient) -> None:
    oracle.fail(Hang(), times=None)
    client = make_client()
    futures = [client.push_event("a", {}) for _ in range(3)]
    began = time.monotonic()
    assert not client.close(timeout=0.2)
    assert time.monotonic() - began < 3
    assert [future.result(0).success for future in futures] == [False] * 3
    assert client.stats()["dropped"] == {"closed": 3}
    assert not client.close()


def test_a_push_after_close_is_told_in_its_future(client: ConnectClient) -> None:
    client.close()
    assert isinstance(client.push_event("a", {}).exception(0), ClosedError)
    assert isinstance(client.push_events({"a": [{}]}).exception(0), ClosedError)


def test_a_callback_may_push_flush_and_close(oracle: Oracle, client: ConnectClient) -> None:
    done = threading.Event()
    seen: list[object] = []

    def again(future: Future[PushResponse]) -> None:
        seen.append(client.push_event("b", {"id": "from the callback"}))
        seen.append(client.flush())
        done.set()

    client.push_event("a", {}).add_done_callback(again)
    assert done.wait(10)
    oracle.wait_for(lambda o: ("b", "from the callback") in o.stored)
    closed = threading.Event()
    client.push_event("a", {}).add_done_callback(lambda _: (client.close(1), closed.set()))
    assert closed.wait(10)


def test_a_callback_may_flush_also_where_a_flush_sends(oracle: Oracle, client: ConnectClient) -> None:
    """As it does while its thread holds logging's lock, for which the worker waits: nobody else would send."""
    seen: list[object] = []

    def again(future: Future[PushResponse]) -> None:
        client.push_event("b", {"id": "from the callback"})
        seen.append((threading.current_thread() is threading.main_thread(), client.flush()))

    with logging._lock:  # type: ignore[attr-defined]
        logging.getLogger("tests").setLevel(logging.NOTSET)  # so that who asks a logger for its level takes that lock
        client.push_event("a", {}).add_done_callback(again)
        assert client.flush(10)
    assert seen == [(True, False)], "it cannot wait for itself"
    assert client.flush(10)
    assert ("b", "from the callback") in oracle.stored


def test_many_threads_share_a_client(oracle: Oracle, client: ConnectClient) -> None:
    results: list[bool] = []

    def push() -> None:
        futures = [client.push_event("a", {}) for _ in range(100)]
        results.extend(future.result(20).success for future in futures)

    threads = [threading.Thread(target=push) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 1_600
    assert len(oracle.stored) == 1_600


def test_options_come_from_the_environment(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECT_PROJECT_ID", "project")
    monkeypatch.setenv("CONNECT_API_KEY", CANARY)
    monkeypatch.setenv("CONNECT_BASE_URL", oracle.url + "/")
    with ConnectClient() as client:
        assert client.push_event("a", {}).result(10).success
    assert oracle.requests[0].path == "/events"


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "connect.example.com"},
        {"project_id": ""},
        {"api_key": "two\nlines"},
        {"timeout": 0},
        {"retry_for": -1},
        {"max_events": 0},
        {"max_bytes": 1.5},
        {"exit_timeout": "soon"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_wrong_option_is_named(make_client: MakeClient, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))) as caught:
        make_client(**options)
    assert CANARY not in str(caught.value)
    assert "two" not in str(caught.value)


def test_refused_events_are_dead_letters_where_a_file_is_given(
    oracle: Oracle, make_client: MakeClient, tmp_path: Path
) -> None:
    oracle.fail(RefuseEvents(), times=None)
    client = make_client(dead_letters=tmp_path / "dead.log")
    assert not client.push_event("a", {"id": "bad", "poison": True}).result(20).success
    assert '"bad"' in (tmp_path / "dead.log").read_text()
    assert CANARY not in (tmp_path / "dead.log").read_text()


def test_a_client_that_is_not_closed_flushes_as_the_process_ends(oracle: Oracle) -> None:
    script = "from connect_logging import ConnectClient\nConnectClient().push_event('a', {'id': 'last'})"
    environ = {**os.environ, "CONNECT_PROJECT_ID": "p", "CONNECT_API_KEY": "k", "CONNECT_BASE_URL": oracle.url}
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], env=environ, capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")
    assert ("a", "last") in oracle.stored


@pytest.mark.parametrize("name", ["flush", "close"])
def test_a_timeout_that_is_no_number_is_refused_before_anything_ends(client: ConnectClient, name: str) -> None:
    with pytest.raises(ConfigurationError, match="timeout must be a number of seconds, not 'x'"):
        getattr(client, name)("x")
    assert client.push_event("a", {}).result(10).success


def test_the_key_is_in_no_repr(client: ConnectClient) -> None:
    future = client.push_event("a", {})
    assert CANARY not in repr(client) + repr(client.__dict__) + repr(future.result(10)) + repr(client.stats())


@pytest.mark.parametrize("raised", [SystemExit, asyncio.CancelledError, GeneratorExit, KeyboardInterrupt])
def test_a_callback_that_raises_ends_nothing_but_itself(
    oracle: Oracle, client: ConnectClient, raised: type[BaseException]
) -> None:
    def raising(_: object) -> None:
        raise raised("of no use here")

    gate = threading.Event()
    client.push_event("things", {"id": 9}).add_done_callback(lambda _: gate.wait(10))
    futures = [client.push_event("things", {"id": number}) for number in range(3)]
    futures[0].add_done_callback(raising)
    gate.set()
    assert all(future.result(10).success for future in futures)
    assert client.push_event("things", {"id": 3}).result(10).success
