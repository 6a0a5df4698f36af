"""``connect-logging spool``: what a killed process left behind is shown, and sent, by whoever is asked to."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from click.testing import CliRunner, Result
from oracle import Oracle
from oracle_faults import Hang, RefuseBatch, Status
from pushing import CANARY, wait_for_pushers
from server_process import ServerProcess
from spooling import Program, ended, segments

from connect_logging._journal.payload import Codec
from connect_logging.cli import main
from connect_logging.event import Event

COMMAND = [sys.executable, "-W", "error", "-m", "connect_logging.cli"]

LOG_AND_DIE = """
make_handler(flush_interval=60)
log_events(0, 100)
die()
"""


LOG_POISON_AND_DIE = """
make_handler(flush_interval=60)
log_events(0, 5)
log.info("", extra={"collection": "things", "event": {"poison": True}})
die()
"""


def run(*arguments: Any, url: str = "http://127.0.0.1:9", **env: str) -> Result:
    env = {"CONNECT_PROJECT_ID": "project", "CONNECT_API_KEY": CANARY, "CONNECT_BASE_URL": url, **env}
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert CANARY not in result.output
    return result


def drain(spool: Path, oracle: Oracle, code: int, *options: Any) -> str:
    result = run("spool", "drain", spool, *options, url=oracle.url)
    assert result.exit_code == code, result.output
    return result.output


def status(spool: Path) -> dict[str, Any]:
    result = run("spool", "status", spool, "--json")
    assert result.exit_code == 0
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def numbers(oracle: Oracle) -> list[Any]:
    return sorted(event["id"] for event in oracle.events("things"))


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The spool of a process that was killed after it had logged 100 events."""
    directory = tmp_path_factory.mktemp("killed")
    assert Program(LOG_AND_DIE, directory, directory / "spool", "http://127.0.0.1:9").wait() == -signal.SIGKILL
    return directory / "spool"


@pytest.fixture
def spool(left_behind: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(left_behind, tmp_path / "spool"))


# What is there


def test_a_spool_left_behind_is_shown_drained_and_gone(tmp_path: Path, server: ServerProcess) -> None:
    spool = tmp_path / "spool"
    program = Program(LOG_AND_DIE, tmp_path, spool, "http://127.0.0.1:9")
    assert program.wait() == -signal.SIGKILL

    found = status(spool)
    [file] = found["files"]
    [path] = segments(spool)
    assert (file["name"], file["state"], file["pid"], file["events"]) == (path.name, "orphan", program.pid, 100)
    assert (found["events"], found["bytes"]) == (100, path.stat().st_size)
    assert found["oldest"] == file["oldest"]
    assert found["oldest"]["collection"] == "things"
    shown = run("spool", "status", spool).output
    assert f"pid {program.pid}" in shown
    assert "100 events in 1 file, the oldest for things since 20" in shown

    drained = run(
        *("spool", "drain", spool, "--project-id", server.project_id, "--base-url", server.url),
        CONNECT_API_KEY=server.keys["push"],
    )
    assert (drained.exit_code, drained.stdout, drained.stderr) == (0, "100 events sent\n", "")
    assert server.count("things") == 100
    assert segments(spool) == []
    assert status(spool)["files"] == []
    assert run("spool", "status", spool).stdout == "0 events in 0 files; 0 bytes\n"


def test_what_a_running_process_has_is_shown_and_left_to_it(tmp_path: Path, oracle: Oracle) -> None:
    oracle.fail(Status(503), None)
    program = Program(
        "make_handler()\nlog_events(0, 7)\nsay('logged')\nlisten()\n", tmp_path, tmp_path / "s", oracle.url
    )
    with ended(program):
        assert program.hear() == "logged"
        [file] = status(tmp_path / "s")["files"]
        assert (file["state"], file["pid"], file["events"]) == ("in use", program.pid, 7)
        output = drain(tmp_path / "s", oracle, 0)
        assert "0 events sent" in output
        assert "1 file in use, with 7 events: left to the running process" in output
        oracle.heal()
        program.tell("end")
        program.wait()
    assert numbers(oracle) == list(range(7))
    assert oracle.duplicates == 0


def test_a_newer_version_and_what_cannot_be_read_are_named_and_left(spool: Path, oracle: Oracle) -> None:
    newer = bytearray(segments(spool)[0].read_bytes())
    newer[8:10] = (2).to_bytes(2, "little")
    newer[28:32] = crc32(newer[:16]).to_bytes(4, "little")
    (spool / "a.journal").write_bytes(newer)
    (spool / "b.journal").symlink_to(spool / "a.journal")
    (spool / "c.journal").mkdir()
    states = {file["name"]: file["state"] for file in status(spool)["files"]}
    assert states.pop(segments(spool)[0].name) == "orphan"
    assert states == {"a.journal": "newer version", "b.journal": "unreadable", "c.journal": "unreadable"}
    output = drain(spool, oracle, 1)
    assert "100 events sent" in output
    assert "left: a.journal, which a newer version of connect_logging wrote" in output
    assert "left: b.journal, which cannot be read: Too many levels of symbolic links" in output
    assert "left: c.journal, which cannot be read: not a regular file" in output
    assert (spool / "a.journal").read_bytes() == newer


def test_damage_is_set_aside_and_told_of(spool: Path, oracle: Oracle) -> None:
    [path] = segments(spool)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert status(spool)["events"] == 99
    output = drain(spool, oracle, 0)
    assert "99 events sent" in output
    assert "bytes damaged, and set aside in" in output
    assert len(oracle.stored) == 99
    assert status(spool)["damagedBytes"] > 0
    assert "bytes were damaged, and are set aside in *.damaged" in run("spool", "status", spool).output


