"""The program of a process that sends for an application, whose :mod:`._sender_process` starts it.

Over its channel it is told where to push and as whom, says that it is ready, and from then on is told of stretches of
the journal: it reads each, pushes its events as one batch, and says what came of it. Invariants:

* It owns no segment and changes no file: an event stays the application's until that has settled it.
* It never outlives the application for long: it ends when the channel does or, where a process that was forked holds
  that open, when it has another parent.
* The key comes over the channel, and is in no argument and no environment.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection as Channel
from pathlib import Path
from typing import Final

from msgspec import msgpack
from msgspec.structs import replace

from ._journal.payload import Codec
from ._journal.reading import CHUNK, read_events
from ._journal.segment import Segment
from ._settings import Connection
from ._transport import HttpTransport
from ._types import STORED, AnswerKind, Outcome, Sent, Stretch

READY: Final = b"ready"
LOOK_AFTER: Final = 5.0
"""Seconds without a word, after which it looks whether the application is still its parent."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Are the application's, also where they are sent to all of a group: it may want to send what is left."""


def main() -> None:
    """Its arguments: the channel's descriptor, and the application's process id."""
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    descriptor, parent = map(int, sys.argv[1:3])
    with Channel(descriptor) as channel, suppress(EOFError, OSError):
        serve(channel, parent, _be_silent)


def _be_silent() -> None:
    """From here on failures are told over the channel; what standard error is would grow with each warning."""
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)


def serve(channel: Channel, parent: int, when_ready: Callable[[], object]) -> None:
    """Do what the process ``parent`` says over ``channel``. Raises EOFError at its end, OSError when it is broken."""
    connection, timeout = msgpack.decode(channel.recv_bytes(), type=tuple[Connection, float])
    sender = Sender(HttpTransport(connection, timeout, time.monotonic))
    when_ready()
    channel.send_bytes(READY)
    while True:
        while not channel.poll(LOOK_AFTER):
            if os.getppid() != parent:
                return
        stretch = msgpack.decode(channel.recv_bytes(), type=Stretch)
        channel.send_bytes(msgpack.encode(sender.send(stretch)))


class Sender:
    """Reads stretches and pushes them."""

    def __init__(self, transport: HttpTransport) -> None:
        self._transport = transport
        self._codec = Codec()
        self._segment: Segment | None = None

    def send(self, stretch: Stretch) -> Sent:
        """Push the events of ``stretch``, as many as make one batch."""
        try:
            segment = self._opened(Path(stretch.path))
            read = read_events(segment, self._codec, stretch.start, stretch.end, stretch.most, CHUNK)
        except OSError:
            return Sent(0, stretch.start)
        if read.damaged or not read.events:
            return Sent(0, stretch.start)
        answer = self._transport.push(read.events)
        if answer.kind is AnswerKind.ANSWERED and answer.outcomes.count(STORED) == len(read.events):
            return Sent(len(read.events), read.end)
        return Sent(len(read.events), read.end, replace(answer, outcomes=[*map(_plain, answer.outcomes)]))

    def _opened(self, path: Path) -> Segment:
        """The segment at ``path``; most often the one of the last time. Raises OSError."""
        if self._segment is None or self._segment.path != path:
            self.close()
            self._segment, _ = Segment.look_at(path)
        return self._segment

    def close(self) -> None:
        """Let go of the file."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None


def _plain(outcome: Outcome) -> Outcome:
    """Without a message that is none: it may be anything that JSON holds, and MessagePack does not."""
    return outcome if isinstance(outcome.message, str) else replace(outcome, message=None)
