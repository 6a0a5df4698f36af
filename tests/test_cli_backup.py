"""``connect-logging backup``: what it prints, and how it says no."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from connect_logging.cli import main
from connect_logging.server.data_directory import DataDirectory


@pytest.fixture(autouse=True)
def mask() -> Iterator[None]:
    """The command sets that of the process."""
    mask = os.umask(0o022)
    yield
    os.umask(mask)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["backup", *arguments])


def test_it_says_what_it_made_and_how_to_serve_it(tmp_path: Path) -> None:
    DataDirectory(tmp_path / "data", create=True)
    options = ["--data", str(tmp_path / "data"), "--to"]
    done = run(*options, str(tmp_path / "a copy"))
    assert done.exit_code == 0
    assert done.output == (
        f"{tmp_path}/a copy: 0 events. To serve it:\nconnect-logging serve --data '{tmp_path}/a copy'\n"
    )
    done = run(*options, str(tmp_path / "other"), "--json")
    assert json.loads(done.output) == {"path": str(tmp_path / "other"), "events": 0, "bytes": 0}


def test_a_mistake_is_told_in_a_line(tmp_path: Path) -> None:
    done = run("--data", str(tmp_path / "none"), "--to", str(tmp_path / "copy"))
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert "does not exist" in done.output