def test_an_event_without_a_timestamp_is_shown_all_the_same(spool: Path) -> None:
    for body in (b'{"n":1}', b"{no JSON"):
        segments(spool)[0].write_bytes(segments(spool)[0].read_bytes()[:32] + Codec().record(Event("things", body)))
        assert status(spool)["oldest"] == {"timestamp": "?", "collection": "things"}


def test_what_the_server_refuses_becomes_a_dead_letter_in_the_spool(tmp_path: Path, oracle: Oracle) -> None:
    spool = tmp_path / "spool"
    Program(LOG_POISON_AND_DIE, tmp_path, spool, "http://127.0.0.1:9").wait()
    oracle.fail(RefuseBatch(), None)
    output = drain(spool, oracle, 0)
    assert "5 events sent" in output
    assert f"1 event refused, and now in {spool / 'dead-letters.log'}" in output
    assert status(spool)["deadLetterBytes"] > 0
    shown = run("spool", "status", spool).output
    assert f"connect-logging dead-letters list {spool / 'dead-letters.log'}" in shown


# What stops it


def test_without_a_server_everything_stays(spool: Path, oracle: Oracle) -> None:
    [path] = segments(spool)
    before = path.read_bytes()
    oracle.refuse()
    output = drain(spool, oracle, 1, "--timeout", 0.2)
    assert "left: 100 events in 1 file: ConnectionRefusedError: " in output
    assert path.read_bytes() == before
    wait_for_pushers()
    oracle.listen()
    assert "100 events sent" in drain(spool, oracle, 0)
    assert numbers(oracle) == list(range(100))


@pytest.mark.parametrize("code", [401, 404])
def test_what_only_a_person_can_mend_ends_it_at_once(spool: Path, oracle: Oracle, code: int) -> None:
    oracle.fail(Status(code), None)
    started = time.monotonic()
    assert f"left: 100 events in 1 file: HTTP {code}: as the test wants it" in drain(spool, oracle, 1)
    assert time.monotonic() - started < 10, "and not after its 30 seconds"
    assert len(oracle.requests) == 1
    assert status(spool)["events"] == 100


def test_what_was_stored_already_is_said(spool: Path, oracle: Oracle) -> None:
    copy = segments(spool)[0].read_bytes()
    drain(spool, oracle, 0)
    (spool / "0.journal").write_bytes(copy)
    assert "0 events sent\n100 events stored already" in drain(spool, oracle, 0)
    assert len(oracle.stored) == 100


def started_drain(spool: Path, oracle: Oracle, **options: Any) -> subprocess.Popen[str]:
    env = {**os.environ, "CONNECT_PROJECT_ID": "p", "CONNECT_API_KEY": CANARY, "CONNECT_BASE_URL": oracle.url}
    return subprocess.Popen(
        [*COMMAND, "spool", "drain", spool],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_it_is_stopped_the_rest_stays(spool: Path, oracle: Oracle, number: int) -> None:
    oracle.fail(Hang())
    with started_drain(spool, oracle, stderr=subprocess.PIPE) as process:
        oracle.wait_for(lambda o: o.requests)
        process.send_signal(number)
        out, err = process.communicate()
    if number == signal.SIGINT:
        assert (process.returncode, err) == (1, "")
        assert "left: 100 events in 1 file: stopped by Ctrl-C" in out
    assert process.returncode != 0
    assert "Traceback" not in err
    assert status(spool)["events"] == 100
    assert "100 events sent" in drain(spool, oracle, 0)
    assert numbers(oracle) == list(range(100))


@pytest.fixture
def terminal() -> Iterator[tuple[int, list[bytes]]]:
    """A terminal's descriptor, and what is written to it."""
    ours, theirs = pty.openpty()
    written: list[bytes] = []

    def listen() -> None:
        try:
            while data := os.read(ours, 4096):
                written.append(data)
        except OSError:
            return  # nobody writes any more

    reader = threading.Thread(target=listen)
    reader.start()
    yield theirs, written
    os.close(theirs)
    reader.join()
    os.close(ours)


def test_a_terminal_gets_a_progress_bar(spool: Path, oracle: Oracle, terminal: tuple[int, list[bytes]]) -> None:
    with started_drain(spool, oracle, stderr=terminal[0]) as process:
        out, _ = process.communicate()
    assert (process.returncode, out) == (0, "100 events sent\n")
    written = b"".join(terminal[1])
    assert b"sending" in written
    assert b"100/100" in written


# Mistakes


def test_mistakes_are_told_in_a_line_and_nothing_is_made(tmp_path: Path, spool: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "photo.jpg").touch()
    (tmp_path / "empty").mkdir()
    for command in ("status", "drain"):
        for place, words in (("none", "does not exist"), ("photos", "is no spool"), ("photos/photo.jpg", "is not a")):
            result = run("spool", command, tmp_path / place)
            assert result.exit_code == 2
            assert words in result.stderr
            assert result.stderr.count("\n") == 1
    assert not (tmp_path / "none").exists()
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["photo.jpg"]
    assert status(tmp_path / "empty")["events"] == 0
    for missing in ("CONNECT_PROJECT_ID", "CONNECT_API_KEY", "CONNECT_BASE_URL"):
        result = run("spool", "drain", spool, **{missing: ""})
        assert result.exit_code == 2
        assert missing in result.stderr
    (tmp_path / "link").symlink_to(spool)
    assert "not a link" in run("spool", "drain", tmp_path / "link").stderr
    assert status(spool)["events"] == 100
