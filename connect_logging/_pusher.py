"""Takes events from the buffer, pushes them, and decides each one's fate. The only module that sees buffer,
transport, retry policy and dead letters together.

Callers' threads: :meth:`Pusher.submit` and :meth:`Pusher.refuse`, which never wait for the network;
:meth:`Pusher.flush` and :meth:`Pusher.close`, which wait within a deadline. One worker thread does the rest. Where it
cannot (no thread can start, or it waits for logging's lock, which flush's caller may hold), flush does its work.

An event's way: buffer → batch → request → fate. A batch that the server refuses is cut in halves until the events
at fault are alone. One that is not answered comes again, the same bytes, after a backoff. An event that the
server fails by itself comes again later, so that it holds up no other. Invariants:

* Each accepted event gets one fate. Its receipt is told before the ledger counts it, so a flush that returned
  True means that every future has its result.
* ``_driving`` (who sends) and ``_settling`` (who decides fates) are never taken by ``submit``; ``_settling`` is
  free during a request.
* A forked child starts with nothing of its parent's: no events (the parent delivers them), locks, thread, connection.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from ._dead_letter import Burial, DeadLetterLog
from ._ledger import Ledger
from ._notices import ADVICE, DROP_REASONS, GIVEN_UP, DropReport, Notices, OnDrop
from ._outbox import Outbox
from ._retry import Outage, RetryPolicy
from ._settings import Triggers
from ._transport import HttpTransport
from ._types import Answer, AnswerKind, Clock, Fate, Outcome, Properties
from ._worker import Worker, flush_at_multiprocessing_exit
from .event import Buffer, Entry, Event, Receipt
from .rules import MAX_BATCH_EVENTS

MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
"""Of one request's events: enough for 5,000 of 800 bytes, small enough for any server's limit on bodies."""

_MAX_REFUSED: Final = 1_000
"""Invalid events that wait for the worker to write their dead letters; further ones are dropped, and counted."""

_PATIENCE: Final = 0.05
"""Seconds after which a flush looks whether the worker gets on."""

_SAME_EXIT: Final = 1.0
"""Seconds. ``logging.shutdown`` flushes, then closes: a close so soon after a failed flush does not wait again."""


class _Refused(NamedTuple):
    collection: str
    event: Properties | str
    reason: str


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
    ) -> None:
        self._buffer = buffer
        self._transport = transport
        self._retry = retry
        self._burial = Burial(dead_letters, notices.warn)
        self._triggers = triggers
        self._clock = clock
        self.exit_timeout = exit_timeout
        self._notices = notices
        self._drops = DropReport(notices, on_drop)
        self._worker = Worker(self._run, "connect-logging-pusher")
        self._ledger = Ledger(lambda: buffer.accepted)
        self._closed = False
        self._begin()
        # The hook lives as long as the process, so it must not keep this pusher alive.
        this = weakref.ref(self)

        def after_fork() -> None:
            pusher = this()
            if pusher is not None:
                pusher._after_fork()

        os.register_at_fork(after_in_child=after_fork)

    def _begin(self) -> None:
        self._driving = threading.Lock()
        self._settling = threading.RLock()
        self._outage = Outage(self._retry)
        self._outbox = Outbox(MAX_BATCH_EVENTS)
        self._refused: deque[_Refused] = deque()
        self._in_flight: list[Entry] = []
        self._urgent = False
        self._ripe = False
        self._idle = False
        self._preparing = False
        self._lingers_since: float | None = None
        self._flush_target = 0
        self._failed_flush: tuple[float, int] | None = None
        self._requests = 0
        self._retried = 0
        self._last_error: str | None = None
        self.sending_thread: int | None = None

    def _after_fork(self) -> None:
        for part in (self._buffer, self._ledger, self._worker, self._notices, self._drops, self._transport):
            part.reset()
        self._begin()

    # What callers' threads use.

    def submit(self, event: Event, receipt: Receipt | None = None, urgent: bool = False) -> None:
        """Take ``event`` on its way; ``urgent``: at once. ``receipt`` is told its fate."""
        closed = self._closed
        if closed:
            self._buffer.accept()
            self._drop([(event, receipt)], "closed")
            return
        buffer, triggers = self._buffer, self._triggers
        lost = buffer.put((event, receipt))
        if urgent:
            self._urgent = True
        if self._idle or urgent:
            self._worker.wake()
        elif not self._ripe and (len(buffer) >= triggers.events or buffer.waiting_bytes >= triggers.bytes):
            self._ripe = True
            self._worker.wake()
        if not self._worker.started:
            self._start_worker()
        if lost:
            self._drop(lost, buffer.full_reason)
        if self._closed:  # by another thread, since the first line
            self._abandon()

    def start(self) -> None:
        """Begin before the first event: an earlier process may have left some in the spool."""
        self._start_worker()

    def refuse(self, collection: str, event: Properties | str, reason: str) -> None:
        """Account for an event that broke the rules: accepted, and rejected once its dead letter is written."""
        self._buffer.accept()
        if self._closed or len(self._refused) >= _MAX_REFUSED:
            self._ledger.drop("closed" if self._closed else "too_many_invalid", 1)
            return
        self._refused.append(_Refused(collection, event, reason))
        self._worker.wake()
        if not self._worker.started:
            self._start_worker()

    def flush(self, timeout: float) -> bool:
        """Send what was accepted before this call, without waiting for a trigger or the rest of a backoff.

        True when all of it is settled, False after ``timeout`` seconds. On the worker's own thread (in a
        future's callback), and after :meth:`close`, it does not wait.
        """
        accepted = self._buffer.accepted
        deadline = self._clock() + timeout
        self._flush_target = max(self._flush_target, accepted)
        self._outage.hurry()
        self._worker.wake()
        if self._closed or self._worker.is_current() or self._ledger.settled >= accepted:
            return self._ledger.settled >= accepted
        settled = False
        while not settled and (left := deadline - self._clock()) > 0:
            if not self._worker.start() or self._preparing:
                self._drive(lambda: self._ledger.settled >= accepted, deadline)
            settled = self._ledger.wait_settled(accepted, min(left, _PATIENCE))
        self._failed_flush = None if settled else (self._clock(), accepted)
        return settled

    def close(self, timeout: float) -> bool:
        """Flush within ``timeout`` seconds, then stop for good; False when events were lost. Idempotent.

        What could not be sent is dropped and counted under ``closed``.
        """
        if self._closed:
            return self._ledger.dropped()["closed"] == 0
        if self._failed_flush is not None:
            failed_at, accepted = self._failed_flush
            if self._clock() - failed_at < _SAME_EXIT and accepted == self._buffer.accepted:
                timeout = 0.0
        flushed = self.flush(timeout)
        self._closed = True
        self._worker.wake()
        self._worker.join(0.5 if flushed else 0.0)
        self._abandon()
        self._buffer.close()
        self._transport.close()
        self._burial.close()
        self._drops.report(self._ledger.dropped())
        self._notices.finish(0.5)
        return flushed

    def stats(self) -> dict[str, Any]:
        """The ledger's counts, the ``requests`` made, the events ``retried``, and the ``last_error`` or None."""
        return {
            **self._ledger.snapshot(),
            "requests": self._requests,
            "retried": self._retried,
            "last_error": self._last_error,
            **self._buffer.figures(),
        }

    def _start_worker(self) -> None:
        if self._worker.start():
            flush_at_multiprocessing_exit(lambda: self.flush(self.exit_timeout))

    # What the driving thread does.

    def _run(self) -> None:
        self._drive(lambda: self._closed, float("inf"))

    def _drive(self, finished: Callable[[], bool], deadline: float) -> None:
        while not finished():
            pause = self._pause()
            left = deadline - self._clock()
            if pause == 0.0:
                self._preparing = True
                self._transport.prepare()
                self._preparing = False
                with self._driving:
                    self._step()
            elif left > 0:
                self._rest(pause, left)
            else:
                return

    def _rest(self, pause: float | None, left: float) -> None:
        self._drops.report(self._ledger.dropped())
        left = min(left, self._buffer.maintain())
        wait = left if pause is None else min(pause, left)
        self._idle = self._lingers_since is None  # the first event is to start the interval
        if not (self._idle and (len(self._buffer) or self._refused)):
            self._worker.wait(None if wait == float("inf") else wait)
        self._idle = False

    def _pause(self) -> float | None:
        """Seconds until there is something to do; None when only a new event can bring it."""
        if self._refused:
            return 0.0
        now = self._clock()
        due = self._outbox.due()
        waiting = len(self._buffer)
        if waiting:
            if self._lingers_since is None:
                self._lingers_since = now
            due = min(due, 0.0 if self._triggered(waiting) else self._lingers_since + self._triggers.interval)
        if due == float("inf"):
            return None
        return max(0.0, max(due, self._outage.not_before) - now)

    def _triggered(self, waiting: int) -> bool:
        return (
            self._urgent
            or waiting >= self._triggers.events
            or self._buffer.waiting_bytes >= self._triggers.bytes
            or self._ledger.settled < self._flush_target
        )

    def _step(self) -> None:
        with self._settling:
            while self._refused:
                self._bury(*self._refused.popleft())
                self._ledger.settle(Fate.REJECTED)
            batch = self._next_batch()
        if not batch:
            return
        self._requests += 1
        self.sending_thread = threading.get_ident()
        try:
            answer = self._transport.push([event for event, _ in batch])
        finally:
            self.sending_thread = None
        with self._settling:
            if self._in_flight:
                self._in_flight = []
                self._settle(batch, answer)

    def _next_batch(self) -> list[Entry]:
        now = self._clock()
        if self._outage.not_before > now:
            return []
        batch = self._outbox.next(now)
        if batch:
            self._retried += len(batch)
        else:
            self._urgent = self._ripe = False
            batch = self._buffer.take(self._outbox.limit, MAX_BATCH_BYTES)
            damaged = self._buffer.pop_damaged()
            if damaged:
                self._ledger.drop("damaged", damaged)
            self._lingers_since = None
        self._in_flight = batch
        return batch

    def _settle(self, batch: list[Entry], answer: Answer) -> None:
        if answer.kind is not AnswerKind.ANSWERED:
            self._last_error = answer.message
        match answer.kind:
            case AnswerKind.ANSWERED:
                self._outage.over()
                self._read_outcomes(batch, answer)
            case AnswerKind.REFUSED | AnswerKind.TOO_LARGE:
                self._outage.over()
                self._cut(batch, answer)
            case AnswerKind.UNAVAILABLE | AnswerKind.DENIED | AnswerKind.MISDIRECTED:
                self._postpone(batch, answer)

    def _read_outcomes(self, batch: list[Entry], answer: Answer) -> None:
        fates: dict[Fate, list[tuple[Entry, str | None]]] = {}
        for entry, outcome in zip(batch, answer.outcomes, strict=True):
            fate = self._fate(entry, outcome)
            if fate is not None:
                fates.setdefault(fate, []).append((entry, outcome.message))
        for fate, told in fates.items():
            self._finish(told, fate, answer.http_status)

    def _fate(self, entry: Entry, outcome: Outcome) -> Fate | None:
        if outcome.success:
            return Fate.DUPLICATE if outcome.duplicate else Fate.DELIVERED
        self._last_error = outcome.message
        tries = self._outbox.count_try(entry)
        if tries >= self._retry.attempts:
            return Fate.REJECTED
        self._outbox.later(entry, self._clock() + self._retry.backoff(tries))
        return None

    def _cut(self, batch: list[Entry], answer: Answer) -> None:
        if len(batch) > 1:
            self._outbox.halve(batch)
            if answer.kind is AnswerKind.TOO_LARGE:
                self._outbox.limit = len(batch) // 2
        else:
            self._finish([(batch[0], answer.message)], Fate.REJECTED, answer.http_status)

    def _postpone(self, batch: list[Entry], answer: Answer) -> None:
        if self._outage.failed(answer, self._clock()):
            self._outbox.again(batch)
            advice = ADVICE[answer.kind]
            self._notices.warn(answer.kind.name, f"events cannot be pushed, and are kept: {answer.message}. {advice}")
        else:
            self._buffer.release(batch)
            self._outbox.settled(batch)
            self._drop(batch, GIVEN_UP[answer.kind], answer)

    def _finish(self, told: Sequence[tuple[Entry, str | None]], fate: Fate, http_status: int | None) -> None:
        """The events have their ``fate``; each comes with the message that its receipt is told."""
        for (event, receipt), message in told:
            if fate is Fate.REJECTED:
                self._bury(event.collection, event.properties, message or "the server gave no reason")
            if receipt is not None:
                receipt(event, fate, message, http_status)
        batch = [entry for entry, _ in told]
        self._buffer.release(batch)
        self._outbox.settled(batch)
        self._ledger.settle(fate, len(batch))

    def _drop(self, entries: Sequence[Entry], reason: str, answer: Answer | None = None) -> None:
        if entries:
            message, http_status = (answer.message, answer.http_status) if answer else (DROP_REASONS[reason], None)
            _tell(entries, Fate.DROPPED, message, http_status)
            self._ledger.drop(reason, len(entries))

    def _bury(self, collection: str, event: Properties | str, reason: str) -> None:
        self._last_error = reason
        self._burial.bury(collection, event, reason)

    def _abandon(self) -> None:
        """Drop whatever has no fate. A request still under way is no longer listened to."""
        with self._settling:
            lost, kept = self._buffer.leave([*self._in_flight, *self._outbox.clear()])
            self._in_flight = []
            self._buffer.release(lost)
            self._drop(lost, "closed")
            _tell(kept, Fate.KEPT, "not sent before close: it is in the spool, for the next process", None)
            if self._refused:
                self._ledger.drop("closed", len(self._refused))
                self._refused.clear()


def _tell(entries: Sequence[Entry], fate: Fate, message: str, http_status: int | None) -> None:
    for event, receipt in entries:
        if receipt is not None:
            receipt(event, fate, message, http_status)
