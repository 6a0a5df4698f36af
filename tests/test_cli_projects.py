"""``connect-logging project``: made, shown, changed, reset; beside a running server as well."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from commands import refused, run
from conftest import Serve

from connect_logging import security


def test_a_project_is_made_listed_shown_and_reset(tmp_path: Path) -> None:
    data = tmp_path / "data"
    made = json.loads(run("project", "create", "--data", data, "--json").output)
    assert list(made) == ["projectId", "push", "query", "pushQuery", "master"]
    assert json.loads(run("project", "keys", "--data", data, "--json").output) == made
    [listed] = json.loads(run("project", "list", "--data", data, "--json").output)
    assert listed["projectId"] == made["projectId"]
    assert made["projectId"] in run("project", "list", "--data", data).output
    shown = run("project", "keys", "--data", data).output
    assert all(value in shown for value in made.values())

    asked = run("project", "reset-keys", "--data", data, answer="n\n")
    assert asked.exit_code == 1
    assert json.loads(run("project", "keys", "--data", data, "--json").output) == made
    reset = json.loads(run("project", "reset-keys", "--data", data, "--json", "--yes").output)
    assert reset["projectId"] == made["projectId"]
    assert not {*reset.values()} & {made[name] for name in ("push", "query", "pushQuery", "master")}
    confirmed = run("project", "reset-keys", "--data", data, "--json", answer="y\n")
    assert json.loads(confirmed.stdout)["push"] != reset["push"]


@pytest.mark.parametrize("role", ["push", "query", "pushQuery", "master"])
def test_a_shell_takes_the_variables_that_a_program_logs_with(tmp_path: Path, role: str) -> None:
    made = json.loads(run("project", "create", "--data", tmp_path, "--json").output)
    lines = run("project", "keys", "--data", tmp_path, "--env", role).output
    other = run("project", "keys", "--data", tmp_path, "--env", role, "--url", "http://[::1]:7/a b").output
    shown = 'printf "%s\\n" "$CONNECT_BASE_URL" "$CONNECT_PROJECT_ID" "$CONNECT_API_KEY"'

    def in_a_shell(code: str) -> list[str]:
        done = subprocess.run(["sh", "-c", f'eval "$1"; {code}', "sh", lines], capture_output=True, text=True, env={})
        return done.stdout.splitlines()

    assert in_a_shell(shown) == ["http://127.0.0.1:8010", made["projectId"], made[role]]
    assert in_a_shell(f"sh -c '{shown}'") == in_a_shell(shown)
    lines = other
    assert in_a_shell(shown) == ["http://[::1]:7/a b", made["projectId"], made[role]]


def test_one_of_several_projects_has_to_be_named(tmp_path: Path) -> None:
    first, second = (json.loads(run("project", "create", "--data", tmp_path, "--json").output) for _ in "ab")
    error = refused("project", "keys", "--data", tmp_path)
    assert first["projectId"] in error
    assert "--project" in error
    chosen = run("project", "keys", "--data", tmp_path, "--project", second["projectId"], "--json")
    assert json.loads(chosen.output) == second
    assert "no project 'x'" in refused("project", "keys", "--data", tmp_path, "--project", "x")


def test_a_setting_is_shown_and_changed(tmp_path: Path) -> None:
    made = json.loads(run("project", "create", "--data", tmp_path, "--json").output)
    change = ("project", "set", "--data", tmp_path, "--legacy-filtered-keys")
    described = json.loads(run(*change, "false", "--json").output)
    assert (described["projectId"], described["legacyFilteredKeys"]) == (made["projectId"], False)
    assert json.loads(run("project", "list", "--data", tmp_path, "--json").output) == [described]
    assert "false" in run("project", "list", "--data", tmp_path).output
    assert "true" in run(*change, "true").output
    assert "'maybe'" in refused(*change, "maybe")
    assert "--legacy-filtered-keys" in refused("project", "set", "--data", tmp_path)


def test_a_running_server_heeds_every_command_at_once(serve: Serve) -> None:
    server = serve()
    data = ("--data", server.data)

    def push(project_id: str, key: str) -> int:
        headers = {"X-Project-Id": project_id, "X-Api-Key": key}
        return server.request("POST", "/events/c", {}, headers=headers).status_code

    shown = json.loads(run("project", "keys", *data, "--json").output)
    assert shown["master"] == server.keys["master"]
    second = json.loads(run("project", "create", *data, "--json").output)
    one = (*data, "--project", second["projectId"])
    assert push(second["projectId"], second["push"]) == 200

    definition = {"canPush": True}
    legacy = security.encrypt_filtered_key(definition, second["master"])
    sealed = security.seal_filtered_key(definition, second["master"], second["projectId"])
    assert [push(second["projectId"], key) for key in (legacy, sealed)] == [200, 200]
    run("project", "set", *one, "--legacy-filtered-keys", "false")
    assert [push(second["projectId"], key) for key in (legacy, sealed)] == [401, 200]
    run("project", "set", *one, "--legacy-filtered-keys", "true")

    reset = json.loads(run("project", "reset-keys", *one, "--yes", "--json").output)
    assert [push(second["projectId"], key) for key in (legacy, sealed, second["master"])] == [401] * 3
    assert push(second["projectId"], reset["master"]) == 200
    assert push(shown["projectId"], shown["push"]) == 200, "the other project has its keys"
    assert len(json.loads(run("project", "list", *data, "--json").output)) == 2
