from __future__ import annotations

import contextlib
import gzip
import json
import logging
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from listening import Port
from oracle import Exchange, Oracle
from oracle_faults import RefuseEvents, Status, html, raw
from pushing import CANARY
from server_process import ServerProcess

from connect_logging._settings import Connection
from connect_logging._transport import GZIP_FROM, HttpTransport, batch_body
from connect_logging._types import STORED, STORED_TEXT, AnswerKind, Outcome
from connect_logging.event import Event


def event(number: int, collection: str = "things", **properties: Any) -> Event:
    return Event(collection, json.dumps({"id": number, **properties}, separators=(",", ":")).encode())


@pytest.fixture
def transport(oracle: Oracle) -> Iterator[HttpTransport]:
    made = HttpTransport(Connection("project", CANARY, oracle.url), 2.0, time.monotonic)
    yield made
    made.close()


def test_the_body_is_the_events_own_bytes() -> None:
    events = [Event("a", b'{"n":1.50}'), Event("a", b'{"n":2}'), Event('b"', b"{}")]
    assert batch_body(events) == b'{"a":[{"n":1.50},{"n":2}],"b\\"":[{}]}'


def test_a_request_says_who_and_what(oracle: Oracle, transport: HttpTransport) -> None:
    transport.push([event(1)])
    [request] = oracle.requests
    assert (request.method, request.path) == ("POST", "/events")
    assert request.headers["x-project-id"] == "project"
    assert request.headers["x-api-key"] == CANARY
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers


def test_outcomes_come_in_the_order_of_the_events(oracle: Oracle, transport: HttpTransport) -> None:
    transport.push([event(2, "a")])
    answer = transport.push([event(1, "b"), event(2, "a"), event(3, "b"), event(4, "a")])
    assert answer.kind is AnswerKind.ANSWERED
    assert [outcome.duplicate for outcome in answer.outcomes] == [False, True, False, False]


@pytest.mark.parametrize("collection", ["things", "Größen"])
def test_a_server_of_ours_is_known_by_its_text_when_it_has_stored_all(server: ServerProcess, collection: str) -> None:
    transport = HttpTransport(Connection(server.project_id, server.keys["push"], server.url), 10.0, time.monotonic)
    events = [event(number, collection) for number in (1, 2, 3)]
    stored, repeated = transport.push(events), transport.push([*events[:2], event(4, collection)])
    transport.close()
    assert [outcome is STORED for outcome in stored.outcomes] == [True, True, True]
    assert list(repeated.outcomes) == [Outcome(True, True), Outcome(True, True), Outcome(True)]


@pytest.mark.parametrize(
    ("row", "outcome"),
    [
        (b'{"success": false, "duplicate": true, "message": "again"}', Outcome(False, True, "again")),
        (b'{"success": true}', Outcome(True, False, None)),
        (b'{"success": false, "duplicate": null, "message": [1], "id": 5}', Outcome(False, None, [1])),
    ],
)
def test_an_outcome_is_read_as_it_is(oracle: Oracle, transport: HttpTransport, row: bytes, outcome: Outcome) -> None:
    oracle.fail(Status(200, b'{"things": [%b]}' % row))
    assert list(transport.push([event(1)]).outcomes) == [outcome]


