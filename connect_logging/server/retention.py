"""Has a store delete what is older than is wanted, now and again; not as soon as somebody has set the clock.

Which events are old is the clock's word alone, and what is deleted is gone. A clock that is suddenly years ahead would
delete them all. So one that was set forward since the last time is not believed before it has stood for as long again:
who has set it by mistake has until then to mend it. What it says at the start of a server has to be believed.
"""

from __future__ import annotations

import threading
import time
from typing import Final, Protocol

from .._types import Clock
from ..exceptions import ConnectError

FORWARD: Final = 3_600.0
"""Seconds by which a clock may be put right at a time: nothing beside the days that events are kept."""

_DAY: Final = 86_400.0


def since_boot() -> float:
    """Seconds that also go by while the machine is suspended, where the system counts them: else it would be the clock
    that has jumped, each time that a machine is woken up."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class ClockSetError(ConnectError):
    """The clock was set forward."""


class Expiring(Protocol):
    """Of a store."""

    def expire(self, before: int, stopped: threading.Event, /) -> int:
        """See :meth:`.stores.duckdb.DuckDBStore.expire`."""


class Retention:
    """``days``: that events are kept. ``clock``: seconds since 1970. ``steady``: see :func:`since_boot`.

    For one thread.
    """

    def __init__(self, store: Expiring, days: int, clock: Clock = time.time, steady: Clock = since_boot) -> None:
        self._store = store
        self._days = days
        self._clock = clock
        self._steady = steady
        self._stopped = threading.Event()
        self._ahead: float | None = None
        """By how much the clock was ahead of the steady one the last time."""

    def expire(self) -> None:
        """Delete what is too old. Raises ClockSetError, StoreError."""
        now = self._clock()
        ahead = now - self._steady()
        before, self._ahead = self._ahead, ahead
        if before is not None and ahead - before > FORWARD:
            days = (ahead - before) / _DAY
            raise ClockSetError(
                f"the clock was set forward by {days:,.1f} days; they are the next time, if it stays so"
            )
        self._store.expire(int((now - self._days * _DAY) * 1_000_000), self._stopped)

    def stop(self) -> None:
        """What is at it ends soon. From any thread."""
        self._stopped.set()
