"""Events that were refused, kept for a person to mend: a rotating file of one JSON object a line.

``{"time", "collection", "id", "reason", "event"}``: time of the refusal (UTC), the event as it would have been sent,
or, when it could not be encoded, a shortened Python repr of it. Several processes may share the file. Mode 0600.
"""

from __future__ import annotations

import logging
import reprlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from concurrent_log_handler import ConcurrentRotatingFileHandler
from pythonjsonlogger.json import JsonFormatter

from ._types import Clock

MAX_BYTES: Final = 10 * 1024 * 1024
"""Of one file, before it is rotated."""
BACKUPS: Final = 5
"""Rotated files kept."""

_FIELDS: Final = ("time", "collection", "id", "reason", "event")


class DeadLetterLog:
    """Writes to the file ``path``, made when the first event is refused. ``clock``: seconds since the epoch."""

    def __init__(self, path: str | Path, clock: Clock) -> None:
        self._clock = clock
        self._handler = _File(str(path), maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8", chmod=0o600)
        self._handler.setFormatter(JsonFormatter(_FIELDS))

    def write(self, collection: str, event: dict[str, Any] | str, reason: str) -> None:
        """Append one dead letter. Raises OSError when the file cannot be written."""
        moment = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        letter = {
            "time": moment.replace("+00:00", "Z"),
            "collection": collection,
            "id": event.get("id") if isinstance(event, dict) else None,
            "reason": reason,
            "event": event,
        }
        self._handler.handle(logging.makeLogRecord(letter))

    def close(self) -> None:
        """Close the file."""
        self._handler.close()


class _File(ConcurrentRotatingFileHandler):
    def handleError(self, _record: logging.LogRecord) -> None:
        """Let the pusher know, which counts and warns; logging would print a traceback."""
        raise  # logging calls this inside its except clause


def shown(value: object) -> str:
    """A short repr of anything, hostile objects included, for an event that could not be encoded."""
    try:
        return _Short().repr(value)
    except Exception as error:  # noqa: BLE001 - the value's own code ran
        return f"<{type(value).__name__} whose repr raised {type(error).__name__}>"


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxdict = self.maxlist = self.maxtuple = 50
        self.maxstring = self.maxother = 500

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write an int of over 4,300 digits."""
        return super().repr_int(x, level) if x.bit_length() < _LONGEST_INT else f"<int of {x.bit_length()} bits>"


_LONGEST_INT: Final = 1_000
"""Bits of an int that is written out."""
