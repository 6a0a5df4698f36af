"""``connect-logging key filtered``: made from options, and tried with the server."""

from __future__ import annotations

import json

import pytest
from commands import done, refused, run, set_variables
from server_process import ServerProcess

from connect_logging import security


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch, server: ServerProcess) -> None:
    set_variables(monkeypatch, server)


def make(*options: str) -> str:
    made = done("key", "filtered", *options)
    assert made.count("\n") == 1
    return made.strip()


def test_a_key_is_made_and_tried(server: ServerProcess) -> None:
    server.push("sales", {"country": "AU", "price": 7}, {"country": "AU", "price": 1}, {"country": "DE", "price": 9})
    key = make("--query", "--where", "country=AU", "--where", "price=gt:5")
    answer = json.loads(done("query", "sales", "--count", "--format", "json", "--api-key", key))
    assert answer["results"] == [{"count": 1}]
    assert "401" in refused("push", "sales", "{}", "--api-key", key)
    assert done("push", "sales", '{"country": "NZ"}', "--api-key", make("--push"))


def test_a_key_holds_what_the_options_say(server: ServerProcess) -> None:
    master, project = server.keys["master"], server.project_id
    key = make("--query", "--push", "--any-of", "a=1", "--any-of", "b=2", "--filters", '{"c": {"gt": 3}}')
    definition = {"filters": {"c": {"gt": 3}, "or": [{"a": 1}, {"b": 2}]}, "canQuery": True, "canPush": True}
    assert key.startswith("v2-")
    assert security.open_filtered_key(key, master, project) == definition
    legacy = make("--query", "--legacy")
    assert security.decrypt_filtered_key(legacy, master) == {"filters": {}, "canQuery": True, "canPush": False}


def test_mistakes_are_told_and_make_no_key() -> None:
    for options, error in (
        ((), "what may it do?"),
        (("--push", "--where", "a=1"), "add --query"),
        (("--query", "--where", "a=gt:true"), "--where"),
        (("--query", "--filters", "{"), "--filters is no JSON"),
        (("--query", "--filters", "[" * 100_000), "--filters is no JSON"),
        (("--query", "--filters", '{"a": {"above": 1}}'), "unknown operator 'above'"),
    ):
        assert error in refused("key", "filtered", *options)


def test_a_master_key_in_the_options_is_warned_of_and_one_of_another_length_refused(server: ServerProcess) -> None:
    result = run("key", "filtered", "--push", "--master-key", server.keys["master"])
    assert result.exit_code == 0
    assert "Other users can see --master-key" in result.stderr
    assert server.keys["master"] not in result.output
    result = run("key", "filtered", "--push", "--master-key", "short")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "32 bytes" in result.stderr


def test_no_server_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONNECT_BASE_URL")
    assert make("--push")
    monkeypatch.delenv("CONNECT_MASTER_KEY")
    assert "CONNECT_MASTER_KEY" in refused("key", "filtered", "--push")
