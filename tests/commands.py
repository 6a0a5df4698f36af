"""Runs commands in this process, for tests."""

from __future__ import annotations

from typing import Any

from click.testing import CliRunner, Result

from connect_logging.cli import main


def run(*arguments: Any, answer: str | None = None) -> Result:
    """What a command prints and ends with; ``answer`` is typed into it."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=answer)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def refused(*arguments: Any) -> str:
    """The error of a command that fails: a line or two, and exit code 2."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(("Error: ", "Usage: "))
    assert result.stderr.count("\n") <= 4
    return result.stderr
