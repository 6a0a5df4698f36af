"""The application's end of a process that sends for it: :mod:`._sender` is its program.

What logs and what sends take turns at one interpreter, so that each event that is sent delays the log calls beside it.
With this they have one each: only counts come back. Invariants:

* What is lent to the process stays in the journal, ours and unsettled, until it says that the server has all of it.
  What ends it at any time, ``kill -9`` included, loses nothing; its events are sent again, and are the same.
* Nobody waits for it to start. Until it is ready the application sends by itself; so it does for ``RETRY`` seconds
  after the process has failed.
* It is in a session of its own, so that Ctrl-C does not reach it. It ends with the application, however that ends.
* It imports the standard library first, and then what the application would, and runs nothing of the application's.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from multiprocessing.connection import Connection as Channel
from multiprocessing.spawn import get_executable
from pathlib import Path
from struct import Struct
from typing import IO, Final

from msgspec import msgpack

from ._journal.spool import Spool
from ._journal.sync import Trouble
from ._sender import READY
from ._settings import ENVIRONMENT, MASTER_KEY, Connection
from ._types import Clock, Sent, Stretch
from .event import Entry

RETRY: Final = 30.0
"""Seconds after which a process that has failed is started again."""
GRACE: Final = 5.0
"""Seconds beyond a request's own for an answer of the process; one without is hopeless, and is killed."""
START: Final = 30.0
"""Seconds for it to be ready, on a machine that is busy."""
_KEYS: Final = frozenset({ENVIRONMENT["api_key"], MASTER_KEY})
MARK: Final = "CONNECT_LOGGING_SENDER"
"""In its environment. Should it be no interpreter but the application once more, that does not start another."""

_PROGRAM: Final = """\
import json, sys
sys.path[:] = json.loads(sys.argv[3])
from connect_logging._sender import main
main()
"""
_TIMEVAL: Final = Struct("ll")


class _Running:
    """A process that was started. Raises OSError when it cannot be."""

    def __init__(self, began: float, secret: str) -> None:
        self.began = began
        self.is_ready = False
        with contextlib.ExitStack() as undo:
            self._errors = undo.enter_context(tempfile.TemporaryFile())
            ours, theirs = map(undo.enter_context, socket.socketpair())
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(max(int(GRACE), 1), 0))
            descriptor = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)  # below are its standard ones
            try:
                self.process = _start(descriptor, self._errors, secret)
            finally:
                os.close(descriptor)
            theirs.close()
            self.channel = Channel(ours.detach())
            undo.pop_all()

    def tell(self, connection: Connection, timeout: float) -> None:
        """Where to push, as whom, and for how long at most. Raises OSError when it has ended."""
        self.channel.send_bytes(msgpack.encode((connection, timeout)))

    def look(self, now: float) -> bool:
        """Whether it is ready. Raises OSError when it is taking too long, EOFError when it has ended."""
        if not self.is_ready and self.channel.poll(0):
            self.is_ready = self.channel.recv_bytes(len(READY)) == READY
        if not self.is_ready and now - self.began > START:
            raise TimeoutError("it was not ready in time")
        return self.is_ready

    def forget(self) -> None:
        """Let go of it in a forked child, where it is not ours."""
        self.process.returncode = 0
        self.channel.close()
        self._errors.close()

    def end(self) -> str:
        """Kill it, if it lives. Returns the last that it said on standard error."""
        self.channel.close()
        with contextlib.suppress(OSError):  # we may be another user by now; it ends with the channel
            self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        self._errors.close()
        return said.rpartition("\n")[2]


