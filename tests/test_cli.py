"""The commands: what they print, and what a mistake gets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from commands import refused, run
from conftest import Serve

from connect_logging.cli import main
from connect_logging.server.projects import ProjectFile


def test_help_begins_with_what_to_do() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "connect-logging serve --data ./events" in result.output
    for command in ("serve", "project"):
        assert run(command, "--help").exit_code == 0


def test_the_module_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "connect_logging.cli", "--version"]
    assert "0.1.0" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_mistakes_are_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photo.jpg").touch()
    assert "does not exist" in refused("project", "keys", "--data", tmp_path / "none")
    assert "not ours" in refused("project", "create", "--data", tmp_path)
    assert "not ours" in refused("serve", "--data", tmp_path, "--port", 0)
    assert "--data" in refused("serve")
    assert "choose one" in refused("project", "keys", "--data", tmp_path, "--env", "push", "--json")
    assert "'pushQuery'" in refused("project", "keys", "--data", tmp_path, "--env", "all")
    data = tmp_path / "data"
    run("project", "create", "--data", data)
    (data / "projects.json").unlink()
    assert "no project yet" in refused("project", "keys", "--data", data)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--port", 99_999),
        ("--memory", "much"),
        ("--queries", 0),
        ("--failed-keys", 0),
        ("--trusted-proxy", "proxy.example"),
        ("--s3-endpoint", "minio"),
        ("--tls-cert", "cert.pem"),
        ("--tls-key", "key.pem"),
    ],
)
def test_what_a_server_cannot_run_with_is_told_by_the_option_that_was_written(
    tmp_path: Path, option: str, value: object
) -> None:
    assert refused("serve", "--data", tmp_path / "d", option, value).startswith(f"Error: {option} ")


def test_a_missing_server_extra_is_told_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    monkeypatch.delitem(sys.modules, "connect_logging.server.serve", raising=False)
    monkeypatch.delitem(sys.modules, "connect_logging.server.stores.duckdb", raising=False)
    error = refused("serve", "--data", tmp_path / "data")
    assert "pip install 'connect-logging[server]'" in error
    assert json.loads(run("project", "create", "--data", tmp_path / "data", "--json").output)


def test_a_fault_of_our_own_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "connect_logging.server.serve", None)
    result = CliRunner().invoke(main, ["serve", "--data", str(tmp_path / "data")])
    assert isinstance(result.exception, ModuleNotFoundError)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    run("project", "create", "--data", data)
    (data / "projects.json").unlink()
    (data / "projects.json").mkdir()
    assert f"{data}/projects.json: Is a directory" in refused("project", "create", "--data", data)


@pytest.mark.parametrize(
    "command",
    [
        ("serve", "--data"),
        ("project", "create", "--data"),
        ("backup", "--data", "data", "--to"),
        ("copy", "--to", "other", "--from"),
        ("copy", "--from", "other", "--to"),
        ("spool", "status"),
        ("dead-letters", "list"),
        ("serve", "--data", "data", "--tls-cert"),
    ],
    ids=" ".join,
)
def test_an_empty_path_is_not_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """Which it would be to pathlib: ``--data "$UNSET"``."""
    monkeypatch.chdir(tmp_path)
    assert "must not be empty" in refused(*command, "")
    assert not [*tmp_path.iterdir()]


def test_serving_tells_how_to_begin_and_no_key(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    server.stop()
    program = [sys.executable, "-m", "connect_logging.cli", "serve", "--data", str(tmp_path / "new"), "--port", "0"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Serving on"):
                break
        process.terminate()
    assert process.returncode == 0
    printed = "".join(lines)
    [project] = ProjectFile(tmp_path / "new" / "projects.json").list()
    for name in (project.id, "CONNECT_BASE_URL", "CONNECT_PROJECT_ID", "CONNECT_API_KEY"):
        assert name in printed
    address = line.split()[-1]
    assert (
        f"""eval "$(connect-logging project keys --data {tmp_path / "new"} --env push --url {address})"\n""" in printed
    )
    for role in ("push", "query", "push_query", "master"):
        assert getattr(project.keys, role) not in printed


def test_what_the_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    letters = tmp_path / "letters.jsonl"
    letters.write_text(
        json.dumps({"time": "2026-01-02T03:04:05Z", "collection": "Zoë", "id": "1", "reason": "x" * 200, "event": {}})
    )
    for encoding in ("ascii", "latin-1"):
        done = subprocess.run(
            [sys.executable, "-m", "connect_logging.cli", "dead-letters", "list", letters],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
            check=True,
        )
        assert b"Zo" in done.stdout
        assert done.stderr == b""


def test_a_closed_standard_input_holds_nothing() -> None:
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m connect_logging.cli push things <&-"],
        env={**os.environ, "CONNECT_PROJECT_ID": "p", "CONNECT_API_KEY": "k", "CONNECT_BASE_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
