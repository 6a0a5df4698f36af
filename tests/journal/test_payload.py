"""Payloads: an event's collection and body, there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from journaling import record_of

from connect_logging._journal.framing import MAGIC, MAX_PAYLOAD
from connect_logging._journal.payload import Codec
from connect_logging.event import Event
from connect_logging.rules import MAX_EVENT_BYTES, MAX_NAME_LENGTH, collection_violation

COLLECTIONS = st.text(min_size=1, max_size=40)


def test_a_golden_payload() -> None:
    payload = b"\x06\x00caf\xc3\xa9s" + b'{"id":1}'
    assert Codec().record(Event("cafés", b'{"id":1}')) == record_of(payload)
    assert Codec().event(payload) == Event("cafés", b'{"id":1}')


@given(st.lists(st.tuples(COLLECTIONS, st.text(max_size=30)), max_size=10))
def test_what_goes_in_comes_out(pairs: list[tuple[str, str]]) -> None:
    codec = Codec()
    for collection, text in pairs:
        event = Event(collection, b"{" + text.encode())
        record = codec.record(event)
        assert codec.event(record[12:]) == event
        assert codec.record(event) == record, "the second time, when its collection is known, too"
        assert Codec().event(record[12:]) == event


@given(st.binary(max_size=30))
def test_no_payload_is_too_strange(payload: bytes) -> None:
    event = Codec().event(payload)
    assert event is None or payload.endswith(event.body)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x06", b"\x06\x00things", b"\x06\x00things[]", b"\x09\x00things{}", b"\x02\x00\xff\xfe{}"],
    ids=["empty", "half a length", "no body", "no object", "length past the end", "no UTF-8"],
)
def test_a_payload_that_holds_no_event(payload: bytes) -> None:
    codec = Codec()
    assert codec.event(payload) is None
    assert codec.event(payload) is None


def test_names_from_user_data_do_not_pile_up() -> None:
    codec = Codec()
    for number in range(5_000):
        event = Event(f"collection {number}", b"{}")
        assert codec.event(codec.record(event)[12:]) == event
    assert len(codec._prefixes) <= 1_024
    assert len(codec._collections) <= 1_024


def test_the_largest_event_with_the_longest_name_fits() -> None:
    name = "\U00010400" * MAX_NAME_LENGTH  # a letter of four bytes
    assert collection_violation(name) is None
    assert len(Codec().record(Event(name, b"{" * MAX_EVENT_BYTES))) <= 12 + MAX_PAYLOAD


@given(COLLECTIONS.filter(lambda name: len(name.encode()) < 1_000), st.text(max_size=20))
def test_no_payload_holds_the_magic(collection: str, text: str) -> None:
    assert MAGIC not in Codec().record(Event(collection, b"{" + text.encode()))[12:]
