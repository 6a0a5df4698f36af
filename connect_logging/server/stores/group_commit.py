"""One writer thread that commits whatever has come in since its last commit, all at once.

A commit costs one fsync, however much is in it. While one runs, requests gather; the next takes them together. So
nothing ever waits for company, and throughput rises with load.

Invariants: a future is resolved only after the commit that holds its request; a group that fails is tried again one
request at a time, so that a request fails only by itself, unless the database is unavailable, which is nobody's fault
and true of all; what waits is bounded by weight. The log says why a request fails, once until one is done.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, NamedTuple, TypeVar

from .base import StoreBusyError, StoreError, StoreUnavailableError

_log = logging.getLogger(__name__)

Request = TypeVar("Request")
Result = TypeVar("Result")


class _Waiting(NamedTuple, Generic[Request, Result]):
    request: Request
    weight: int
    future: Future[Result]


class GroupCommitter(Generic[Request, Result]):
    """Feeds requests to ``commit``, which stores a group as a whole and returns a result for each, or raises.

    ``max_group`` and ``max_waiting`` are weights, in the unit of :meth:`submit`. A single request may be heavier than
    ``max_group``; it then goes alone.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Request]], Sequence[Result]],
        *,
        max_group: int,
        max_waiting: int,
    ) -> None:
        self._commit = commit
        self._max_group = max_group
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting[Request, Result]] = deque()
        self._weight = 0
        self._closed = False
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    def submit(self, request: Request, weight: int) -> Future[Result]:
        """Queue ``request``. Raises StoreBusyError when too much waits, StoreError after :meth:`close`."""
        waiting = _Waiting(request, weight, Future[Result]())
        with self._changed:
            if self._closed:
                raise StoreError("the server is stopping")
            if self._waiting and self._weight + weight > self._max_waiting:
                raise StoreBusyError("more events are waiting to be stored than the server holds")
            self._waiting.append(waiting)
            self._weight += weight
            self._changed.notify()
        return waiting.future

    @property
    def waiting(self) -> int:
        """The weight of what waits."""
        return self._weight

    def close(self) -> None:
        """Commit everything that waits, then end the thread. May be called again."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while group := self._next_group():
            try:
                self._settle(group)
            except StoreUnavailableError as error:
                self._fail(group, error)
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to these requests
                if len(group) == 1:
                    self._fail(group, error)
                else:
                    self._one_by_one(group)

    def _one_by_one(self, group: Sequence[_Waiting[Request, Result]]) -> None:
        for place, waiting in enumerate(group):
            try:
                self._settle([waiting])
            except StoreUnavailableError as error:
                self._fail(group[place:], error)
                return
            except Exception as error:  # noqa: BLE001
                self._fail([waiting], error)

    def _settle(self, group: Sequence[_Waiting[Request, Result]]) -> None:
        results = self._commit([waiting.request for waiting in group])
        self._is_failing = False
        for waiting, result in zip(group, results, strict=True):
            waiting.future.set_result(result)

    def _next_group(self) -> list[_Waiting[Request, Result]]:
        """What waits, as far as a group may hold it; empty once closed and drained."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                group: list[_Waiting[Request, Result]] = []
                weight = 0
                while self._waiting and (not group or weight + self._waiting[0].weight <= self._max_group):
                    waiting = self._waiting.popleft()
                    self._weight -= waiting.weight
                    # From here on it cannot be cancelled; one that was is nobody's any more.
                    if waiting.future.set_running_or_notify_cancel():
                        group.append(waiting)
                        weight += waiting.weight
                if group or self._closed:
                    return group

    def _fail(self, group: Sequence[_Waiting[Request, Result]], error: Exception) -> None:
        if isinstance(error, StoreError) and not self._is_failing:
            self._is_failing = True
            _log.warning("%s", error.in_full)
        for waiting in group:
            waiting.future.set_exception(error)
