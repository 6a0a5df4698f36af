"""``connect-logging collections`` and ``delete``."""

from __future__ import annotations

import json

import pytest
from commands import done, refused, set_variables
from conftest import Serve
from server_process import ServerProcess


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch, server: ServerProcess) -> None:
    set_variables(monkeypatch, server)


def test_a_project_without_collections_is_told_how_to_begin(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    set_variables(monkeypatch, serve())
    assert done("collections", "--json") == "[]\n"
    assert "connect-logging push" in done("collections")


def test_collections_are_shown(server: ServerProcess) -> None:
    times = ["2026-01-02T03:04:05Z", "2026-02-03T04:05:06Z"]
    server.push("shown", *({"timestamp": time, "customer": {"country": "AU"}} for time in times))
    [found] = [each for each in json.loads(done("collections", "--json")) if each["name"] == "shown"]
    described = json.loads(done("collections", "shown", "--json"))
    assert described == {**found, "properties": [{"name": "customer.country", "types": ["string"]}]}
    assert (found["events"], found["firstEvent"]) == (2, "2026-01-02T03:04:05+00:00")
    assert "2026-01-02 03:04:05" in done("collections")
    table = done("collections", "shown")
    for text in ("2026-02-03 04:05:06", "customer.country", "string"):
        assert text in table
    assert "\x1b" not in table
    assert "404" in refused("collections", "absent")


def test_nobody_is_asked_where_there_is_no_terminal(server: ServerProcess) -> None:
    server.push("doomed", {})
    assert "--yes" in refused("delete", "doomed")
    assert server.count("doomed") == 1
    assert done("delete", "doomed", "--yes") == "doomed is deleted\n"
    assert server.count("doomed") == 0
    assert "404" in refused("delete", "doomed", "--yes")
