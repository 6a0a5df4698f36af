"""A backup is whole or not there, whatever happens to it, to the server, or to the disk."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import Serve

from connect_logging.server import backup
from connect_logging.server.backup import BackupError, back_up
from connect_logging.server.control import ControlError, Hold
from connect_logging.server.data_directory import DataDirectory, DataDirectoryError
from connect_logging.server.projects import ProjectFile
from connect_logging.server.stores.base import NewEvent, StoreError
from connect_logging.server.stores.duckdb import DuckDBStore
from connect_logging.server.transfers.job_files import JobFiles
from connect_logging.server.transfers.jobs import ImportJob, Jobs


def nothing(_: int, __: int) -> None: ...


def fill(directory: DataDirectory, count: int = 3) -> None:
    store = DuckDBStore(directory.events_file, memory_limit="256MB", threads=1, query_timeout=9, max_waiting=2**20)
    events = [NewEvent(f"id{number}", number, b'{"a":1}') for number in range(count)]
    store.insert("p", {"c": events}).result()
    store.close()
    ProjectFile(directory.projects_file).create()


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path / "data", create=True)
    fill(directory)
    return directory


def left_of(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


def test_a_copy_without_a_server_opens_on_its_own(data: DataDirectory, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    made = back_up(data, tmp_path / "deep" / "copy", lambda *progress: told.append(progress))
    assert (made.path, made.events) == (tmp_path / "deep" / "copy", 3)
    assert told[0] == (0, made.bytes)
    assert told[-1] == (made.bytes, made.bytes)
    copy = DataDirectory(made.path)
    assert left_of(made.path) == ["connect-logging.json", "events.duckdb", "projects.json"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in made.path.iterdir()} == {0o600}
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o700
    assert copy.projects_file.read_bytes() == data.projects_file.read_bytes()
    assert back_up(copy, tmp_path / "again", nothing).events == 3


def test_what_jobs_tell_of_themselves_is_copied(data: DataDirectory, tmp_path: Path) -> None:
    jobs = Jobs(JobFiles(data.jobs_directory))
    done, running = jobs.new_import("p", "c"), jobs.new_import("p", "c")
    jobs.complete(done.id)
    (data.jobs_directory / f".{done.id}.json.half").touch()
    back_up(data, tmp_path / "copy", nothing)
    copied = DataDirectory(tmp_path / "copy").jobs_directory
    assert {stat.S_IMODE(file.stat().st_mode) for file in copied.iterdir()} == {0o600}
    assert left_of(copied) == sorted([f"{done.id}.json", f"{running.id}.json"])
    told = {job.id: job.status for job in Jobs(JobFiles(copied)).all_of(ImportJob, "p")}
    assert told == {done.id: "Complete", running.id: "Failed"}


def test_a_directory_that_no_server_has_filled_is_copied(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path / "data", create=True)
    (tmp_path / "copy").mkdir()
    assert back_up(directory, tmp_path / "copy", nothing).events == 0


def test_what_is_there_already_is_left_alone(data: DataDirectory, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    (tmp_path / ".new.partial").touch()
    for target, message in (
        (tmp_path / "mine", "there already"),
        (tmp_path / "mine" / "file", "there already"),
        (tmp_path / "link", "there already"),
        (tmp_path / "new", "in the way"),
        (data.path, "in the data directory"),
        (data.path / "copy", "in the data directory"),
    ):
        with pytest.raises(BackupError, match=message):
            back_up(data, target, nothing)
    assert left_of(tmp_path / "mine") == ["file"]


def test_two_backups_to_one_place_do_not_harm_each_other(data: DataDirectory, tmp_path: Path) -> None:
    """The second is refused, whenever it comes; it does not take from the first what that has copied."""
    refused = []

    def begin_another(done: int, total: int) -> None:
        with pytest.raises(BackupError, match="another backup is being made to"):
            back_up(data, tmp_path / "copy", nothing)
        refused.append(done)

    assert back_up(data, tmp_path / "copy", begin_another).events == 3
    assert len(refused) > 1
    assert left_of(tmp_path) == ["copy", "data"]


def test_a_place_that_another_backup_has_just_left_is_not_taken_for_ours(
    data: DataDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was opened before the other put its copy in place, and locked after that."""
    lock = fcntl.flock

    def be_late(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        (tmp_path / ".copy.partial").rename(tmp_path / "copy")
        (tmp_path / "copy" / "events.duckdb").touch()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", be_late)
    with pytest.raises(BackupError, match="another backup is being made to"):
        back_up(data, tmp_path / "copy", nothing)
    assert left_of(tmp_path / "copy") == ["events.duckdb"]


def test_what_an_interrupted_backup_left_is_removed(data: DataDirectory, tmp_path: Path) -> None:
    left = tmp_path / ".copy.partial"
    (left / "jobs").mkdir(parents=True)
    (left / "jobs" / "half.json").touch()
    (left / "events.duckdb").symlink_to(data.events_file)
    assert back_up(data, tmp_path / "copy", nothing).events == 3
    assert left_of(tmp_path / "copy") == ["connect-logging.json", "events.duckdb", "projects.json"]
    assert left_of(tmp_path) == ["copy", "data"]


def test_a_directory_in_use_without_an_answer_is_refused(data: DataDirectory, tmp_path: Path) -> None:
    lock = data.lock()
    with pytest.raises(DataDirectoryError, match="in use"):
        back_up(data, tmp_path / "copy", nothing)
    lock.close()
    assert left_of(tmp_path) == ["data"]


def test_what_changed_meanwhile_is_no_backup(
    data: DataDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that nobody foresaw; a file cut short; a copy that cannot be opened; one that lacks an event."""

    def checkpoint(done: int, total: int) -> None:
        if done == total:
            with data.events_file.open("r+b") as file:
                file.seek(4_096)
                byte = file.read(1)
                file.seek(4_096)
                file.write(bytes([byte[0] ^ 1]))

    with pytest.raises(BackupError, match="written meanwhile"):
        back_up(data, tmp_path / "copy", checkpoint)
    checkpoint(1, 1)
    monkeypatch.setattr(backup, "_size", lambda file: 10**7 if file.name == "events.duckdb" else 0)
    with pytest.raises(BackupError, match="shorter"):
        back_up(data, tmp_path / "copy", nothing)
    monkeypatch.setattr(backup, "_size", lambda file: 5_000 if file.name == "events.duckdb" else 0)
    with pytest.raises(StoreError, match="the events cannot be opened"):
        back_up(data, tmp_path / "copy", nothing)
    monkeypatch.undo()
    monkeypatch.setattr(backup, "_still", lambda _: nullcontext(Hold(0, 4, lambda: None)))
    with pytest.raises(BackupError, match="the copy holds 3 events, and the database 4"):
        back_up(data, tmp_path / "copy", nothing)
    assert left_of(tmp_path) == ["data"]


def run(*options: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "connect_logging.cli", "backup", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)


def test_a_place_without_room_is_named(data: DataDirectory, tmp_path: Path) -> None:
    """What fails is a write, of which the system says no name. Another limit stands for a full disk."""
    target = tmp_path / "copy"
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (10_000, most))
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}  # what fits of it would stay, see full_disks
    done = run("--data", str(data.path), "--to", str(target), preexec_fn=limit, env=environment)
    assert (done.returncode, done.stderr) == (2, f"Error: {target} could not be written: File too large\n")
    assert left_of(tmp_path) == ["data"]


def test_a_running_server_is_copied_while_it_takes_events(serve: Serve, tmp_path: Path) -> None:
    """The copy holds what was answered when it began, and whole batches of what came meanwhile."""
    server = serve()
    enough = threading.Event()

    def push() -> int:
        sent = 0
        while not enough.is_set():
            server.push("c", *({"id": sent + n, "a": "x" * 500} for n in range(100)))
            sent += 100
        return sent

    with ThreadPoolExecutor(1) as threads:
        pushed = threads.submit(push)
        try:
            while not server.count("c"):
                pass
            before = server.count("c")
            done = run("--data", str(server.data), "--to", str(tmp_path / "copy"))
            after = server.count("c")
        finally:
            enough.set()
        assert (done.returncode, done.stderr) == (0, "")
    assert server.count("c") == pushed.result()
    assert server.errors == ""
    copy = serve("copy")
    found = copy.count("c")
    print(f"copied during {pushed.result()} events: {found}, of which {before} were there when it began")
    assert before <= found <= after
    assert found % 100 == 0
    assert copy.keys == server.keys


def test_a_backup_that_is_killed_leaves_nothing_that_looks_like_one(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    server.push("c", *({"id": n} for n in range(100)))
    # Stopped by its first progress, and killed there.
    program = """
import os, signal, sys
from pathlib import Path
from connect_logging.server.backup import back_up
from connect_logging.server.data_directory import DataDirectory
back_up(DataDirectory(Path(sys.argv[1])), Path(sys.argv[2]), lambda done, total: done and os.kill(os.getpid(), 9))
"""
    target = tmp_path / "copy"
    killed = subprocess.run([sys.executable, "-c", program, str(server.data), str(target)], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert not target.exists()
    with pytest.raises(RuntimeError, match="is not ours"):
        serve(".copy.partial")
    done = run("--data", str(server.data), "--to", str(target), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert '"events": 100' in done.stdout
    assert not (tmp_path / ".copy.partial").exists()


def test_a_server_that_ends_meanwhile_ends_the_backup(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    server.push("c", {"id": 1})

    def progress(done: int, total: int) -> None:
        if done == total:
            server.kill()

    with pytest.raises(ControlError, match="the server has ended"):
        back_up(DataDirectory(server.data), tmp_path / "copy", progress)
    assert not (tmp_path / "copy").exists()
    assert back_up(DataDirectory(server.data), tmp_path / "copy", nothing).events == 1
