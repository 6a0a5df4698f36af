"""The events that were taken from the buffer and are not settled yet: what to send again, how cut, and when."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from itertools import chain, count

from .event import Entry


class Outbox:
    """Batches that come again at once, in order, and single events that come again when they are due.

    Used by one thread at a time. ``limit``: the largest batch, in events; it shrinks where a server finds a batch
    too large, so that the next is cut before it is sent.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._batches: list[list[Entry]] = []
        self._later: list[tuple[float, int, Entry]] = []
        self._order = count()
        self._tries: Counter[int] = Counter()

    def __bool__(self) -> bool:
        return bool(self._batches or self._later)

    def due(self) -> float:
        """When the next batch may be sent (monotonic seconds); infinity when none is here."""
        if self._batches:
            return 0.0
        return self._later[0][0] if self._later else float("inf")

    def next(self, now: float) -> list[Entry]:
        """The next batch that is due, or an empty list."""
        if self._batches:
            return self._batches.pop()
        batch: list[Entry] = []
        while self._later and self._later[0][0] <= now and len(batch) < self.limit:
            batch.append(heapq.heappop(self._later)[2])
        return batch

    def again(self, batch: list[Entry]) -> None:
        """``batch`` is to be sent once more, before all others."""
        self._batches.append(batch)

    def halve(self, batch: list[Entry]) -> None:
        """``batch``, of two events or more, is to be sent in halves."""
        middle = len(batch) // 2
        self._batches += (batch[middle:], batch[:middle])

    def later(self, entry: Entry, due: float) -> None:
        """``entry`` is to be sent again when it is ``due``."""
        heapq.heappush(self._later, (due, next(self._order), entry))

    def count_try(self, entry: Entry) -> int:
        """How often the server has failed ``entry`` by itself, this time included."""
        key = id(entry[0])
        self._tries[key] += 1
        return self._tries[key]

    def settled(self, batch: Sequence[Entry]) -> None:
        """Forget the tries of ``batch``, whose events have their fate."""
        if self._tries:
            for event, _ in batch:
                self._tries.pop(id(event), None)

    def clear(self) -> list[Entry]:
        """Everything that is here, which is then empty."""
        entries = [
            *chain.from_iterable(reversed(self._batches)),
            *(entry for _, _, entry in sorted(self._later)),
        ]
        self._batches.clear()
        self._later.clear()
        self._tries.clear()
        return entries
