"""A few threads for what takes long, and a bound to what waits for them."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from ...exceptions import ConnectError


class TooManyWaitingError(ConnectError):
    """The owner has as much waiting as one may have."""


class _Task(NamedTuple):
    owner: str
    run: Callable[[], object]


class Workers:
    """Up to ``count`` daemon threads, made as they are needed. ``most``: tasks of one owner that may wait.

    A task must not raise.
    """

    def __init__(self, count: int, most: int) -> None:
        self._count = count
        self._most = most
        self._changed = threading.Condition()
        self._waiting: deque[_Task] = deque()
        self._by_owner: Counter[str] = Counter()
        self._idle = 0
        self._threads: list[threading.Thread] = []
        self._closed = False

    def submit(self, owner: str, run: Callable[[], object]) -> None:
        """Have ``run`` called once it is its turn. Raises TooManyWaitingError."""
        with self._changed:
            if self._closed or self._by_owner[owner] >= self._most:
                raise TooManyWaitingError(f"{self._most} transfers are waiting already")
            self._waiting.append(_Task(owner, run))
            self._by_owner[owner] += 1
            if self._idle < len(self._waiting) and len(self._threads) < self._count:
                thread = threading.Thread(target=self._work, name="transfer", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify()

    def close(self, timeout: float) -> None:
        """Begin no other task, and wait up to ``timeout`` seconds for those that run. May be called again."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                self._changed.wait_for(lambda: self._waiting or self._closed)
                self._idle -= 1
                if self._closed:
                    return
                task = self._waiting.popleft()
                self._by_owner[task.owner] -= 1
            task.run()
