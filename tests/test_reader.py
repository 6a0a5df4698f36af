"""Questions asked again while that may help, and no longer; answers read strictly."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from oracle import Exchange, Oracle
from oracle_faults import Hang, Reset, Status, html
from pushing import CANARY
from server_process import ServerProcess

from connect_logging import ConnectClient
from connect_logging._exchange import PIECE, HttpExchange
from connect_logging._reader import LONGEST_IN_URL, Reader
from connect_logging._retry import RetryPolicy
from connect_logging._settings import Connection
from connect_logging.exceptions import (
    ClosedError,
    ConfigurationError,
    InvalidQueryError,
    RequestError,
    UnavailableError,
)

ANSWER = Status(200, b'{"metadata": {"groups": [], "interval": null, "timezone": null}, "results": [{"n": 1}]}')
QUERY = {"select": {"n": "count"}}

MakeReader = Callable[..., Reader]


@pytest.fixture
def make_reader(oracle: Oracle) -> Iterator[MakeReader]:
    made: list[Reader] = []

    def make(base_url: str = oracle.url, project: str = "p", key: str = CANARY, **policy: Any) -> Reader:
        exchange = HttpExchange(Connection(project, key, base_url), time.monotonic)
        retry = RetryPolicy(**{"base": 0.001, "cap": 0.01, **policy})
        made.append(Reader(exchange, retry, 5.0, time.monotonic))
        return made[-1]

    yield make
    for reader in made:
        reader.close()


@pytest.fixture
def reader(make_reader: MakeReader) -> Reader:
    return make_reader()


def test_a_question_is_answered(oracle: Oracle, reader: Reader) -> None:
    oracle.fail(ANSWER)
    response = reader.ask("my purchases", QUERY, None)
    assert ([*response], response.columns) == ([{"n": 1}], ("n",))
    assert oracle.requests[0].path == "/events/my%20purchases?query=%7B%22select%22%3A%7B%22n%22%3A%22count%22%7D%7D"


def test_a_long_question_is_posted(oracle: Oracle, reader: Reader) -> None:
    oracle.fail(ANSWER, times=2)
    for size in (LONGEST_IN_URL, LONGEST_IN_URL + 1):
        document = {**QUERY, "filter": {"text": ""}}
        document["filter"]["text"] = "ä" * (size - len(json.dumps(document, separators=(",", ":"))))  # type: ignore[index]
        reader.ask("purchases", document, None)
    get, post = oracle.requests
    assert (get.method, post.method, post.path) == ("GET", "POST", "/events/purchases/query")
    assert json.loads(post.body) == document


@pytest.mark.parametrize("fault", [Reset(commit=False), Status(503), html(502), Status(429, retry_after=0)])
def test_what_may_pass_is_tried_again(oracle: Oracle, reader: Reader, fault: Any) -> None:
    oracle.fail(fault, times=2)
    oracle.fail(ANSWER)
    assert len(reader.ask("a", QUERY, None)) == 1
    assert len(oracle.requests) == 3


@pytest.mark.parametrize(
    "fault", [Status(400), Status(401), Status(404), Status(422), Status(302), Status(501), Status(505)]
)
def test_a_refusal_is_told_at_once(oracle: Oracle, reader: Reader, fault: Status) -> None:
    oracle.fail(fault)
    with pytest.raises(RequestError, match=f"HTTP {fault.code}") as caught:
        reader.ask("a", QUERY, None)
    assert caught.value.http_status == fault.code
    assert len(oracle.requests) == 1


def test_what_the_server_fails_at_is_not_asked_for_ever(oracle: Oracle, reader: Reader) -> None:
    oracle.fail(Status(500), times=None)
    with pytest.raises(UnavailableError, match="HTTP 500"):
        reader.ask("a", QUERY, None)
    assert len(oracle.requests) == 3


def test_a_server_that_is_away_is_waited_for_until_time_is_up(oracle: Oracle, reader: Reader) -> None:
    oracle.refuse()
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="refused") as caught:
        reader.ask("a", QUERY, 0.3)
    assert 0.2 < time.monotonic() - began < 2
    assert caught.value.http_status is None
    back = threading.Timer(0.1, oracle.listen)
    back.start()
    oracle.fail(ANSWER)
    assert len(reader.ask("a", QUERY, 5)) == 1
    back.join()


def test_a_server_that_does_not_answer_is_given_up_in_time(oracle: Oracle, reader: Reader) -> None:
    oracle.fail(Hang(), times=None)
    began = time.monotonic()
    with pytest.raises(UnavailableError):
        reader.ask("a", QUERY, 0.2)
    assert time.monotonic() - began < 2


def test_the_servers_own_wish_is_heeded(oracle: Oracle, reader: Reader) -> None:
    oracle.fail(Status(503, retry_after=1))
    oracle.fail(ANSWER)
    reader.ask("a", QUERY, None)
    first, second = oracle.requests
    assert second.at - first.at >= 1
    oracle.fail(Status(429, retry_after=3600))
    began = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        reader.ask("a", QUERY, None)
    assert time.monotonic() - began < 1, "it would be too late"
    assert caught.value.retry_after == 3600


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"results": []}',
        b'{"metadata": {}, "results": []}',
        b'{"metadata": {"groups": []}, "results": [1]}',
        b'{"metadata": {"groups": []}, "results": 1}',
        b'{"metadata": {"groups": [], "interval": "daily"}, "results": [{}]}',
        b'{"metadata": {"groups": [], "interval": "daily"}, "results": [{"interval": {"start": "x", "end": "x"}}]}',
    ],
)
def test_an_answer_of_another_shape_is_none(oracle: Oracle, reader: Reader, body: bytes) -> None:
    oracle.fail(Status(200, body))
    with pytest.raises(RequestError, match="not that of a Connect server"):
        reader.ask("a", QUERY, None)


def test_closing_ends_a_pause(oracle: Oracle, make_reader: MakeReader) -> None:
    reader = make_reader(base=60.0, cap=60.0, uniform=max)
    oracle.fail(Status(503), times=None)
    threading.Thread(target=lambda: (oracle.wait_for(lambda o: o.requests), reader.close())).start()
    began = time.monotonic()
    with pytest.raises(ClosedError):
        reader.ask("a", QUERY, 100)
    assert time.monotonic() - began < 5
    with pytest.raises(ClosedError):
        reader.collections()


@pytest.mark.parametrize("timeout", [0, -1, "soon", True])
def test_a_wrong_timeout_is_named(reader: Reader, timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout"):
        reader.ask("a", QUERY, timeout)


def test_a_stream_is_begun_again_but_not_repeated(oracle: Oracle, reader: Reader) -> None:
    oracle.fail(Status(503))
    oracle.fail(lambda exchange: exchange.send(200, b"x" * (2 * PIECE)))
    assert sum(map(len, reader.stream("a", {}, "jsonl"))) == 2 * PIECE
    assert oracle.requests[1].path == "/events/a/export?query=%7B%7D&format=jsonl"

    def breaking(exchange: Exchange) -> None:
        exchange._connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * PIECE)
        raise OSError("the connection ends here")

    oracle.fail(breaking)
    pieces = reader.stream("a", {}, "jsonl")
    assert len(next(pieces)) == PIECE
    with pytest.raises(UnavailableError):
        next(pieces)
    assert len(oracle.requests) == 3


def test_a_stream_that_is_left_is_closed(oracle: Oracle, reader: Reader) -> None:
    left = threading.Event()

    def endless(exchange: Exchange) -> None:
        exchange._connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                exchange._connection.sendall(b"x" * PIECE)
        except OSError:
            left.set()
            raise

    oracle.fail(endless)
    pieces = reader.stream("a", {}, "jsonl")
    next(pieces)
    pieces.close()
    assert left.wait(10)
    assert [*pieces] == []


def test_an_empty_stream_ends(oracle: Oracle, reader: Reader) -> None:
    oracle.fail(Status(200, b" "))
    assert b"".join(reader.stream("a", {}, "jsonl")) == b" "


def test_collections_are_read(oracle: Oracle, reader: Reader) -> None:
    one = {"name": "a b", "events": 2, "bytes": 99, "firstEvent": "2026-01-01T00:00:00.5Z", "lastEvent": None}
    oracle.fail(Status(200, json.dumps({"collections": [one]}).encode()))
    [found] = reader.collections()
    assert (found.name, found.events, found.bytes, found.last_event) == ("a b", 2, 99, None)
    assert found.first_event == datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    assert found.properties == {}
    detailed = {**one, "properties": [{"name": "customer.country", "types": ["string", "null"]}]}
    oracle.fail(Status(200, json.dumps(detailed).encode()))
    assert reader.collection("a b").properties == {"customer.country": ("string", "null")}
    assert [request.path for request in oracle.requests] == ["/collections", "/collections/a%20b"]


@pytest.mark.parametrize("name", ["a/b", "", None])
def test_a_name_that_no_collection_can_have_is_told_before_any_request(
    oracle: Oracle, reader: Reader, name: Any
) -> None:
    for ask in (reader.collection, reader.delete_collection):
        with pytest.raises(InvalidQueryError, match="collection"):
            ask(name)
    assert oracle.requests == []


def test_deleting_is_done_once(oracle: Oracle, reader: Reader) -> None:
    oracle.fail(Status(200, b" "))
    reader.delete_collection("a b")
    assert (oracle.requests[0].method, oracle.requests[0].path) == ("DELETE", "/collections/a%20b")
    oracle.fail(Status(404))
    with pytest.raises(RequestError, match="HTTP 404"):
        reader.delete_collection("a b")
    oracle.fail(Reset(commit=False))
    oracle.fail(Status(404))
    reader.delete_collection("a b")
    oracle.fail(Reset(commit=False))
    oracle.fail(Status(401))
    with pytest.raises(RequestError, match="HTTP 401"):
        reader.delete_collection("a b")


def test_a_real_server_tells_of_its_collections(server: ServerProcess) -> None:
    server.push("kept", {"id": 1, "timestamp": "2026-01-01T00:00:00Z", "customer": {"country": "AU"}}, {"id": 2})
    with ConnectClient(server.project_id, server.keys["master"], server.url) as client:
        client.push_event("dropped", {"id": 1}).result(10)
        assert {"kept", "dropped"} <= {each.name for each in client.collections()}
        kept = client.collection("kept")
        assert (kept.events, kept.first_event) == (2, datetime(2026, 1, 1, tzinfo=UTC))
        assert kept.properties["customer.country"] == ("string",)
        client.delete_collection("dropped")
        assert "dropped" not in {each.name for each in client.collections()}
        for missing in (client.collection, client.delete_collection):
            with pytest.raises(RequestError, match="HTTP 404"):
                missing("dropped")
    with pytest.raises(ClosedError):
        client.collections()


def test_a_real_server_is_asked(server: ServerProcess, make_reader: MakeReader) -> None:
    server.push("reader", {"id": 1, "price": 5, "country": "AU"}, {"id": 2, "price": 2.5, "country": "NZ"})
    reader = make_reader(server.url, server.project_id, server.keys["query"])
    document = {"select": {"revenue": {"sum": "price"}}, "groupBy": ["country"]}
    assert [*reader.ask("reader", document, None)] == server.query("reader", document)
    with pytest.raises(RequestError) as caught:
        reader.ask("reader", {"filter": {"price": {"above": 5}}}, None)
    assert (caught.value.http_status, [*caught.value.errors]) == (422, ["filter.price"])
    denied = make_reader(server.url, server.project_id, server.keys["push"])
    with pytest.raises(RequestError, match="HTTP 401"):
        denied.ask("reader", document, None)
