"""When what waits in the buffer is sent, and at which event whoever sends it is to be woken.

It looks at the buffer and the ledger, and is told when somebody hurries and when what waits is sent; it does nothing
itself. Whoever sends asks, at times two threads (a flush helps the worker): what one has put wrong for the other, the
next :meth:`Schedule.due` puts right.
"""

from __future__ import annotations

import sys
from typing import Final

from ._ledger import Ledger
from ._settings import Triggers
from ._types import Clock
from .event import Buffer

AT_ONCE: Final = (0, 0)
"""To be woken by the next event, whichever it is."""

_NEVER: Final = sys.maxsize
"""More than can wait."""


class Schedule:
    """By ``triggers``, or sooner where somebody hurries. ``clock``: monotonic seconds."""

    def __init__(self, buffer: Buffer, ledger: Ledger, triggers: Triggers, clock: Clock) -> None:
        self._buffer = buffer
        self._ledger = ledger
        self._triggers = triggers
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Begin with nothing: for a forked child."""
        self._urgent = False
        self._flush_target = 0
        self._lingers_since: float | None = None

    def hurry(self) -> None:
        """An event came that does not wait for company. May be called anywhere."""
        self._urgent = True

    def hurry_until(self, settled: int) -> None:
        """Somebody waits until so many events, from the first on, are settled. May be called anywhere."""
        self._flush_target = max(self._flush_target, settled)

    def begin_anew(self) -> None:
        """What waits is sent now; what comes after it waits for company again."""
        self._urgent = False
        self._lingers_since = None

    def due(self) -> float:
        """When what waits is to be sent (monotonic seconds); infinity when nothing does."""
        waiting = len(self._buffer)
        if not waiting:
            self._lingers_since = None
            return float("inf")
        since = self._lingers_since  # read once: another, who sends, forgets it at any time
        if since is None:
            since = self._lingers_since = self._clock()
        return 0.0 if self._is_triggered(waiting) else since + self._triggers.interval

    def _is_triggered(self, waiting: int) -> bool:
        return (
            self._urgent
            or waiting >= self._triggers.events
            or self._buffer.waiting_bytes >= self._triggers.bytes
            or self._ledger.settled < self._flush_target
        )

    def call_at(self, not_before: float) -> tuple[int, int] | None:
        """The buffer's ``came`` and ``came_bytes``, either of which wakes who may send ``not_before``; None: neither.

        One that waits for company is woken when there is enough; one that has nothing, by the first event, which is to
        start the interval. One that may not send is not woken: what waits by then is seen to when it may.
        """
        if self._lingers_since is None:
            return AT_ONCE
        if not_before > self._clock():
            return None
        # First what has come: with what comes meanwhile the worker is woken too early, not too late.
        came, came_bytes = self._buffer.came, self._buffer.came_bytes
        events = self._triggers.events - len(self._buffer)
        size = self._triggers.bytes - self._buffer.waiting_bytes
        return came + events if events > 0 else _NEVER, came_bytes + size if size > 0 else _NEVER

    def has_missed_any(self, not_before: float) -> bool:
        """Whether :meth:`due` is to be asked again by who may send ``not_before``: since then, and perhaps before
        :meth:`call_at`, the first event came, or so many that there are enough."""
        waiting = len(self._buffer)
        if self._lingers_since is None:
            return waiting > 0
        return not_before <= self._clock() and self._is_triggered(waiting)
