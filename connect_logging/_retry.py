"""When to try again, and when to give up: policies as small objects, without clocks or sleeps of their own.

Backoff is exponential with full jitter (each delay uniform between nothing and the step), so that many
clients which lost a server at one moment do not come back at one moment. A server's Retry-After is honoured
as a least delay, up to ``MAX_RETRY_AFTER``.
"""

from __future__ import annotations

from collections.abc import Callable
from random import SystemRandom
from typing import Final

import msgspec

from ._types import Answer, AnswerKind

MAX_RETRY_AFTER: Final = 300.0
"""Seconds. A header of a year, by mistake or malice, must not silence a process."""

_FARTHEST_STEP: Final = 16
"""Doublings after which the step has passed any cap; keeps the power small."""


class RetryPolicy(msgspec.Struct, frozen=True):
    """What to do with a request that was not answered.

    ``base`` and ``cap``: seconds of the first and the longest backoff step. ``hold``: seconds between tries while
    the key or the address is wrong, as only a person can mend that; None gives the events up at once.
    ``give_up_after``: seconds of outage after which events are given up; None never. ``attempts``: how often
    what the server fails by itself, an event of a batch or a question, is sent in all.
    """

    base: float = 0.5
    cap: float = 30.0
    hold: float | None = 30.0
    give_up_after: float | None = None
    attempts: int = 3
    uniform: Callable[[float, float], float] = SystemRandom().uniform  # a fork would copy the state of another

    def delay(self, answer: Answer, failures: int, outage: float) -> float | None:
        """Seconds until the next try, or None to give up.

        ``failures``: unanswered requests in a row, this one included. ``outage``: seconds since the first of them.
        """
        if answer.kind is not AnswerKind.UNAVAILABLE:
            return None if self.hold is None else self.uniform(0.5 * self.hold, self.hold)
        if self.give_up_after is not None and outage >= self.give_up_after:
            return None
        return self.pause(failures, answer.retry_after)

    def pause(self, failures: int, retry_after: float | None) -> float:
        """Seconds to wait after ``failures`` in a row, of which the last named ``retry_after`` seconds, or None."""
        return max(self.backoff(failures), min(retry_after or 0.0, MAX_RETRY_AFTER))

    def backoff(self, failures: int) -> float:
        """Seconds to wait after ``failures`` (1 or more) in a row."""
        step = self.base * 2.0 ** min(failures - 1, _FARTHEST_STEP)
        return self.uniform(0.0, min(step, self.cap))


class Outage:
    """The run of unanswered requests that a pusher is in, if any; ``not_before`` is when it may try again.

    Times are monotonic seconds, given by the caller.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self.over()

    def over(self) -> None:
        """A request was answered."""
        self._failures = 0
        self._began: float | None = None
        self._may_hurry = True
        self.not_before = 0.0

    def failed(self, answer: Answer, now: float) -> bool:
        """A request was not answered. False when its events are to be given up."""
        self._failures += 1
        self._began = now if self._began is None else self._began
        delay = self._policy.delay(answer, self._failures, now - self._began)
        if delay is None:
            self.not_before = 0.0
            return False
        self._may_hurry = answer.kind is AnswerKind.UNAVAILABLE and answer.retry_after is None
        self.not_before = now + delay
        return True

    def hurry(self) -> None:
        """Somebody waits: skip the rest of a backoff. What the server asked for, and a hold, are kept."""
        if self._may_hurry:
            self.not_before = 0.0
