"""Pushing over HTTP."""

from __future__ import annotations

import pytest
from server_process import ServerProcess

from connect_logging.rules import MAX_EVENT_BYTES


@pytest.mark.parametrize("role", ["push", "push_query", "master"])
def test_a_single_push_is_answered_by_an_empty_200(server: ServerProcess, role: str) -> None:
    answer = server.request("POST", "/events/single", {"role": role}, headers=server.headers(role))
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Type"] == "application/json"
    assert "X-Connect-Duplicate" not in answer.headers


def test_a_duplicate_single_push_is_a_200_that_says_so(server: ServerProcess) -> None:
    answers = [server.request("POST", "/events/same", {"id": identity}) for identity in (1, "1", 1.0, "01")]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert [answer.headers.get("X-Connect-Duplicate") for answer in answers] == [None, "true", "true", None]
    assert server.count("same") == 2


@pytest.mark.parametrize("target", ["/events", "/events/", "//events", "//events//"])
def test_a_batch_has_both_addresses(server: ServerProcess, target: str) -> None:
    answer = server.request("POST", target, {"both": [{"id": target}]}, allow_redirects=False)
    assert answer.json() == {"both": [{"success": True, "duplicate": False, "message": None}]}


def test_a_plus_in_the_path_is_a_space(server: ServerProcess) -> None:
    server.request("POST", "/events/my+coll", {})
    server.request("POST", "/events/my%20coll", {})
    assert server.count("my coll") == 2


def test_every_broken_property_is_a_field(server: ServerProcess) -> None:
    answer = server.request("POST", "/events/x", {"a.b": 1, "c": [{"d.e": 1}], "timestamp": "today"})
    assert answer.status_code == 422
    assert {error["field"] for error in answer.json()["errors"]} == {"a.b", "c[0].d.e", "timestamp"}


def test_a_reserved_name_has_its_documented_status(server: ServerProcess) -> None:
    reserved = server.request("POST", "/events/x", {"TP_x": 1, "a.b": 1})
    assert reserved.status_code == 400
    assert "tp_" in reserved.json()["errorMessage"]


def test_the_size_of_one_event_is_that_of_its_body(server: ServerProcess) -> None:
    body = b'{"a":"' + b"x" * (MAX_EVENT_BYTES - 8) + b'"}'
    assert server.request("POST", "/events/x", body).status_code == 200
    over = server.request("POST", "/events/x", body + b" ")
    assert over.status_code == 413
    assert "65,536" in over.json()["errorMessage"]


def test_an_event_that_is_too_large_as_it_would_be_kept_is_named_as_a_whole(server: ServerProcess) -> None:
    answer = server.request("POST", "/events/x", b'{"a":[' + b",".join([b"1e5"] * 15_000) + b"]}")
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert (error["field"], "65,536" in error["description"]) == ("event", True)


def test_a_content_type_does_not_matter(server: ServerProcess) -> None:
    for kind in ("text/plain", "application/json; charset=utf-8"):
        headers = {**server.headers(), "Content-Type": kind}
        assert server.request("POST", "/events/typed", {}, headers=headers).status_code == 200
