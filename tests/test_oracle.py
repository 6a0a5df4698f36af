"""The oracle itself: what it reports is what happened, and its faults are the ones they claim to be."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests
from oracle import Exchange, Oracle
from oracle_faults import Drip, Hang, RefuseBatch, RefuseEvents, Reset, Status, TooLarge, html


@pytest.fixture
def oracle() -> Iterator[Oracle]:
    with Oracle() as oracle:
        yield oracle


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def push(session: requests.Session, oracle: Oracle, *events: dict[str, Any], timeout: float = 5) -> requests.Response:
    return session.post(f"{oracle.url}/events", json={"c": events}, allow_redirects=False, timeout=timeout)


def results(response: requests.Response) -> list[tuple[bool, bool]]:
    return [(result["success"], result["duplicate"]) for result in response.json()["c"]]


# --- what it knows


def test_keeps_the_exact_bytes_of_every_event(oracle: Oracle, session: requests.Session) -> None:
    body = b'{"a": [{"id":"1", "x" : 1.50}], "b":[ {"id":2}, {"id":"1"} ]}'
    response = session.post(f"{oracle.url}/events/", data=body, headers={"X-Api-Key": "k"}, timeout=5)
    ok = {"success": True, "duplicate": False, "message": None}
    assert (response.status_code, response.json()) == (200, {"a": [ok], "b": [ok, ok]})
    assert oracle.stored == {
        ("a", "1"): b'{"id":"1", "x" : 1.50}',
        ("b", "2"): b'{"id":2}',
        ("b", "1"): b'{"id":"1"}',
    }
    assert oracle.events("b") == [{"id": 2}, {"id": "1"}]
    (request,) = oracle.requests
    assert (request.method, request.path, request.headers["x-api-key"]) == ("POST", "/events/", "k")
    assert request.body == body
    assert request.at <= time.monotonic()


def test_tells_duplicates_within_a_batch_and_across(oracle: Oracle, session: requests.Session) -> None:
    assert results(push(session, oracle, {"id": 1}, {"id": 1, "other": True})) == [(True, False), (True, True)]
    assert results(push(session, oracle, {"id": "1"})) == [(True, True)]
    seen = oracle.seen["c", "1"]
    assert (seen.received, seen.acknowledged, len(seen.payloads), oracle.duplicates) == (3, 3, 3, 2)
    assert len(oracle.stored) == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"c": [1]}', b'{"c": [{}]}', b'{"c": {"id": 1}}'])
def test_a_body_that_is_no_batch_is_refused(oracle: Oracle, session: requests.Session, body: bytes) -> None:
    response = session.post(f"{oracle.url}/events", data=body, timeout=5)
    assert (response.status_code, list(response.json())) == (400, ["errorMessage"])
    assert not oracle.seen


@pytest.mark.parametrize(("method", "path"), [("GET", "/events"), ("POST", "/"), ("POST", "/events/c")])
def test_speaks_only_the_batch_route(oracle: Oracle, session: requests.Session, method: str, path: str) -> None:
    assert session.request(method, oracle.url + path, timeout=5).status_code == 404
    assert len(oracle.requests) == 1


@pytest.mark.parametrize(("accepts_gzip", "status"), [(True, 200), (False, 415)])
def test_inflates_what_it_said_it_takes(session: requests.Session, accepts_gzip: bool, status: int) -> None:
    body = b'{"c": [{"id": 1}]}'
    with Oracle(accepts_gzip=accepts_gzip) as oracle:
        response = session.post(
            f"{oracle.url}/events", data=gzip.compress(body), headers={"Content-Encoding": "gzip"}, timeout=5
        )
        assert response.status_code == status
        assert response.headers.get("Accept-Encoding") == ("gzip" if accepts_gzip else None)
        assert oracle.requests[0].body == body
        assert len(oracle.stored) == accepts_gzip


def test_keeps_a_connection_alive_and_serves_many_at_once(oracle: Oracle, session: requests.Session) -> None:
    def push_some(first: int) -> None:
        with requests.Session() as own:
            for at in range(first, first + 25):
                push(own, oracle, {"id": at})

    threads = [threading.Thread(target=push_some, args=(25 * at,)) for at in range(8)]
    for thread in threads:
        thread.start()
    oracle.wait_for(lambda o: len(o.stored) == 200)
    for thread in threads:
        thread.join()
    assert len(oracle.requests) == 200
    assert {seen.acknowledged for seen in oracle.seen.values()} == {1}


def test_waiting_in_vain_says_what_there_is(oracle: Oracle, session: requests.Session) -> None:
    push(session, oracle, {"id": 1}, {"id": 1})
    with pytest.raises(AssertionError, match="1 requests, 1 events seen, 1 stored, 1 duplicates"):
        oracle.wait_for(lambda o: len(o.stored) == 2, timeout=0.01)


# --- its faults


def test_faults_come_in_order_and_then_no_more(oracle: Oracle, session: requests.Session) -> None:
    oracle.fail(Status(503), times=2)
    oracle.fail(html(502))
    codes = [push(session, oracle, {"id": at}).status_code for at in range(4)]
    assert codes == [503, 503, 502, 200]
    assert list(oracle.stored) == [("c", "3")]
    assert [oracle.seen["c", str(at)].acknowledged for at in range(4)] == [0, 0, 0, 1]


def test_a_fault_for_ever_ends_when_healed(oracle: Oracle, session: requests.Session) -> None:
    oracle.fail(Status(500), times=None)
    assert [push(session, oracle, {"id": 1}).status_code for _ in range(5)] == [500] * 5
    oracle.heal()
    assert push(session, oracle, {"id": 1}).status_code == 200


@pytest.mark.parametrize(("given", "sent"), [(None, None), (1, "1"), (1e9, "1000000000.0"), ("soon", "soon")])
def test_retry_after_is_sent_as_given(oracle: Oracle, session: requests.Session, given: Any, sent: str | None) -> None:
    oracle.fail(Status(429, retry_after=given))
    assert push(session, oracle, {"id": 1}).headers.get("Retry-After") == sent


def test_retry_after_may_be_a_date(oracle: Oracle, session: requests.Session) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    oracle.fail(Status(429, retry_after=moment))
    assert parsedate_to_datetime(push(session, oracle, {"id": 1}).headers["Retry-After"]) == moment


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_shows_who_follows_it(oracle: Oracle, session: requests.Session, code: int) -> None:
    with Oracle() as elsewhere:
        oracle.fail(Status(code, location=f"{elsewhere.url}/events"), times=2)
        assert push(session, oracle, {"id": 1}).headers["Location"] == f"{elsewhere.url}/events"
        assert elsewhere.requests == []
        session.post(f"{oracle.url}/events", json={"c": []}, headers={"X-Api-Key": "k"}, timeout=5)
        assert [request.headers["x-api-key"] for request in elsewhere.requests] == ["k"]


def test_a_page_is_no_json(oracle: Oracle, session: requests.Session) -> None:
    oracle.fail(html(200))
    response = push(session, oracle, {"id": 1})
    assert response.headers["Content-Type"] == "text/html"
    with pytest.raises(requests.JSONDecodeError):
        response.json()


@pytest.mark.parametrize("commit", [True, False])
def test_a_reset_loses_the_answer(oracle: Oracle, session: requests.Session, commit: bool) -> None:
    oracle.fail(Reset(commit=commit))
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        push(session, oracle, {"id": 1})
    assert (len(oracle.stored), oracle.seen["c", "1"].acknowledged) == (commit, 0)
    assert results(push(session, oracle, {"id": 1})) == [(True, commit)]


@pytest.mark.parametrize("commit", [True, False])
def test_hanging_ends_with_the_patience_of_the_client(oracle: Oracle, session: requests.Session, commit: bool) -> None:
    oracle.fail(Hang(commit=commit))
    with pytest.raises(requests.ReadTimeout):
        push(session, oracle, {"id": 1}, timeout=0.1)
    assert (len(oracle.stored), oracle.seen["c", "1"].acknowledged) == (commit, 0)


@pytest.mark.parametrize(("headers_at_once", "first"), [(False, b"HTTP/1.1 2"), (True, b"HTTP/1.1 200 OK\r\n")])
def test_drips_bytes_that_read_timeouts_do_not_notice(oracle: Oracle, headers_at_once: bool, first: bytes) -> None:
    oracle.fail(Drip(every=0.01, headers_at_once=headers_at_once))
    body = b'{"c":[{"id":1}]}'
    with socket.create_connection(("127.0.0.1", oracle.port), timeout=5) as connection:
        connection.sendall(b"POST /events HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        parts = [connection.recv(65_536)]
        while b"}]}" not in b"".join(parts):
            parts.append(connection.recv(65_536))
    assert b"".join(parts).startswith(first)
    assert len(parts[0]) < 10 or headers_at_once
    assert len(parts) > 30
    assert json.loads(b"".join(parts).partition(b"\r\n\r\n")[2])["c"][0]["success"]
    assert oracle.seen["c", "1"].acknowledged == 1


def test_too_large_is_a_matter_of_events_or_bytes(oracle: Oracle, session: requests.Session) -> None:
    oracle.fail(TooLarge(events=2, size=100), times=None)
    batches = [[{"id": 1}, {"id": 2}], [{"id": 3}, {"id": 4}, {"id": 5}], [{"id": "x" * 100}]]
    assert [push(session, oracle, *batch).status_code for batch in batches] == [200, 413, 413]
    assert len(oracle.stored) == 2


@pytest.mark.parametrize("code", [400, 422])
def test_refuses_the_batch_of_a_poisoned_event(oracle: Oracle, session: requests.Session, code: int) -> None:
    oracle.fail(RefuseBatch(code), times=None)
    assert push(session, oracle, {"id": 1}, {"id": 2, "poison": True}).status_code == code
    assert push(session, oracle, {"id": 1}).status_code == 200
    assert list(oracle.stored) == [("c", "1")]


def test_refuses_poisoned_events_alone_and_as_often_as_told(oracle: Oracle, session: requests.Session) -> None:
    oracle.fail(RefuseEvents(times=2), times=None)
    batch = [{"id": 1}, {"id": 2, "poison": True}]
    assert [results(push(session, oracle, *batch))[1] for _ in range(3)] == [(False, False)] * 2 + [(True, False)]
    assert (oracle.seen["c", "2"].received, oracle.seen["c", "2"].acknowledged, oracle.duplicates) == (3, 1, 2)
    oracle.heal()
    oracle.fail(RefuseEvents(), times=None)
    assert [results(push(session, oracle, {"id": 3, "poison": True})) for _ in range(5)] == [[(False, False)]] * 5


def test_a_fault_may_be_any_function(oracle: Oracle, session: requests.Session) -> None:
    def refuse_from_now_on(exchange: Exchange) -> None:
        exchange.answer()
        oracle.refuse()

    oracle.fail(refuse_from_now_on)
    assert push(session, oracle, {"id": 1}).status_code == 200
    with pytest.raises(requests.ConnectionError):
        push(session, oracle, {"id": 2})


# --- the port and the end


def test_refuses_and_comes_back_on_the_same_port(oracle: Oracle, session: requests.Session) -> None:
    push(session, oracle, {"id": 1})
    for _ in range(3):
        oracle.refuse()
        with pytest.raises(requests.ConnectionError):
            push(session, oracle, {"id": 2})
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", oracle.port), timeout=5)
        oracle.listen()
        assert push(session, oracle, {"id": 2}).status_code == 200
    assert oracle.duplicates == 2


@pytest.mark.parametrize("fault", [Hang(), Drip(every=60), Drip(every=60, headers_at_once=True)])
def test_closing_ends_whatever_is_under_way(fault: Any) -> None:
    before = set(threading.enumerate())
    oracle = Oracle()
    oracle.fail(fault)
    with socket.create_connection(("127.0.0.1", oracle.port), timeout=5) as connection:
        connection.sendall(b"POST /events HTTP/1.1\r\nContent-Length: 8\r\n\r\n" + b'{"c":[]}')
        oracle.wait_for(lambda o: o.requests)
        oracle.close()
        oracle.close()
    assert set(threading.enumerate()) == before
