"""The durable buffer: what waits is in segments on disk, and in memory only while it is being sent.

The same face as the memory buffer's, and the same promises about bounds, order and re-entrancy. Beyond them:

* When ``put`` returns, the kernel has the event; or it is in ``fallback``, a memory buffer, because the disk would
  not take it. The disk is tried again after ``RETRY`` seconds, by the next event.
* ``put`` takes its place in a segment in one step, in which nothing is called: there the interpreter changes no thread
  and runs no handler, save for a trace function, a debugger's, that goes through it line by line. Only where no segment
  has room for it does it take the lock. It writes outside of both: threads that log at once do not wait for each other.
  So whoever has the lock finds events that come meanwhile, at any call. Nobody reads beyond a place that is not written
  yet, and no such segment is closed.
* ``put`` never waits for a sync, nor for a lock that is held during one.
* ``put`` may run anywhere, also in a ``__del__`` or signal handler while its own thread is inside any method here:
  so the lock is re-entrant, and a ``busy`` segment is not removed.
* One thread at a time takes, the pusher's, see :mod:`.taking`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, TypeGuard

from .._types import Clock, Overflow, Stretch
from ..event import Arrival, Buffer, Entry, Kept, Receipt
from .framing import MAX_RECORD
from .payload import Codec
from .reading import CHUNK
from .receipts import Receipts
from .recovery import adopt_orphans
from .segment import HEADER_SIZE, Segment
from .shelf import SEGMENTS_IN_BOUND, Room, Shelf
from .sync import Syncer, Trouble
from .taking import Taker

SEGMENT_BYTES: Final = 8 * 1024 * 1024
"""Of one segment: disk is given back in such steps."""
RETRY: Final = 1.0
"""Seconds between attempts to use a disk that failed."""
LOOK_EVERY: Final = 1.0
"""Seconds between two looks whether a file in which events wait is there."""
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
        self._keeps_recent = True
        self._begin()

    def _begin(self) -> None:
        self._shelf = Shelf(
            self._directory, self._max_bytes, self._segment_bytes, self._trouble, keeps_recent=self._keeps_recent
        )
        self._lock = self._shelf.lock
        self._receipts = Receipts()
        self._taker = Taker(self._shelf, self._codec, self._receipts, self._trouble)
        self.came = self.came_bytes = 0  # into segments of ours, or memory
        self._elsewhere = self._elsewhere_bytes = 0  # of these: memory
        self._recovered = 0
        self._not_held = 0
        self._retry_at = 0.0
        self._adopt_at = 0.0
        self._arriving: Segment | None = None
        self._closed = False

    def reset(self) -> None:
        """Begin with nothing: for a forked child, whose parent keeps its segments."""
        for segment in (*self._shelf.segments, *self._taker.owners, self._arriving):
            if segment is not None:
                segment.let_go()
        self._begin()
        self._fallback.reset()
        if self._syncer is not None:
            self._syncer.reset()

    def hold(self) -> None:
        """Open no file that a forked child would not know of, and so keep locked, until :meth:`let_go`."""
        self._lock.acquire()
        if self._syncer is not None:
            self._syncer.hold()

    def let_go(self) -> None:
        """Go on."""
        if self._syncer is not None:
            self._syncer.let_go()
        self._lock.release()

    def __len__(self) -> int:
        """Events that wait to be taken."""
        return self.came - self._elsewhere - self._taker.went + len(self._fallback)

    @property
    def waiting_bytes(self) -> int:
        """Of their records, or in memory their bodies."""
        return self.came_bytes - self._elsewhere_bytes - self._taker.went_bytes + self._fallback.waiting_bytes

    @property
    def accepted(self) -> int:
        """Events that came in or were recovered, save those that are left to another time."""
        journaled = self.came - self._elsewhere
        return journaled + self._not_held - self._taker.handed_back + self._fallback.accepted

    def accept(self) -> None:
        """Count an event as accepted that is not to be held."""
        with self._lock:
            self._not_held += 1

    # Callers' threads.

    def put(self, arrival: Arrival) -> Sequence[Arrival]:
        """Journal ``arrival`` and return the events that had to go for it, perhaps itself."""
        event, receipt = arrival
        record = self._codec.record(event)
        size = len(record)
        shelf = self._shelf
        lost: Sequence[Arrival] = ()
        deadline = 0.0
        while (active := shelf.active) is None or active.end + size > shelf.limit:
            deadline = deadline or self._clock() + self._block_timeout
            room, lost = self._make_ready(size, lost, deadline)
            if room is not Room.ON_DISK:
                return self._put_elsewhere(room, arrival, lost)
        # From the look that found room to the try nothing is called: that is one step.
        start = active.end
        active.end = start + size
        active.unread += 1
        active.writing[start] = None
        if start < active.recent_end:
            active.recent[start] = event
        self.came += 1
        self.came_bytes += size
        try:
            if receipt is not None:  # before the event is written, and so before it can be taken
                self._receipts.keep(active.name, start, receipt)
            active.write(record, start)
            if self._syncer is not None:
                self._syncer.written(active)
            del active.writing[start]
        except BaseException as error:  # noqa: BLE001 - what is not the disk's is raised there
            return [*lost, *self._not_written(arrival, active, start, size, error)]
        if active.is_closing:
            self._close(active)
        return lost

    def _put_elsewhere(self, room: Room | None, arrival: Arrival, lost: Sequence[Arrival]) -> Sequence[Arrival]:
        """Without a lock of ours, as memory may wait for room."""
        if room is Room.IN_MEMORY:
            return [*lost, *self._put_in_memory(arrival)]
        self.accept()
        return [*lost, arrival]

    def _put_in_memory(self, arrival: Arrival) -> Sequence[Arrival]:
        """Counted among what came: it is the less safe place, and what waits there is to be sent no later."""
        lost = self._fallback.put(arrival)
        size = len(arrival[0].body)
        # Within the additions nothing may be called.
        self.came += 1
        self.came_bytes += size
        self._elsewhere += 1
        self._elsewhere_bytes += size
        return lost

    def _not_written(
        self, arrival: Arrival, segment: Segment, start: int, size: int, error: BaseException
    ) -> Sequence[Arrival]:
        """Memory takes what the disk did not. What comes out of a signal handler instead leaves a gap, or the event."""
        with self._lock:
            segment.busy += 1
            del segment.writing[start]
            segment.recent.clear()  # all are read from the file, where this one may be all the same
            if _is_of_disk(error):
                self._without_disk(error.strerror)  # first, so that nobody takes the place that is given back
                if segment in self._shelf.segments:  # else it is counted among what was handed back
                    freed = segment.give_back(start, start + size)
                    self.came_bytes -= freed
                    self.came -= 1
                self._receipts.pop(segment.name, start)
            self._shelf.finish(segment)
            if segment.is_closing:
                segment.close()
        if not _is_of_disk(error):
            raise error
        # It may have reached the file all the same: who finds it there and who sends it from here must send one event.
        event, receipt = arrival
        [read] = self._codec.as_read([event], segment.seed, [start])
        return self._put_in_memory((read, receipt))

    def _close(self, segment: Segment) -> None:
        with self._lock:
            segment.close()
            if self._closed:
                self._shelf.close()

    def _make_ready(self, size: int, lost: Sequence[Arrival], deadline: float) -> tuple[Room, Sequence[Arrival]]:
        """See to a segment with room for ``size``, and say where there is any; what was lost for it joins ``lost``."""
        shelf = self._shelf
        with self._lock:
            if shelf.active is not None and shelf.active.end + size <= shelf.limit:  # since we looked
                return Room.ON_DISK, lost
            if self._clock() < self._retry_at:
                return Room.IN_MEMORY, lost
            shelf.seal()
            if not shelf.fits(HEADER_SIZE + size):
                lost = [*lost, *self._make_room(HEADER_SIZE + size, deadline)]
                if not shelf.fits(HEADER_SIZE + size):
                    return Room.NOWHERE, lost
            if shelf.active is None:  # nobody made one while we waited for room
                try:
                    shelf.open()
                except OSError as error:
                    if not _is_of_disk(error):
                        raise
                    return self._without_disk(error.strerror), lost
            opened = self._shelf.active
            if self._closed and opened is not None:  # by another thread, since this event was accepted
                opened.is_closing = True
            return Room.ON_DISK, lost

    def _without_disk(self, problem: str | None) -> Room:
        self._shelf.seal()
        self._retry_at = self._clock() + RETRY
        self._trouble("spool", f"the spool cannot be written ({problem}): events wait in memory meanwhile")
        return Room.IN_MEMORY

    def _make_room(self, size: int, deadline: float) -> list[Entry]:
        lost: list[Entry] = []
        shelf = self._shelf
        if self._overflow is Overflow.DROP_OLDEST:
            idle = [segment for segment in shelf.segments if segment.is_idle]
            # Where the others leave too little room, no loss of these would make any.
            if shelf.fits(size - sum(segment.end for segment in idle)):
                for segment in idle:
                    if shelf.fits(size):
                        break
                    lost += self._taker.drop(segment)
        elif self._overflow is Overflow.BLOCK:
            while not shelf.fits(size) and (left := deadline - self._clock()) > 0:
                shelf.room.wait(left)
        return lost

    # The pusher's thread.

    def maintain(self) -> float:
        """See that the file is there which is written, and every ``ADOPT_EVERY`` seconds take over what dead processes
        have left. Returns the seconds until the next of both; while nothing waits in that file it may be gone."""
        with self._lock:
            is_in_use = self._shelf.seal_unlinked()
        now = self._clock()
        if now >= self._adopt_at and not self._closed:
            self._adopt_at = now + ADOPT_EVERY
            ours = {segment.path for segment in self._shelf.segments}
            for segment in adopt_orphans(self._directory, ours, self._codec, self._trouble, self._open):
                self._adopt(segment)
        left = max(self._adopt_at - now, 0.1)
        return min(left, LOOK_EVERY) if is_in_use else left

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
            self._recovered += segment.unread
            self.came += segment.unread
            self.came_bytes += segment.end - segment.read_to
            self._shelf.finish(segment)
        if not segment.unread:
            self._taker.read_out(segment)

    def take(self, max_events: int, max_bytes: int) -> list[Entry]:
        """The oldest events that fit the limits. They stay on disk until released.

        At least one when any waits, unless all that do are still being written.
        """
        taken = self._taker.take(max_events, max_bytes)
        if not self._fallback:
            return taken
        # Memory is the less safe place: what is there is not left waiting as long as anything comes into segments.
        left = max_bytes - sum([len(event.body) for event, _ in taken])
        if len(taken) < max_events and left > 0:
            return [*taken, *self._fallback.take(max_events - len(taken), left)]
        return taken

    def release(self, entries: Sequence[Entry]) -> None:
        """What was taken is settled: acknowledge it, and be rid of the segments that are done."""
        self._fallback.release(self._taker.release(entries))

    def keep_nothing_in_memory(self) -> None:
        """What is put will be lent, and so be read from the file."""
        self._keeps_recent = self._shelf.keeps_recent = False

    def lend(self, most: int) -> Stretch | None:
        """See :meth:`~.taking.Taker.lend`. None while memory holds any: these are only taken."""
        return None if self._fallback else self._taker.lend(most)

    def settle_lent(self, count: int, end: int) -> None:
        """See :meth:`~.taking.Taker.settle_lent`."""
        self._taker.settle_lent(count, end)

    def take_lent(self, count: int, end: int) -> list[Entry]:
        """See :meth:`~.taking.Taker.take_lent`."""
        return self._taker.take_lent(count, end)

    def give_back(self) -> None:
        """See :meth:`~.taking.Taker.give_back`."""
        self._taker.give_back()

    def pop_damaged(self) -> tuple[int, list[Receipt]]:
        """How many accepted events turned out to be damaged on disk since the last call, and whom to tell."""
        return self._taker.pop_damaged()

    def leave(self, entries: Iterable[Entry]) -> tuple[list[Entry], list[Kept]]:
        """See :class:`~connect_logging.event.Buffer`; what cannot be read now is kept as well."""
        lost, kept = list[Entry](), list[Entry]()
        for entry in entries:
            (kept if self._taker.has_taken(entry) else lost).append(entry)
        while self._receipts and (batch := self._taker.take(sys.maxsize, CHUNK)):
            kept += batch
        told = [(event, receipt) for event, receipt in kept if receipt is not None]
        return [*lost, *self._fallback.leave(())[0]], [*told, *((None, each) for each in self._receipts.pop_kept())]

    def figures(self) -> dict[str, int]:
        """``recovered`` from dead processes, ``unjournaled``: what memory took, and bytes; see docs/reliability.md."""
        return {
            "recovered": self._recovered,
            "unjournaled": self._fallback.accepted,
            "spool_bytes": self._shelf.bytes,
            "damaged_bytes": self._taker.damaged_bytes,
        }

    def close(self) -> None:
        """Sync, remove what is done, and leave the rest to be adopted."""
        if self._syncer is not None:
            self._syncer.stop()
        with self._lock:
            self._closed = True
            self._shelf.close()
            for segment in self._taker.owners:  # those that were given up, too, of which some are still taken
                segment.close()


def _is_of_disk(error: BaseException) -> TypeGuard[OSError]:
    """Whether the system has said so: it numbers its errors. A signal's handler may raise a TimeoutError of its own."""
    return isinstance(error, OSError) and error.errno is not None
