"""No key is anywhere but in projects.json and in the request that it came with."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import requests
from backed import backed
from commands import run
from server_process import ServerProcess

from connect_logging.security import encrypt_filtered_key, seal_filtered_key
from connect_logging.server.app import make_app
from connect_logging.server.auth import Authenticator
from connect_logging.server.failed_keys import FailedKeys
from connect_logging.server.projects import ProjectFile
from connect_logging.server.settings import Settings

from .asgi import ask

WRONG = "CanaryCanaryCanaryCanaryCanary42"
ROLES = ("push", "query", "push_query", "master")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("canary")
    options = ["--access-log", str(directory / "access.log"), "--failed-keys", "5"]
    running = ServerProcess(directory / "data", options=options)
    yield running
    running.stop()


def secrets_of(project_id: str, keys: dict[str, str]) -> list[str]:
    """Every key that a client may hold, and one that nobody should."""
    definition = {"filters": {"a": 1}, "canQuery": True, "canPush": True}
    sealed = seal_filtered_key(definition, keys["master"], project_id)
    return [*keys.values(), sealed, encrypt_filtered_key(definition, keys["master"]), WRONG]


def talk(server: ServerProcess, key: str) -> Iterator[requests.Response]:
    """Use ``key`` as it is meant, and in every place where it may stray to."""
    right = {"X-Project-Id": server.project_id, "X-Api-Key": key}
    for headers in (right, {"X-Api-Key": f"{server.project_id}-{key}"}, {"X-Project-Id": "nope", "X-Api-Key": key}, {}):
        yield server.request("POST", "/events/c", {"a": 1}, headers=headers)
        yield server.request("POST", "/events", {"c": [{"a": 1}, {"tp_": 1}]}, headers=headers)
        yield server.request("GET", '/events/c?query={"groupBy":"a"}', headers=headers)
        yield server.request("GET", "/collections", headers=headers)
        yield server.request("DELETE", "/collections/none", headers=headers)
    for path in (f"/events/c?query={{}}&api_key={key}", f"/events/c?X-Api-Key={key}", f"/?{key}"):
        yield server.request("GET", path, headers=right)
    for path in ("/metrics", "/health", "/openapi.json", "/nope"):
        yield server.request("GET", path, headers=right)
    yield server.request("POST", "/events/c", b"{", headers={**right, "Authorization": f"Bearer {key}"})
    for path in (f"/collections/{key[:200]}", f"/{key}"):  # their answers may say what was asked for
        server.request("GET", path, headers=right)
    for malformed in (f"GET / HTTP/1.1\r\nX-Api-Key: {key}\r\n\0\r\n\r\n", f"{key}\r\n\r\n", f"GET /{key} x\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(malformed.encode())
            assert key not in raw.makefile("r").read()


def test_no_key_is_in_what_the_server_writes_or_answers(server: ServerProcess) -> None:
    secrets = secrets_of(server.project_id, server.keys)
    answers = [answer for key in secrets for answer in talk(server, key)]
    assert {200, 400, 401, 404, 422, 429} <= {answer.status_code for answer in answers}
    said = "".join(answer.text + str(answer.headers) for answer in answers)
    server.stop()
    written = {
        file.name: file.read_bytes().decode("latin-1") for file in server.data.parent.rglob("*") if file.is_file()
    }
    assert {"access.log", "data.stderr", "projects.json", "events.duckdb"} <= written.keys()
    assert all(key in written["projects.json"] for key in server.keys.values())
    assert written["access.log"].count("\n") > len(answers)
    del written["projects.json"]
    for number, key in enumerate(secrets):
        assert key not in said, f"secret {number}"
        for name, content in written.items():
            assert key not in content, f"secret {number} in {name}"
            assert key[-40:] not in content, f"the end of secret {number} in {name}"
    print(f"canary: {len(secrets)} keys, {len(answers)} answers and {len(written)} files searched")


class Failing:
    """A store that fails as nobody foresaw."""

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any) -> Future[Any]:
            raise RuntimeError("unforeseen")

        return fail


def test_no_key_is_in_a_traceback_or_a_debug_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    projects = ProjectFile(tmp_path / "projects.json")
    project = projects.create()
    secrets = secrets_of(project.id, {role: getattr(project.keys, role) for role in ROLES})
    app = make_app(Settings(tmp_path), backed(tmp_path, Failing(), projects))
    raised: list[str] = []

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except RuntimeError as error:
            raised.extend(traceback.format_exception(error))
            raise

    for key in secrets:
        headers = {"X-Project-Id": project.id, "X-Api-Key": key}
        for method, target, body in (("POST", "/events/c", b"{}"), ("GET", "/events/c?query={}", b"")):
            answer = ask(watched, method, target, [body], headers)
            assert answer.status in (401, 500)
            assert key.encode() not in answer.body
    written = "".join(raised) + caplog.text
    assert "unforeseen" in written
    assert not [number for number, key in enumerate(secrets) if key in written]


def test_no_key_is_in_a_repr(tmp_path: Path) -> None:
    projects = ProjectFile(tmp_path / "projects.json")
    project = projects.create()
    auth = Authenticator(projects, FailedKeys(9, float))
    shown = "".join(map(repr, (project, project.keys, projects, auth, Settings(tmp_path), [project], {"a": project})))
    assert not [role for role in ROLES if getattr(project.keys, role) in shown]


def test_commands_show_keys_when_asked_for_them_alone(tmp_path: Path) -> None:
    run("project", "create", "--data", tmp_path)
    [project] = ProjectFile(tmp_path / "projects.json").list()
    shown = "".join(
        run("project", *command, "--data", tmp_path).output
        for command in (
            ["list"],
            ["list", "--json"],
            ["set", "--legacy-filtered-keys", "false"],
            ["keys", "--project", "x"],
        )
    )
    assert project.id in shown
    assert not [role for role in ROLES if getattr(project.keys, role) in shown]
