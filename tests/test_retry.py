"""When to try again: bounds for every number of failures, what the server asked for, and when to give up."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_logging._retry import MAX_RETRY_AFTER, Outage, RetryPolicy
from connect_logging._types import Answer, AnswerKind

UNANSWERED = Answer(AnswerKind.UNAVAILABLE, None, "refused")
DENIED = Answer(AnswerKind.DENIED, 401, "no")
MISDIRECTED = Answer(AnswerKind.MISDIRECTED, 302, "elsewhere")


def asking(seconds: float) -> Answer:
    return Answer(AnswerKind.UNAVAILABLE, 429, "slow down", retry_after=seconds)


def least(low: float, _high: float) -> float:
    return low


def most(_low: float, high: float) -> float:
    return high


FAILURES = st.integers(1, 10**9)
SECONDS = st.floats(0.001, 1e6)


@given(failures=FAILURES, base=SECONDS, cap=SECONDS)
def test_a_backoff_lies_between_nothing_and_its_step(failures: int, base: float, cap: float) -> None:
    low = RetryPolicy(base=base, cap=cap, uniform=least).backoff(failures)
    high = RetryPolicy(base=base, cap=cap, uniform=most).backoff(failures)
    assert low == 0.0
    assert high == min(cap, base * 2.0 ** min(failures - 1, 16))
    assert 0.0 <= RetryPolicy(base=base, cap=cap).backoff(failures) <= high


def test_the_default_steps_double_from_half_a_second_to_half_a_minute() -> None:
    policy = RetryPolicy(uniform=most)
    assert [policy.backoff(failures) for failures in range(1, 10)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert policy.backoff(10**9) == 30


def test_two_policies_do_not_come_back_at_one_moment() -> None:
    """Full jitter: of a thousand delays few fall together, and they fill the whole step."""
    delays = [RetryPolicy(base=10.0, cap=10.0).backoff(1) for _ in range(1_000)]
    counts = [sum(low <= delay < low + 1 for delay in delays) for low in range(10)]
    assert sum(counts) == 1_000
    assert max(counts) < 200, "100 expected in each tenth; 200 is ten standard deviations away"
    assert min(counts) > 30


@given(failures=FAILURES, asked=st.floats(0.0, 1e12))
def test_what_the_server_asks_for_is_a_least_delay_up_to_a_limit(failures: int, asked: float) -> None:
    low = RetryPolicy(uniform=least).delay(asking(asked), failures, 0.0)
    high = RetryPolicy(uniform=most).delay(asking(asked), failures, 0.0)
    assert low == min(asked, MAX_RETRY_AFTER)
    assert high is not None
    assert max(low, 0.5) <= high <= max(30.0, MAX_RETRY_AFTER)


@pytest.mark.parametrize("answer", [DENIED, MISDIRECTED])
@given(failures=FAILURES, outage=st.floats(0.0, 1e9))
def test_a_mistake_is_held_between_half_and_all_of_the_hold(answer: Answer, failures: int, outage: float) -> None:
    delays = [RetryPolicy(hold=30.0, uniform=by).delay(answer, failures, outage) for by in (least, most)]
    assert delays == [15.0, 30.0]


@pytest.mark.parametrize("answer", [DENIED, MISDIRECTED])
def test_without_a_hold_a_mistake_gives_up_at_once(answer: Answer) -> None:
    assert RetryPolicy(hold=None).delay(answer, 1, 0.0) is None


def test_an_outage_is_given_up_at_its_limit_and_not_before() -> None:
    policy = RetryPolicy(give_up_after=10.0)
    assert policy.delay(UNANSWERED, 1, 9.999) is not None
    assert policy.delay(UNANSWERED, 1, 10.0) is None
    assert policy.delay(asking(60.0), 1, 10.0) is None
    assert RetryPolicy(give_up_after=None).delay(UNANSWERED, 1, 1e12) is not None


def test_an_outage_counts_failures_and_begins_with_the_first() -> None:
    outage = Outage(RetryPolicy(base=1.0, cap=100.0, give_up_after=10.0, uniform=most))
    assert outage.not_before == 0.0
    steps = []
    for now in (100.0, 101.0, 103.0):
        assert outage.failed(UNANSWERED, now)
        steps.append(outage.not_before - now)
    assert steps == [1.0, 2.0, 4.0]
    assert not outage.failed(UNANSWERED, 110.0), "ten seconds after the first failure"
    assert outage.not_before == 0.0, "the next batch need not wait for one that was given up"


def test_an_answer_ends_an_outage() -> None:
    outage = Outage(RetryPolicy(base=1.0, cap=100.0, give_up_after=10.0, uniform=most))
    outage.failed(UNANSWERED, 100.0)
    outage.failed(UNANSWERED, 101.0)
    outage.over()
    assert outage.not_before == 0.0
    assert outage.failed(UNANSWERED, 120.0), "a new outage has its own time"
    assert outage.not_before == 121.0, "and its own steps"


@pytest.mark.parametrize(
    ("answer", "skipped"),
    [(UNANSWERED, True), (asking(60.0), False), (DENIED, False), (MISDIRECTED, False)],
    ids=["backoff", "asked for", "denied", "misdirected"],
)
def test_a_hurry_skips_a_backoff_but_nothing_else(answer: Answer, skipped: bool) -> None:
    outage = Outage(RetryPolicy(uniform=most))
    outage.hurry()
    assert outage.not_before == 0.0
    outage.failed(answer, 100.0)
    before = outage.not_before
    assert before > 100.0
    outage.hurry()
    assert outage.not_before == (0.0 if skipped else before)


def test_a_hurry_skips_the_backoff_after_one_that_the_server_asked_for() -> None:
    outage = Outage(RetryPolicy(uniform=most))
    outage.failed(asking(60.0), 100.0)
    outage.failed(UNANSWERED, 200.0)
    outage.hurry()
    assert outage.not_before == 0.0


def test_the_defaults_are_those_of_the_handler_and_do_not_change() -> None:
    """Never give up, look after a wrong key every half minute, try what fails by itself three times."""
    policy = RetryPolicy(uniform=most)
    assert (policy.delay(DENIED, 1, 1e9), policy.delay(UNANSWERED, 1, 1e9), policy.attempts) == (30.0, 0.5, 3)
    assert MAX_RETRY_AFTER == 300.0
    with pytest.raises(AttributeError):
        policy.attempts = 0


def test_a_forked_child_does_not_wait_as_long_as_its_siblings() -> None:
    drawn = []
    for _ in range(3):
        reads, writes = os.pipe()
        if os.fork() == 0:
            os.write(writes, RetryPolicy().backoff(9).hex().encode())
            os._exit(0)
        os.wait()
        drawn.append(os.read(reads, 100))
        os.close(reads)
        os.close(writes)
    assert len(set(drawn)) == 3
