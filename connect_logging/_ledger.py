"""What has become of every event: ``accepted = delivered + duplicate + rejected + dropped + pending``.

Pending is what was accepted and has no fate yet; it is derived, so the equation holds at every moment. An event
is settled once, by whoever decides its fate.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from ._types import Fate


class Ledger:
    """Counts of one pusher in one process. ``accepted`` tells how many events have come in so far."""

    def __init__(self, accepted: Callable[[], int]) -> None:
        self._accepted = accepted
        self.reset()

    def reset(self) -> None:
        """Begin at nothing, with a new lock: for a forked child."""
        # Re-entrant: a signal handler or a __del__ may log, and drop, while its own thread is in here.
        self._changed = threading.Condition(threading.RLock())
        self._fates: dict[str, int] = dict.fromkeys([fate.value for fate in Fate if fate is not Fate.DROPPED], 0)
        # No Counter: its item assignment makes a tuple, for which the collector may run a __del__ within an addition.
        self._dropped: dict[str, int] = {}
        self.settled = 0

    def settle(self, fate: Fate, count: int = 1) -> None:
        """``count`` events are delivered, duplicates or rejected."""
        name = fate.value
        with self._changed:
            # Keys are str, whose hash is no Python code: nothing can re-enter within an addition.
            self._fates[name] += count
            self.settled += count
            self._changed.notify_all()

    def drop(self, reason: str, count: int) -> None:
        """``count`` events are lost for ``reason``."""
        with self._changed:
            self._dropped.setdefault(reason, 0)
            self._dropped[reason] += count
            self.settled += count
            self._changed.notify_all()

    def wait_until(self, holds: Callable[[], bool], timeout: float) -> bool:
        """Wait until ``holds()``, which is asked whenever an event is settled; False after ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(holds, timeout)

    def dropped(self) -> Counter[str]:
        """Events lost so far, by reason."""
        with self._changed:
            return Counter(self._dropped.copy())

    def snapshot(self) -> dict[str, int | dict[str, int]]:
        """The counts as one consistent picture; ``dropped`` by reason."""
        with self._changed:
            # In this order: an event is accepted before it can be settled.
            fates, dropped = self._fates.copy(), self._dropped.copy()
            accepted = self._accepted()
        return {
            "accepted": accepted,
            "delivered": fates["delivered"],
            "duplicate": fates["duplicate"],
            "rejected": fates["rejected"],
            "dropped": dropped,
            "pending": accepted - sum(fates.values()) - sum(dropped.values()),
        }
