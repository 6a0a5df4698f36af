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
        self._changed = threading.Condition(threading.Lock())
        self._fates: Counter[Fate] = Counter()
        self._dropped: Counter[str] = Counter()
        self.settled = 0

    def settle(self, fate: Fate, count: int = 1) -> None:
        """``count`` events are delivered, duplicates or rejected."""
        with self._changed:
            self._fates[fate] += count
            self.settled += count
            self._changed.notify_all()

    def drop(self, reason: str, count: int) -> None:
        """``count`` events are lost for ``reason``."""
        with self._changed:
            self._fates[Fate.DROPPED] += count
            self._dropped[reason] += count
            self.settled += count
            self._changed.notify_all()

    def wait_settled(self, target: int, timeout: float) -> bool:
        """Wait until ``target`` events in all are settled; False after ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.settled >= target, timeout)

    def dropped(self) -> Counter[str]:
        """Events lost so far, by reason."""
        with self._changed:
            return self._dropped.copy()

    def snapshot(self) -> dict[str, int | dict[str, int]]:
        """The counts as one consistent picture; ``dropped`` by reason."""
        with self._changed:
            # In this order: an event is accepted before it can be settled.
            fates, dropped, settled = self._fates.copy(), dict(self._dropped), self.settled
            accepted = self._accepted()
        return {
            "accepted": accepted,
            "delivered": fates[Fate.DELIVERED],
            "duplicate": fates[Fate.DUPLICATE],
            "rejected": fates[Fate.REJECTED],
            "dropped": dropped,
            "pending": accepted - settled,
        }
