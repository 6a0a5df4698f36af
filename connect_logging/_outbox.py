"""The events that were taken from the buffer and are not settled yet: what to send again, how cut, and when."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from itertools import chain, count
from typing import Final

from .event import Entry

GROW_AFTER: Final = 50
"""Batches of the largest size, after which larger ones are tried again: it costs a request in fifty where they fail."""


class Outbox:
    """Batches that come again at once, in order, and single events that come again when they are due.

    Used by one thread at a time. ``limit``: the largest batch, in events, at first ``most``. It shrinks where a server
    finds a batch too large, so that the next is cut before it is sent, and grows again: that may have been a mistake.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.limit = most
        self._full = 0
        """Batches in a row that were as large as the limit, and not too large."""
        self._batches: list[list[Entry]] = []
        self._later: list[tuple[float, int, Entry]] = []
        self._order = count()
        self._tries: Counter[int] = Counter()
        """Of single events that are not settled."""

    def __bool__(self) -> bool:
        return bool(self._batches or self._later)

    @property
    def is_overtaken(self) -> bool:
        """Whether events that came later may have been settled before some that are not."""
        return bool(self._tries)

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

    def shrink(self, limit: int) -> None:
        """No batch of more than ``limit`` events, for the time being."""
        self.limit = limit
        self._full = 0

    def was_taken(self, count: int) -> None:
        """The server has taken a batch of ``count`` events."""
        if self.limit <= count < self._most:
            self._full += 1
            if self._full >= GROW_AFTER:
                self.shrink(min(2 * self.limit, self._most))

    def later(self, entry: Entry, due: float) -> None:
        """``entry`` is to be sent again when it is ``due``."""
        self._tries[id(entry[0])] += 0  # it is known from here on
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
