"""Events that were refused, kept for a person to mend: a rotating file of one JSON object a line.

``{"time", "collection", "id", "reason", "event"}``: time of the refusal (UTC), the event as it would have been sent,
or, when it could not be encoded, a shortened Python repr of it. Several processes may share the file. Mode 0600.
"""

from __future__ import annotations

import contextlib
import logging
import reprlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pythonjsonlogger.json import JsonFormatter

from ._types import Clock

if TYPE_CHECKING:
    from ._rotating_file import RotatingFile

MAX_BYTES: Final = 10 * 1024 * 1024
"""Of one file, before it is rotated."""
BACKUPS: Final = 5
"""Rotated files kept."""
MAX_REASON: Final = 2_000
"""Characters kept of a reason: a server may send megabytes."""

FIELDS: Final = ("time", "collection", "id", "reason", "event")
"""Of a letter."""


class DeadLetterLog:
    """Writes to the file ``path``, made when the first event is refused. ``clock``: seconds since the epoch."""

    def __init__(self, path: str | Path, clock: Clock) -> None:
        self._path = str(path)
        self._clock = clock
        self._made: RotatingFile | None = None
        # Now and not with the first letter, as nothing should be imported while events are sent: a child that is
        # forked meanwhile would wait for it for ever. But no file may be readable now, and that must not stop anyone.
        with contextlib.suppress(OSError, ImportError):
            self._file()

    def write(self, collection: str, event: dict[str, Any] | str, reason: str) -> None:
        """Append one dead letter. Raises OSError when the file cannot be written."""
        letter = {
            "time": refused_at(self._clock()),
            "collection": collection,
            "id": event.get("id") if isinstance(event, dict) else None,
            "reason": reason[:MAX_REASON],
            "event": event,
        }
        self._file().handle(logging.makeLogRecord(letter))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other writer out, of this process and of others. Raises OSError."""
        file = self._file()
        file._do_lock()
        try:
            yield
        finally:
            file._do_unlock()

    def close(self) -> None:
        """Close the file."""
        if self._made is not None:
            self._made.close()

    def _file(self) -> RotatingFile:
        if self._made is None:
            from ._rotating_file import RotatingFile

            file = RotatingFile(self._path, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8", chmod=0o600)
            file.setFormatter(JsonFormatter(FIELDS))
            self._made = file
        return self._made


def refused_at(seconds: float) -> str:
    """The time of a letter, from the seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Burial:
    """What becomes of refused events: a dead letter, where there is a log for them, and word of it by ``warn``."""

    def __init__(self, log: DeadLetterLog | None, warn: Callable[[str, str], object]) -> None:
        self._log = log
        self._warn = warn

    def bury(self, collection: str, event: dict[str, Any] | str, reason: str) -> bool:
        """Write the dead letter; False when it could not be. Never raises: the events after it go on."""
        if self._log is None:
            self._warn("rejected", f"an event for {collection} was rejected: {reason}")
            return True
        try:
            self._log.write(collection, event, reason)
        except Exception as error:  # noqa: BLE001 - see above
            self._warn("dead letters", f"a dead letter could not be written, and is tried again: {error}")
            return False
        self._warn("rejected", f"an event for {collection} is in the dead-letter log: {reason}")
        return True

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()


def shown(value: object) -> str:
    """A short repr of anything, hostile objects included, for an event that could not be encoded."""
    try:
        text = _Short().repr(value)
    except Exception as error:  # noqa: BLE001 - the value's own code ran
        return f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


_MAX_SHOWN: Final = 16_384
"""Characters of a repr."""
_MAX_VALUES: Final = 1_000
"""Values looked at for a repr: a list of lists of lists has few objects and many values."""
_MAX_ITEMS: Final = 50
"""Of one container."""
_MAX_TEXT: Final = 500
"""Characters of one text."""
_LONGEST_INT: Final = 1_000
"""Bits of an int that is written out: Python refuses to write one of over 4,300 digits."""

_CUTS: Final[tuple[tuple[type, Callable[[Any], object]], ...]] = (
    (str, lambda value: str.__getitem__(value, slice(_MAX_TEXT + 1))),
    (bytes, lambda value: bytes.__getitem__(value, slice(_MAX_TEXT + 1))),
    (bytearray, lambda value: bytearray.__getitem__(value, slice(_MAX_TEXT + 1))),
    (dict, lambda value: dict(islice(dict.items(value), _MAX_ITEMS + 1))),
    (list, lambda value: list(islice(list.__iter__(value), _MAX_ITEMS + 1))),
    (tuple, lambda value: tuple(islice(tuple.__iter__(value), _MAX_ITEMS + 1))),
    (set, lambda value: set(islice(set.__iter__(value), _MAX_ITEMS + 1))),
    (frozenset, lambda value: frozenset(islice(frozenset.__iter__(value), _MAX_ITEMS + 1))),
)
"""As much of a value as is shown, whatever its methods say."""


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = _MAX_ITEMS
        self.maxstring = self.maxother = _MAX_TEXT
        self._left = _MAX_VALUES

    def repr1(self, x: Any, level: int) -> str:
        """One value, its size cut before anything looks at the whole of it."""
        self._left -= 1
        if self._left < 0:
            return self.fillvalue
        for kind, cut in _CUTS:
            if isinstance(x, kind):
                return super().repr1(cut(x), level)
        return super().repr1(x, level)

    def repr_int(self, x: int, level: int) -> str:
        """An int, or how long it is."""
        return super().repr_int(x, level) if x.bit_length() < _LONGEST_INT else f"<int of {x.bit_length()} bits>"
