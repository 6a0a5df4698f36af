"""Requests that are read: whole or in pieces, in time, to the end, and without the key in what goes wrong."""

from __future__ import annotations

import gzip
import json
import logging
import os
import pickle
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from clock import Clock
from oracle import Oracle
from oracle_faults import Hang, Status, html, raw
from pushing import CANARY

from connect_logging import _exchange
from connect_logging._exchange import PIECE, Call, HttpExchange
from connect_logging._settings import Connection
from connect_logging.exceptions import RequestError, UnavailableError

CALL = Call("GET", "/collections")


@pytest.fixture
def exchange(oracle: Oracle) -> Iterator[HttpExchange]:
    made = HttpExchange(Connection("project", CANARY, oracle.url), time.monotonic)
    yield made
    made.close()


def fetch(exchange: HttpExchange, timeout: float) -> bytes:
    return exchange.fetch(CALL, timeout)


def stream(exchange: HttpExchange, timeout: float) -> bytes:
    return b"".join(exchange.stream(CALL, timeout, timeout))


Method = Callable[[HttpExchange, float], bytes]


def chunk(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_request_says_who_and_what(oracle: Oracle, exchange: HttpExchange) -> None:
    oracle.fail(Status(200, b'{"a": 1}'), times=2)
    assert exchange.fetch(Call("GET", "/events/a%20b", {"query": '{"ä&": 1}', "none": None}), 5) == b'{"a": 1}'
    exchange.fetch(Call("POST", "/events/a/query", body=b"{}"), 5)
    get, post = oracle.requests
    assert (get.method, get.path) == ("GET", "/events/a%20b?query=%7B%22%C3%A4%26%22%3A+1%7D")
    assert (get.headers["x-project-id"], get.headers["x-api-key"]) == ("project", CANARY)
    assert "content-type" not in get.headers
    assert (post.headers["content-type"], post.body) == ("application/json", b"{}")


def test_a_compressed_answer_is_read(oracle: Oracle, exchange: HttpExchange) -> None:
    body = b"[" + b"1," * 100_000 + b"1]"
    oracle.fail(lambda answering: answering.send(200, gzip.compress(body), {"Content-Encoding": "gzip"}), times=2)
    assert exchange.fetch(CALL, 5) == body
    assert b"".join(exchange.stream(CALL, 5, 5)) == body


def test_a_stream_comes_in_pieces(oracle: Oracle, exchange: HttpExchange) -> None:
    oracle.fail(Status(200, b"x" * (3 * PIECE + 1)))
    assert [len(piece) for piece in exchange.stream(CALL, 5, 5)] == [PIECE, PIECE, PIECE, 1]


def test_each_piece_of_a_stream_has_its_own_time(oracle: Oracle, exchange: HttpExchange) -> None:
    oracle.fail(raw(CHUNKED, *(part for _ in range(5) for part in (chunk(b"x" * PIECE), 0.2)), b"0\r\n\r\n"))
    assert sum(map(len, exchange.stream(CALL, 0.8, 0.8))) == 5 * PIECE


def test_what_the_caller_does_between_two_pieces_takes_none_of_their_time(oracle: Oracle) -> None:
    clock = Clock()
    exchange = HttpExchange(Connection("project", CANARY, oracle.url), clock)
    oracle.fail(raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"x" * (40 * PIECE)))
    size = 0
    for piece in exchange.stream(CALL, 5, 5):
        size += len(piece)
        clock.now += 6
    assert size == 40 * PIECE
    exchange.close()


@pytest.mark.parametrize("method", [fetch, stream])
@pytest.mark.parametrize(
    "dripping", [CHUNKED + b"1\r\nx\r\n" * 100, CHUNKED[:40] * 3], ids=["in the body", "in the head"]
)
def test_a_server_that_drips_is_given_up_in_time(
    oracle: Oracle, exchange: HttpExchange, method: Method, dripping: bytes
) -> None:
    oracle.fail(raw(*(part for byte in dripping for part in (bytes([byte]), 0.01))))
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=r"in time|timed out") as caught:
        method(exchange, 0.25)
    assert time.monotonic() - began < 2
    assert (caught.value.http_status, caught.value.retry_after) == (None, None)


@pytest.mark.parametrize("method", [fetch, stream])
@pytest.mark.parametrize(
    ("short", "told"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 70_000, "^the answer broke off$"),
        (CHUNKED + chunk(b"x" * 70_000), "^the answer broke off$"),
        (CHUNKED + chunk(b"x" * 70_000)[:-100], "^the answer broke off$"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", "incorrect header"),
    ],
    ids=["a length that is not reached", "no last chunk", "half a chunk", "no gzip"],
)
def test_an_answer_that_breaks_off_is_an_error(
    oracle: Oracle, exchange: HttpExchange, method: Method, short: bytes, told: str
) -> None:
    oracle.fail(raw(short))
    with pytest.raises(UnavailableError, match=told) as caught:
        method(exchange, 5)
    assert caught.value.http_status is None


