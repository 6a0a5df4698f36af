"""Settlement: one fate an event, and none that is refused goes before its dead letter is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clock import Clock

from connect_logging._buffer import MemoryBuffer
from connect_logging._dead_letter import Burial, DeadLetterLog
from connect_logging._ledger import Ledger
from connect_logging._notices import Notices
from connect_logging._outbox import GROW_AFTER
from connect_logging._retry import RetryPolicy
from connect_logging._settlement import BURY_AGAIN, Refused, Settlement, tell
from connect_logging._types import Answer, AnswerKind, Fate, Outcome, Overflow
from connect_logging.event import Draft, Entry, Event, Receipt

REFUSED = Answer(AnswerKind.REFUSED, 400, "HTTP 400: bad")
UNAVAILABLE = Answer(AnswerKind.UNAVAILABLE, 503, "HTTP 503: later")
STORED = Answer(AnswerKind.ANSWERED, 200, "", [Outcome(True)])
NEVER = float("inf")
BAD = Refused("things", "{'a.b': 1}", "a dot")


class Parts:
    """A settlement with real parts around it; its letters go to a directory that may be missing."""

    def __init__(self, letters: Path, retry: RetryPolicy) -> None:
        self.clock = Clock()
        self.letters = letters / "dead.log"
        self.buffer = MemoryBuffer(
            max_events=100, max_bytes=10_000, overflow=Overflow.DROP_NEWEST, block_timeout=0, clock=self.clock
        )
        self.ledger = Ledger(lambda: self.buffer.accepted)
        self.warned: list[str] = []
        self.burial = Burial(DeadLetterLog(self.letters, time.time), lambda topic, _: self.warned.append(topic))
        self.fates = Settlement(self.buffer, self.ledger, retry, self.burial, Notices(self.clock), self.clock)

    def taken(self, *receipts: Receipt | None) -> list[Entry]:
        """An event for each receipt, on its way."""
        for number, receipt in enumerate(receipts):
            self.buffer.put((Event("things", b'{"id":%d}' % number), receipt))
        return self.buffer.take(100, 10_000)


@pytest.fixture
def parts(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Parts]:
    directory = tmp_path / "letters"
    directory.mkdir()
    made = Parts(directory, getattr(request, "param", RetryPolicy(attempts=2)))
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()
    yield made
    made.burial.close()


def mend(parts: Parts) -> None:
    parts.letters.parent.mkdir()


def test_what_broke_the_rules_waits_for_its_letter_without_a_busy_loop(parts: Parts) -> None:
    parts.buffer.accept()
    parts.fates.refused.append(BAD)
    assert parts.fates.due(NEVER) <= parts.clock()
    parts.fates.bury_refused()
    assert (parts.ledger.settled, parts.warned) == (0, ["dead letters"])
    assert parts.fates.due(NEVER) == parts.clock() + BURY_AGAIN
    parts.fates.hurry()
    assert parts.fates.due(NEVER) <= parts.clock(), "somebody waits"
    mend(parts)
    parts.fates.bury_refused()
    assert parts.ledger.snapshot()["rejected"] == 1
    assert "a dot" in parts.letters.read_text()
    assert parts.fates.due(NEVER) == NEVER


def test_what_comes_again_is_due_at_once_and_nothing_before_the_server_may_be_asked(parts: Parts) -> None:
    soon = parts.clock() + 1
    assert parts.fates.due(soon) == soon
    parts.fates.settle(parts.taken(None), UNAVAILABLE)
    assert parts.fates.due(soon) == parts.fates.due(NEVER) == parts.fates.outage.not_before > parts.clock()
    parts.fates.hurry()
    assert parts.fates.due(soon) < parts.clock()
    parts.letters.parent.mkdir()
    parts.fates.settle(parts.fates.outbox.next(parts.clock()), UNAVAILABLE)
    parts.fates.refused.append(BAD)
    assert parts.fates.due(NEVER) < parts.clock(), "a letter needs no server"


def test_a_refused_event_stays_in_the_buffer_until_its_letter_is_written(parts: Parts) -> None:
    batch = parts.taken(None)
    parts.fates.settle(batch, REFUSED)
    assert parts.ledger.settled == 0
    assert parts.fates.outbox.next(parts.clock()) == []
    parts.clock.now += BURY_AGAIN
    assert parts.fates.outbox.next(parts.clock()) == batch
    mend(parts)
    parts.fates.settle(batch, REFUSED)
    assert parts.ledger.snapshot()["rejected"] == 1
    assert not parts.fates.outbox


def test_one_whose_receipt_is_told_waits_for_no_letter(parts: Parts) -> None:
    told: list[Any] = []
    parts.fates.settle(parts.taken(lambda *fate: told.append(fate[1:])), REFUSED)
    assert told == [(Fate.REJECTED, "HTTP 400: bad", 400)]
    assert parts.ledger.snapshot()["rejected"] == 1


def test_outcomes_are_told_before_they_are_counted(parts: Parts) -> None:
    seen: list[tuple[Fate, int]] = []

    def receipt(_event: Event | None, fate: Fate, _message: str | None, _status: int | None) -> None:
        seen.append((fate, parts.ledger.settled))

    batch = parts.taken(receipt, receipt, None)
    outcomes = (Outcome(True, False, None), Outcome(True, True, None), Outcome(False, False, "later"))
    parts.fates.settle(batch, Answer(AnswerKind.ANSWERED, 200, "", outcomes))
    assert seen == [(Fate.DELIVERED, 0), (Fate.DUPLICATE, 1)]
    assert (parts.ledger.settled, bool(parts.fates.outbox)) == (2, True)
    assert parts.fates.last_error == "later"


def test_a_duplicate_that_an_old_server_calls_a_failure_is_a_duplicate(parts: Parts) -> None:
    told: list[tuple[Fate, str | None]] = []
    batch = parts.taken(lambda _event, fate, message, _status: told.append((fate, message)), None, None)
    outcomes = (Outcome(False, True, "again"), Outcome(True, None, 5), Outcome(True))
    parts.fates.settle(batch, Answer(AnswerKind.ANSWERED, 200, "", outcomes))
    assert told == [(Fate.DUPLICATE, "again")]
    counts = parts.ledger.snapshot()
    assert (counts["duplicate"], counts["delivered"]) == (1, 2)


def test_a_draft_has_nobody_to_tell() -> None:
    told: list[Any] = []
    entries = [(Draft("things", b'{"a":1}', 1.0), None), (Event("things", b"{}"), lambda *fate: told.append(fate[1]))]
    tell(entries, Fate.DROPPED, "closed", None)
    assert told == [Fate.DROPPED]


ANSWERS = {
    "stored": lambda parts: parts.fates.settle(parts.taken(None), STORED),
    "refused": lambda parts: parts.fates.settle(parts.taken(lambda *_: None), REFUSED),
}


@pytest.mark.parametrize("parts", [RetryPolicy(give_up_after=60.0)], indirect=True)
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_outage_is_over_with_whatever_the_server_answers(parts: Parts, answer: Callable[[Parts], None]) -> None:
    batch = parts.taken(None)
    parts.fates.settle(batch, UNAVAILABLE)
    assert parts.fates.outbox.next(parts.clock()) == batch
    answer(parts)
    parts.clock.now += 3_600
    parts.fates.settle(batch, UNAVAILABLE)
    assert parts.ledger.dropped() == {}, "this outage has just begun"
    parts.clock.now += 60
    parts.fates.settle(parts.fates.outbox.next(parts.clock()), UNAVAILABLE)
    assert parts.ledger.dropped() == {"gave_up": 1}


@pytest.mark.parametrize("parts", [RetryPolicy(give_up_after=0.0)], indirect=True)
def test_an_event_that_is_given_up_after_a_failure_of_its_own_is_waited_for_no_longer(parts: Parts) -> None:
    parts.fates.settle(parts.taken(None), Answer(AnswerKind.ANSWERED, 200, "", [Outcome(False)]))
    assert parts.fates.is_overtaken
    parts.clock.now += 60
    parts.fates.settle(parts.fates.outbox.next(parts.clock()), UNAVAILABLE)
    assert parts.ledger.settled == 1
    assert not parts.fates.is_overtaken


def test_larger_batches_are_tried_again_when_many_were_taken(parts: Parts) -> None:
    parts.fates.outbox.shrink(1)
    for _ in range(GROW_AFTER):
        assert parts.fates.outbox.limit == 1
        parts.fates.settle(parts.taken(None), STORED)
    assert parts.fates.outbox.limit == 2
