"""The outbox against plain lists: what comes again at once, what comes when it is due, and in which order."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from connect_logging._outbox import GROW_AFTER, Outbox
from connect_logging.event import Entry, Event


def entry() -> Entry:
    return (Event("collection", b"{}"), None)


def entries(count: int) -> list[Entry]:
    return [entry() for _ in range(count)]


def ids(batch: list[Entry]) -> list[int]:
    return [id(each) for each in batch]


class AgainstLists(RuleBasedStateMachine):
    """``batches`` in the order in which they are to come, ``late`` in the order of their times, then of arrival."""

    @initialize(limit=st.integers(1, 4))
    def begin(self, limit: int) -> None:
        self.outbox = Outbox(limit)
        self.batches: list[list[Entry]] = []
        self.late: list[tuple[float, Entry]] = []
        self.tries: Counter[int] = Counter()
        self.known: list[Entry] = []
        self.now = 0.0

    @rule(size=st.integers(1, 6))
    def again(self, size: int) -> None:
        batch = entries(size)
        self.outbox.again(batch)
        self.batches.insert(0, batch)

    @rule(size=st.integers(2, 7))
    def halve(self, size: int) -> None:
        batch = entries(size)
        self.outbox.halve(batch)
        self.batches[:0] = [batch[: size // 2], batch[size // 2 :]]

    @rule(delay=st.sampled_from([0.0, 0.5, 1.0, 3.0]))
    def later(self, delay: float) -> None:
        one = entry()
        self.outbox.later(one, self.now + delay)
        self.late.append((self.now + delay, one))
        self.late.sort(key=lambda item: item[0])  # stable: equal times stay in the order of arrival

    @rule(passed=st.sampled_from([0.0, 0.25, 1.0]))
    def time_passes(self, passed: float) -> None:
        self.now += passed

    @rule(limit=st.integers(1, 4))
    def shrink(self, limit: int) -> None:
        self.outbox.limit = limit

    @rule()
    def next(self) -> None:
        batch = self.outbox.next(self.now)
        if self.batches:
            assert ids(batch) == ids(self.batches.pop(0))
        else:
            due = [one for when, one in self.late if when <= self.now][: self.outbox.limit]
            assert ids(batch) == ids(due)
            del self.late[: len(due)]

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def count_try(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.late))[1]
        self.tries[id(one)] += 1
        assert self.outbox.count_try(one) == self.tries[id(one)]

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def settled(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.late))[1]
        self.outbox.settled([entry(), one])
        del self.tries[id(one)]

    @rule()
    def clear(self) -> None:
        expected = [one for batch in self.batches for one in batch] + [one for _, one in self.late]
        assert ids(self.outbox.clear()) == ids(expected)
        self.known += expected  # kept alive, so that no new event is taken for one of them
        self.batches, self.late = [], []
        self.tries.clear()

    @invariant()
    def knows_what_it_holds_and_when_it_is_due(self) -> None:
        if hasattr(self, "outbox"):
            assert bool(self.outbox) == bool(self.batches or self.late)
            due = 0.0 if self.batches else self.late[0][0] if self.late else float("inf")
            assert self.outbox.due() == due


AgainstLists.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestAgainstLists = AgainstLists.TestCase


@pytest.mark.parametrize("size", [2, 3, 500])
@pytest.mark.parametrize("culprit", [0, 1, -1])
def test_halving_a_refused_batch_ends_with_the_event_at_fault_alone(size: int, culprit: int) -> None:
    batch = entries(size)
    guilty = batch[culprit]
    outbox = Outbox(5_000)
    outbox.again(batch)
    delivered: list[Entry] = []
    requests = 0
    while outbox:
        part = outbox.next(0.0)
        requests += 1
        if not any(each is guilty for each in part):
            delivered += part
        elif len(part) > 1:
            outbox.halve(part)
    assert ids(delivered) == [id(each) for each in batch if each is not guilty], "in order, all but one"
    assert requests <= 2 * size.bit_length() + 1


def test_what_cannot_be_compared_may_be_due_at_one_moment() -> None:
    outbox = Outbox(10)
    first, second = entry(), entry()
    outbox.later(first, 1.0)
    outbox.later(second, 1.0)
    assert outbox.next(0.999) == []
    assert ids(outbox.next(1.0)) == ids([first, second])


def test_tries_are_those_of_one_event_whatever_it_holds() -> None:
    outbox = Outbox(10)
    one, its_twin = entry(), entry()
    assert [outbox.count_try(one), outbox.count_try(one), outbox.count_try(its_twin)] == [1, 2, 1]
    outbox.settled([one])
    assert [outbox.count_try(one), outbox.count_try(its_twin)] == [1, 2]


def test_clearing_forgets_tries() -> None:
    outbox = Outbox(10)
    one = entry()
    outbox.count_try(one)
    outbox.clear()
    assert outbox.count_try(one) == 1


def test_the_limit_grows_again_when_large_batches_are_taken() -> None:
    outbox = Outbox(100)
    outbox.shrink(30)
    for limit in (30, 60, 100):
        for _ in range(GROW_AFTER):
            assert outbox.limit == limit
            outbox.was_taken(limit - 1)
            outbox.was_taken(limit)
    outbox.shrink(30)
    for _ in range(GROW_AFTER - 1):
        outbox.was_taken(30)
    outbox.shrink(15)
    outbox.was_taken(15)
    assert outbox.limit == 15


def test_it_is_overtaken_while_a_single_event_has_to_come_again() -> None:
    outbox, one = Outbox(10), entry()
    outbox.again(entries(3))
    assert not outbox.is_overtaken
    assert outbox.next(0.0)
    outbox.later(one, 1.0)
    assert outbox.is_overtaken
    assert outbox.next(1.0) == [one]
    assert outbox.is_overtaken, "it is under way"
    outbox.settled([one])
    assert not outbox.is_overtaken


def test_what_is_due_together_comes_in_batches_of_the_limit() -> None:
    outbox, due = Outbox(2), entries(3)
    for each in due:
        outbox.later(each, 1.0)
    assert ids(outbox.next(1.0)) == ids(due[:2])
    assert ids(outbox.next(1.0)) == ids(due[2:])