def test_the_connection_is_kept(oracle: Oracle, transport: HttpTransport) -> None:
    for number in range(5):
        transport.push([event(number)])
    assert len(oracle._port._connections) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (204, AnswerKind.MISDIRECTED),
        (302, AnswerKind.MISDIRECTED),
        (400, AnswerKind.REFUSED),
        (401, AnswerKind.DENIED),
        (403, AnswerKind.DENIED),
        (404, AnswerKind.MISDIRECTED),
        (405, AnswerKind.MISDIRECTED),
        (407, AnswerKind.DENIED),
        (408, AnswerKind.UNAVAILABLE),
        (410, AnswerKind.MISDIRECTED),
        (413, AnswerKind.TOO_LARGE),
        (415, AnswerKind.REFUSED),
        (422, AnswerKind.REFUSED),
        (429, AnswerKind.UNAVAILABLE),
        (500, AnswerKind.UNAVAILABLE),
        (501, AnswerKind.MISDIRECTED),
        (503, AnswerKind.UNAVAILABLE),
        (505, AnswerKind.MISDIRECTED),
    ],
)
def test_what_a_status_means(oracle: Oracle, transport: HttpTransport, status: int, kind: AnswerKind) -> None:
    oracle.fail(Status(status, b"" if status == 204 else b'{"errorMessage": "the reason"}'))
    answer = transport.push([event(1)])
    assert (answer.kind, answer.http_status, answer.outcomes) == (kind, status, ())
    assert status == 204 or "the reason" in answer.message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"things": []}',
        b'{"things": [{}]}',
        b'{"things": [{"success": 1}]}',
        b'{"others": [{"success": true}]}',
        b'{"others":[%b]}' % STORED_TEXT,
        b'{"things": [{"success": true}]',
        b'{"things": "\xff"}',
        b"[" * 100_000,
    ],
    ids=lambda body: body[:30].decode(errors="replace"),
)
def test_a_200_of_another_shape_is_no_answer(oracle: Oracle, transport: HttpTransport, body: bytes) -> None:
    oracle.fail(Status(200, body))
    assert transport.push([event(1)]).kind is AnswerKind.MISDIRECTED


def test_an_endless_answer_is_cut_off(oracle: Oracle, transport: HttpTransport) -> None:
    oracle.fail(Status(200, b" " * (17 * 1024 * 1024) + b'{"things": [{"success": true}]}'))
    assert transport.push([event(1)]).kind is AnswerKind.MISDIRECTED


@pytest.mark.parametrize("body", [b'{"errorMessage": 7}', b"<html>", b"[]", b"\xff", b"[" * 100_000])
def test_an_unreadable_error_is_told_by_its_status(oracle: Oracle, transport: HttpTransport, body: bytes) -> None:
    oracle.fail(Status(500, body))
    assert transport.push([event(1)]).message == "HTTP 500: Internal Server Error"


def test_a_failed_connection_is_told_by_its_cause(oracle: Oracle, transport: HttpTransport) -> None:
    oracle.refuse()
    answer = transport.push([event(1)])
    assert answer.kind is AnswerKind.UNAVAILABLE
    assert "refused" in answer.message
    assert "object at 0x" not in answer.message


def test_gzip_is_used_once_the_server_has_said_that_it_takes_it() -> None:
    with Oracle(accepts_gzip=True) as oracle:
        transport = HttpTransport(Connection("project", CANARY, oracle.url), 2.0, time.monotonic)
        large = event(1, text="x" * GZIP_FROM)
        for sent in (large, large, event(2)):
            assert transport.push([sent]).kind is AnswerKind.ANSWERED
        assert [request.headers.get("content-encoding") for request in oracle.requests] == [None, "gzip", None]
        assert oracle.stored["things", "1"] == large.body
        oracle.accepts_gzip = False
        answer = transport.push([large])
        assert (answer.kind, answer.http_status) == (AnswerKind.UNAVAILABLE, 415)
        assert transport.push([large]).kind is AnswerKind.ANSWERED, "and is not used any more"
        transport.close()


def test_a_compressed_answer_is_read(oracle: Oracle, transport: HttpTransport) -> None:
    body = gzip.compress(b'{"things": [{"success": true, "duplicate": false, "message": null}]}')

    def compressed(exchange: Any) -> None:
        exchange.send(200, body, {"Content-Encoding": "gzip"})

    oracle.fail(compressed)
    assert list(transport.push([event(1)]).outcomes) == [Outcome(True, False, None)]


def test_the_deadline_holds_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that dribbles: each byte in time for a read, the whole never."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "")
        over = threading.Event()

        def dribble() -> None:
            connection, _ = proxy.accept()
            with connection:
                connection.recv(65_536)
                for byte in b"HTTP/1.1 200 OK\r\n" * 100:
                    if over.wait(0.05):
                        return
                    connection.send(bytes([byte]))

        thread = threading.Thread(target=dribble)
        thread.start()
        transport = HttpTransport(Connection("project", CANARY, "http://connect.invalid"), 0.5, time.monotonic)
        began = time.monotonic()
        answer = transport.push([event(1)])
        spent = time.monotonic() - began
        over.set()
        thread.join()
        transport.close()
    assert answer.kind is AnswerKind.UNAVAILABLE
    assert "in time" in answer.message or "timed out" in answer.message
    assert spent < 3


