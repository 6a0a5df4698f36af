"""The pusher's side of a spool: events are read out of the segments, and settled.

One thread at a time takes, and reads an event only to send it: memory does not grow with what waits. What has been put
a moment ago is not read from the file but found among the segment's recent events, as the same event. Or another
process reads it, to which a stretch is lent. Callers' threads come in through :meth:`Taker.drop` alone, when there is
no room. A segment that cannot be read is left behind as an orphan.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import repeat

from .._types import Stretch
from ..event import Entry, Receipt
from .payload import Codec
from .reading import CHUNK, Read, as_read, read_events, recall_events
from .receipts import Receipts
from .recovery import set_aside
from .segment import Segment
from .shelf import Shelf
from .sync import Trouble


class Taker:
    """Takes from the segments of ``shelf``, under whose lock it changes them. ``trouble``: see the spool's.

    ``went``, ``went_bytes``: events that wait no more, and bytes of segments. ``damaged_bytes``: that were found so
    far. ``handed_back``: events that were accepted and are left to another time. ``owners``: the segments of which
    events are taken, whether they are on the shelf or not.
    """

    def __init__(self, shelf: Shelf, codec: Codec, receipts: Receipts, trouble: Trouble) -> None:
        self._shelf = shelf
        self._lock = shelf.lock
        self._codec = codec
        self._receipts = receipts
        self._trouble = trouble
        self.owners: list[Segment] = []
        self.went = self.went_bytes = 0
        self.damaged_bytes = 0
        self.handed_back = 0
        self._damaged_events = 0
        self._lent: Segment | None = None
        self._batch: list[Entry] = []
        """What was taken last. Most often it is settled as a whole: to keep each event by itself is a seventh of
        all that sending takes."""
        self._parts: list[tuple[Segment, Read]] = []
        """Of it. Each is one entry of its segment's ``taken``, until :meth:`_tell_apart`."""

    def take(self, max_events: int, max_bytes: int) -> list[Entry]:
        """The oldest events that fit the limits, at least one when any waits that is written. They stay on disk.

        The list is not to be changed: :meth:`release` knows it as a whole, as long as nothing else is taken.
        """
        with self._lock:
            self._tell_apart()
        self._batch = self._oldest(max_events, max_bytes)
        return self._batch

    def _oldest(self, max_events: int, max_bytes: int) -> list[Entry]:
        taken: list[Entry] = []
        for segment in list(self._shelf.segments):
            while segment.unread and segment.read_to < segment.size:
                if len(taken) >= max_events:
                    return taken
                start = segment.read_to
                batch = self._read(segment, max_events - len(taken), max_bytes, at_least_one=not taken)
                if segment.read_to == start:
                    if segment in self._shelf.segments:
                        return taken  # as full as it gets
                    break
                taken += batch
                if len(taken) < max_events:
                    max_bytes -= sum([len(event.body) for event, _ in batch])
            with self._lock:  # in this order: nothing comes into a segment once it is sealed
                finished = segment is not self._shelf.active and not segment.unread
            if finished:
                self.read_out(segment)
        return taken

    def read_out(self, segment: Segment) -> None:
        """Set aside what is left of ``segment``: only damage."""
        while segment in self._shelf.segments and segment.read_to < segment.size:
            self._read(segment, 1, CHUNK)

    def drop(self, segment: Segment) -> list[Entry]:
        """The events of ``segment``, all of which are written, and none taken; it is removed."""
        lost: list[Entry] = []
        while segment in self._shelf.segments and segment.read_to < segment.size:
            lost += self._read(segment, sys.maxsize, sys.maxsize)
        segment.busy += 1
        if lost:
            segment.taken.clear()
            self.owners.remove(segment)
            # In place: this may be a put within the call that is about to add a part.
            self._parts[:] = [part for part in self._parts if part[0] is not segment]
        self._shelf.finish(segment)
        return lost

    def _read(self, segment: Segment, most: int, max_bytes: int, *, at_least_one: bool = True) -> list[Entry]:
        """Take events out of ``segment``. Gets on in it or gives it up, save that it need not be ``at_least_one``."""
        with self._lock:
            start, limit = segment.read_to, segment.size
            recalled = recall_events(segment, self._codec, limit, most, max_bytes, at_least_one=at_least_one)
        try:
            if recalled is None:
                read = read_events(segment, self._codec, start, limit, most, max_bytes, at_least_one=at_least_one)
            else:
                read = as_read(segment, self._codec, recalled)
        except OSError as error:
            self._hand_back(segment, error)
            return []
        with self._lock:
            if segment.read_to != start or segment not in self._shelf.segments:
                return []  # dropped by a put meanwhile
            segment.read_to = read.end
            segment.busy += 1
            try:
                if recalled is None:
                    segment.forget_recent(before=read.end)
                if self._shelf.keeps_recent:
                    segment.keep_recent()
                return self._taken(segment, start, read)
            finally:
                self._shelf.finish(segment)

    def _taken(self, segment: Segment, start: int, read: Read) -> list[Entry]:
        for begin, end in read.damaged:
            self.damaged_bytes += end - begin
            set_aside(segment, begin, end, self._trouble)
        if read.events:
            segment.taken[id(read)] = read.starts[0]
            self._parts.append((segment, read))
            if segment not in self.owners:
                self.owners.append(segment)
        entries: list[Entry]
        if self._receipts:
            receipts = [self._receipts.pop(segment.name, begin) for begin in read.starts]
            entries = [*zip(read.events, receipts, strict=True)]
        else:
            entries = [*zip(read.events, repeat(None))]
        if read.damaged:
            self._receipts.spoil(segment.name, start, read.end)
        self._went(segment, len(entries), read.end - start)
        return entries

    def _went(self, segment: Segment, count: int, size: int) -> None:
        """``count`` events of ``segment`` wait no more, nor do the ``size`` bytes up to where it is read by now."""
        # Within the additions nothing may be called.
        self.went_bytes += size
        self.went += count
        segment.unread -= count
        if segment.read_to >= segment.end:
            # Written or counted once, but found damaged now.
            self.went += segment.unread
            self._damaged_events += segment.unread
            segment.unread = 0

    def lend(self, most: int) -> Stretch | None:
        """The oldest events that wait and are written, at most ``most``, to be read by another process.

        They go on waiting, and none of their segment is taken or dropped, until :meth:`settle_lent`, :meth:`take_lent`
        or :meth:`give_back`: one of these is to follow. None when there are none, and where receipts would have to be
        told of events.
        """
        if self._lent is not None:  # an exception, Ctrl-C, has come between
            self.give_back()
        for segment in [] if self._receipts else list(self._shelf.segments):
            with self._lock:
                start, end = segment.read_to, segment.size
                if segment.unread and start < end:
                    segment.busy += 1
                    self._lent = segment
                    return Stretch(str(segment.path), start, end, most)
                finished = segment is not self._shelf.active and not segment.unread
            if finished:
                self.read_out(segment)
        return None

    def settle_lent(self, count: int, end: int) -> None:
        """The first ``count`` of the events that were lent are settled; the last of them ends at the offset ``end``."""
        with self._lock:
            segment = self._lent
            if segment is not None:
                size, segment.read_to = end - segment.read_to, end
                self._went(segment, count, size)
            self.give_back()

    def take_lent(self, count: int, end: int) -> list[Entry]:
        """The first ``count`` of the events that were lent, and no others; the last of them ends at the offset ``end``.

        None where they cannot be read any more as they were: they go on waiting.
        """
        segment = self._lent
        taken: list[Entry] = []
        try:
            if segment is not None:
                start = segment.read_to
                read = read_events(segment, self._codec, start, end, count, sys.maxsize)
                with self._lock:
                    self._tell_apart()
                    if (len(read.events), read.end) == (count, end) and not read.damaged:
                        segment.read_to = end
                        taken = self._taken(segment, start, read)
        except OSError:  # whoever takes it next will see
            pass
        finally:
            self.give_back()
        return taken

    def give_back(self) -> None:
        """What was lent is ours again, as it is now."""
        with self._lock:
            segment, self._lent = self._lent, None
            if segment is not None:
                self._shelf.finish(segment)

    def _hand_back(self, segment: Segment, error: OSError) -> None:
        """Leave ``segment`` to another time: what cannot be read now is not lost by that."""
        with self._lock:
            if segment not in self._shelf.segments:
                return  # dropped by a put meanwhile
            if segment is self._shelf.active:
                self._shelf.seal()  # so that nothing comes into it any more
            self.went += segment.unread
            self.went_bytes += segment.end - segment.read_to
            self.handed_back += segment.unread
            segment.unread = 0
            self._shelf.give_up(segment)
        self._trouble("spool", f"{segment.name} cannot be read ({error.strerror}) and is left in the spool")

    def release(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """These are settled: acknowledge those that were taken here, and be rid of the segments that are done.

        Returns the others.
        """
        others = entries
        with self._lock:
            owners = [*self.owners]
            for segment in owners:
                segment.busy += 1
            if entries is self._batch:
                for segment, read in [*self._parts]:
                    segment.taken.pop(id(read), None)
                others = []
            self._tell_apart()
            for segment in owners:
                starts = [*map(segment.taken.pop, [id(event) for event, _ in others], repeat(None))]
                if None in starts:
                    others = [entry for entry, start in zip(others, starts, strict=True) if start is None]
                else:
                    others = []
                if not segment.taken:
                    self.owners.remove(segment)
                self._shelf.finish(segment)
        return others

    def _tell_apart(self) -> None:
        """Know each event of what was taken last by itself: not all of it will be released at once. Under the lock."""
        parts = [*self._parts]
        for segment in {segment: None for segment, _ in parts}:
            reads = [read for of, read in parts if of is segment and id(read) in segment.taken]
            alone = segment.taken.copy()
            for read in reads:
                del alone[id(read)]
            for read in reads:
                alone.update(zip(map(id, read.events), read.starts, strict=True))
            segment.taken = alone  # in one step: a segment of which nothing is taken may be dropped
        self._batch = []
        self._parts.clear()

    def has_taken(self, entry: Entry) -> bool:
        """Whether ``entry`` was taken here, and is not released."""
        with self._lock:
            self._tell_apart()
        return any(id(entry[0]) in segment.taken for segment in self.owners)

    def pop_damaged(self) -> tuple[int, list[Receipt]]:
        """See :class:`~connect_logging.event.Buffer`."""
        with self._lock:
            damaged, self._damaged_events = self._damaged_events, 0
            return damaged, self._receipts.pop_damaged()
