"""The program of a sender's process, run in this one: what it is told, what it does, and when it ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection as Channel
from pathlib import Path

import pytest
from journaling import an_orphan, flip, segments
from msgspec import msgpack
from oracle import Oracle
from oracle_faults import RefuseEvents, Status
from pushing import CANARY

from connect_logging import _sender
from connect_logging._journal.payload import Codec
from connect_logging._journal.reading import read_events
from connect_logging._journal.segment import HEADER_SIZE, Segment
from connect_logging._sender import READY, serve
from connect_logging._settings import Connection
from connect_logging._types import AnswerKind, Sent, Stretch


class Application:
    """The other end of the channel."""

    def __init__(self, url: str, parent: int) -> None:
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours.detach())
        self._theirs = Channel(theirs.detach())
        self.thread = threading.Thread(target=self._serve, args=(parent,))
        self.thread.start()
        self.channel.send_bytes(msgpack.encode((Connection("project", CANARY, url), 5.0)))
        assert self.channel.recv_bytes() == READY

    def _serve(self, parent: int) -> None:
        with self._theirs:
            try:
                serve(self._theirs, parent, lambda: None)
            except EOFError:
                return

    def send(self, stretch: Stretch) -> Sent:
        self.channel.send_bytes(msgpack.encode(stretch))
        return msgpack.decode(self.channel.recv_bytes(), type=Sent)


@contextmanager
def application(url: str, parent: int | None = None) -> Iterator[Application]:
    made = Application(url, os.getppid() if parent is None else parent)
    yield made
    made.channel.close()
    made.thread.join(10)
    assert not made.thread.is_alive()


def whole(path: Path, most: int = 5_000) -> Stretch:
    return Stretch(str(path), HEADER_SIZE, path.stat().st_size, most)


def test_it_pushes_what_is_in_a_stretch_as_whoever_reads_it_would(oracle: Oracle, tmp_path: Path) -> None:
    path = an_orphan(tmp_path, 30)
    segment, _ = Segment.look_at(path)
    read = read_events(segment, Codec(), HEADER_SIZE, segment.end, 5_000, 1_000_000)
    segment.close()
    with application(oracle.url) as app:
        assert app.send(whole(path)) == Sent(30, path.stat().st_size)
        [request] = oracle.requests
        assert [each for events in request.batch.values() for each in events] == [event.body for event in read.events]
        assert app.send(whole(path, most=10)).events == 10
        assert app.send(Stretch(str(path), read.starts[20], read.starts[25], 5_000)).events == 5
    assert path.exists(), "it owns nothing"


def test_it_goes_from_one_segment_to_the_next(oracle: Oracle, tmp_path: Path) -> None:
    paths = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths.append(an_orphan(tmp_path / name, 3))
    with application(oracle.url) as app:
        assert [app.send(whole(path)).events for path in (*paths, paths[0])] == [3, 3, 3]
    assert len(oracle.requests) == 3


def test_what_is_not_all_well_is_told_as_the_server_says_it(oracle: Oracle, tmp_path: Path) -> None:
    path = an_orphan(tmp_path, 3)
    with application(oracle.url) as app:
        app.send(whole(path))
        again = app.send(whole(path))
        assert again.answer is not None
        assert [outcome.duplicate for outcome in again.answer.outcomes] == [True] * 3
        oracle.fail(Status(503, retry_after=7))
        later = app.send(whole(path))
        assert later.events == 3
        assert later.answer is not None
        assert (later.answer.kind, later.answer.http_status) == (AnswerKind.UNAVAILABLE, 503)
        assert later.answer.retry_after == 7
        oracle.fail(RefuseEvents())
        assert app.send(whole(path)).events == 3
        oracle.refuse()
        unreachable = app.send(whole(path)).answer
        assert unreachable is not None
        assert unreachable.kind is AnswerKind.UNAVAILABLE
        assert CANARY not in unreachable.message


def test_what_cannot_be_read_or_is_damaged_is_left_to_the_application(oracle: Oracle, tmp_path: Path) -> None:
    path = an_orphan(tmp_path, 3)
    with application(oracle.url) as app:
        assert app.send(Stretch(str(tmp_path / "gone.journal"), 32, 64, 10)) == Sent(0, 32)
        assert app.send(Stretch(str(path), 32, 32, 10)) == Sent(0, 32)
        flip(path, path.stat().st_size - 1)
        assert app.send(whole(path)) == Sent(0, 32)
    assert oracle.requests == []
    assert segments(tmp_path) == [path]


def test_it_ends_when_the_application_is_gone_though_another_holds_the_channel(
    oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sender, "LOOK_AFTER", 0.01)
    with application(oracle.url, parent=os.getpid()) as app:
        app.thread.join(10)
        assert not app.thread.is_alive()
    with application(oracle.url) as app:
        app.thread.join(0.1)
        assert app.thread.is_alive(), "its parent lives"


def test_a_message_that_is_no_text_is_none(oracle: Oracle, tmp_path: Path) -> None:
    path = an_orphan(tmp_path, 1)
    oracle.fail(Status(200, b'{"things":[{"success":false,"message":%d}]}' % 10**30))
    with application(oracle.url) as app:
        answer = app.send(whole(path)).answer
    assert answer is not None
    assert [(outcome.success, outcome.message) for outcome in answer.outcomes] == [(False, None)]


def test_as_a_program_it_is_silent_about_a_channel_that_ends() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        program = "from connect_logging._sender import main; main()"
        command = [sys.executable, "-c", program, str(theirs.fileno()), str(os.getpid()), "[]"]
        ran = subprocess.run(command, pass_fds=[theirs.fileno()], capture_output=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
