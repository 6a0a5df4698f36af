"""Reading: batches of a segment within their limits, and progress over whatever is not there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from journaling import append, event, flip, record_of

from connect_logging._journal.payload import Codec
from connect_logging._journal.reading import CHUNK, Read, read_events
from connect_logging._journal.segment import Segment

BODY = len(event(0, 100).body)


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    made = Segment.create(tmp_path)
    yield made
    made.close()


def read(
    segment: Segment,
    most: int = sys.maxsize,
    max_bytes: int = sys.maxsize,
    start: int | None = None,
    *,
    at_least_one: bool = True,
) -> Read:
    begin = segment.read_to if start is None else start
    return read_events(segment, Codec(), begin, segment.size, most, max_bytes, at_least_one=at_least_one)


def ids(found: Read) -> list[int]:
    return [each.properties["id"] for each in found.events]


def test_events_come_with_where_they_begin(segment: Segment) -> None:
    events = [event(number) for number in range(3)]
    starts = append(segment, events)
    assert read(segment) == Read(events, starts, [], segment.size)


def test_nothing_more_is_nothing(segment: Segment) -> None:
    assert read(segment) == Read((), (), (), segment.size)
    assert read(segment, start=segment.size + 100) == Read((), (), (), segment.size + 100)


@pytest.mark.parametrize(
    ("most", "max_bytes", "expected"),
    [
        (2, sys.maxsize, 2),
        (sys.maxsize, 3 * BODY, 3),
        (sys.maxsize, 3 * BODY - 1, 2),
        (sys.maxsize, BODY - 1, 1),
        (sys.maxsize, 0, 1),
        (1, 3 * BODY, 1),
    ],
)
def test_a_batch_keeps_its_limits(segment: Segment, most: int, max_bytes: int, expected: int) -> None:
    starts = append(segment, [event(number, 100) for number in range(5)])
    found = read(segment, most, max_bytes)
    assert ids(found) == list(range(expected))
    assert found.end == starts[expected]
    assert ids(read(segment, start=found.end)) == list(range(expected, 5))


def test_the_first_event_may_be_left_when_it_is_too_large(segment: Segment) -> None:
    append(segment, [event(number, 100) for number in range(2)])
    assert read(segment, max_bytes=BODY - 1, at_least_one=False) == Read([], [], [], segment.read_to)
    assert ids(read(segment, max_bytes=BODY, at_least_one=False)) == [0]


def test_what_lies_behind_the_batch_is_not_told_yet(segment: Segment) -> None:
    starts = append(segment, [event(number, 100) for number in range(4)])
    flip(segment.path, starts[2] + 20)
    found = read(segment, max_bytes=BODY)
    assert (ids(found), list(found.damaged)) == ([0], [])
    found = read(segment, max_bytes=2 * BODY, start=found.end)
    assert (ids(found), list(found.damaged)) == ([1, 3], [(starts[2], starts[3])])


def test_a_segment_of_many_chunks_is_read_to_its_end(segment: Segment) -> None:
    append(segment, [event(number, 65_000) for number in range(3 * CHUNK // 65_000)])
    found: list[int] = []
    at = segment.read_to
    while at < segment.size:
        batch = read(segment, start=at)
        assert sum(len(each.body) for each in batch.events) <= CHUNK
        assert batch.end > at
        found += ids(batch)
        at = batch.end
    assert found == list(range(3 * CHUNK // 65_000))


def test_damage_of_many_chunks_is_got_over(segment: Segment) -> None:
    append(segment, [event(0)])
    begin = segment.end
    segment.write(b"?" * 2 * CHUNK, begin)
    segment.end = begin + 2 * CHUNK
    append(segment, [event(1)])
    found: list[int] = []
    damaged = 0
    at = segment.read_to
    while at < segment.size:
        batch = read(segment, start=at)
        assert batch.end > at
        found += ids(batch)
        damaged += sum(end - start for start, end in batch.damaged)
        at = batch.end
    assert found == [0, 1]
    assert damaged == 2 * CHUNK


def test_a_gap_of_zeros_is_no_damage(segment: Segment) -> None:
    """A place of a writer that was killed before he wrote."""
    append(segment, [event(0)])
    segment.end += 100
    after = append(segment, [event(1)])
    found = read(segment)
    assert (found.starts, found.damaged, found.end) == ([32, *after], [], segment.end)
    segment.write(b"?", after[0] - 50)
    assert read(segment).damaged == [(after[0] - 100, after[0])]


def test_a_valid_record_that_holds_no_event_is_damage(segment: Segment) -> None:
    junk = record_of(b"\x06\x00things?")
    segment.write(junk, segment.end)
    segment.end += len(junk)
    starts = append(segment, [event(1)])
    found = read(segment)
    assert (ids(found), list(found.damaged)) == ([1], [(32, starts[0])])


def test_a_file_that_was_cut_is_read_to_where_it_ends(segment: Segment) -> None:
    starts = append(segment, [event(number) for number in range(5)])
    os.truncate(segment.path, starts[3] + 5)
    found = read(segment)
    assert (ids(found), list(found.damaged), found.end) == ([0, 1, 2], [(starts[3], starts[3] + 5)], segment.size)
    os.truncate(segment.path, 0)
    assert read(segment) == Read([], [], [], segment.size)


def test_of_a_file_that_was_cut_every_batch_is_read(segment: Segment) -> None:
    starts = append(segment, [event(number) for number in range(5)])
    os.truncate(segment.path, starts[3] + 5)
    found = read(segment, most=2)
    assert (ids(found), found.end) == ([0, 1], starts[2])
    assert ids(read(segment, start=found.end)) == [2]


def test_a_limit_within_a_record_ends_there(segment: Segment) -> None:
    starts = append(segment, [event(0), event(1)])
    found = read_events(segment, Codec(), segment.read_to, starts[1] + 20, 10, 1_000)
    assert (ids(found), list(found.damaged), found.end) == ([0], [(starts[1], starts[1] + 20)], starts[1] + 20)


def test_a_segment_that_cannot_be_read_is_an_error(segment: Segment) -> None:
    append(segment, [event(0)])
    segment.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        read(segment)
