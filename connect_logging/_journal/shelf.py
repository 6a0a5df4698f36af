"""The segments that this process owns, and the one of them that is being written.

Invariants: all ``segments`` together stay within ``max_bytes`` as long as the ``active`` one ends before ``limit``.
It is not removed, nor is one that is ``busy``. The methods are called under ``lock``, which may be re-entered at any
call: what a method looks at is taken in one step.
"""

from __future__ import annotations

import threading
from bisect import insort
from enum import Enum, auto
from operator import attrgetter
from pathlib import Path
from typing import Final

from .segment import RECENT_BYTES, Segment
from .sync import Trouble

SEGMENTS_IN_BOUND: Final = 8
"""How many segments fill a spool at the least, so that dropping the oldest costs no more than such a part of it."""

_by_age = attrgetter("name")
"""Names of segments are ordered by time."""


class Room(Enum):
    """Where there is room for an event."""

    ON_DISK = auto()
    IN_MEMORY = auto()
    NOWHERE = auto()


class Shelf:
    """``segments``, oldest first, in ``directory``. ``room`` is notified when one is gone.

    ``keeps_recent``: whether segments are to keep what is put in memory, too, where it will soon be taken.
    """

    def __init__(
        self, directory: Path, max_bytes: int, segment_bytes: int, trouble: Trouble, *, keeps_recent: bool = True
    ) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._trouble = trouble
        self.keeps_recent = keeps_recent
        self.lock = threading.RLock()
        self.room = threading.Condition(self.lock)
        self.segments: list[Segment] = []
        self.active: Segment | None = None
        self.limit = 0

    @property
    def bytes(self) -> int:
        """Of all segments."""
        return sum([segment.end for segment in self.segments])

    def fits(self, size: int) -> bool:
        """Whether there is room for ``size`` bytes more."""
        return self.bytes + size <= self._max_bytes

    def open(self) -> None:
        """Make a new segment the active one, unless a call within this one does. Raises OSError."""
        segment = Segment.create(self._directory)
        segment.busy += 1
        self.add(segment)
        if self.active is None:
            self.active = segment
            self._set_limit()
            if self.keeps_recent and sum([each.end - each.read_to for each in self.segments]) < RECENT_BYTES:
                segment.keep_recent()
        self.finish(segment)

    def add(self, segment: Segment) -> None:
        """Own ``segment``, which is busy."""
        insort(self.segments, segment, key=_by_age)
        self._set_limit()

    def seal_unlinked(self) -> bool:
        """Seal the active segment if somebody has deleted its file: nobody would find what is written to it.

        Returns whether there is one that anything unsettled lies in, so that this is to be looked at again.
        """
        if self.active is not None and self.active.unlinked:
            self._trouble("spool", f"{self.active.name} was deleted: what waits in it is lost if this process ends now")
            self.seal()
        return self.active is not None and not self.active.done

    def seal(self) -> None:
        """No longer write the active segment."""
        sealed, self.active = self.active, None
        if sealed is not None:
            sealed.busy += 1
            self.finish(sealed)

    def finish(self, segment: Segment) -> None:
        """A call is no longer busy with ``segment``: acknowledge what is settled, and remove it when it is done."""
        if segment.busy == 1:
            try:
                segment.acknowledge()
            except OSError as error:
                if not segment.closed:
                    self._trouble("spool", f"{segment.name} cannot be acknowledged: {error.strerror}")
        segment.busy -= 1
        if segment.busy:
            return
        if segment not in self.segments:
            if not segment.taken:
                segment.close()  # given up
        elif segment.done and segment is not self.active:
            if segment.whole:
                self._remove(segment)
            else:
                self.give_up(segment)

    def give_up(self, segment: Segment) -> None:
        """Leave ``segment`` to whoever adopts it; it is closed when nothing of it is taken any more."""
        segment.busy += 1
        try:
            self.segments.remove(segment)
        except ValueError:  # within a call of this very method
            return
        if segment is self.active:
            self.active = None
        self._set_limit()
        self.room.notify_all()
        self.finish(segment)

    def close(self) -> None:
        """Leave all to whoever adopts them, but those that are done."""
        self.seal()
        left, self.segments = self.segments, []
        for segment in left:
            segment.close()

    def _remove(self, segment: Segment) -> None:
        try:
            self.segments.remove(segment)
        except ValueError:  # within a call of this very method
            return
        self._set_limit()
        try:
            segment.remove()
        except OSError as error:
            self._trouble("spool", f"{segment.name} cannot be removed: {error.strerror}")
        self.room.notify_all()

    def _set_limit(self) -> None:
        """The active segment may grow to ``limit``, an offset in it, as the others are now."""
        active = self.active
        others = sum([segment.end for segment in self.segments if segment is not active])
        limit = min(self._segment_bytes, self._max_bytes - others)
        if active is self.active:  # else a call within this one has opened it, and set its limit
            self.limit = limit