def test_an_interim_answer_is_not_taken_for_the_final_one(oracle: Oracle, transport: HttpTransport) -> None:
    """Nor the final one for that of the next request, which may have had another."""

    def early(exchange: Exchange) -> None:
        exchange.send(103, b"", {"Link": "</style.css>"})
        exchange.send(102, b"")
        RefuseEvents()(exchange)

    oracle.fail(early, 3)
    told = [[*transport.push([event(number, poison=number == 2)]).outcomes] for number in (1, 2, 3)]
    assert [[outcome.success for outcome in outcomes] for outcomes in told] == [[True], [False], [True]]


def test_another_protocol_that_nobody_has_asked_for_is_no_answer(oracle: Oracle, transport: HttpTransport) -> None:
    oracle.fail(Status(101, b""))
    answer = transport.push([event(1)])
    assert (answer.kind, "101" in answer.message) == (AnswerKind.UNAVAILABLE, True)
    assert transport.push([event(1)]).kind is AnswerKind.ANSWERED


def test_one_deadline_is_for_the_proxy_the_handshake_and_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that dribbles its answer to CONNECT, and one that takes most of the time for it, and is silent then."""
    for dribbled in (b"HTTP/1.1 200 OK\r\n" * 100, b"HTTP/1.1 200 OK\r\n\r\n"):
        over = threading.Event()

        def dribble(connection: socket.socket, over: threading.Event = over, dribbled: bytes = dribbled) -> None:
            connection.recv(65_536)
            for byte in dribbled:
                if over.wait(0.1):
                    return
                connection.send(bytes([byte]))
            over.wait(10)

        port = Port(dribble, "proxy")
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port.number}")
        monkeypatch.setenv("no_proxy", "")
        transport = HttpTransport(Connection("project", CANARY, "https://connect.invalid"), 3.0, time.monotonic)
        began = time.monotonic()
        answered = transport.push([event(1)])
        spent = time.monotonic() - began
        over.set()
        port.close()
        transport.close()
        assert answered.kind is AnswerKind.UNAVAILABLE
        assert spent < 4.5, "neither a read nor a step has all of the time for itself"


def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a host whose IPv6 goes nowhere. Connections to a full queue are not answered."""
    with socket.create_server(("127.0.0.2", oracle.port), backlog=0) as silent, contextlib.ExitStack() as waiting:
        for _ in range(4):
            filling = waiting.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(silent.getsockname())
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, oracle.port)) for host in ("127.0.0.2", "127.0.0.1")
        ]
        look_up = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda host, *rest: found if host == "two.example" else look_up(host, *rest)
        )
        transport = HttpTransport(Connection("p", CANARY, f"http://two.example:{oracle.port}"), 2.0, time.monotonic)
        began = time.monotonic()
        assert transport.push([event(1)]).kind is AnswerKind.ANSWERED
        assert time.monotonic() - began > 0.9, "half of the time was the silent one's"
        transport.close()


def test_the_key_is_nowhere_but_in_the_request(
    oracle: Oracle, transport: HttpTransport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    oracle.fail(html(500))
    said = [transport.push([event(1)])]
    oracle.refuse()
    said.append(transport.push([event(1)]))
    oracle.listen()
    echo = b"you sent X-Api-Key: " + CANARY.encode()
    for answer in (
        Status(400, b'{"errorMessage": "%b"}' % echo),
        Status(200, b'{"things": [{"success": false, "message": "%b"}]}' % echo),
        raw(b"HTTP/1.1 500 %b\r\nContent-Length: 0\r\n\r\n" % echo, ending=False),
        raw(b"%b\r\n\r\n" % echo),
    ):
        oracle.fail(answer)
        said.append(transport.push([event(1)]))
        assert "X-Api-Key: (the key)" in repr(said[-1])
    assert CANARY not in repr(said) + repr(transport) + caplog.text
    with pytest.raises(TypeError):
        pickle.dumps(transport)


def test_a_password_in_netrc_is_not_sent(
    oracle: Oracle, transport: HttpTransport, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    transport.push([event(1)])
    assert "authorization" not in oracle.requests[0].headers


def test_a_body_that_cannot_be_made_is_made_another_time(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr("connect_logging._transport.batch_body", no_memory)
    assert transport.push([event(1)]).kind is AnswerKind.UNAVAILABLE
