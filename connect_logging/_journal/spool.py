"""The durable buffer: what waits is in segments on disk, and in memory only while it is being sent.

The same face as the memory buffer's, and the same promises about bounds, order and re-entrancy. Beyond them:

* When ``put`` returns, the kernel has the event; or it is in ``fallback``, a memory buffer, because the disk would
  not take it. The disk is tried again after ``RETRY`` seconds, by the next event.
* ``put`` never waits for a sync, nor for a lock that is held during one.
* ``put`` may run anywhere, also in a ``__del__`` or signal handler while its own thread is inside any method here:
  so the lock is re-entrant, what is looked at and what is taken are one step in which nothing is called, and a
  ``busy`` segment is not removed.
* One thread at a time takes, the pusher's, and reads an event only to send it: memory does not grow with what waits.
* A segment is removed when all of it is settled, and left behind as an orphan when it cannot be read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from .._types import Clock, Overflow
from ..event import Arrival, Buffer, Entry, Kept, Receipt
from .framing import MAX_RECORD
from .payload import Codec
from .reading import CHUNK, Read, read_events
from .receipts import Receipts
from .recovery import adopt_orphans, set_aside
from .segment import HEADER_SIZE, Segment
from .shelf import SEGMENTS_IN_BOUND, Room, Shelf
from .sync import Syncer, Trouble

SEGMENT_BYTES: Final = 8 * 1024 * 1024
"""Of one segment: disk is given back in such steps."""
MIN_SPOOL_BYTES: Final = 1024 * 1024
"""The least bound that leaves room for segments of several events."""
RETRY: Final = 1.0
"""Seconds between attempts to use a disk that failed."""
ADOPT_EVERY: Final = 30.0
"""Seconds between two searches for orphans."""


class Spool:
    """Buffers in ``directory``, whose files are described in :mod:`connect_logging._journal`.

    ``max_bytes``: of all segments that this process owns. ``block_timeout``: seconds. ``clock``: monotonic seconds.
    ``trouble`` is told what an operator should know. ``syncer``, where there is one, is told of each write.
    """

    full_reason = "spool_full"

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int,
        overflow: Overflow,
        block_timeout: float,
        fallback: Buffer,
        trouble: Trouble,
        clock: Clock,
        syncer: Syncer | None = None,
    ) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._segment_bytes = max(min(SEGMENT_BYTES, max_bytes // SEGMENTS_IN_BOUND), MAX_RECORD + HEADER_SIZE)
        self._overflow = overflow
        self._block_timeout = block_timeout
        self._fallback = fallback
        self._trouble = trouble
        self._clock = clock
        self._syncer = syncer
        self._codec = Codec()
        self._begin()

    def _begin(self) -> None:
        self._shelf = Shelf(self._directory, self._trouble)
        self._lock = self._shelf.lock
        self._owners: dict[int, Segment] = {}
        self._receipts = Receipts()
        self._journaled = 0
        self.waiting = 0
        self.waiting_bytes = 0
        self._retry_at = 0.0
        self._adopt_at = 0.0
        self._damaged_events = 0
        self._arriving: Segment | None = None
        self._closed = False
        self._recovered = 0
        self._damaged_bytes = 0

    def reset(self) -> None:
        """Begin with nothing: for a forked child, whose parent keeps its segments."""
        for segment in (*self._shelf.segments, *self._owners.values(), self._arriving):
            if segment is not None:
                segment.close()
        self._begin()
        self._fallback.reset()
        if self._syncer is not None:
            self._syncer.reset()

    def hold(self) -> None:
        """Open no file that a forked child would not know of, and so keep locked, until :meth:`let_go`."""
        self._lock.acquire()

    def let_go(self) -> None:
        """Go on."""
        self._lock.release()

    def __len__(self) -> int:
        """Events that wait to be taken."""
        return self.waiting + len(self._fallback)

    @property
    def accepted(self) -> int:
        """Events that came in or were recovered."""
        return self._journaled + self._recovered + self._fallback.accepted

    def accept(self) -> None:
        """Count an event as accepted that is not to be held."""
        with self._lock:
            self._journaled += 1

    # Callers' threads.

    def put(self, arrival: Arrival) -> Sequence[Arrival]:
        """Journal ``arrival`` and return the events that had to go for it, perhaps itself."""
        record = self._codec.record(arrival[0])
        size = len(record)
        lost: Sequence[Arrival] = ()
        with self._lock:
            shelf = self._shelf
            active = shelf.active
            while active is None or active.end + size > self._segment_bytes or shelf.bytes + size > self._max_bytes:
                room, lost = self._make_ready(size, lost)
                if room is not Room.ON_DISK:
                    break
                active = shelf.active
            else:
                # From the look that found room to here nothing is called, so nothing re-enters.
                start = active.end
                active.end += size
                active.busy += 1
                active.unread += 1
                shelf.bytes += size
                self._journaled += 1
                self.waiting += 1
                self.waiting_bytes += size
                problem = None
                try:
                    if arrival[1] is not None:
                        self._receipts.keep(active.name, start, arrival[1])
                    active.write(record, start)
                except OSError as error:
                    problem = error.strerror
                    self._take_back(active, start, size)
                    arrival = self._codec.as_it_may_lie(arrival, active.seed, start)
                finally:
                    active.busy -= 1
                    if not active.busy:
                        active.size = active.end
                if problem is None:
                    if self._syncer is not None:
                        self._syncer.written(active)
                    return lost
                room = self._without_disk(problem)
            self._journaled += room is Room.NOWHERE
        if room is Room.NOWHERE:
            return [*lost, arrival]
        return [*lost, *self._fallback.put(arrival)]  # which may wait for room, and so has no lock of ours

    def _take_back(self, active: Segment, start: int, size: int) -> None:
        """What was taken for a record that could not be written; its place remains when another one lies behind it."""
        if active.end == start + size:
            active.end = start
            self._shelf.bytes -= size
            self.waiting_bytes -= size
        active.unread -= 1
        self._journaled -= 1
        self.waiting -= 1
        self._receipts.pop(active.name, start)

    def _make_ready(self, size: int, lost: Sequence[Arrival]) -> tuple[Room, Sequence[Arrival]]:
        """See to a segment with room for ``size``, and say where there is any; what was lost for it joins ``lost``."""
        if self._clock() < self._retry_at:
            return Room.IN_MEMORY, lost
        self._shelf.seal()
        if not self._fits(HEADER_SIZE + size):
            lost = [*lost, *self._make_room(HEADER_SIZE + size)]
            if not self._fits(HEADER_SIZE + size):
                return Room.NOWHERE, lost
        if self._shelf.active is None:  # nobody made one while we waited for room
            try:
                self._shelf.open()
            except OSError as error:
                return self._without_disk(error.strerror), lost
        return Room.ON_DISK, lost

    def _without_disk(self, problem: str | None) -> Room:
        self._shelf.seal()
        self._retry_at = self._clock() + RETRY
        self._trouble("spool", f"the spool cannot be written ({problem}): events wait in memory meanwhile")
        return Room.IN_MEMORY

    def _fits(self, size: int) -> bool:
        return self._shelf.bytes + size <= self._max_bytes

    def _make_room(self, size: int) -> list[Entry]:
        lost: list[Entry] = []
        if self._overflow is Overflow.DROP_OLDEST:
            idle = [segment for segment in self._shelf.segments if not segment.taken and not segment.busy]
            # Where the others leave too little room, no loss of these would make any.
            if self._fits(size - sum(segment.end for segment in idle)):
                for segment in idle:
                    if self._fits(size):
                        break
                    lost += self._drop(segment)
        elif self._overflow is Overflow.BLOCK:
            deadline = self._clock() + self._block_timeout
            while not self._fits(size) and (left := deadline - self._clock()) > 0:
                self._shelf.room.wait(left)
        return lost

    def _drop(self, segment: Segment) -> list[Entry]:
        """The events of ``segment``, which is removed."""
        lost: list[Entry] = []
        while segment in self._shelf.segments and segment.read_to < segment.size:
            lost += self._read(segment, sys.maxsize, sys.maxsize)
        segment.busy += 1
        for event, _ in lost:
            del self._owners[id(event)], segment.taken[id(event)]
        self._shelf.finish(segment)
        return lost

    # The pusher's thread.

    def maintain(self) -> float:
        """Every ``ADOPT_EVERY`` seconds: take over what dead processes have left. Returns the seconds until then."""
        now = self._clock()
        if now < self._adopt_at or self._closed:
            return max(self._adopt_at - now, 0.1)
        self._adopt_at = now + ADOPT_EVERY
        with self._lock:
            self._shelf.seal_unlinked()
        ours = {segment.path for segment in self._shelf.segments}
        for segment in adopt_orphans(self._directory, ours, self._codec, self._trouble, self._open):
            self._adopt(segment)
        return ADOPT_EVERY

    def _open(self, path: Path) -> Segment | None:
        with self._lock:  # for a fork, see hold
            self._arriving = Segment.adopt(path)
            return self._arriving

    def _adopt(self, segment: Segment) -> None:
        with self._lock:
            self._arriving = None
            if self._closed:  # since then
                segment.close()
                return
            self._shelf.add(segment)
            self.waiting += segment.unread
            self.waiting_bytes += segment.end - segment.read_to
            self._recovered += segment.unread
            self._shelf.finish(segment)
        if not segment.unread:
            self._read_out(segment)

    def take(self, max_events: int, max_bytes: int) -> list[Entry]:
        """The oldest events that fit the limits, at least one when any waits. They stay on disk until released."""
        return self._take(max_events, max_bytes) or self._fallback.take(max_events, max_bytes)

    def _take(self, max_events: int, max_bytes: int) -> list[Entry]:
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
                max_bytes -= sum([len(event.body) for event, _ in batch])
            with self._lock:  # in this order: nothing comes into a segment once it is sealed
                finished = segment is not self._shelf.active and not segment.unread
            if finished:
                self._read_out(segment)
        return taken

    def _read_out(self, segment: Segment) -> None:
        """Set aside what is left of ``segment``: only damage."""
        while segment in self._shelf.segments and segment.read_to < segment.size:
            self._read(segment, 1, CHUNK)

    def _read(self, segment: Segment, most: int, max_bytes: int, *, at_least_one: bool = True) -> list[Entry]:
        """Take events out of ``segment``. Gets on in it or gives it up, save that it need not be ``at_least_one``."""
        with self._lock:
            start, limit = segment.read_to, segment.size
        try:
            read = read_events(segment, self._codec, start, limit, most, max_bytes, at_least_one=at_least_one)
        except OSError as error:
            self._hand_back(segment, error)
            return []
        with self._lock:
            if segment.read_to != start or segment not in self._shelf.segments:
                return []  # dropped by a put meanwhile
            segment.read_to = read.end
            segment.busy += 1
            try:
                return self._taken(segment, start, read)
            finally:
                self._shelf.finish(segment)

    def _taken(self, segment: Segment, start: int, read: Read) -> list[Entry]:
        for begin, end in read.damaged:
            self._damaged_bytes += end - begin
            set_aside(segment, begin, end, self._trouble)
        entries: list[Entry] = []
        for begin, event in read.events:
            segment.taken[id(event)] = begin
            self._owners[id(event)] = segment
            entries.append((event, self._receipts.pop(segment.name, begin)))
        if read.damaged:
            self._receipts.spoil(segment.name, start, read.end)
        count = len(entries)
        self.waiting_bytes -= read.end - start
        self.waiting -= count
        segment.unread -= count
        if segment.read_to >= segment.end:
            # Written or counted once, but found damaged now.
            self._damaged_events += segment.unread
            self.waiting -= segment.unread
            segment.unread = 0
        return entries

    def _hand_back(self, segment: Segment, error: OSError) -> None:
        """Leave ``segment`` to another time: what cannot be read now is not lost by that."""
        with self._lock:
            if segment not in self._shelf.segments:
                return  # dropped by a put meanwhile
            self.waiting -= segment.unread
            self.waiting_bytes -= segment.end - segment.read_to
            self._journaled -= segment.unread
            segment.unread = 0
            self._shelf.give_up(segment)
        self._trouble("spool", f"{segment.name} cannot be read ({error.strerror}) and is left in the spool")

    def release(self, entries: Sequence[Entry]) -> None:
        """What was taken is settled: acknowledge it, and be rid of the segments that are done."""
        in_memory = []
        with self._lock:
            touched: set[Segment] = set()
            for entry in entries:
                segment = self._owners.pop(id(entry[0]), None)
                if segment is None:
                    in_memory.append(entry)
                    continue
                if segment not in touched:
                    touched.add(segment)
                    segment.busy += 1
                del segment.taken[id(entry[0])]
            for segment in touched:
                self._shelf.finish(segment)
        self._fallback.release(in_memory)

    def pop_damaged(self) -> tuple[int, list[Receipt]]:
        """How many accepted events turned out to be damaged on disk since the last call, and whom to tell."""
        with self._lock:
            damaged, self._damaged_events = self._damaged_events, 0
            return damaged, self._receipts.pop_damaged()

    def leave(self, entries: Iterable[Entry]) -> tuple[list[Entry], list[Kept]]:
        """See :class:`~connect_logging.event.Buffer`; what cannot be read now is kept as well."""
        lost, kept = list[Entry](), list[Entry]()
        for entry in entries:
            (kept if id(entry[0]) in self._owners else lost).append(entry)
        while self._receipts and (batch := self._take(sys.maxsize, CHUNK)):
            kept += batch
        told = [(event, receipt) for event, receipt in kept if receipt is not None]
        return [*lost, *self._fallback.leave(())[0]], [*told, *((None, each) for each in self._receipts.pop_kept())]

    def figures(self) -> dict[str, int]:
        """``recovered`` from dead processes, ``unjournaled``: what memory took, and bytes; see docs/reliability.md."""
        return {
            "recovered": self._recovered,
            "unjournaled": self._fallback.accepted,
            "spool_bytes": self._shelf.bytes,
            "damaged_bytes": self._damaged_bytes,
        }

    def close(self) -> None:
        """Sync, remove what is done, and leave the rest to be adopted."""
        if self._syncer is not None:
            self._syncer.stop()
        with self._lock:
            self._closed = True
            self._shelf.close()
