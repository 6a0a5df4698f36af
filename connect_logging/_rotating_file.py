"""The file behind the dead-letter log, which several processes append to and rotate.

A module of its own, imported when a log is made: concurrent-log-handler brings asyncio along, whose import takes a
quarter of the time of all the rest.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from io import TextIOWrapper
from pathlib import Path
from typing import Final

from concurrent_log_handler import ConcurrentRotatingFileHandler
from portalocker import LOCK_EX, LOCK_NB, AlreadyLocked, lock

PATIENCE: Final = 1.0
"""Seconds that a letter waits for the file's lock. Events wait with it, and whoever has the lock may be stopped."""
_LOOK_AGAIN: Final = 0.005


class RotatingFile(ConcurrentRotatingFileHandler):
    """concurrent-log-handler's, but for what happens when a line cannot be written."""

    def _do_lock(self) -> None:
        self.maxLockAttempts = 1  # each of which waits
        try:
            super()._do_lock()
        except RuntimeError:
            raise OSError(errno.EAGAIN, "another process keeps it locked", self.baseFilename) from None

    def _lock_stream_lock(self, stream_lock: TextIOWrapper) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                lock(stream_lock, LOCK_EX | LOCK_NB)
            except AlreadyLocked:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_LOOK_AGAIN)
            else:
                return

    def do_write(self, msg: str) -> None:
        """Write the whole line or nothing, as the disk may fill within it. Called under the file's lock."""
        file = Path(self.baseFilename)
        size = file.stat().st_size if file.exists() else 0
        try:
            super().do_write(msg)
        except OSError:
            if self.stream is not None:
                with contextlib.suppress(OSError):  # it tries to write the rest, now and not later
                    self.stream.close()
            with contextlib.suppress(OSError):
                os.truncate(file, size)
            raise

    def handleError(self, _record: logging.LogRecord) -> None:
        """Let the pusher know, which counts and warns; logging would print a traceback."""
        raise  # logging calls this inside its except clause
