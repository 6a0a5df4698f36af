"""Sending to one endpoint at addresses that were chosen before."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import urllib3
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from s3_server import Misbehaving, reply

from connect_logging.server.s3 import pinned
from connect_logging.server.s3.addresses import Endpoint
from connect_logging.server.s3.pinned import ElsewhereError, PinnedSender


@pytest.fixture
def server() -> Iterator[Misbehaving]:
    serving = Misbehaving(lambda handler: reply(handler, 200, handler.path.encode()))
    yield serving
    serving.close()


def sender(port: int) -> PinnedSender:
    return PinnedSender(Endpoint("http", "s3.example", port, is_listed=True), ["127.0.0.1"])


def request(url: str, body: bytes | None = None) -> AWSPreparedRequest:
    return AWSRequest("PUT" if body else "GET", url, data=body, headers={"Expect": "100-continue"}).prepare()


def test_a_request_is_sent_as_it_was_signed(server: Misbehaving) -> None:
    sending = sender(server.port)
    target = "/bucket/a%20b/..%2F?list-type=2&prefix=a%2Fb"
    answer = sending(request(f"http://s3.example:{server.port}{target}", b"body"))
    assert (answer.status_code, answer.content.decode()) == (200, target)
    [(method, path, headers)] = server.heard
    assert (method, path, headers["Host"], headers["Content-Length"]) == (
        "PUT",
        target,
        f"s3.example:{server.port}",
        "4",
    )
    assert "Expect" not in headers
    sending.close()


@pytest.mark.parametrize("url", ["http://s3.example/b", "https://s3.example:{}/b", "http://evil.example:{}/b"])
def test_nothing_leaves_for_another_endpoint(server: Misbehaving, url: str) -> None:
    with pytest.raises(ElsewhereError):
        sender(server.port)(request(url.format(server.port)))
    assert server.heard == []


def test_a_server_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinned, "_TIMEOUT", urllib3.Timeout(connect=5, read=0.05))
    go = threading.Event()
    hanging = Misbehaving(lambda handler: go.wait(10) and None)
    with pytest.raises(ReadTimeoutError):
        sender(hanging.port)(request(f"http://s3.example:{hanging.port}/b"))
    go.set()
    hanging.close()


def test_a_server_that_hangs_up_is_told_as_such() -> None:
    silent = Misbehaving(lambda handler: setattr(handler, "close_connection", True))
    with pytest.raises(ConnectionClosedError):
        sender(silent.port)(request(f"http://s3.example:{silent.port}/b"))
    silent.close()