class SenderProcess:
    """Sends what waits in ``spool``, which is told to keep nothing in memory for it.

    ``timeout``: seconds for one request. ``trouble`` is told what an operator should know. ``clock``: monotonic
    seconds. One thread at a time sends; the other methods are anybody's.
    """

    def __init__(self, spool: Spool, connection: Connection, timeout: float, trouble: Trouble, clock: Clock) -> None:
        self._spool = spool
        self._connection = connection
        self._timeout = timeout
        self._trouble = trouble
        self._clock = clock
        self._running: _Running | None = None
        spool.keep_nothing_in_memory()
        self.reset()

    def reset(self) -> None:
        """See :class:`~.event.Sender`."""
        running, self._running = self._running, None
        if running is not None:
            running.forget()
        self._closed = threading.Event()
        self._starting = threading.RLock()
        self._talking = threading.Lock()
        self._start_at = 0.0

    def hold(self) -> None:
        """See :class:`~.event.Sender`: a forked child would keep open what tells that a process has started."""
        self._starting.acquire()

    def let_go(self) -> None:
        """Go on."""
        self._starting.release()

    def start(self) -> None:
        """Start the process, unless there is one, or was a moment ago; it is not waited for."""
        with self._starting:
            now = self._clock()
            if self._running is None and now >= self._start_at and not self._closed.is_set():
                try:
                    self._running = _Running(now, self._connection.api_key)
                    self._running.tell(self._connection, self._timeout)
                except Exception as error:  # noqa: BLE001 - whatever a start dies of
                    self._failed(error)

    def send(self, most: int) -> Sent | None:
        """See :class:`~.event.Sender`."""
        sent: Sent | None = None
        with self._talking:
            self.start()
            if self._is_ready() and (stretch := self._spool.lend(most)) is not None:
                try:
                    sent = self._asked(stretch)
                finally:
                    if sent is None or not sent.events:
                        self._spool.give_back()
        return sent if sent is not None and sent.events else None

    def settle(self, sent: Sent) -> None:
        """See :class:`~.event.Sender`."""
        self._spool.settle_lent(sent.events, sent.end)

    def take(self, sent: Sent) -> list[Entry]:
        """See :class:`~.event.Sender`."""
        return self._spool.take_lent(sent.events, sent.end)

    def give_back(self) -> None:
        """See :class:`~.event.Sender`."""
        self._spool.give_back()

    def close(self) -> None:
        """See :class:`~.event.Sender`."""
        self._closed.set()
        with self._starting:
            running = self._running
        if running is not None:
            with contextlib.suppress(OSError):
                running.process.kill()  # so that nobody waits for its answer
        if self._talking.acquire(timeout=1.0):
            self._end()
            self._talking.release()

    def _is_ready(self) -> bool:
        try:
            return self._running is not None and self._running.look(self._clock())
        except Exception as error:  # noqa: BLE001 - whatever a process and its channel die of
            self._failed(error)
            return False

    def _asked(self, stretch: Stretch) -> Sent | None:
        assert self._running is not None
        channel = self._running.channel
        try:
            channel.send_bytes(msgpack.encode(stretch))
            if not channel.poll(self._timeout + GRACE):
                raise TimeoutError("it does not answer")
            return msgpack.decode(channel.recv_bytes(), type=Sent)
        except Exception as error:  # noqa: BLE001 - whatever a process and its channel die of
            self._failed(error)
            return None
        except BaseException:  # Ctrl-C: the answer would be taken for that of the next stretch
            self._end()
            raise

    def _failed(self, error: Exception) -> None:
        said = self._end()
        self._start_at = self._clock() + RETRY
        if not self._closed.is_set():
            has_ended = isinstance(error, EOFError | ConnectionError)
            cause = said or ("it has ended" if has_ended else str(error) or type(error).__name__)
            self._trouble("sender", f"the process that sends has failed ({cause}): this one sends meanwhile")

    def _end(self) -> str:
        running, self._running = self._running, None
        return "" if running is None else running.end()


def _start(channel: int, errors: IO[bytes], secret: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - this interpreter, with our own program
        [_interpreter(), "-P", "-c", _PROGRAM, str(channel), str(os.getpid()), json.dumps(_path())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        pass_fds=[channel],
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if not _is_key(name, value, secret)} | {MARK: "1"},
    )


def _is_key(name: str, value: str, secret: str) -> bool:
    return name in _KEYS or value == secret


def _interpreter() -> str:
    """What runs Python. Raises OSError when that is not known."""
    executable = os.fsdecode(get_executable() or "")
    is_own = executable == sys.executable
    is_python = Path(executable).name.lower().startswith(("python", "pypy"))
    if not executable or MARK in os.environ or (is_own and (getattr(sys, "frozen", False) or not is_python)):
        raise OSError("sys.executable is no interpreter: multiprocessing.set_executable names one")
    return executable


def _path() -> list[str]:
    """Where the application imports from, the standard library first: nothing may stand in its place."""
    library = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    entries = [entry for entry in sys.path if isinstance(entry, str)]
    first = [entry for entry in entries if library.intersection((Path(entry), Path(entry).parent))]
    return [*(entry for entry in first if "-packages" not in entry), *entries]
