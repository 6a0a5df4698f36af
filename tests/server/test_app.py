"""The rules by which SDKs parse answers (section 2 of the protocol), held by every answer of the real server."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import requests
from backed import backed
from server_process import ServerProcess
from starlette.types import Message, Scope

from connect_logging.server.app import make_app
from connect_logging.server.projects import ProjectFile
from connect_logging.server.settings import Settings
from connect_logging.server.stores.base import QueryTimeoutError, StoppedError, StoreBusyError, StoreError, TooManyError

from .asgi import Answer, ask

BIG = b'{"a":"' + b"x" * 70_000 + b'"}'
QUERY = "/events/x?query="
SINGLE = "/events/rules"

# method, target, body, status; the rules below hold for all of them.
ANSWERS: list[tuple[str, str, Any, int]] = [
    ("POST", SINGLE, {}, 200),
    ("POST", SINGLE, {"id": "twice"}, 200),
    ("POST", SINGLE, {"id": "twice"}, 200),
    ("POST", "/events/with+space", {}, 200),
    ("POST", "//events/rules", {}, 200),
    ("POST", SINGLE, b"", 400),
    ("POST", SINGLE, b"[]", 400),
    ("POST", SINGLE, b"{", 400),
    ("POST", SINGLE, b'{"a":NaN}', 400),
    ("POST", SINGLE, b'{"a":1e400}', 400),
    ("POST", SINGLE, b'{"a":"\\ud800"}', 400),
    ("POST", SINGLE, b"[" * 50_000, 400),
    ("POST", SINGLE, {"tp_x": 1}, 400),
    ("POST", SINGLE, {"_id": 1}, 400),
    ("POST", SINGLE, {"a.b": 1}, 422),
    ("POST", SINGLE, {"a.b": 1, "c": {"a.b": 1, "a" * 256: 1}}, 422),
    ("POST", SINGLE, {"timestamp": "now", "id": None}, 422),
    ("POST", SINGLE, b'{"a":1' + b"0" * 40 + b"}", 422),
    ("POST", SINGLE, {"a": json.loads("[" * 101 + "]" * 101)}, 422),
    ("POST", "/events/a%2Bb", {}, 422),
    ("POST", "/events/%ff", {}, 422),
    ("POST", "/events/%00", {}, 422),
    ("POST", "/events/errorMessage", {}, 422),
    ("POST", "/events/..%2f..%2fx", {}, 404),
    ("POST", SINGLE, BIG, 413),
    ("POST", "/events", {}, 200),
    ("POST", "/events", {"rules": []}, 200),
    ("POST", "/events/", {"rules": [{}, {"a.b": 1}, 3], "é": [{}]}, 200),
    ("POST", "//events/", {"bad/name": [{}]}, 200),
    ("POST", "/events", {"rules": [json.loads(BIG)]}, 200),
    ("POST", "/events", b"", 400),
    ("POST", "/events", b"[]", 400),
    ("POST", "/events", {"rules": {}}, 400),
    ("POST", "/events", b'{"rules":[{}],"rules":[{}]}', 400),
    ("POST", "/events", {"errorMessage": [{}]}, 400),
    ("POST", "/events", {"rules": [{}] * 5_001}, 413),
    ("GET", "/events/rules?query={}", None, 200),
    ("GET", "/events/nobody?query={}", None, 200),
    ("GET", "/events/rules", None, 422),
    ("GET", QUERY + "{", None, 422),
    ("GET", QUERY + '{"select":{"a":1,"b":{}},"groupBy":3,"timeframe":"today"}', None, 422),
    ("GET", QUERY + '{"filter":{"a":{"x":1,"y":2},"id":1}}', None, 422),
    ("GET", "/events/a%2Bb?query={}", None, 422),
    ("GET", "/", None, 404),
    ("GET", "/nope", None, 404),
    ("POST", "/events/a/b", {}, 404),
    ("GET", "/events", None, 405),
    ("PUT", "/events", {}, 405),
    ("DELETE", SINGLE, None, 405),
    ("PATCH", "/events/x", {}, 405),
]


def check_rules(method: str, target: str, body: Any, answer: requests.Response) -> None:
    """Section 2 of the protocol, for one answer."""
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    is_batch = method == "POST" and target.strip("/") == "events"
    if answer.status_code == 200:
        if method == "POST" and not is_batch:
            assert answer.content == b""
        elif is_batch:
            results = answer.json()
            assert {name: len(each) for name, each in results.items()} == {
                name: len(each) for name, each in body.items()
            }
            for result in (result for each in results.values() for result in each):
                assert set(result) == {"success", "duplicate", "message"}
                assert isinstance(result["success"], bool)
                assert isinstance(result["duplicate"], bool)
                assert result["message"] is None if result["success"] else isinstance(result["message"], str)
        return
    document = answer.json()
    assert isinstance(document, dict)
    if answer.status_code == 422:
        assert not is_batch
        assert list(document) == ["errors"]
        assert document["errors"]
        assert all(set(error) == {"field", "description"} for error in document["errors"])
        assert all(isinstance(text, str) and text for error in document["errors"] for text in error.values())
        fields = [error["field"] for error in document["errors"]]
        assert len(fields) == len(set(fields))
    else:
        assert list(document) == ["errorMessage"]
        assert isinstance(document["errorMessage"], str)
        assert document["errorMessage"]


def test_every_answer_keeps_the_rules(server: ServerProcess) -> None:
    wrong = []
    for method, target, body, status in ANSWERS:
        answer = server.request(method, target, body)
        if answer.status_code != status:
            wrong.append((method, target, str(body)[:60], answer.status_code, answer.text[:200]))
        check_rules(method, target, body, answer)
    print(f"{len(ANSWERS)} answers keep the parser rules")
    assert not wrong
    assert "Traceback" not in server.errors


def test_a_gzip_body_is_read_in_both_framings(server: ServerProcess) -> None:
    packed = gzip.compress(b'{"gzip": [{"id": 1}]}')
    headers = {**server.headers(), "Content-Encoding": "gzip"}
    assert server.request("POST", "/events", packed, headers=headers).json()["gzip"][0]["success"]
    chunked = requests.post(
        server.url + "/events/gzip",
        data=iter([gzip.compress(b'{"id"'), gzip.compress(b":2}")]),
        headers=headers,
        timeout=9,
    )
    assert chunked.status_code == 200
    assert server.count("gzip") == 2


def test_bodies_over_the_limit_are_refused_however_they_come(server: ServerProcess) -> None:
    bomb = gzip.compress(bytes(40_000_000))
    headers = {**server.headers(), "Content-Encoding": "gzip"}
    for target, body in (("/events", bomb), ("/events/x", bomb)):
        assert server.request("POST", target, body, headers=headers).status_code == 413
    chunked = requests.post(server.url + "/events/x", data=iter([BIG]), headers=server.headers(), timeout=9)
    assert chunked.status_code == 413
    refused = server.request("POST", "/events", b"{}", headers={**server.headers(), "Content-Encoding": "br"})
    assert (refused.status_code, refused.headers["Accept-Encoding"]) == (415, "gzip")


def test_every_refusal_of_a_key_is_the_same(server: ServerProcess) -> None:
    bodies = set()
    for headers in (
        {},
        {"X-Project-Id": server.project_id},
        {"X-Project-Id": "nope", "X-Api-Key": server.keys["master"]},
        {"X-Project-Id": server.project_id, "X-Api-Key": "x" * 32},
        {"X-Project-Id": server.project_id, "X-Api-Key": "0" * 32 + "-" + "0" * 32},
        server.headers("query"),
    ):
        for target in ("/events", "/events/x"):
            answer = server.request("POST", target, {}, headers=headers)
            assert answer.status_code == 401
            bodies.add(answer.content)
    answer = server.request("GET", "/events/x?query={}", headers=server.headers("push"))
    assert answer.status_code == 401
    bodies.add(answer.content)
    assert len(bodies) == 1


class FailingStore:
    """A store that fails in one way."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def insert(self, *_: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(self._error)
        return future

    def query(self, *_: Any) -> list[Any]:
        raise self._error

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("error", "status", "message", "retry_after"),
    [
        (StoreBusyError("too much waits"), 503, "too much waits", "1"),
        (StoreError("the disk is full"), 503, "the disk is full", None),
        (TooManyError("too many"), 413, "too many", None),
        (RuntimeError("secret"), 500, "the server failed; its log says why", None),
    ],
)
def test_a_store_that_fails_is_never_a_success(
    tmp_path: Path, error: Exception, status: int, message: str, retry_after: str | None
) -> None:
    projects = ProjectFile(tmp_path / "projects.json")
    project = projects.create()
    app = make_app(Settings(tmp_path), backed(tmp_path, FailingStore(error), projects))
    headers = {"X-Project-Id": project.id, "X-Api-Key": project.keys.master}

    def check(answer: Answer) -> None:
        assert answer.status == status
        assert answer.json() == {"errorMessage": message}
        assert answer.headers.get("retry-after") == retry_after
        assert answer.headers["access-control-allow-origin"] == "*"

    check(ask(app, "POST", "/events/x", [b"{}"], headers))
    check(ask(app, "POST", "/events", [b'{"x":', b"[{}]}"], headers))
    check(ask(app, "GET", "/events/x?query={}", headers=headers))


