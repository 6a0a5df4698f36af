"""Runs commands in this process, for tests."""

from __future__ import annotations

import os
import pty
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from server_process import ServerProcess

from connect_logging.cli import main

PROGRAM = Path(sys.executable).with_name("connect-logging")


def run(*arguments: Any, answer: str | None = None) -> Result:
    """What a command prints and ends with; ``answer`` is typed into it."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=answer)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def refused(*arguments: Any, code: int = 2, answer: str | None = None) -> str:
    """The error of a command that fails: a line or two, and exit code 2."""
    result = run(*arguments, answer=answer)
    assert result.exit_code == code
    assert result.stderr.startswith(("Error: ", "Usage: "))
    assert result.stderr.count("\n") <= 4
    return result.stderr


def done(*arguments: Any, answer: str | None = None) -> str:
    """What a command prints that succeeds and has nothing to complain of."""
    result = run(*arguments, answer=answer)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def set_variables(patch: pytest.MonkeyPatch, server: ServerProcess, role: str = "push_query") -> None:
    """Let commands find ``server``, with one of its keys; the master key is for those that need it."""
    patch.setenv("CONNECT_PROJECT_ID", server.project_id)
    patch.setenv("CONNECT_API_KEY", server.keys[role])
    patch.setenv("CONNECT_BASE_URL", server.url)
    patch.setenv("CONNECT_MASTER_KEY", server.keys["master"])


def on_a_terminal(*arguments: str) -> tuple[bytes, int]:
    """What a command shows where there is one, and its exit code."""
    pid, terminal = pty.fork()
    if not pid:
        os.execv(PROGRAM, [PROGRAM, *arguments])
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # it has ended
            break
        shown += piece
        if not piece:
            break
    os.close(terminal)
    return shown, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
