"""``connect-logging copy``: what it shows, how it says no, and what is left to do when it was killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from commands import PROGRAM, on_a_terminal, refused, run
from conftest import Serve

from connect_logging.server.data_directory import DataDirectory
from connect_logging.server.projects import ProjectFile
from connect_logging.server.stores.base import NewEvent, NewEvents, Stored, StoreError
from connect_logging.server.stores.duckdb import DuckDBStore


@pytest.fixture(autouse=True)
def mask() -> Iterator[None]:
    """The command sets that of the process."""
    mask = os.umask(0o022)
    yield
    os.umask(mask)


def fill(path: Path, **counts: int) -> str:
    """The id of a new project there, with so many events in each collection."""
    directory = DataDirectory(path, create=True)
    project = ProjectFile(directory.projects_file).create()
    with closing(
        DuckDBStore(directory.events_file, memory_limit="256MB", threads=1, query_timeout=9, max_waiting=2**27)
    ) as store:
        for collection, count in counts.items():
            events = [NewEvent(f"{number:09}", number * 1_000, b'{"n":%d}' % number) for number in range(count)]
            store.insert(project.id, {collection: events}).result(30)
    return project.id


def copied(*arguments: Any) -> Any:
    result = run("copy", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_it_shows_what_was_copied_and_that_it_is_the_same(tmp_path: Path) -> None:
    project = fill(tmp_path / "old", purchases=3, visits=2)
    done = run("copy", "--from", tmp_path / "old", "--to", tmp_path / "new")
    assert done.exit_code == 0
    rows = [re.split(r"\s*│\s*", line.strip("│ ")) for line in done.stdout.splitlines() if project in line]
    assert rows == [[project, "purchases", "3", "3", "3", "equal"], [project, "visits", "2", "2", "2", "equal"]]
    assert done.stdout.endswith("\n1 project, 2 collections\n")
    assert done.stderr == f"{project} purchases: 3 of 3 events\n{project} visits: 2 of 2 events\n"
    keys = [run("project", "keys", "--data", tmp_path / name, "--json").output for name in ("old", "new")]
    assert keys[0] == keys[1]
    again = copied("--from", tmp_path / "old", "--to", tmp_path / "new")
    assert (again["same"], again["projects"]) == (True, [project])
    assert [(each["collection"], each["sent"]) for each in again["collections"]] == [("purchases", 0), ("visits", 0)]
    assert again["collections"][0]["source"] == again["collections"][0]["target"]


def test_one_project_of_several_can_be_copied(tmp_path: Path) -> None:
    fill(tmp_path / "old", a=1)
    second = fill(tmp_path / "old", b=1)
    result = copied("--from", tmp_path / "old", "--to", tmp_path / "new", "--project", second)
    assert [(each["projectId"], each["collection"]) for each in result["collections"]] == [(second, "b")]
    assert [each.id for each in ProjectFile(tmp_path / "new" / "projects.json").list()] == [second]


def test_what_differs_is_told_and_ends_with_1(tmp_path: Path) -> None:
    project = fill(tmp_path / "old", c=2)
    copied("--from", tmp_path / "old", "--to", tmp_path / "new")
    with closing(
        DuckDBStore(tmp_path / "new" / "events.duckdb", memory_limit="256MB", threads=1, query_timeout=9, max_waiting=9)
    ) as store:
        store.insert(project, {"c": [NewEvent("other", 0, b"{}")]}).result(9)
    done = run("copy", "--from", tmp_path / "old", "--to", tmp_path / "new")
    assert done.exit_code == 1
    assert "DIFFERENT" in done.stdout
    assert "NOT" in done.stderr
    ProjectFile(tmp_path / "new" / "projects.json").reset_keys(project)
    done = run("copy", "--from", tmp_path / "old", "--to", tmp_path / "new", "--json")
    assert (done.exit_code, json.loads(done.stdout)["same"]) == (1, False)
    assert f"project {project} is there already with other keys" in done.stderr


def test_a_mistake_is_told_in_a_line(tmp_path: Path, serve: Serve) -> None:
    server = serve()
    to = ("--to", tmp_path / "new")
    assert "in use" in (error := refused("copy", "--from", server.data, *to))
    assert "connect-logging backup" in error
    server.stop()
    assert "does not exist" in refused("copy", "--from", tmp_path / "none", *to)
    assert "no project x" in refused("copy", "--from", server.data, *to, "--project", "x")
    assert not (tmp_path / "new").exists()
    assert "same directory" in refused("copy", "--from", server.data, "--to", f"{server.data}/.")
    assert "such as clickhouse://" in refused("copy", "--from", server.data, "--to", "clickhouse://")
    empty = run("copy", "--from", server.data, *to)
    assert (empty.exit_code, empty.stdout) == (0, "1 project, 0 collections\n")
    assert ProjectFile(tmp_path / "new" / "projects.json").list()[0].id == server.project_id


def test_a_target_that_is_lost_on_the_way_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "old", a=1, b=1)
    insert, left = DuckDBStore.insert, [True]

    def lost(store: DuckDBStore, project: str, events: NewEvents) -> Future[Stored]:
        if not left:
            raise StoreError("the disk is full")
        left.pop()
        return insert(store, project, events)

    options = ("copy", "--from", tmp_path / "old", "--to", tmp_path / "new")
    with monkeypatch.context() as patched:
        patched.setattr(DuckDBStore, "insert", lost)
        result = run(*options)
    assert result.exit_code == 1
    assert result.stderr.endswith("Error: the disk is full. Start it again, and what is there is not sent again.\n")
    assert [each["sent"] for each in copied(*options[1:])["collections"]] == [0, 1]


def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    project = fill(tmp_path / "old", purchases=3)
    shown, code = on_a_terminal("copy", "--from", str(tmp_path / "old"), "--to", str(tmp_path / "new"))
    assert code == 0
    assert b"3/3" in shown
    assert f"{project} purchases".encode() not in shown


def test_a_copy_that_was_killed_is_started_again_and_sends_the_rest(tmp_path: Path) -> None:
    """Into ClickHouse's engine, which ends with the process as well."""
    fill(tmp_path / "old", first=1_000, second=30_000)
    command = [PROGRAM, "copy", "--from", tmp_path / "old", "--to", f"chdb://{tmp_path}/new?database=d", "--json"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "first: 1,000 of 1,000" in process.stderr.readline()
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    first, second = json.loads(again.stdout)["collections"]
    assert (first["sent"], first["target"]["events"]) == (0, 1_000)
    assert second["source"] == second["target"]
    assert second["target"]["events"] == 30_000
    assert 0 < second["sent"] <= 30_000