def test_a_query_that_takes_too_long_has_to_ask_for_less(tmp_path: Path) -> None:
    projects = ProjectFile(tmp_path / "projects.json")
    project = projects.create()
    late = FailingStore(QueryTimeoutError("stopped after 1 second: ask for less"))
    app = make_app(Settings(tmp_path), backed(tmp_path, late, projects))
    answer = ask(
        app, "GET", "/events/x?query={}", headers={"X-Project-Id": project.id, "X-Api-Key": project.keys.query}
    )
    description = "stopped after 1 second: ask for less, such as a shorter timeframe"
    assert (answer.status, answer.json()) == (422, {"errors": [{"field": "query", "description": description}]})


class WaitingStore(FailingStore):
    """A store whose reads go on until they are stopped. ``begun`` is called when one has begun."""

    def __init__(self, begun: Callable[[], object]) -> None:
        super().__init__(StoppedError("it was stopped"))
        self._begun = begun

    def query(self, *arguments: Any) -> list[Any]:
        self._begun()
        self.was_stopped = arguments[-1].wait(10)
        raise self._error

    collections = describe = query


@pytest.mark.parametrize("target", ["/events/x?query={}", "/collections", "/collections/x"])
def test_what_a_client_asked_that_has_gone_is_not_read_to_its_end(tmp_path: Path, target: str) -> None:
    left = asyncio.Event()

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        store = WaitingStore(lambda: loop.call_soon_threadsafe(left.set))
        projects = ProjectFile(tmp_path / "projects.json")
        project = projects.create()
        app = make_app(Settings(tmp_path), backed(tmp_path, store, projects))
        path, _, query = target.partition("?")
        headers = [(b"x-project-id", project.id.encode()), (b"x-api-key", project.keys.master.encode())]
        scope: Scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": headers}
        scope["query_string"] = query.encode()

        async def receive() -> Message:
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(_: Message) -> None: ...

        await app(scope, receive, send)
        assert store.was_stopped

    asyncio.run(scene())
