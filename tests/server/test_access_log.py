"""The access log: one line of JSON a request, without keys, without waiting."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from full_disks import files_limited_to

from connect_logging.server import access_log
from connect_logging.server.access_log import AccessLog
from connect_logging.server.observing import Exchange

EXCHANGE = Exchange("POST", "/events/{collection}", "/events/x", 200, 0.0123456, 100, 7, "127.0.0.1", "p1")
KEY = "aB3" * 10 + "xy"
FILTERED = f"{'0a' * 16}-{'1b' * 48}"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def test_a_line_has_these_fields(tmp_path: Path) -> None:
    with closing(AccessLog(str(tmp_path / "log"), lambda: 1_700_000_000.25)) as log:
        log.write(EXCHANGE)
    assert lines(tmp_path / "log") == [
        {
            "time": "2023-11-14T22:13:20.250Z",
            "client": "127.0.0.1",
            "method": "POST",
            "route": "/events/{collection}",
            "path": "/events/x",
            "status": 200,
            "milliseconds": 12.346,
            "received": 100,
            "sent": 7,
            "project": "p1",
        }
    ]
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


@pytest.mark.parametrize("path", [f"/events/{KEY}", f"/{FILTERED}/x", f"/a{KEY}b", "/" + "x" * 990 + "/" + KEY])
def test_what_may_be_a_key_is_not_in_it(tmp_path: Path, path: str) -> None:
    with closing(AccessLog(str(tmp_path / "log"), lambda: 0.0)) as log:
        log.write(EXCHANGE._replace(route=None, path=path))
        log.write(EXCHANGE._replace(method=KEY))
    text = (tmp_path / "log").read_text()
    assert KEY[:20] not in text
    assert FILTERED[:20] not in text
    assert all("[removed]" in line for line in text.splitlines())


def test_a_path_is_one_line_of_printable_ascii_however_long(tmp_path: Path) -> None:
    hostile = "/\n\r\x1b[31m\x00\x7f\x9b\u2028é'\"\\" + "/ab" * 1_000
    with closing(AccessLog(str(tmp_path / "log"), lambda: 0.0)) as log:
        log.write(EXCHANGE._replace(path=hostile))
    raw = (tmp_path / "log").read_bytes()
    assert raw.count(b"\n") == 1
    assert all(32 <= byte < 127 for byte in raw.rstrip(b"\n"))
    assert lines(tmp_path / "log")[0]["path"] == hostile[: access_log.MAX_PATH]


def test_a_file_that_is_moved_away_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with closing(AccessLog(str(path), lambda: 0.0)) as log:
        log.write(EXCHANGE)
        while not path.stat().st_size:
            threading.Event().wait(0.001)
        path.rename(tmp_path / "log.1")
        log.write(EXCHANGE)
    assert (len(lines(path)), len(lines(tmp_path / "log.1"))) == (1, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        AccessLog(str(tmp_path / "link"), lambda: 0.0)


def test_it_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with closing(AccessLog("-", lambda: 0.0)) as log:
        log.write(EXCHANGE)
    assert json.loads(capfd.readouterr().err)["status"] == 200


def test_while_a_file_cannot_be_made_anew_lines_go_where_it_was_moved_to(tmp_path: Path) -> None:
    path, moved = tmp_path / "log", tmp_path / "log.1"
    with closing(AccessLog(str(path), lambda: 0.0)) as log:
        path.rename(moved)
        path.symlink_to(tmp_path / "elsewhere")
        log.write(EXCHANGE)
        while not moved.stat().st_size:
            threading.Event().wait(0.001)
        path.unlink()
        log.write(EXCHANGE)
        log.write(EXCHANGE)
    assert (len(lines(path)), len(lines(moved))) == (2, 1)
    assert not (tmp_path / "elsewhere").exists()


def test_what_a_full_disk_has_taken_in_part_is_ended_before_the_next_line(tmp_path: Path) -> None:
    """Here a limit to the size of files, which counts as a full disk does."""
    path = tmp_path / "log"
    with closing(AccessLog(str(path), lambda: 0.0)) as log:
        with files_limited_to(100):
            for path_ in ("/1", "/2", "/3"):
                log.write(EXCHANGE._replace(path=path_))
            wait_until_taken(log)
            while path.stat().st_size < 100:
                threading.Event().wait(0.001)
        log.write(EXCHANGE._replace(path="/4"))
    told = [line["path"] for line in lines(path)]
    assert (told[0], told[-1]) == ("/1", "/4")


def wait_until_taken(log: AccessLog) -> None:
    """Until no line is queued; one may be about to be written."""
    while not log._queue.empty():
        threading.Event().wait(0.001)


def test_closing_ends_its_thread(tmp_path: Path) -> None:
    with closing(AccessLog(str(tmp_path / "log"), lambda: 0.0)):
        assert "access-log" in {thread.name for thread in threading.enumerate()}
    assert "access-log" not in {thread.name for thread in threading.enumerate()}


def test_who_does_not_read_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here one who sleeps at the other end of a pipe, which is full."""
    monkeypatch.setattr(access_log, "_QUEUED", 10)
    monkeypatch.setattr(access_log, "_CLOSE_WITHIN", 0.1)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    fill(pipe)
    log = AccessLog(str(pipe), lambda: 0.0)
    log.write(EXCHANGE)
    wait_until_taken(log)
    for _ in range(1_000):
        log.write(EXCHANGE)
    assert log.dropped == 990
    log.close()
    os.close(reader)


def fill(pipe: Path) -> None:
    """Write until nothing more fits."""
    writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    with closing(os.fdopen(writer, "wb", buffering=0)) as file:
        while file.write(b"x") is not None:
            pass


def test_who_does_not_read_does_not_keep_a_process_from_its_end() -> None:
    """Here stderr, a pipe that is full and that nobody reads."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while os.write(writer, b"x"):
            pass
    os.set_blocking(writer, True)
    try:
        subprocess.run([sys.executable, "-c", WRITES_ONE_LINE], stderr=writer, timeout=30, check=True)
    finally:
        os.close(reader)
        os.close(writer)


WRITES_ONE_LINE = """
from connect_logging.server import access_log
from connect_logging.server.observing import Exchange

access_log._CLOSE_WITHIN = 0.1
log = access_log.AccessLog("-", lambda: 0.0)
log.write(Exchange("GET", "/", "/", 200, 0.0, 0, 0, "", ""))
log.close()
"""
