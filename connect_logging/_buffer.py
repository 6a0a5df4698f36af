"""The bounded memory buffer between the callers and the pusher.

Invariants:

* At most ``max_events`` and ``max_bytes`` are held, whether waiting or taken and not yet released. Past that the
  overflow policy decides which event is lost, and ``put`` names it. A draft grows when it is taken, which only delays
  the next ``put``.
* An event is in one place: waiting, taken, released or lost.
* ``put`` may run anywhere: in many threads, inside a signal handler, in a ``__del__`` that the garbage
  collector calls while this thread is already inside a method here. Hence it takes no lock as long as there is room,
  and where there is none a re-entrant one. Whoever has the lock finds events that come meanwhile, at any call.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence

from ._completion import OrderedCompletion
from ._types import Clock, Overflow
from .event import HEAD_BYTES, Arrival, Draft, Entry, Kept, Receipt


class MemoryBuffer:
    """Events in the order in which they came.

    ``block_timeout``: seconds that ``put`` waits for room under ``Overflow.BLOCK`` before it drops the event.
    ``clock``: monotonic seconds.
    """

    full_reason = "buffer_full"

    def __init__(
        self, *, max_events: int, max_bytes: int, overflow: Overflow, block_timeout: float, clock: Clock
    ) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._overflow = overflow
        self._block_timeout = block_timeout
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Forget everything, locks included: for a forked child, whose parent delivers what is here."""
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)
        self._waiting: deque[Arrival] = deque()
        self.came = self.came_bytes = 0
        self._went_bytes = 0  # taken, or dropped for others
        self._full_at, self._full_at_bytes = self._max_events, self._max_bytes
        """What may have come while what is held, waiting or taken, is within the bounds."""
        self._not_held = 0
        self._completion = OrderedCompletion()

    def __len__(self) -> int:
        """Events that wait to be taken."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Of their bodies."""
        return self.came_bytes - self._went_bytes

    @property
    def accepted(self) -> int:
        """Events so far, whether they are held or gone."""
        with self._lock:
            return self.came + self._not_held

    def put(self, arrival: Arrival) -> Sequence[Arrival]:
        """Add ``arrival`` and return the events that had to go for it, perhaps itself. Counts it as accepted."""
        size = len(arrival[0].body)
        # From a look that finds room until the event is in nothing runs that another thread, a signal's handler or the
        # collector of garbage could come between. So it needs no lock, nothing re-enters, and an exception (Ctrl-C)
        # finds the event in and counted, or neither.
        if self.came < self._full_at and self.came_bytes + size <= self._full_at_bytes:
            self.came += 1
            self.came_bytes += size
            self._waiting.append(arrival)
            return ()
        return self._put_where_full(arrival, size)

    def _put_where_full(self, arrival: Arrival, size: int) -> Sequence[Arrival]:
        lost: list[Arrival] = []
        deadline = self._clock() + self._block_timeout
        with self._room:
            while self.came >= self._full_at or self.came_bytes + size > self._full_at_bytes:
                if not self._make_room(size, lost, deadline):
                    self._not_held += 1
                    return [*lost, arrival]
            self.came += 1
            self.came_bytes += size
            self._waiting.append(arrival)
        return lost

    def accept(self) -> None:
        """Count an event as accepted that is not to be held: refused for its shape, or come too late."""
        with self._lock:
            self._not_held += 1

    def take(self, max_events: int, max_bytes: int) -> list[Entry]:
        """The oldest events that fit the limits, at least one when any waits. They stay counted as held."""
        waiting = self._waiting
        with self._room:
            # Looked at again for each: a put within this may have dropped the oldest.
            taken = [waiting.popleft() for _ in range(min(max_events, len(waiting))) if waiting]
            size = _size(taken)
            while size > max_bytes and len(taken) > 1:
                waiting.appendleft(taken.pop())
                size -= len(waiting[0][0].body)
            events = [event for event, _ in taken]
            grown = HEAD_BYTES * [*map(type, events)].count(Draft)
            # Within the additions nothing may be called.
            self._went_bytes += size
            self._full_at_bytes -= grown
        return [*zip(self._completion.events(events), [receipt for _, receipt in taken], strict=True)]

    def take_all(self) -> list[Entry]:
        """Every event that waits."""
        return self.take(len(self._waiting), self._max_bytes)

    def release(self, entries: Sequence[Entry]) -> None:
        """What was taken is settled: make room."""
        count, size = len(entries), _size(entries)
        with self._room:
            self._full_at += count
            self._full_at_bytes += size
            self._room.notify_all()

    def maintain(self) -> float:
        """Nothing to do: there is nobody else's memory to take over."""
        return float("inf")

    def pop_damaged(self) -> tuple[int, list[Receipt]]:
        """None: memory does not decay."""
        return 0, []

    def leave(self, entries: Iterable[Entry]) -> tuple[list[Entry], list[Kept]]:
        """All of ``entries``, which were taken, and of what waits is lost with the process."""
        return [*entries, *self.take_all()], []

    def figures(self) -> dict[str, int]:
        """Nothing to add."""
        return {}

    def hold(self) -> None:
        """Be in the middle of nothing until :meth:`let_go`."""
        self._lock.acquire()

    def let_go(self) -> None:
        """Go on."""
        self._lock.release()

    def close(self) -> None:
        """Nothing to do."""

    def _make_room(self, size: int, lost: list[Arrival], deadline: float) -> bool:
        """Do something for room for ``size`` bytes more; False when there is nothing to do. Others may be quicker."""
        if self._overflow is Overflow.BLOCK and size <= self._max_bytes:
            left = deadline - self._clock()
            if left > 0:
                self._room.wait(left)
            return left > 0
        # Where what is taken leaves too little room, no loss of those that wait would make any.
        is_of_use = self._overflow is Overflow.DROP_OLDEST and self._went_bytes + size <= self._full_at_bytes
        if not (is_of_use and self._waiting):
            return False
        oldest = self._waiting.popleft()
        freed = len(oldest[0].body)  # before the additions: within them nothing may be called
        self._went_bytes += freed
        self._full_at += 1
        self._full_at_bytes += freed
        lost.append(oldest)
        return True


def _size(entries: Sequence[Arrival]) -> int:
    return sum([len(event.body) for event, _ in entries])
