"""Stretches that are lent: what another process has read of them is what is settled or taken here, and no more.

Taking itself is in test_spool.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from journaling import Troubles, a_spool, crash, entry, flip, numbers, put_all, recovered, segments, take_all

from connect_logging._journal.payload import Codec
from connect_logging._journal.reading import Read, read_events
from connect_logging._journal.segment import Segment
from connect_logging._journal.spool import Spool
from connect_logging._types import Overflow, Stretch

LARGE = 60_000
"""Two events of that size fill a segment of the smallest spool."""


def read_of(stretch: Stretch) -> Read:
    """What another process finds."""
    segment, _ = Segment.look_at(Path(stretch.path))
    try:
        return read_events(segment, Codec(), stretch.start, stretch.end, stretch.most, 10**9)
    finally:
        segment.close()


def lent(spool: Spool, most: int = 100) -> Read:
    stretch = spool.lend(most)
    assert stretch is not None
    return read_of(stretch)


def numbers_of(read: Read) -> list[int]:
    return numbers([(event, None) for event in read.events])


def test_what_is_lent_goes_on_waiting_until_it_is_settled(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    put_all(spool, 5)
    read = lent(spool, most=3)
    assert (numbers_of(read), len(spool), spool.accepted) == ([0, 1, 2], 5, 5)
    spool.settle_lent(3, read.end)
    assert (len(spool), spool.accepted) == (2, 5)
    assert numbers_of(lent(spool)) == [3, 4]
    spool.give_back()
    assert numbers(take_all(spool)) == [3, 4]
    spool.close()


def test_it_is_the_same_event_as_whoever_takes_it_finds(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    put_all(spool, 2)
    read = lent(spool)
    spool.give_back()
    assert [event for event, _ in take_all(spool)] == read.events
    spool.close()


def test_a_segment_is_removed_when_the_last_of_it_is_settled(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    put_all(spool, 3, LARGE)
    before = segments(tmp_path)
    read = lent(spool)
    assert numbers_of(read) == [0, 1]
    spool.settle_lent(2, read.end)
    assert segments(tmp_path) == before[1:]
    read = lent(spool)
    spool.settle_lent(1, read.end)
    assert spool.lend(10) is None
    spool.close()
    assert segments(tmp_path) == []


def test_exactly_what_was_lent_is_taken_though_older_events_have_come_to_be_written(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    put_all(spool, 3, LARGE)
    older = spool._shelf.segments[0]
    older.writing[older.read_to] = None  # a thread is still at its first event
    read = lent(spool)
    assert numbers_of(read) == [2]
    del older.writing[older.read_to]
    taken = spool.take_lent(1, read.end)
    assert numbers(taken) == [2]
    spool.release(taken)
    assert numbers(take_all(spool)) == [0, 1]
    spool.close()


def test_a_batch_is_settled_without_what_was_lent_and_taken_after_it(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    put_all(spool, 4)
    batch = spool.take(2, 10**6)
    read = lent(spool)
    taken = spool.take_lent(2, read.end)
    spool.release(batch)
    assert numbers(taken) == [2, 3]
    crash(spool)
    assert recovered(tmp_path) == [2, 3]


def test_what_is_lent_is_not_dropped_for_others(tmp_path: Path) -> None:
    spool = a_spool(tmp_path, Overflow.DROP_OLDEST)
    put_all(spool, 2, LARGE)
    read = lent(spool)
    lost = [each for number in range(2, 30) for each in spool.put(entry(number, LARGE))]
    assert numbers(lost)[:2] == [2, 3]
    taken = spool.take_lent(2, read.end)
    assert numbers(taken) == [0, 1]
    spool.release(taken)
    spool.close()


def test_what_can_no_longer_be_read_as_it_was_goes_on_waiting(tmp_path: Path) -> None:
    spool = a_spool(tmp_path, trouble=Troubles().tell)
    put_all(spool, 3)
    spool.keep_nothing_in_memory()
    for segment in spool._shelf.segments:
        segment.recent.clear()
    read = lent(spool)
    flip(segments(tmp_path)[0], read.starts[1] + 20)
    assert spool.take_lent(3, read.end) == []
    assert len(spool) == 3
    assert numbers(take_all(spool)) == [0, 2]
    assert spool.pop_damaged()[0] == 1
    spool.close()


def test_what_cannot_be_read_at_all_goes_on_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = a_spool(tmp_path)
    put_all(spool, 3)
    read = lent(spool)

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Segment, "read", fail)
        assert spool.take_lent(3, read.end) == []
    assert numbers(take_all(spool)) == [0, 1, 2]
    spool.close()


def test_what_was_not_given_back_is_before_the_next_is_lent(tmp_path: Path) -> None:
    """Ctrl-C may come between."""
    spool = a_spool(tmp_path)
    put_all(spool, 1)
    lent(spool)
    read = lent(spool)
    spool.settle_lent(1, read.end)
    spool.close()
    assert segments(tmp_path) == []


def test_nothing_is_lent_that_somebody_wants_to_be_told_of(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    put_all(spool, 1)
    spool.put(entry(1, receipt=lambda *_: None))
    assert spool.lend(10) is None
    assert numbers(take_all(spool)) == [0, 1]
    spool.close()


def test_nothing_is_kept_in_memory_of_what_will_be_lent(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    spool.keep_nothing_in_memory()
    put_all(spool, 5)
    spool.reset()
    put_all(spool, 5)
    assert [len(segment.recent) for segment in spool._shelf.segments] == [0]
    spool.close()
