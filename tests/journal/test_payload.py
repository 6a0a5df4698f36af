"""Payloads: an event's collection and body, there and back."""

from __future__ import annotations

import struct
from hashlib import blake2b
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from journaling import record_of, rows_of

from connect_logging._journal.framing import MAGIC, MAX_PAYLOAD
from connect_logging._journal.payload import Codec, seed_of
from connect_logging.event import Draft, Event
from connect_logging.rules import MAX_EVENT_BYTES, MAX_NAME_LENGTH, collection_violation

COLLECTIONS = st.text(min_size=1, max_size=40)


CREATED = 1_790_000_000.123456
DRAFT = Draft("cafés", b'{"price":1}', CREATED)


def read(payload: bytes, offset: int = 32, segment: str = "0.journal", codec: Codec | None = None) -> Event | None:
    [event] = (codec or Codec()).events([payload], seed_of(segment), [offset])
    return event


def test_a_golden_payload() -> None:
    payload = b"\x06\x00caf\xc3\xa9s" + bytes(8) + b'{"id":1}'
    assert Codec().record(Event("cafés", b'{"id":1}')) == record_of(payload)
    assert read(payload) == Event("cafés", b'{"id":1}')


def test_a_golden_draft() -> None:
    """Each part as the specification has it, worked out by hand."""
    payload = b"\x06\x00caf\xc3\xa9s" + struct.pack("<d", CREATED) + DRAFT.body
    assert Codec().record(DRAFT) == record_of(payload)
    offset = 0x1ABC_123_456
    seed = int.from_bytes(blake2b(b"0.journal", digest_size=8).digest(), "big") >> 14
    bits = f"{1_790_000_000_123:048b}" + "0111" + f"{0x123:012b}" + "10" + f"{0x456:012b}" + f"{seed ^ 0x1ABC:050b}"
    found = read(payload, offset)
    assert found is not None
    assert found.properties == {
        "id": str(UUID(int=int(bits, 2))),
        "timestamp": "2026-09-21T14:13:20.123456Z",
        "price": 1,
    }
    assert UUID(found.properties["id"]).version == 7


@pytest.mark.parametrize("event", [DRAFT, Event("cafés", b'{"id":1}')])
def test_what_was_put_is_known_without_its_record(event: Event | Draft) -> None:
    codec = Codec()
    record = codec.record(event)
    assert codec.overhead(event.collection) + len(event.body) == len(record)
    assert codec.as_read([event], seed_of("0.journal"), [1_000_000]) == [read(record[12:], 1_000_000)]


def test_the_specification_says_so_too() -> None:
    places = [at for _, at in rows_of("a payload")]
    assert places[0] == (0, 2)
    payload = Codec().record(DRAFT)[12:]
    n = len("cafés".encode())
    assert payload[2 + n : 10 + n] == struct.pack("<d", CREATED)
    assert payload[10 + n :] == DRAFT.body


def test_a_draft_is_the_same_event_whoever_reads_it_and_no_other_is() -> None:
    payload = Codec().record(DRAFT)[12:]
    assert read(payload) == read(payload)
    ids = [read(payload, offset, name) for offset in (32, 33, 2**12 + 32, 2**24 + 32) for name in ("a", "b")]
    assert len({found.properties["id"] for found in ids if found is not None}) == 8


def test_the_ids_of_drafts_rise_with_time_and_offset() -> None:
    moments = [(CREATED, 32), (CREATED, 4_000), (CREATED, 5_000_000), (CREATED + 0.001, 64), (CREATED + 1, 40)]
    found = [read(Codec().record(Draft("cafés", DRAFT.body, created))[12:], offset) for created, offset in moments]
    ids = [event.properties["id"] for event in found if event is not None]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(moments)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3_000_000), st.integers(0, 2**26)), max_size=20))
def test_a_draft_is_the_same_whatever_was_read_before_it(drafts: list[tuple[int, int, int]]) -> None:
    """As a rule many of one millisecond are, and share the most of their heads."""
    codec = Codec()
    for segment, microseconds, offset in drafts:
        payload = codec.record(Draft("things", b'{"n":1}', 1_790_000_000 + microseconds / 1e6))[12:]
        assert read(payload, offset, str(segment), codec) == read(payload, offset, str(segment))


@given(st.lists(st.tuples(COLLECTIONS, st.text(max_size=30)), max_size=10))
def test_what_goes_in_comes_out(pairs: list[tuple[str, str]]) -> None:
    codec = Codec()
    for collection, text in pairs:
        event = Event(collection, b"{" + text.encode())
        record = codec.record(event)
        assert read(record[12:], codec=codec) == event
        assert codec.record(event) == record, "the second time, when its collection is known, too"
        assert read(record[12:]) == event


@given(st.binary(max_size=40))
def test_no_payload_is_too_strange(payload: bytes) -> None:
    event = read(payload)
    assert event is None or event.body[-1:] == payload[-1:]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x06",
        b"\x06\x00things",
        b"\x06\x00things" + bytes(8) + b"[]",
        b"\x06\x00things" + bytes(4),
        b"\x09\x00things" + bytes(8) + b"{}",
        b"\x02\x00\xff\xfe" + bytes(8) + b"{}",
        b"\x06\x00things" + struct.pack("<d", -1.0) + b"{}",
        b"\x06\x00things" + struct.pack("<d", 1e18) + b"{}",
        b"\x06\x00things" + struct.pack("<d", float("nan")) + b"{}",
    ],
    ids=[
        "empty",
        "half a length",
        "no time",
        "no object",
        "half a time",
        "length past the end",
        "no UTF-8",
        "before 1970",
        "after 9999",
        "no time at all",
    ],
)
def test_a_payload_that_holds_no_event(payload: bytes) -> None:
    codec = Codec()
    assert read(payload, codec=codec) is None
    assert read(payload, codec=codec) is None


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.builds(
                lambda name, time, body: struct.pack("<H", len(name)) + name + struct.pack("<d", time) + body,
                st.sampled_from([b"", b"a", b"ab", b"\xff"]),
                st.sampled_from([0.0, -1.0, CREATED, CREATED + 0.25]),
                st.sampled_from([b"", b"{}", b'{"n":1}', b"[]"]),
            ),
        ),
        max_size=12,
    )
)
def test_payloads_that_are_read_together_are_what_each_is_alone(payloads: list[bytes]) -> None:
    offsets = range(32, 32 + 100 * len(payloads), 100)
    together = Codec().events(payloads, seed_of("0.journal"), offsets)
    assert together == [read(payload, offset) for payload, offset in zip(payloads, offsets, strict=True)]


def test_names_from_user_data_do_not_pile_up() -> None:
    codec = Codec()
    for number in range(5_000):
        event = Event(f"collection {number}", b"{}")
        assert read(codec.record(event)[12:], codec=codec) == event
    assert len(codec._prefixes) <= 1_024
    assert len(codec._collections) <= 1_024


def test_the_largest_event_with_the_longest_name_fits() -> None:
    name = "\U00010400" * MAX_NAME_LENGTH  # a letter of four bytes
    assert collection_violation(name) is None
    assert len(Codec().record(Event(name, b"{" * MAX_EVENT_BYTES))) <= 12 + MAX_PAYLOAD


@given(COLLECTIONS.filter(lambda name: len(name.encode()) < 1_000), st.text(max_size=20))
def test_no_text_of_a_user_holds_the_magic(collection: str, text: str) -> None:
    assert MAGIC not in Codec().record(Event(collection, b"{" + text.encode()))[12:]
