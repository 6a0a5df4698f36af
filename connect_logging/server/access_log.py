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
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any, Final, TextIO

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
        self._handler: logging.Handler = _Stream(_stderr()) if target == STDERR else _File(Path(target).absolute())
        self._handler.setFormatter(JsonFormatter(FIELDS))
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
            self._handler.close()

    def _run(self) -> None:
        while record := self._queue.get():
            self._handler.handle(record)


class _Quiet(logging.Handler):
    """A full disk, or nobody who reads stderr, is no reason to stop serving, nor to write about it."""

    def handleError(self, record: logging.LogRecord) -> None: ...


class _Stream(_Quiet, logging.StreamHandler[TextIO]):
    def close(self) -> None:
        super().close()
        self.stream.close()


class _File(_Quiet, WatchedFileHandler):
    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="ascii", opener=_open_private)


def _stderr() -> TextIO:
    """A stream of our own: that of the interpreter is waited for at exit, even when nobody reads it."""
    return os.fdopen(os.dup(2), "w", encoding="ascii")


def _shown(text: str) -> str:
    return _LIKE_A_KEY.sub(_REMOVED, text)[:MAX_PATH]


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
