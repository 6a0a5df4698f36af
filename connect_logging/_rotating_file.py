"""The file behind the dead-letter log, which several processes append to and rotate.

A module of its own, imported when a log is made: concurrent-log-handler brings asyncio along, whose import takes a
quarter of the time of all the rest.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from concurrent_log_handler import ConcurrentRotatingFileHandler


class RotatingFile(ConcurrentRotatingFileHandler):
    """concurrent-log-handler's, but for what happens when a line cannot be written."""

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
