"""Which project a command is for: options, variables and profiles together; what is missing; completion in shells."""

from __future__ import annotations

import os
import pty
import subprocess
from multiprocessing.connection import wait
from pathlib import Path

import pytest
from click.shell_completion import BashComplete, get_completion_class
from commands import PROGRAM, done, refused, run, set_variables
from server_process import ServerProcess

from connect_logging._profiles import config_path
from connect_logging.cli import main

WRONG = "0123456789abcdefghijklmnopqrstuv"


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch, server: ServerProcess, tmp_path: Path) -> None:
    set_variables(monkeypatch, server)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def profile(text: str) -> None:
    path = config_path(os.environ)
    path.parent.mkdir()
    path.touch(0o600)
    path.write_text(text)


def test_options_go_before_variables_and_variables_before_the_file(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = f'project_id = "{server.project_id}"\napi_key = "{WRONG}"\n'
    profile(f"[default]\n{entries}[other]\n{entries}")
    assert done("collections")
    monkeypatch.delenv("CONNECT_PROJECT_ID")
    assert done("collections"), "the file has it"
    assert "401" in refused("collections", "--api-key", WRONG)
    assert done("collections", "--profile", "other", "--api-key", server.keys["query"])
    assert "401" in refused("collections", "--profile", "default"), "who names a profile means it"
    monkeypatch.delenv("CONNECT_API_KEY")
    assert "401" in refused("collections")


def test_all_that_is_missing_is_told_with_where_it_may_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("CONNECT_PROJECT_ID", "CONNECT_API_KEY", "CONNECT_BASE_URL", "CONNECT_MASTER_KEY"):
        monkeypatch.delenv(variable)
    error = refused("collections")
    assert "--project-id, --api-key, --base-url are missing" in error
    assert "CONNECT_PROJECT_ID, CONNECT_API_KEY, CONNECT_BASE_URL" in error
    assert str(config_path(os.environ)) in error
    assert "--env pushQuery" in error
    assert "--env master" in refused("delete", "c", "--yes", "--project-id", "p", "--base-url", "http://127.0.0.1:9")


def test_what_cannot_be_is_told_by_where_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused("collections", "--base-url", "here").startswith("Error: --base-url must be like ")
    assert "Error: --master-key must be " in run("delete", "c", "--yes", "--master-key", "two words").stderr
    assert "0.001<=x<=31536000" in refused("query", "c", "--timeout", "1e10")
    profile('[default]\nbase_url = "there"\n')
    assert refused("collections", "--profile", "default").startswith("Error: base_url must be like ")
    monkeypatch.setenv("CONNECT_BASE_URL", "here")
    monkeypatch.setenv("CONNECT_API_KEY", "two words")
    assert refused("collections").startswith("Error: CONNECT_API_KEY must be ")


def test_a_wrong_key_and_an_absent_server_are_told_with_the_address_and_no_key(server: ServerProcess) -> None:
    error = refused("collections", "--api-key", WRONG)
    assert server.url in error
    assert WRONG not in error
    absent = ("--base-url", "http://127.0.0.1:9")
    error = refused("push", "c", "{}", *absent, "--timeout", "0.2", code=1)
    assert "http://127.0.0.1:9: stopped at event 1" in error
    assert "is the server running there?" in error
    assert server.keys["push_query"] not in error


def test_a_master_key_in_the_options_is_warned_of(server: ServerProcess) -> None:
    server.push("warned", {})
    result = run("delete", "warned", "--yes", "--master-key", server.keys["master"])
    assert result.exit_code == 0
    assert "Other users can see --master-key" in result.stderr
    assert server.keys["master"] not in result.output


def test_a_master_key_that_is_nowhere_is_asked_for_and_not_shown(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.push("asked", {})
    monkeypatch.delenv("CONNECT_MASTER_KEY")
    pid, terminal = pty.fork()
    if not pid:
        os.execv(PROGRAM, [PROGRAM, "delete", "asked"])
    shown = _read_until(terminal, b"Master key: ")
    os.write(terminal, server.keys["master"].encode() + b"\n")
    shown += _read_until(terminal, b"[y/N]: ")
    os.write(terminal, b"y\n")
    shown += _read_until(terminal, b"asked is deleted")
    assert os.waitpid(pid, 0)[1] == 0
    os.close(terminal)
    assert b"with 1 event" in shown
    assert server.keys["master"].encode() not in shown


def test_ctrl_c_at_a_question_ends_with_130(server: ServerProcess) -> None:
    server.push("kept", {})
    pid, terminal = pty.fork()
    if not pid:
        os.execv(PROGRAM, [PROGRAM, "delete", "kept"])
    shown = _read_until(terminal, b"[y/N]: ")
    ended = os.pidfd_open(pid)
    os.write(terminal, b"\x03")
    # CPython does not see one that comes just before it waits for the line. One that comes while it ends kills it.
    while not wait([ended], 10):
        os.write(terminal, b"\x03")
    os.close(ended)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    os.close(terminal)
    assert b"Traceback" not in shown
    assert server.count("kept") == 1


def _read_until(terminal: int, wanted: bytes) -> bytes:
    shown = b""
    while wanted not in shown:
        piece = os.read(terminal, 1024)
        assert piece, shown
        shown += piece
    return shown


def complete(words: str, start: str = "") -> list[str]:
    """What a shell would offer behind ``words``."""
    completing = BashComplete(main, {}, "connect-logging", "_CONNECT_LOGGING_COMPLETE")
    return [item.value for item in completing.get_completions(words.split(), start)]


def test_shells_complete_commands_options_and_collections(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.push("completed", {})
    assert complete("", "pu") == ["push"]
    assert complete("push", "--ti") == ["--timeout"]
    for command in ("push", "delete", "collections"):
        assert complete(command, "compl") == ["completed"]
    assert complete(f"push --api-key {WRONG}", "compl") == []
    monkeypatch.delenv("CONNECT_API_KEY")
    assert complete("push", "compl") == []
    assert complete(f"push --api-key {server.keys['query']}", "compl") == ["completed"]


def test_the_shell_asks_the_program(server: ServerProcess) -> None:
    server.push("asked-for", {})
    words = {"COMP_WORDS": "connect-logging push asked", "COMP_CWORD": "2"}
    env = {**os.environ, "_CONNECT_LOGGING_COMPLETE": "bash_complete", **words}
    ended = subprocess.run([PROGRAM], env=env, capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("plain,asked-for\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_their_script(shell: str) -> None:
    completing = get_completion_class(shell)
    assert completing is not None
    script = completing(main, {}, "connect-logging", "_CONNECT_LOGGING_COMPLETE").source()
    assert f"_CONNECT_LOGGING_COMPLETE={shell}_complete" in script
    assert "connect-logging" in script
