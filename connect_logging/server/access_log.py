"""A line of JSON for each request, to a file or stderr.

Its fields are those of :data:`FIELDS`: what :class:`~.observing.Exchange` has, and the time of the answer in UTC.

Invariants: no key is in it: nothing of the headers, the query or the body, and of the path nothing that is as long as
a key; everything but printable ASCII is escaped; a file has mode 0600; a request never waits for the disk or for who
reads the other end of stderr: lines that find the queue full are counted, not written.
"""

from __future__ import annotations

import logging
import os
import queue
import re
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pythonjsonlogger.json import JsonFormatter

from .._types import Clock
from .observing import Exchange

STDERR: Final = "-"
MAX_PATH: Final = 1_000
"""Characters kept of a path, and of a method: both are the client's to choose."""

FIELDS: Final = ("time", "client", "method", "route", "path", "status", "milliseconds", "received", "sent", "project")
_QUEUED: Final = 10_000
"""Lines that may wait to be written: about 5 MB."""
_CLOSE_WITHIN: Final = 2.0
"""Seconds."""
_LIKE_A_KEY = re.compile(r"[\w-]{32,}")
_REMOVED: Final = "[removed]"


class AccessLog:
    """``target``: a file, which may be moved away at any time (logrotate), or ``-`` for stderr.

    ``clock``: seconds since 1970. Raises OSError when the file cannot be opened.
    """

    def __init__(self, target: str, clock: Clock) -> None:
        self._clock = clock
        self._output = _Output(os.dup(2)) if target == STDERR else _File(Path(target).absolute())
        self._formatter = JsonFormatter(FIELDS)
        self._queue: queue.Queue[logging.LogRecord | None] = queue.Queue(_QUEUED)
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()
        self.dropped = 0
        """Lines that were not written, as too many were waiting."""

    def write(self, exchange: Exchange) -> None:
        """Queue the line of a request that has just been answered. For one thread."""
        moment = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": moment.replace("+00:00", "Z"),
            "client": exchange.client,
            "method": _shown(exchange.method),
            "route": exchange.route,
            "path": _shown(exchange.path),
            "status": exchange.status,
            "milliseconds": round(exchange.seconds * 1_000, 3),
            "received": exchange.received,
            "sent": exchange.sent,
            "project": exchange.project,
        }
        try:
            self._queue.put_nowait(logging.makeLogRecord(line))
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what is waiting, unless that takes too long."""
        with suppress(queue.Full):
            self._queue.put(None, timeout=_CLOSE_WITHIN)
            self._thread.join(_CLOSE_WITHIN)
        if not self._thread.is_alive():
            self._output.close()

    def _run(self) -> None:
        while record := self._queue.get():
            self._output.write(f"{self._formatter.format(record)}\n".encode("ascii"))


class _Output:
    """Lines to ``descriptor``. A full disk, or nobody who reads stderr, is no reason to stop serving.

    No handler of logging, nor a stream: at exit the interpreter waits for these, even when nobody reads them.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._begun = b""
        """The rest of a line of which a part has been written."""

    def write(self, line: bytes) -> None:
        """A line that could not be written is left out, one that could in part is ended before the next."""
        left = self._begun + line
        with suppress(OSError):
            while left:
                left = left[os.write(self._descriptor, left) :]
        self._begun = left if len(left) < len(line) else left[: -len(line)]

    def close(self) -> None:
        os.close(self._descriptor)


class _File(_Output):
    """Made anew when it has been moved away; while it cannot be, lines go where it was moved to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(_open_private(path))

    def write(self, line: bytes) -> None:
        with suppress(OSError):
            if not self._is_there():
                moved, self._descriptor = self._descriptor, _open_private(self._path)
                self._begun = b""
                os.close(moved)
        super().write(line)

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False


def _shown(text: str) -> str:
    return _LIKE_A_KEY.sub(_REMOVED, text)[:MAX_PATH]


def _open_private(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
