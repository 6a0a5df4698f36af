"""Takes events from the buffer and pushes them; :mod:`._settlement` then decides each one's fate.

Callers' threads: :meth:`Pusher.submit` and :meth:`Pusher.refuse`, which never wait for the network;
:meth:`Pusher.flush` and :meth:`Pusher.close`, which wait within a deadline. One worker thread does the rest. Where it
cannot (no thread can start, or it waits for logging's lock, which flush's caller may hold), flush does its work.

An event's way: buffer → batch → request → fate. Invariants:

* ``_driving`` (who sends) and ``_settling`` (who decides fates) are never taken by ``submit``; ``_settling`` is
  free during a request.
* A forked child starts with nothing of its parent's: no events (the parent delivers them), locks, thread, connection.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from ._dead_letter import Burial, DeadLetterLog
from ._forking import at_forks
from ._ledger import Ledger
from ._notices import DropReport, Notices, OnDrop
from ._retry import RetryPolicy
from ._schedule import AT_ONCE, Schedule
from ._settings import Triggers
from ._settlement import Refused, Settlement, tell
from ._transport import HttpTransport
from ._types import Clock, Fate, Properties
from ._worker import Worker, flush_at_multiprocessing_exit
from .event import Arrival, Buffer, Draft, Entry, Event, Receipt, Sender

MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
"""Of one request's events: enough for 5,000 of 800 bytes, small enough for any server's limit on bodies."""

_MAX_REFUSED: Final = 1_000
"""Invalid events that wait for the worker to write their dead letters; further ones are dropped, and counted."""

_PATIENCE: Final = 0.05
"""Seconds for a worker that may wait for logging's lock, which who flushes or closes may hold: then he goes on."""

_FAREWELL: Final = 0.5
"""Seconds for a worker that has nothing left to do, and so ends at once."""

_BREATH: Final = 0.001
"""Seconds until the next look at a buffer whose events are all still being written to it."""

_SAME_EXIT: Final = 1.0
"""Seconds. ``logging.shutdown`` flushes, then closes: a close so soon after a failed flush does not wait again."""


