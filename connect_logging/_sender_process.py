"""The application's end of a process that sends for it: :mod:`._sender` is its program.

What logs and what sends take turns at one interpreter, so that each event that is sent delays the log calls beside it.
With this they have one each: only counts come back. Invariants:

* The process is started with the first events that wait, and again after it has ended. Where it cannot be had, the
  application sends by itself, and tries it again after ``RETRY`` seconds.
* What is lent to it stays in the journal, ours and unsettled, until it says that the server has all of it. What ends it
  at any time, ``kill -9`` included, loses nothing; its events are sent again, and are the same.
* It is in a session of its own, so that Ctrl-C does not reach it. It ends with the application, however that ends.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection as Channel
from multiprocessing.spawn import get_executable
from typing import Final

from msgspec import msgpack

from ._journal.spool import Spool
from ._journal.sync import Trouble
from ._sender import READY
from ._settings import Connection
from ._types import Clock, Sent, Stretch

RETRY: Final = 30.0
"""Seconds after which a process that could not be had is tried again."""
GRACE: Final = 5.0
"""Seconds beyond a request's own for an answer of the process; one without is hopeless, and is killed."""
START: Final = 30.0
"""Seconds for it to be ready, on a machine that is busy."""


class SenderProcess:
    """Sends what waits in ``spool``, which is told to keep nothing in memory for it.

    ``timeout``: seconds for one request. ``trouble`` is told what an operator should know. ``clock``: monotonic
    seconds. One thread at a time sends; :meth:`close` by any.
    """

    def __init__(self, spool: Spool, connection: Connection, timeout: float, trouble: Trouble, clock: Clock) -> None:
        self._spool = spool
        self._connection = connection
        self._timeout = timeout
        self._trouble = trouble
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        spool.keep_nothing_in_memory()
        self.reset()

    def reset(self) -> None:
        """Begin without a process: in a forked child, whose parent has one."""
        if self._process is not None:
            self._process.returncode = 0  # not ours to wait for
        if self._channel is not None:
            self._channel.close()
        self._process = self._channel = None
        self._closed = threading.Event()
        self._talking = threading.Lock()
        self._try_at = 0.0

    def send(self, most: int) -> Sent | None:
        """Have the oldest events that wait sent, at most ``most``; :meth:`settle` or :meth:`give_back` is to follow.

        None when there are none, or they are better sent by the application itself.
        """
        if self._closed.is_set() or self._clock() < self._try_at:
            return None
        stretch = self._spool.lend(most)
        if stretch is None:
            return None
        sent: Sent | None = None
        try:
            with self._talking:
                sent = self._asked(stretch)
                if self._closed.is_set():  # while it was being started
                    self._end()
        finally:
            if sent is None or not sent.events:
                self._spool.give_back()
        return sent if sent is not None and sent.events else None

    def settle(self, sent: Sent) -> None:
        """The server has all that was sent."""
        self._spool.settle_lent(sent.events, sent.end)

    def give_back(self) -> None:
        """What was sent waits as before."""
        self._spool.give_back()

    def close(self) -> None:
        """End the process, whatever it is at."""
        self._closed.set()
        process = self._process
        if process is not None:
            process.kill()  # so that nobody waits for its answer
        if self._talking.acquire(timeout=1.0):  # else it is just being started, by a thread that will see
            self._end()
            self._talking.release()

    def _asked(self, stretch: Stretch) -> Sent | None:
        try:
            return self._ask(stretch)
        except Exception as error:  # noqa: BLE001 - whatever a process and its channel die of
            self._failed(error)
            return None
        except BaseException:  # Ctrl-C: the answer would be taken for that of the next stretch
            self._end()
            raise

    def _ask(self, stretch: Stretch) -> Sent:
        channel = self._channel or self._start()
        channel.send_bytes(msgpack.encode(stretch))
        if not channel.poll(self._timeout + GRACE):
            raise TimeoutError("no answer")
        return msgpack.decode(channel.recv_bytes(), type=Sent)

    def _start(self) -> Channel:
        ours, theirs = socket.socketpair()
        self._channel = channel = Channel(ours.detach())
        with theirs:
            descriptor = theirs.fileno()
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, with our own module
                [get_executable(), "-P", "-m", "connect_logging._sender", str(descriptor), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[descriptor],
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        channel.send_bytes(msgpack.encode((self._connection, self._timeout)))
        if not channel.poll(START) or channel.recv_bytes() != READY:
            raise TimeoutError("not ready in time")
        return channel

    def _failed(self, error: Exception) -> None:
        self._end()
        if not self._closed.is_set():
            self._try_at = self._clock() + RETRY
            has_ended = isinstance(error, EOFError | ConnectionError)
            cause = "it has ended" if has_ended else str(error) or type(error).__name__
            self._trouble("sender", f"the process that sends has failed ({cause}): this one sends meanwhile")

    def _end(self) -> None:
        channel, process = self._channel, self._process
        self._channel = self._process = None
        if channel is not None:
            channel.close()
        if process is not None:
            process.kill()
            process.wait()
