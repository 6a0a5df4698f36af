"""What every request and every answer goes through."""

from __future__ import annotations

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from connect_logging.server.middleware import CrossOrigin, PlainPaths

from .asgi import ask


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers 418 with the path."""
    await Response(Request(scope).scope["path"], 418)(scope, receive, send)


@pytest.mark.parametrize(
    ("wire", "meant"),
    [
        ("/events/my+coll", "/events/my coll"),
        ("/events/my%20coll", "/events/my coll"),
        ("/events/a%2Bb", "/events/a+b"),
        ("//events///x", "/events/x"),
        ("/events//", "/events/"),
        ("/events/%C3%A9", "/events/é"),
        ("/events/%ff", "/events/\ufffd"),
        ("/events/%", "/events/%"),
        ("/events/%00", "/events/\x00"),
        ("/events/%252F", "/events/%2F"),
        ("/events/..%2f..", "/events/../.."),
        ("/", "/"),
    ],
)
def test_paths_are_read_as_the_sdks_write_them(wire: str, meant: str) -> None:
    assert ask(PlainPaths(echo), "GET", wire).body.decode() == meant


def test_every_answer_can_be_read_by_a_page() -> None:
    answer = ask(CrossOrigin(echo), "POST", "/x")
    assert answer.status == 418
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    assert "ETag" in answer.headers["access-control-expose-headers"]
    assert answer.headers["accept-encoding"] == "gzip"


def test_a_preflight_needs_no_key_and_reaches_nothing() -> None:
    answer = ask(CrossOrigin(echo), "OPTIONS", "/events")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-type"] == "application/json"
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"X-Project-Id", "X-Api-Key", "Content-Type"} <= set(allowed)
    assert answer.headers["access-control-allow-methods"] == "GET, POST, DELETE, OPTIONS"
    assert int(answer.headers["access-control-max-age"]) > 0