class Pusher:
    """``clock``: monotonic seconds. ``exit_timeout``: seconds that a flush may take when the process ends."""

    def __init__(
        self,
        *,
        buffer: Buffer,
        transport: HttpTransport,
        retry: RetryPolicy,
        dead_letters: DeadLetterLog | None,
        triggers: Triggers,
        notices: Notices,
        exit_timeout: float,
        clock: Clock,
        on_drop: OnDrop | None = None,
        sender: Sender | None = None,
    ) -> None:
        self._buffer = buffer
        self._put = buffer.put if _is_interpreter_locked() else self._put_in_turn
        self._transport = transport
        self._sender = sender
        self._forks_with: list[Buffer | Sender] = [buffer] if sender is None else [buffer, sender]
        self._burial = Burial(dead_letters, notices.warn)
        self._clock = clock
        self.exit_timeout = exit_timeout
        self._notices = notices
        self._drops = DropReport(notices, on_drop)
        self._worker = Worker(self._run, "connect-logging-pusher")
        self._ledger = Ledger(lambda: buffer.accepted)
        self._fates = Settlement(buffer, self._ledger, retry, self._burial, notices, clock)
        self._schedule = Schedule(buffer, self._ledger, triggers, clock)
        self._closed = False
        self._begin()
        at_forks(self, Pusher._hold, Pusher._let_go, Pusher._after_fork)

    def _begin(self) -> None:
        self._driving = threading.Lock()
        self._driver: int | None = None
        self._settling = threading.RLock()
        self._in_flight: list[Entry] = []
        self._call_at: tuple[int, int] | None = AT_ONCE  # here, as every log call looks at it
        self._preparing: set[int] = set()  # threads
        self._failed_flush: tuple[float, int] | None = None
        self._requests = self._retried = 0
        self.sending_thread: int | None = None

    def _hold(self) -> None:
        for each in self._forks_with:
            each.hold()

    def _let_go(self) -> None:
        for each in reversed(self._forks_with):
            each.let_go()

    def _after_fork(self) -> None:
        own = (self._ledger, self._worker, self._drops, self._fates, self._schedule)
        for part in (self._buffer, self._notices, self._transport, *own):
            part.reset()
        if self._sender is not None:
            self._sender.reset()
        self._begin()

    # What callers' threads use.

    def submit(self, event: Event | Draft, receipt: Receipt | None = None, urgent: bool = False) -> None:
        """Take ``event`` on its way; ``urgent``: at once. ``receipt`` is told its fate."""
        closed = self._closed
        if closed:
            self._buffer.accept()
            self._fates.drop([(event, receipt)], "closed")
            return
        lost = self._put((event, receipt))
        call_at, buffer = self._call_at, self._buffer
        if urgent or (call_at is not None and (buffer.came >= call_at[0] or buffer.came_bytes >= call_at[1])):
            self._call(urgent)
        if lost:
            self._fates.drop(lost, buffer.full_reason)
        if self._closed:  # by another thread, since the first line
            self._abandon()

    def _put_in_turn(self, arrival: Arrival) -> Sequence[Arrival]:
        """Without the interpreter's own lock what a buffer does in one step is none."""
        self._buffer.hold()
        try:
            return self._buffer.put(arrival)
        finally:
            self._buffer.let_go()

    def _call(self, urgent: bool) -> None:
        """Wake the worker, which will see to what waits."""
        if urgent:
            self._schedule.hurry()
        if self._worker.started:
            self._call_at = None
        else:
            self._start_worker()
        self._worker.wake()

    def start(self) -> None:
        """Begin before the first event: an earlier process may have left some in the spool."""
        self._start_worker()

    def refuse(self, collection: str, event: Properties | str, reason: str) -> None:
        """Account for an event that broke the rules: accepted, and rejected once its dead letter is written."""
        self._buffer.accept()
        closed = self._closed
        if closed or len(self._fates.refused) >= _MAX_REFUSED:
            self._ledger.drop("closed" if closed else "too_many_invalid", 1)
            return
        self._fates.refused.append(Refused(collection, event, reason))
        self._worker.wake()
        if not self._worker.started:
            self._start_worker()
        if self._closed:  # by another thread, since the first look
            self._abandon()

    def flush(self, timeout: float) -> bool:
        """Send what was accepted before this call, without waiting for a trigger or the rest of a backoff.

        True when all of it is settled, False after ``timeout`` seconds. On a thread that sends (in a future's
        callback, a signal's handler), and after :meth:`close`, it does not wait.
        """
        accepted, logged = self._buffer.accepted, self._logged()
        deadline = self._clock() + timeout
        self._schedule.hurry_until(accepted)
        self._fates.hurry()
        self._worker.wake()

        def is_settled() -> bool:
            return self._ledger.settled >= accepted and not self._fates.is_overtaken

        settled, may_wait = is_settled(), not (self._worker.is_current() or self._driver == threading.get_ident())
        while not settled and may_wait and not self._closed and (left := deadline - self._clock()) > 0:
            if not self._worker.start() or self._preparing:
                self._drive(is_settled, min(deadline, self._clock() + _PATIENCE))
                self._worker.wake()  # what it listens for, the other may have put away
            settled = self._ledger.wait_until(is_settled, min(left, _PATIENCE))
        self._failed_flush = None if settled else (self._clock(), logged)
        return settled

    def _logged(self) -> int:
        """Events that came to this process; others are found in a spool at any time."""
        return self._buffer.accepted - self._buffer.figures().get("recovered", 0)

    def close(self, timeout: float) -> bool:
        """Flush within ``timeout`` seconds, then stop for good; False when events were lost. Idempotent.

        What could not be sent is dropped and counted under ``closed``. Ctrl-C ends the flush, and is raised after that.
        """
        if self._closed:
            return self._ledger.dropped()["closed"] == 0
        failed = self._failed_flush
        if failed is not None and self._clock() - failed[0] < _SAME_EXIT and failed[1] == self._logged():
            timeout = 0.0
        flushed = False
        try:
            flushed = self.flush(timeout)
        finally:
            self._stop(flushed)
        return flushed

    def close_at_exit(self) -> None:
        """Close within ``exit_timeout``. Ctrl-C ends the flush, and is no news to a process that ends."""
        with suppress(KeyboardInterrupt):
            self.close(self.exit_timeout)

    def _stop(self, flushed: bool) -> None:
        self._closed = True
        self._worker.wake()
        self._worker.join((_PATIENCE if self._preparing else _FAREWELL) if flushed else 0.0)
        self._abandon()
        self._buffer.close()
        self._transport.close()
        if self._sender is not None:
            self._sender.close()
        self._burial.close()
        self._drops.report(self._ledger.dropped())
        self._notices.finish(0.5)

    def stats(self) -> dict[str, Any]:
        """The ledger's counts, the ``requests`` made, the events ``retried``, and the ``last_error`` or None."""
        return {
            **self._ledger.snapshot(),
            "requests": self._requests,
            "retried": self._retried,
            "last_error": self._fates.last_error,
            **self._buffer.figures(),
        }

    def _start_worker(self) -> None:
        if self._worker.start():
            flush_at_multiprocessing_exit(lambda: self.flush(self.exit_timeout))

    # What the driving thread does.

    def _run(self) -> None:
        if self._sender is not None:
            self._sender.start()
        try:
            self._drive(lambda: self._closed, float("inf"))
        finally:
            self._call_at = AT_ONCE  # if that has failed, the next event starts another thread

    def _drive(self, finished: Callable[[], bool], deadline: float) -> None:
        while not finished():
            pause = self._pause()
            left = deadline - self._clock()
            if pause == 0.0:
                self._preparing.add(threading.get_ident())
                self._transport.prepare()
                self._preparing.discard(threading.get_ident())
                with self._driving:
                    self._driver = threading.get_ident()
                    try:
                        has_sent = self._step()
                    finally:
                        self._driver = None
                if not has_sent:
                    self._worker.wait(_BREATH)
            elif left > 0:
                self._rest(pause, left)
            else:
                return

    def _rest(self, pause: float | None, left: float) -> None:
        self._drops.report(self._ledger.dropped())
        left = min(left, self._buffer.maintain())
        wait = left if pause is None else min(pause, left)
        not_before = self._fates.outage.not_before
        self._call_at = self._schedule.call_at(not_before)
        if not self._schedule.has_missed_any(not_before):
            self._worker.wait(None if wait == float("inf") else wait)
        self._call_at = None

    def _pause(self) -> float | None:
        """Seconds until there is something to do; None when only a new event can bring it."""
        due = self._fates.due(self._schedule.due())
        return None if due == float("inf") else max(0.0, due - self._clock())

    def _step(self) -> bool:
        """Send a batch; False when there is none."""
        with self._settling:
            self._fates.bury_refused()
        if self._sender is not None and self._step_elsewhere(self._sender):
            return True
        with self._settling:
            batch = self._next_batch()
        if not batch:
            return False
        self._requests += 1
        self.sending_thread = threading.get_ident()
        try:
            answer = self._transport.push([event for event, _ in batch])
        except BaseException:  # Ctrl-C, in a flush
            with self._settling:
                if self._has_landed():
                    self._fates.outbox.again(batch)
            raise
        finally:
            self.sending_thread = None
        with self._settling:
            if self._has_landed():
                self._fates.settle(batch, answer)
        return True

    def _has_landed(self) -> bool:
        """Nothing is in flight any more. False where it has been given up."""
        batch, self._in_flight = self._in_flight, []
        return bool(batch)

    def _step_elsewhere(self, sender: Sender) -> bool:
        """Have ``sender`` send a batch; False where that is left to us."""
        if not self._fates.may_send(self._clock()):
            return False
        self._schedule.begin_anew()
        sent = sender.send(self._fates.outbox.limit)
        if sent is None:
            return False
        self._requests += 1
        with self._settling:
            if self._closed:
                sender.give_back()
            else:
                self._fates.settle_sent(sender, sent)
        return True

    def _next_batch(self) -> list[Entry]:
        now = self._clock()
        outbox = self._fates.outbox
        if self._fates.outage.not_before > now:
            return []
        batch = outbox.next(now)
        if batch:
            self._retried += len(batch)
        else:
            self._schedule.begin_anew()
            batch = self._buffer.take(outbox.limit, MAX_BATCH_BYTES)
            self._fates.count_damaged()
        self._in_flight = batch
        return batch

    def _abandon(self) -> None:
        """Drop whatever has no fate. A request still under way is no longer listened to."""
        with self._settling:
            lost, kept = self._buffer.leave([*self._in_flight, *self._fates.outbox.clear()])
            self._in_flight = []
            self._buffer.release(lost)
            self._fates.drop(lost, "closed")
            tell(kept, Fate.KEPT, "not sent before close: it is in the spool, for the next process", None)
            while self._fates.refused and self._fates.refused.popleft():
                self._ledger.drop("closed", 1)


def _is_interpreter_locked() -> bool:
    """Whether one thread at a time runs Python's code, as in all builds but the free-threaded ones."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())
