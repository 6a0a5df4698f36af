"""Decides the fate of each event from what the server said of its batch, and carries it out.

A batch that the server refuses is cut in halves until the events at fault are alone. One that is not answered comes
again, the same bytes, after a backoff. An event that the server fails by itself comes again later, so that it holds up
no other. Used by one thread at a time. Invariants:

* An event gets one fate. Its receipt is told before the ledger counts it, so whoever waits for the ledger finds that
  every future has its result.
* A refused event is let go of once its dead letter is written, or its receipt told. Until then it stays in the buffer,
  and is tried again: a full disk must not lose what only needed mending.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from ._dead_letter import Burial
from ._ledger import Ledger
from ._notices import ADVICE, DROP_REASONS, GIVEN_UP, Notices
from ._outbox import Outbox
from ._retry import Outage, RetryPolicy
from ._types import STORED, Answer, AnswerKind, Clock, Fate, Properties, Sent
from .event import Arrival, Buffer, Draft, Entry, Kept, Sender
from .rules import MAX_BATCH_EVENTS

BURY_AGAIN: Final = 2.0
"""Seconds until a dead letter that could not be written is tried again."""

_Told: TypeAlias = tuple[Entry, str | None]
"""An event that has its fate, and the message that its receipt is told."""


class Refused(msgspec.Struct, frozen=True):
    """An event that broke the rules in its log call: no bytes, only what is to be read in its dead letter."""

    collection: str
    event: Properties | str
    reason: str


class Settlement:
    """``outbox``: what is to be sent again. ``outage``: when. ``refused``: what waits for its dead letter.

    ``clock``: monotonic seconds.
    """

    def __init__(
        self, buffer: Buffer, ledger: Ledger, retry: RetryPolicy, burial: Burial, notices: Notices, clock: Clock
    ) -> None:
        self._buffer = buffer
        self._ledger = ledger
        self._retry = retry
        self._burial = burial
        self._notices = notices
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Begin with nothing: for a forked child."""
        self.outage = Outage(self._retry)
        self.outbox = Outbox(MAX_BATCH_EVENTS)
        self.refused: deque[Refused] = deque()
        self._bury_at = 0.0
        self.last_error: str | None = None

    def hurry(self) -> None:
        """Somebody waits: skip the rest of a backoff, and try the dead letters again."""
        self.outage.hurry()
        self._bury_at = 0.0

    def settle(self, batch: list[Entry], answer: Answer) -> None:
        """The server has said ``answer`` of ``batch``."""
        if answer.kind is not AnswerKind.ANSWERED:
            self.last_error = answer.message
        match answer.kind:
            case AnswerKind.ANSWERED:
                self.outage.over()
                self.outbox.was_taken(len(batch))
                self._read_outcomes(batch, answer)
            case AnswerKind.REFUSED | AnswerKind.TOO_LARGE:
                self.outage.over()
                self._cut(batch, answer)
            case AnswerKind.UNAVAILABLE | AnswerKind.DENIED | AnswerKind.MISDIRECTED:
                self._postpone(batch, answer)

    def settle_sent(self, sender: Sender, sent: Sent) -> None:
        """The server has answered what ``sender`` sent. What is not all well is taken, and goes on from here."""
        if sent.answer is None:
            sender.settle(sent)
            self.outage.over()
            self.outbox.was_taken(sent.events)
            self._ledger.settle(Fate.DELIVERED, sent.events)
        elif batch := sender.take(sent):
            self.settle(batch, sent.answer)
        self.count_damaged()

    @property
    def is_overtaken(self) -> bool:
        """Whether events that came later may have their fates before some that have none."""
        return bool(self.refused) or self.outbox.is_overtaken

    def may_send(self, now: float) -> bool:
        """Whether what waits in the buffer is the next to be sent, and may be."""
        return self.outage.not_before <= now < self.outbox.due()

    def due(self, buffer_due: float) -> float:
        """When there is something to do where what waits in the buffer is ``buffer_due``: to send, or to bury."""
        send_at = max(min(buffer_due, self.outbox.due()), self.outage.not_before)
        return min(send_at, self._bury_at) if self.refused else send_at

    def bury_refused(self) -> None:
        """Write the dead letters of what broke the rules, as far as they can be written now."""
        while self.refused:
            first = self.refused[0]
            if not self._bury(first.collection, first.event, first.reason):
                self._bury_at = self._clock() + BURY_AGAIN
                return
            self.refused.popleft()
            self._ledger.settle(Fate.REJECTED)

    def count_damaged(self) -> None:
        """Account for what the buffer accepted and could not read again."""
        count, receipts = self._buffer.pop_damaged()
        for receipt in receipts:
            receipt(None, Fate.DROPPED, DROP_REASONS["damaged"], None)
        if count:
            self._ledger.drop("damaged", count)

    def drop(self, entries: Sequence[Arrival], reason: str, answer: Answer | None = None) -> None:
        """``entries`` are lost for ``reason``."""
        if entries:
            message, http_status = (answer.message, answer.http_status) if answer else (DROP_REASONS[reason], None)
            tell(entries, Fate.DROPPED, message, http_status)
            self._ledger.drop(reason, len(entries))

    def _read_outcomes(self, batch: list[Entry], answer: Answer) -> None:
        if answer.outcomes.count(STORED) == len(batch):
            tell(batch, Fate.DELIVERED, None, answer.http_status)
            self._let_go(batch, Fate.DELIVERED)
            return
        stored, duplicate, rejected = list[_Told](), list[_Told](), list[_Told]()
        for entry, outcome in zip(batch, answer.outcomes, strict=True):
            message = outcome.message if isinstance(outcome.message, str) else None
            if outcome.duplicate:
                duplicate.append((entry, message))
            elif outcome.success:
                stored.append((entry, message))
            elif self._is_rejected(entry, message):
                rejected.append((entry, message))
        for told, fate in ((stored, Fate.DELIVERED), (duplicate, Fate.DUPLICATE), (rejected, Fate.REJECTED)):
            if told:
                self._finish(told, fate, answer.http_status)

    def _is_rejected(self, entry: Entry, message: str | None) -> bool:
        """Whether the server has failed ``entry`` for good; else it is sent again later."""
        self.last_error = message
        tries = self.outbox.count_try(entry)
        if tries >= self._retry.attempts:
            return True
        self.outbox.later(entry, self._clock() + self._retry.backoff(tries))
        return False

    def _cut(self, batch: list[Entry], answer: Answer) -> None:
        if len(batch) > 1:
            self.outbox.halve(batch)
            if answer.kind is AnswerKind.TOO_LARGE:
                self.outbox.shrink(len(batch) // 2)
        else:
            self._finish([(batch[0], answer.message)], Fate.REJECTED, answer.http_status)

    def _postpone(self, batch: list[Entry], answer: Answer) -> None:
        if self.outage.failed(answer, self._clock()):
            self.outbox.again(batch)
            advice = ADVICE[answer.kind]
            self._notices.warn(answer.kind.name, f"events cannot be pushed, and are kept: {answer.message}. {advice}")
        else:
            self._buffer.release(batch)
            self.outbox.settled(batch)
            self.drop(batch, GIVEN_UP[answer.kind], answer)

    def _finish(self, told: Sequence[_Told], fate: Fate, http_status: int | None) -> None:
        """The events have their ``fate``; each comes with the message that its receipt is told."""
        if fate is Fate.REJECTED:
            told = [(entry, message) for entry, message in told if self._may_go(entry, message)]
        for (event, receipt), message in told:
            if receipt is not None:
                receipt(event, fate, message, http_status)
        self._let_go([entry for entry, _ in told], fate)

    def _let_go(self, batch: Sequence[Entry], fate: Fate) -> None:
        self._buffer.release(batch)
        self.outbox.settled(batch)
        self._ledger.settle(fate, len(batch))

    def _may_go(self, entry: Entry, message: str | None) -> bool:
        """Write the dead letter of a refused event; False when the event has to stay for it."""
        event, receipt = entry
        if self._bury(event.collection, event.properties, message or "the server gave no reason") or receipt:
            return True
        self.outbox.later(entry, self._clock() + BURY_AGAIN)
        return False

    def _bury(self, collection: str, event: Properties | str, reason: str) -> bool:
        self.last_error = reason
        return self._burial.bury(collection, event, reason)


def tell(entries: Sequence[Arrival | Kept], fate: Fate, message: str | None, http_status: int | None) -> None:
    """Tell the receipts of ``entries``; a draft has none, as it is nobody's push."""
    for event, receipt in entries:
        if receipt is not None and not isinstance(event, Draft):
            receipt(event, fate, message, http_status)