def test_a_whole_answer_is_bounded(oracle: Oracle, exchange: HttpExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_exchange, "MAX_ANSWER", 10)
    oracle.fail(Status(200, b"x" * 10))
    oracle.fail(Status(200, b"x" * 11))
    assert exchange.fetch(CALL, 5) == b"x" * 10
    with pytest.raises(RequestError, match="larger than 10 bytes"):
        exchange.fetch(CALL, 5)


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (401, b'{"errorMessage": "no"}', "HTTP 401: no"),
        (404, b'{"errorMessage": 7}', "HTTP 404: Not Found"),
        (400, b"<html>", "HTTP 400: Bad Request"),
        (422, b'{"errors": [{"field": "a"}]}', "HTTP 422: Unprocessable Entity"),
        (501, b"[" * 100_000, "HTTP 501: Not Implemented"),
    ],
)
def test_a_refusal_has_the_status_and_what_the_server_said(
    oracle: Oracle, exchange: HttpExchange, status: int, body: bytes, told: str
) -> None:
    oracle.fail(Status(status, body), times=2)
    for read in (fetch, stream):
        with pytest.raises(RequestError) as caught:
            read(exchange, 5)
        assert str(caught.value).partition(" (")[0].startswith(told.partition("Unprocessable")[0])
        assert (type(caught.value), caught.value.http_status) == (RequestError, status)
        assert caught.value.errors == {}


def test_a_refusal_that_says_nothing_at_all_is_told_as_such(oracle: Oracle, exchange: HttpExchange) -> None:
    oracle.fail(raw(b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n"))
    with pytest.raises(RequestError, match=r"^HTTP 404: no reason given"):
        exchange.fetch(CALL, 5)


def test_a_word_that_is_no_key_is_told_as_it_is(oracle: Oracle) -> None:
    exchange = HttpExchange(Connection("project", "a", oracle.url), time.monotonic)
    oracle.fail(Status(401, b'{"errorMessage": "a bad key"}'))
    with closing(exchange), pytest.raises(RequestError, match=r"^HTTP 401: a bad key"):
        exchange.fetch(CALL, 5)


def test_a_refusal_has_what_the_server_said_of_each_part(oracle: Oracle, exchange: HttpExchange) -> None:
    listed = [{"field": "filter.price", "description": "bad"}, {"field": "limit", "description": "worse"}]
    oracle.fail(Status(422, json.dumps({"errors": listed}).encode()))
    with pytest.raises(RequestError) as caught:
        exchange.fetch(CALL, 5)
    assert caught.value.errors == {"filter.price": "bad", "limit": "worse"}
    assert str(caught.value) == "HTTP 422: filter.price: bad; limit: worse"


@pytest.mark.parametrize(("status", "header", "seconds"), [(503, 7, 7.0), (429, "x", None), (500, None, None)])
def test_a_temporary_refusal_says_so(
    oracle: Oracle, exchange: HttpExchange, status: int, header: Any, seconds: float | None
) -> None:
    oracle.fail(Status(status, retry_after=header))
    with pytest.raises(UnavailableError) as caught:
        exchange.fetch(CALL, 5)
    assert (caught.value.http_status, caught.value.retry_after) == (status, seconds)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(oracle: Oracle, exchange: HttpExchange, status: int) -> None:
    oracle.fail(Status(status, location=f"{oracle.url}/events"))
    with pytest.raises(RequestError, match="redirects are not followed"):
        exchange.fetch(CALL, 5)
    assert len(oracle.requests) == 1


def test_the_key_is_nowhere_but_in_the_request(
    oracle: Oracle, exchange: HttpExchange, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said = repr(exchange)
    echo = b"you sent " + CANARY.encode()
    refusal = Status(422, b'{"errors": [{"field": "query", "description": "%b"}]}' % echo)
    for fault in (
        html(500),
        Hang(),
        raw(CHUNKED),
        refusal,
        raw(b"HTTP/1.1 500 %b\r\nContent-Length: 0\r\n\r\n" % echo),
    ):
        oracle.fail(fault, 2)
        for read in (fetch, stream):
            with pytest.raises(RequestError) as caught:
                read(exchange, 0.1)
            error: BaseException = caught.value
            assert (error.__cause__, error.__context__) == (None, None)
            said += "".join(traceback.format_exception(error))
    assert CANARY not in said + caplog.text
    with pytest.raises(TypeError):
        pickle.dumps(exchange)


def test_threads_share_connections(oracle: Oracle, exchange: HttpExchange, caplog: pytest.LogCaptureFixture) -> None:
    oracle.fail(Status(200, b"{}"), times=None)
    got: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: got.extend(exchange.fetch(CALL, 5) for _ in range(10))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [b"{}"] * 40
    assert len(oracle._port._connections) <= 4
    assert caplog.text == ""


def test_a_forked_child_has_connections_of_its_own(oracle: Oracle, exchange: HttpExchange) -> None:
    oracle.fail(Status(200, b"{}"), times=None)
    exchange.fetch(CALL, 5)
    child = os.fork()
    if not child:
        try:
            os._exit(0 if exchange.fetch(CALL, 5) == b"{}" else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert exchange.fetch(CALL, 5) == b"{}"
    assert len(oracle.requests) == 3
