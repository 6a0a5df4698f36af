"""Framing: records as the specification says, found again through any damage."""

from __future__ import annotations

import random
from collections.abc import Sequence
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journaling import record_of, rows_of

from connect_logging._journal.framing import HEAD, MAGIC, MAX_PAYLOAD, MAX_RECORD, Found, Record, find_records
from connect_logging._journal.payload import Codec
from connect_logging.event import Event

PAYLOAD = b"\x06\x00things" + bytes(8) + b"{}"
GOLDEN = bytes.fromhex("ff434a01 12000000") + crc32(PAYLOAD).to_bytes(4, "little") + PAYLOAD


def test_a_golden_record() -> None:
    assert Codec().record(Event("things", b"{}")) == GOLDEN == record_of(PAYLOAD)
    found = find_records(GOLDEN, 1_000, last=True)
    assert found.records == [Record(1_000, 1_030, PAYLOAD)]
    assert (list(found.damaged), found.end) == ([], 1_030)


def test_the_specification_says_so_too() -> None:
    """The table of the record, read from the text, against the golden one."""
    table = dict(rows_of("a record"))
    assert table["magic FF 43 4A 01"] == (0, 4)
    assert bytes.fromhex("FF 43 4A 01") == GOLDEN[:4] == MAGIC
    assert table["length of the payload, at most 70,000"] == (4, 4)
    assert (int.from_bytes(GOLDEN[4:8], "little"), MAX_PAYLOAD) == (len(GOLDEN) - 12, 70_000)
    assert table["CRC-32 of the payload"] == (8, 4)
    assert int.from_bytes(GOLDEN[8:12], "little") == crc32(GOLDEN[12:])
    assert table["payload"] == (12, None)


def in_chunks(data: bytes, size: int) -> Found:
    """As a reader does: from where the last chunk ended, and more when there is no progress."""
    records, damaged, at, window = [], [], 0, size
    while at < len(data):
        last = at + window >= len(data)
        found = find_records(data[at : at + window], at, last=last)
        records += found.records
        for start, end in found.damaged:
            if damaged and damaged[-1][1] == start:
                start = damaged.pop()[0]
            damaged.append((start, end))
        window = size if found.end > at else window * 2
        assert found.end > at or not last
        at = found.end
    return Found(records, damaged, at)


TEXTS = st.text(max_size=40).map(str.encode)
NASTY = (
    st.binary(max_size=40)
    | st.sampled_from([MAGIC, MAGIC[:3], MAGIC[:1], b"\x00" * 12, MAGIC + b"\x0c\x00\x00\x00"])
    | st.integers(0, 2**32 - 1).map(lambda length: MAGIC + length.to_bytes(4, "little") + b"1234")
    | TEXTS.map(lambda text: record_of(text)[:-1])
)
PARTS = st.lists(
    st.tuples(st.just("intact"), TEXTS, st.just(0), st.just(1))
    | st.tuples(st.just("garbage"), NASTY, st.just(0), st.just(1))
    | st.tuples(st.sampled_from(["flipped", "cut", "doubled"]), TEXTS, st.integers(0, 10_000), st.integers(1, 255)),
    max_size=12,
)


def assemble(parts: Sequence[tuple[str, bytes, int, int]]) -> tuple[bytes, list[tuple[int, bytes]]]:
    """A file, and the undamaged records in it, with their offsets."""
    data, intact = b"", []
    for number, (kind, text, where, mask) in enumerate(parts):
        payload = b"%d " % number + text
        record = bytearray(record_of(payload))
        where %= len(record)
        if kind == "intact":
            intact.append((len(data), payload))
        elif kind == "garbage":
            record = bytearray(text)
        elif kind == "flipped":
            record[where] ^= mask
        elif kind == "cut":
            del record[where:]
        else:
            record[where:where] = record[where : where + mask] or b"?"
            record[where] ^= 0x80
        data += record
    return data, intact


@given(PARTS, st.integers(1, 200), st.integers(0, 60))
@settings(max_examples=500, deadline=None)
def test_every_undamaged_record_is_found_whatever_lies_between(
    parts: Sequence[tuple[str, bytes, int, int]], chunk: int, shortened: int
) -> None:
    data, intact = assemble(parts)
    data = data[: max(0, len(data) - shortened)]
    found = find_records(data, 0, last=True)
    there = {(record.start, record.payload) for record in found.records}
    for start, payload in intact:
        if start + HEAD.size + len(payload) <= len(data):
            assert (start, payload) in there
    spans = sorted([*((record.start, record.end) for record in found.records), *found.damaged])
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]], (
        "no byte is forgotten, none is two things"
    )
    assert (spans[0][0], spans[-1][1]) == (0, len(data)) if data else spans == []
    assert in_chunks(data, chunk) == found


@given(st.lists(TEXTS, max_size=10), st.integers(1, 100))
def test_nothing_but_records_is_nothing_but_records(texts: list[bytes], chunk: int) -> None:
    data = b"".join(map(record_of, texts))
    found = find_records(data, 0, last=True)
    assert [record.payload for record in found.records] == texts
    assert list(found.damaged) == []
    assert in_chunks(data, chunk) == found


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_at_all_are_survived(data: bytes, chunk: int) -> None:
    assert in_chunks(data, chunk) == find_records(data, 0, last=True)


def test_the_first_records_only() -> None:
    data = b"junk" + record_of(b"1") + b"junk" + record_of(b"2") + b"junk"
    found = find_records(data, 10, last=True, most=1)
    assert [record.payload for record in found.records] == [b"1"]
    assert list(found.damaged) == [(10, 14)]
    rest = find_records(data[found.end - 10 :], found.end, last=True, most=1)
    assert [record.payload for record in rest.records] == [b"2"]
    assert list(rest.damaged) == [(27, 31)]


@pytest.mark.parametrize("have", [*range(1, 14), 69_999])
def test_what_a_chunk_breaks_off_is_left_for_the_next_one(have: int) -> None:
    record = record_of(b"x" * MAX_PAYLOAD)
    found = find_records(record[:have], 0, last=False)
    assert found == Found([], [], 0)


def test_a_length_that_no_record_has_is_damage_at_once() -> None:
    long = MAGIC + (MAX_PAYLOAD + 1).to_bytes(4, "little") + b"1234"
    found = find_records(long + record_of(b"after"), 0, last=False)
    assert list(found.damaged) == [(0, 12)]
    assert [record.payload for record in found.records] == [b"after"]


def test_the_largest_record_is_found() -> None:
    payload = b"x" * MAX_PAYLOAD
    found = find_records(record_of(payload), 0, last=True)
    assert [(record.end, record.payload) for record in found.records] == [(MAX_RECORD, payload)]


def test_a_megabyte_of_damage_is_one_span() -> None:
    junk = random.Random(1).randbytes(1_000_000).replace(MAGIC, b"????")
    found = find_records(junk + record_of(b"after"), 0, last=True)
    assert list(found.damaged) == [(0, len(junk))]
    assert [record.payload for record in found.records] == [b"after"]
