"""The file of a dead-letter log: it rotates, whichever process of several writes, and holds whole lines only."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from concurrent_log_handler import ConcurrentRotatingFileHandler


class LetterFile(ConcurrentRotatingFileHandler):
    """Raises what goes wrong to who logs."""

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
