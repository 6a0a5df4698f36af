"""Drafts become events: each its own id, in order, and the same one whoever completes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import ulp
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from connect_logging._completion import PLACE_BITS, SEED_BITS, Completion, OrderedCompletion
from connect_logging.event import HEAD_BYTES, YEAR_10000, Draft, Event

NOW = 1_790_000_000.123456
DRAFT = Draft("things", b'{"n":1}', NOW)
SEEDS = st.integers(0, 2**SEED_BITS - 1)
PLACES = st.integers(0, 2 ** (PLACE_BITS + 10))
TIMES = st.floats(0.0, YEAR_10000, exclude_min=True, exclude_max=True)


@given(TIMES, SEEDS, PLACES)
def test_an_id_is_a_uuid_of_time_place_and_seed(created: float, seed: int, place: int) -> None:
    [event] = Completion().events([Draft("things", b'{"n":1}', created)], seed, [place])
    identity = event.properties["id"]
    assert identity == str(UUID(identity)), "in the one form that a UUID has"
    bits = UUID(identity).int
    assert (UUID(identity).version, UUID(identity).variant) == (7, "specified in RFC 4122")
    assert bits >> 80 == int(created * 1e6) // 1_000 % 2**48
    assert (bits >> 64 & 0xFFF, bits >> 50 & 0xFFF) == (place >> 12 & 0xFFF, place & 0xFFF)
    assert bits & 2**50 - 1 == seed ^ place >> PLACE_BITS
    assert len(event.body) == len(DRAFT.body) + HEAD_BYTES


@given(st.lists(st.tuples(TIMES, SEEDS, PLACES), max_size=5))
def test_what_was_completed_before_makes_no_difference(drafts: list[tuple[float, int, int]]) -> None:
    completion = Completion()
    for created, seed, place in drafts:
        draft = Draft("things", b'{"n":1}', created)
        assert completion.events([draft], seed, [place]) == Completion().events([draft], seed, [place])


@given(st.lists(st.tuples(TIMES, PLACES), max_size=5), SEEDS)
def test_many_drafts_are_completed_as_each_would_be(drafts: list[tuple[float, int]], seed: int) -> None:
    made = [Draft("things", b'{"n":1}', created) for created, _ in drafts]
    places = [place for _, place in drafts]
    alone = [Completion().events([draft], seed, [place])[0] for draft, place in zip(made, places, strict=True)]
    assert Completion().events(made, seed, places) == alone


def test_what_is_complete_remains() -> None:
    event = Event("things", b'{"id":1}')
    [complete] = Completion().events([event], 5, [6])
    assert complete is event


@given(TIMES)
def test_the_timestamp_is_that_of_the_log_call(created: float) -> None:
    [event] = OrderedCompletion().events([Draft("things", b'{"n":1}', created)])
    stamp = datetime.fromisoformat(event.properties["timestamp"])
    exact = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(created), microseconds=(created % 1.0) * 1e6 // 1)
    step = timedelta(microseconds=max(1, ulp(created) * 1e6))
    assert abs(stamp - exact) <= step, "of the microseconds, and where floats are coarser, of these"


def test_a_timestamp_is_written_to_the_microsecond() -> None:
    assert OrderedCompletion().events([DRAFT])[0].properties["timestamp"] == "2026-09-21T14:13:20.123456Z"


def test_ids_of_one_time_are_in_order_and_of_two_buffers_apart() -> None:
    first, second = OrderedCompletion(), OrderedCompletion()
    ids = [event.properties["id"] for _ in range(5) for event in first.events([DRAFT] * 1_000)]
    assert ids == sorted(set(ids))
    assert not {event.properties["id"] for event in second.events([DRAFT] * 5_000)} & {*ids}
