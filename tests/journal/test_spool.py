"""The spool: compared with plain lists through crashes and damage; exact bounds and losses; re-entry at every point."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import signal
import tempfile
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from clock import Clock
from full_disks import files_limited_to, mounted
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from journaling import (
    FULL,
    HEADER,
    Interrupted,
    Troubles,
    a_spool,
    an_orphan,
    bytes_on_disk,
    crash,
    descriptors,
    entry,
    event,
    flip,
    numbers,
    points,
    put_all,
    recovered,
    segments,
    take_all,
    weight,
)

from connect_logging._durability import MIN_SPOOL_BYTES
from connect_logging._journal import segment as segment_module
from connect_logging._journal.framing import MAGIC, MAX_RECORD
from connect_logging._journal.shelf import Room
from connect_logging._journal.spool import ADOPT_EVERY, LOOK_EVERY, RETRY, Spool
from connect_logging._types import Overflow
from connect_logging.event import HEAD_BYTES, Draft, Entry, Event

RECENT: Final = segment_module.RECENT_BYTES


@pytest.fixture
def nothing_recent(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is read from the files, as what is put in an outage is."""
    monkeypatch.setattr(segment_module, "RECENT_BYTES", 0)


# A plain list as the model


class Written:
    """One segment as it should be: its events, where each lies, and which of them are settled or damaged."""

    def __init__(self) -> None:
        self.events: list[tuple[int, int, int]] = []  # number, start, end
        self.end = HEADER
        self.settled: set[int] = set()
        self.waiting: list[int] = []
        self.taken: list[int] = []
        self.flipped: set[int] = set()
        self.size = 0  # of the file, once it is an orphan

    def add(self, number: int, size: int) -> None:
        self.events.append((number, self.end, self.end + size))
        self.waiting.append(number)
        self.end += size

    def drop(self) -> None:
        self.settled.update(self.waiting)
        self.waiting = []

    def orphaned(self) -> None:
        """What an acknowledgement up to the first unsettled event says is what a successor knows."""
        keep = list(itertools.dropwhile(lambda each: each[0] in self.settled, self.events))
        self.acknowledged = keep[0][1] if keep else self.end
        self.size = self.end

    def adopted(self) -> list[int]:
        """The events that are to be sent by who adopts it."""
        header_is_known = not self.flipped & {*range(16), *range(28, 32)} and self.size >= HEADER
        ack_is_known = not self.flipped & {*range(16, 28)} and self.size >= HEADER
        start = self.acknowledged if ack_is_known else HEADER if header_is_known else 0
        self.waiting = [
            number
            for number, begin, end in self.events
            if begin >= start and end <= self.size and not self.flipped.intersection(range(begin, end))
        ]
        self.settled = {number for number, _, _ in self.events} - set(self.waiting)
        self.taken = []
        return self.waiting


class AgainstLists(RuleBasedStateMachine):
    """Two spools on one directory. Each live one owns segments; those of a dead one can be damaged, then adopted."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.numbers = itertools.count()
        self.sizes: dict[int, int] = {}
        self.bodies: dict[int, int] = {}
        self.spools: dict[int, Spool] = {}
        self.owned: dict[int, dict[str, Written]] = {}
        self.orphans: dict[str, Written] = {}
        self.held: dict[int, dict[int, Entry]] = {}
        self.latest: dict[int, list[Entry]] = {}
        self.counted: dict[int, list[int]] = {}  # put, recovered
        self.clock = Clock()
        self.troubles = Troubles()
        self.patch = pytest.MonkeyPatch()

    @initialize(
        overflow=st.sampled_from([Overflow.DROP_OLDEST, Overflow.DROP_NEWEST]),
        recent=st.sampled_from([0, 300, 10_000, RECENT]),
    )
    def begin(self, overflow: Overflow, recent: int) -> None:
        self.overflow = overflow
        self.patch.setattr(segment_module, "RECENT_BYTES", recent)
        for slot in (0, 1):
            self.start(slot)

    def start(self, slot: int) -> None:
        self.spools[slot] = a_spool(self.directory, self.overflow, clock=self.clock, trouble=self.troubles.tell)
        self.owned[slot], self.held[slot], self.counted[slot], self.latest[slot] = {}, {}, [0, 0], []

    def teardown(self) -> None:
        self.patch.undo()
        for spool in self.spools.values():
            spool.close()
        shutil.rmtree(self.directory)

    @rule(slot=st.integers(0, 1), count=st.integers(1, 12), size=st.sampled_from([0, 40, 3_000, 65_000]))
    def put(self, slot: int, count: int, size: int) -> None:
        spool, owned = self.spools[slot], self.owned[slot]
        for _ in range(count):
            number = next(self.numbers)
            new = entry(number, size)
            self.sizes[number], self.bodies[number] = weight(new[0]), len(new[0].body)
            self.counted[slot][0] += 1
            idle = [name for name in sorted(owned) if not owned[name].taken]
            lost = numbers(spool.put(new))
            if number in lost:
                assert lost == [number], "nothing is dropped for an event that finds no room even so"
                assert self.overflow is Overflow.DROP_NEWEST or any(each.taken for each in owned.values())
            else:
                active = spool._shelf.active
                assert active is not None
                owned.setdefault(active.name, Written()).add(number, self.sizes[number])
                for name in idle:  # the oldest first, and each as a whole
                    if not lost:
                        break
                    count_here = len(owned[name].waiting)
                    assert lost[:count_here] == owned[name].waiting
                    del lost[:count_here]
                    owned[name].drop()
                assert lost == []
            self.forget_the_settled(slot)

    def forget_the_settled(self, slot: int) -> None:
        """A segment that is done is deleted, unless it is being written."""
        active = self.spools[slot]._shelf.active
        for name, written in list(self.owned[slot].items()):
            if not written.waiting and not written.taken and (active is None or name != active.name):
                del self.owned[slot][name]

    @rule(slot=st.integers(0, 1), most=st.integers(1, 20), max_bytes=st.sampled_from([0, 100, 5_000, 70_000, 10**6]))
    def take(self, slot: int, most: int, max_bytes: int) -> None:
        expected: list[tuple[str, int]] = []
        size = 0
        for name in sorted(self.owned[slot]):
            for number in self.owned[slot][name].waiting:
                size += self.bodies[number]
                if len(expected) >= most or (expected and size > max_bytes):
                    size = 2**40
                    break
                expected.append((name, number))
        batch = self.spools[slot].take(most, max_bytes)
        assert numbers(batch) == [number for _, number in expected]
        for (name, number), each in zip(expected, batch, strict=True):
            assert each[0] == event(number, self.bodies[number])
            self.owned[slot][name].waiting.remove(number)
            self.owned[slot][name].taken.append(number)
            self.held[slot][number] = each
        self.latest[slot] = batch

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from([slot for slot in self.held if self.held[slot]]))
        batch, held = self.latest[slot], self.held[slot]
        settled = data.draw(st.lists(st.sampled_from(sorted(held)), min_size=1, unique=True))
        if batch and held.keys() >= {*numbers(batch)} and data.draw(st.booleans()):  # as it was taken, as a whole
            settled = numbers(batch)
        elif data.draw(st.booleans()):
            settled = sorted(held)
        self.spools[slot].release(batch if settled == numbers(batch) else [held[number] for number in settled])
        for number in settled:
            del held[number]
        for written in self.owned[slot].values():
            written.settled.update(number for number in written.taken if number in settled)
            written.taken = [number for number in written.taken if number not in settled]
        self.forget_the_settled(slot)

    @rule(slot=st.integers(0, 1))
    def crash(self, slot: int) -> None:
        crash(self.spools[slot])
        self.begin_anew(slot)

    @rule(slot=st.integers(0, 1))
    def close(self, slot: int) -> None:
        self.spools[slot].close()
        for name, written in list(self.owned[slot].items()):
            if not written.waiting and not written.taken:
                del self.owned[slot][name]
        self.begin_anew(slot)

    def begin_anew(self, slot: int) -> None:
        for written in self.owned[slot].values():
            written.orphaned()
        self.orphans.update(self.owned[slot])
        self.start(slot)

    @rule(slot=st.integers(0, 1))
    def recover(self, slot: int) -> None:
        self.clock.now += ADOPT_EVERY
        self.spools[slot].maintain()
        for name, written in self.orphans.items():
            self.counted[slot][1] += len(written.adopted())
            written.end = max(written.size, HEADER)
            if written.waiting:
                self.owned[slot][name] = written
        self.orphans = {}

    @precondition(lambda self: self.orphans)
    @rule(data=st.data())
    def tear(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.orphans)))
        torn, path = self.orphans[name], self.directory / name
        if data.draw(st.booleans()):
            torn.size = data.draw(st.integers(0, torn.size) | st.integers(max(0, torn.size - 50), torn.size))
            os.truncate(path, torn.size)
        elif torn.size:
            offset = data.draw(st.integers(0, torn.size - 1) | st.integers(0, min(torn.size, 100) - 1))
            if offset not in torn.flipped:
                flip(path, offset, data.draw(st.integers(1, 255)))
                torn.flipped.add(offset)

    @invariant()
    def nothing_is_known_of_segments_of_which_nothing_is_taken(self) -> None:
        assert all(segment.taken for spool in self.spools.values() for segment in spool._taker.owners)
        parts = [part for spool in self.spools.values() for part in spool._taker._parts]
        assert all(id(read) in segment.taken for segment, read in parts)

    @invariant()
    def what_is_settled_is_gone_and_nothing_else(self) -> None:
        there = {path.name for path in segments(self.directory)}
        assert there == {*self.orphans, *self.owned.get(0, {}), *self.owned.get(1, {})}

    @invariant()
    def counts_are_exact(self) -> None:
        for slot, spool in self.spools.items():
            owned = self.owned[slot].values()
            assert len(spool) == sum(len(written.waiting) for written in owned)
            assert spool.accepted == sum(self.counted[slot])
            figures = spool.figures()
            assert figures["recovered"] == self.counted[slot][1]
            assert figures["unjournaled"] == 0
            on_disk = sum((self.directory / name).stat().st_size for name in self.owned[slot])
            assert figures["spool_bytes"] == on_disk
            if not self.counted[slot][1]:
                assert on_disk <= MIN_SPOOL_BYTES
            assert spool.waiting_bytes >= sum(self.bodies[number] for written in owned for number in written.waiting)

    @invariant()
    def only_damage_is_any_trouble(self) -> None:
        assert set(self.troubles.topics) <= {"damaged"}


AgainstLists.TestCase.settings = settings(max_examples=3_000 if FULL else 100, stateful_step_count=40, deadline=None)
TestAgainstLists = AgainstLists.TestCase


# Bounds and losses

LARGE = 60_000
"""Bytes of events of which each needs a segment of its own, in a spool of the least size."""
THREE_LARGE = 3 * (weight(event(0, LARGE)) + HEADER)


@pytest.mark.parametrize("over", range(80))
def test_the_bound_is_never_passed_not_even_by_a_header(tmp_path: Path, over: int) -> None:
    bound = 2 * (weight(event(0, 200)) + HEADER) + over - 40
    spool = a_spool(tmp_path, max_bytes=bound)
    lost = [gone for number in range(4) for gone in spool.put(entry(number, 200))]
    assert bytes_on_disk(tmp_path) == spool.figures()["spool_bytes"] <= bound
    assert numbers([*take_all(spool), *lost]) == [0, 1, 2, 3]
    spool.close()


@pytest.mark.parametrize("size", [60, LARGE])
def test_drop_newest_keeps_the_oldest(tmp_path: Path, size: int) -> None:
    spool = a_spool(tmp_path, max_bytes=3 * (weight(event(0, size)) + HEADER))
    lost = [gone for number in range(10) for gone in spool.put(entry(number, size))]
    kept = take_all(spool)
    assert numbers([*kept, *lost]) == list(range(10))
    assert len(kept) >= 3
    assert spool.accepted == 10
    spool.release(kept)
    put_all(spool, 1, size)
    spool.close()


def test_drop_oldest_keeps_the_newest_and_tells_each_that_went(tmp_path: Path) -> None:
    told: list[int] = []
    spool = a_spool(tmp_path, Overflow.DROP_OLDEST, max_bytes=THREE_LARGE)
    for number in range(10):
        for each, receipt in spool.put(entry(number, LARGE, lambda *_, number=number: told.append(number))):
            assert receipt is not None
            receipt(each, None, None, None)  # type: ignore[arg-type]
    assert told == list(range(7))
    assert numbers(take_all(spool)) == [7, 8, 9]
    assert spool.accepted == 10
    spool.close()


def test_drop_oldest_spares_what_is_being_sent(tmp_path: Path) -> None:
    spool = a_spool(tmp_path, Overflow.DROP_OLDEST, max_bytes=THREE_LARGE)
    put_all(spool, 3, LARGE)
    under_way = spool.take(1, 10)
    assert numbers(spool.put(entry(3, LARGE))) == [1]
    spool.release(under_way)
    assert numbers(spool.put(entry(4, LARGE))) == []
    assert numbers(take_all(spool)) == [2, 3, 4]
    spool.close()


def test_nothing_is_dropped_for_an_event_that_finds_no_room_even_so(tmp_path: Path) -> None:
    small = HEADER + weight(event(0, 100))
    spool = a_spool(tmp_path, Overflow.DROP_OLDEST, max_bytes=HEADER + weight(event(0, LARGE)) + small)
    put_all(spool, 1, LARGE)
    under_way = spool.take(1, 10)
    assert numbers(spool.put(entry(1, LARGE))) == [1]
    assert numbers(spool.put(entry(2, 100))) == []
    assert len(segments(tmp_path)) == 2
    assert numbers(spool.put(entry(3, LARGE))) == [3]
    assert numbers(take_all(spool)) == [2]
    spool.release(under_way)
    spool.close()


@pytest.mark.usefixtures("nothing_recent")
def test_what_is_damaged_of_the_segment_that_is_dropped_is_counted(tmp_path: Path) -> None:
    troubles = Troubles()
    spool = a_spool(tmp_path, Overflow.DROP_OLDEST, max_bytes=THREE_LARGE, trouble=troubles.tell)
    put_all(spool, 3, LARGE)
    flip(segments(tmp_path)[0], 1_000)
    assert numbers(spool.put(entry(3, LARGE))) == []
    assert spool.pop_damaged()[0] == 1
    assert spool.pop_damaged()[0] == 0
    assert troubles.topics == ["damaged"]
    assert (spool.accepted, len(spool)) == (4, 3)
    assert numbers(take_all(spool)) == [1, 2, 3]
    spool.close()


# Overflow.BLOCK


class Waiter:
    """A thread that is inside ``put`` of ``new``, and waits for room in a full spool."""

    def __init__(self, directory: Path, trouble: Callable[[str, str], object] | None = None) -> None:
        self.looks = 0
        self.waits = threading.Event()
        self.spool = a_spool(
            directory, Overflow.BLOCK, max_bytes=THREE_LARGE, block_timeout=30, clock=self.clock, trouble=trouble
        )
        put_all(self.spool, 3, LARGE)

    def clock(self) -> float:
        if threading.current_thread() is not threading.main_thread():
            self.looks += 1
            if self.looks == 3:  # whether the disk works, the deadline, and what is left of it
                self.waits.set()
        return time.monotonic()

    def begin(self, new: Entry) -> None:
        self.lost: Sequence[Entry] | None = None
        self.thread = threading.Thread(target=self.put, args=(new,))
        self.thread.start()
        assert self.waits.wait(10)

    def put(self, new: Entry) -> None:
        self.lost = self.spool.put(new)

    def ended(self, timeout: float) -> bool:
        self.thread.join(timeout)
        return not self.thread.is_alive()


def test_a_blocked_put_goes_on_when_a_segment_is_done(tmp_path: Path) -> None:
    waiter = Waiter(tmp_path)
    taken = waiter.spool.take(2, 10**6)
    waiter.begin(entry(3, LARGE))
    assert not waiter.ended(0.02)
    waiter.spool.release(taken[1:])
    assert waiter.ended(10)
    assert waiter.lost is not None
    assert list(waiter.lost) == []
    waiter.spool.release(taken[:1])
    assert numbers(take_all(waiter.spool)) == [2, 3]
    waiter.spool.close()


@pytest.mark.usefixtures("nothing_recent")
def test_a_blocked_put_goes_on_when_a_segment_turns_out_to_be_damaged(tmp_path: Path) -> None:
    waiter = Waiter(tmp_path, Troubles().tell)
    flip(segments(tmp_path)[0], 1_000)
    waiter.begin(entry(3, LARGE))
    assert numbers(waiter.spool.take(1, 10)) == [1]
    assert waiter.ended(10)
    assert not waiter.lost
    waiter.spool.close()


def test_a_blocked_put_drops_its_event_when_its_time_is_over_and_no_sooner(tmp_path: Path) -> None:
    spool = a_spool(tmp_path, Overflow.BLOCK, max_bytes=THREE_LARGE, block_timeout=0.05)
    put_all(spool, 3, LARGE)
    began = time.monotonic()
    assert numbers(spool.put(entry(3, LARGE))) == [3]
    assert 0.05 <= time.monotonic() - began < 5
    assert (spool.accepted, len(spool)) == (4, 3)
    spool.close()


def test_of_many_blocked_puts_each_gets_its_place_once(tmp_path: Path) -> None:
    spool = a_spool(tmp_path, Overflow.BLOCK, max_bytes=THREE_LARGE, block_timeout=30)
    lost: list[Entry] = []

    def put(first: int) -> None:
        for number in range(first, first + 25):
            lost.extend(spool.put(entry(number, LARGE)))

    threads = [threading.Thread(target=put, args=(first,)) for first in range(0, 100, 25)]
    for thread in threads:
        thread.start()
    came: list[int] = []
    deadline = time.monotonic() + 30
    while len(came) < 100 and time.monotonic() < deadline:
        taken = spool.take(2, 10**6)
        assert spool.figures()["spool_bytes"] <= THREE_LARGE
        came += numbers(taken)
        spool.release(taken)
    for thread in threads:
        thread.join(10)
    assert lost == []
    assert sorted(came) == list(range(100))
    assert len(segments(tmp_path)) <= 1, "what is done is deleted, but for the one that is written"
    spool.close()
    assert segments(tmp_path) == []


def test_a_put_that_waits_for_room_in_memory_holds_up_nobody_else(tmp_path: Path) -> None:
    """The disk fails, memory is full, and the policy is to wait: others may take and release meanwhile."""
    shutil.rmtree(tmp_path)
    spool = a_spool(tmp_path, Overflow.BLOCK, block_timeout=30, memory=1, trouble=Troubles().tell)
    put_all(spool, 1)
    ended = threading.Event()

    def put() -> None:
        assert not spool.put(entry(1))
        ended.set()

    thread = threading.Thread(target=put)
    thread.start()
    taken = spool.take(1, 100)
    assert numbers(taken) == [0]
    began = time.monotonic()
    spool.release(taken)
    assert ended.wait(10)
    thread.join()
    assert time.monotonic() - began < 10
    assert numbers(take_all(spool)) == [1]
    spool.close()


# A disk that fails


def test_a_put_that_finds_the_room_gone_again_waits_no_longer_than_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = a_spool(tmp_path, Overflow.BLOCK, max_bytes=THREE_LARGE, block_timeout=0.05)
    put_all(spool, 3, LARGE)
    make_ready = spool._make_ready
    deadlines: list[float] = []

    def gone_twice(size: int, lost: Sequence[Entry], deadline: float) -> Any:
        deadlines.append(deadline)
        return (Room.ON_DISK, lost) if len(deadlines) < 3 else make_ready(size, lost, deadline)

    monkeypatch.setattr(spool, "_make_ready", gone_twice)
    assert numbers(spool.put(entry(3, LARGE))) == [3]
    assert deadlines == deadlines[:1] * 3
    spool.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "256k") as disk:
        yield disk


def test_a_full_disk_sends_events_to_memory_until_there_is_room_again(small_disk: Path) -> None:
    clock, troubles = Clock(), Troubles()
    spool = a_spool(small_disk, clock=clock, trouble=troubles.tell)
    put_all(spool, 10, LARGE)
    in_memory = spool.figures()["unjournaled"]
    assert 5 < in_memory < 9
    assert set(troubles.topics) == {"spool"}
    assert "No space left on device" in troubles[0][1]
    assert (spool.accepted, len(spool)) == (10, 10)
    on_disk = spool.take(10 - in_memory, 10**9)
    assert numbers(on_disk) == list(range(10 - in_memory))
    spool.release(on_disk)
    put_all(spool, 1, LARGE, first=10)
    assert spool.figures()["unjournaled"] == in_memory + 1, "not so soon again"
    clock.now += RETRY
    put_all(spool, 1, LARGE, first=11)
    assert spool.figures()["unjournaled"] == in_memory + 1
    crash(spool)
    assert recovered(small_disk, Troubles().tell) == [11]
    spool.close()


def test_what_memory_holds_does_not_wait_for_what_goes_on_coming_into_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    spool = a_spool(tmp_path, trouble=Troubles().tell, clock=clock)
    put_all(spool, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda *_: 0)
        put_all(spool, 3, first=1)
    clock.now += RETRY
    put_all(spool, 1, first=4)
    assert spool.figures()["unjournaled"] == 3
    assert spool.lend(10) is None, "another process reads files alone"
    taken = [spool.take(3, 10**6), spool.take(3, 10**6)]
    assert [*map(numbers, taken)] == [[0, 4, 1], [2, 3]]
    for each in taken:
        spool.release(each)
    put_all(spool, 1, first=5)
    assert spool.lend(10) is not None
    spool.give_back()
    spool.close()


def test_a_place_that_could_not_be_written_is_not_taken_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id is made of the place: that of the event which is in memory now would be another's as well."""
    spool = a_spool(tmp_path, trouble=Troubles().tell)
    put_all(spool, 1)
    give_back = segment_module.Segment.give_back
    active: list[Any] = []

    def watched(segment: segment_module.Segment, start: int, end: int) -> int:
        active.append(spool._shelf.active)
        return give_back(segment, start, end)

    monkeypatch.setattr(segment_module.Segment, "give_back", watched)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda *_: 0)
        put_all(spool, 1, first=1)
    assert active == [None]
    assert sorted(numbers(take_all(spool))) == [0, 1]
    spool.close()


def test_what_is_put_into_a_closed_spool_is_left_to_others(tmp_path: Path) -> None:
    """By a thread that had been about to when another closed it."""
    before = descriptors()
    spool = a_spool(tmp_path)
    put_all(spool, 1)
    spool.close()
    put_all(spool, 2, first=1)
    assert descriptors() == before
    assert recovered(tmp_path) == [0, 1, 2]


def test_what_was_written_in_part_is_no_event(tmp_path: Path) -> None:
    clock, troubles = Clock(), Troubles()
    spool = a_spool(tmp_path, clock=clock, trouble=troubles.tell)
    limit = HEADER + 3 * weight(event(0, 1_000)) + 500
    with files_limited_to(limit):
        put_all(spool, 5, 1_000)
    assert spool.figures()["unjournaled"] == 2
    clock.now += RETRY
    put_all(spool, 1, 1_000, first=5)
    assert segments(tmp_path)[0].stat().st_size == limit
    assert spool.figures()["spool_bytes"] < bytes_on_disk(tmp_path), "what is behind the end is not ours"
    assert numbers(take_all(spool)) == [0, 1, 2, 5, 3, 4]
    assert (len(spool), spool.waiting_bytes, spool.figures()["damaged_bytes"]) == (0, 0, 0)
    crash(spool)
    assert recovered(tmp_path, troubles.tell) == [0, 1, 2, 5]
    assert troubles.topics == ["spool", "damaged"]


def test_a_segment_that_could_not_be_begun_is_no_longer_there(tmp_path: Path) -> None:
    clock = Clock()
    spool = a_spool(tmp_path, clock=clock, trouble=Troubles().tell)
    with files_limited_to(10):
        put_all(spool, 2)
    assert segments(tmp_path) == []
    assert (len(spool), spool.figures()["spool_bytes"]) == (2, 0)
    clock.now += RETRY
    put_all(spool, 1, first=2)
    assert numbers(take_all(spool)) == [2, 0, 1]
    spool.close()


def test_a_directory_that_is_removed_is_noticed_and_used_when_it_is_there_again(tmp_path: Path) -> None:
    directory, clock, troubles = tmp_path / "spool", Clock(), Troubles()
    directory.mkdir()
    spool = a_spool(directory, clock=clock, trouble=troubles.tell)
    assert spool.maintain() == ADOPT_EVERY
    put_all(spool, 3)
    assert spool.maintain() == LOOK_EVERY
    shutil.rmtree(directory)
    assert spool.maintain() == ADOPT_EVERY
    put_all(spool, 3, first=3)
    assert spool.figures()["unjournaled"] == 3
    assert "spool" in troubles.topics
    taken = take_all(spool)
    assert numbers(taken) == list(range(6)), "the open file is still ours"
    spool.release(taken)
    directory.mkdir()
    clock.now += RETRY
    put_all(spool, 1, first=6)
    assert spool.figures()["unjournaled"] == 3
    crash(spool)
    assert recovered(directory) == [6]


class Unreadable:
    """Reads at and behind ``offset`` fail, until it is mended: as of a bad sector."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, offset: int) -> None:
        self.offset = offset
        self.read = os.pread
        monkeypatch.setattr(os, "pread", self)

    def __call__(self, descriptor: int, size: int, at: int) -> bytes:
        if at + size > self.offset:
            raise OSError(5, "Input/output error")
        return self.read(descriptor, size, at)


@pytest.mark.usefixtures("nothing_recent")
def test_what_cannot_be_read_now_is_sent_another_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, troubles = Clock(), Troubles()
    spool = a_spool(tmp_path, clock=clock, trouble=troubles.tell)
    told: list[int] = []
    for number in range(4):
        spool.put(entry(number, 30_000, lambda *_, number=number: told.append(number)))
    bad = Unreadable(monkeypatch, HEADER + MAX_RECORD)  # as far as the first read reaches
    under_way = spool.take(1, 10)
    assert numbers(under_way) == [0]
    assert spool.take(10, 10**6) == []
    assert troubles.topics == ["spool"]
    assert (len(spool), spool.accepted, spool.waiting_bytes, spool.figures()["spool_bytes"]) == (0, 1, 0, 0)
    spool.release(under_way)
    spool.put(entry(4))
    before = descriptors()
    clock.now += ADOPT_EVERY
    spool.maintain()
    assert descriptors() == before
    assert troubles.topics == ["spool", "orphans"]
    bad.offset = 10**9
    clock.now += ADOPT_EVERY
    spool.maintain()
    taken = take_all(spool)
    assert numbers(taken) == [1, 2, 3, 4]
    for each, receipt in taken:
        if receipt is not None:
            receipt(each, None, None, None)  # type: ignore[arg-type]
    assert told == [1, 2, 3], "whoever waited for them in this process still does"
    assert spool.accepted == 5
    spool.release(taken)
    spool.close()
    assert segments(tmp_path) == []


def test_of_an_orphan_with_an_unreadable_end_the_rest_is_sent_and_the_end_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock, troubles = an_orphan(tmp_path, 40, LARGE), Clock(), Troubles()
    content = path.read_bytes()
    bad = Unreadable(monkeypatch, 2 * 1024 * 1024)
    spool = a_spool(tmp_path, clock=clock, trouble=troubles.tell)
    before = descriptors()
    spool.maintain()
    first = take_all(spool)
    assert 10 < len(first) < 40
    assert numbers(first) == list(range(len(first)))
    spool.release(first)
    assert descriptors() == before
    assert path.stat().st_size == len(content)
    for _ in range(3):
        clock.now += ADOPT_EVERY
        spool.maintain()
        assert spool.take(100, 10**6) == [], "nothing is sent twice for it"
    assert set(troubles.topics) == {"orphans"}
    bad.offset = 10**9
    clock.now += ADOPT_EVERY
    spool.maintain()
    assert numbers(take_all(spool)) == list(range(len(first), 40))
    spool.close()


def test_a_done_segment_that_cannot_be_deleted_is_told_and_not_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, troubles = Clock(), Troubles()
    spool = a_spool(tmp_path, Overflow.DROP_OLDEST, max_bytes=THREE_LARGE, clock=clock, trouble=troubles.tell)

    def unlink(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", unlink)
        put_all(spool, 3, LARGE)
        spool.release(spool.take(1, 10))
        assert len(segments(tmp_path)) == 3
        assert numbers(spool.put(entry(3, LARGE))) == []
        assert numbers(spool.put(entry(4, LARGE))) == [1]
        clock.now += ADOPT_EVERY
        spool.maintain()
    assert numbers(take_all(spool)) == [2, 3, 4]
    assert set(troubles.topics) == {"spool"}
    spool.close()


# What is damaged while we live


@pytest.mark.usefixtures("nothing_recent")
def test_damage_in_a_segment_that_is_written_is_counted_at_once(tmp_path: Path) -> None:
    """Nobody waits for events that cannot come: not a flush, and not the next segment."""
    troubles = Troubles()
    spool = a_spool(tmp_path, trouble=troubles.tell)
    put_all(spool, 3)
    [path] = segments(tmp_path)
    flip(path, path.stat().st_size - 5)
    flip(path, HEADER)
    taken = take_all(spool)
    assert numbers(taken) == [1]
    assert (len(spool), spool.waiting_bytes, spool.pop_damaged()[0]) == (0, 0, 2)
    put_all(spool, 1, first=3)
    assert numbers(take_all(spool)) == [3]
    assert spool.figures()["damaged_bytes"] == 2 * weight(event(0))
    spool.close()


@pytest.mark.usefixtures("nothing_recent")
def test_a_file_that_is_cut_while_we_write_it_costs_what_was_cut(tmp_path: Path) -> None:
    spool = a_spool(tmp_path, trouble=Troubles().tell)
    put_all(spool, 4)
    [path] = segments(tmp_path)
    os.truncate(path, HEADER + weight(event(0)) + 5)
    assert numbers(spool.take(1, 10**6)) == [0]
    assert numbers(take_all(spool)) == []
    assert (len(spool), spool.pop_damaged()[0]) == (0, 3)
    put_all(spool, 1, first=4)
    assert numbers(take_all(spool)) == [4]
    spool.close()


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_a_torn_tail_does_not_keep_a_segment(tmp_path: Path, limit: int) -> None:
    path = an_orphan(tmp_path, 3, 200)
    os.truncate(path, path.stat().st_size - 1)
    spool = a_spool(tmp_path, trouble=Troubles().tell)
    spool.maintain()
    came: list[int] = []
    while taken := spool.take(limit, 10**6):
        came += numbers(taken)
        spool.release(taken)
    assert came == [0, 1]
    assert segments(tmp_path) == []
    spool.close()


def test_an_orphan_of_nothing_but_damage_is_set_aside_at_once(tmp_path: Path) -> None:
    path = an_orphan(tmp_path, 40, LARGE)
    size = path.stat().st_size
    path.write_bytes(b"?" * size)
    spool = a_spool(tmp_path, trouble=Troubles().tell)
    spool.maintain()
    assert segments(tmp_path) == []
    assert spool.figures() == {"recovered": 0, "unjournaled": 0, "spool_bytes": 0, "damaged_bytes": size}
    assert path.with_suffix(".damaged").stat().st_size == size
    spool.close()


# Orphans


def test_orphans_are_adopted_oldest_first_and_before_what_is_newer(tmp_path: Path) -> None:
    for first in (0, 3):
        before = a_spool(tmp_path)
        put_all(before, 3, first=first)
        crash(before)
    spool = a_spool(tmp_path)
    put_all(spool, 3, first=6)
    assert len(spool) == 3
    spool.maintain()
    assert (len(spool), spool.accepted, spool.figures()["recovered"]) == (9, 9, 6)
    assert numbers(take_all(spool)) == list(range(9))
    spool.close()


def test_the_search_for_orphans_is_made_now_and_then(tmp_path: Path) -> None:
    clock = Clock()
    spool = a_spool(tmp_path, clock=clock)
    assert spool.maintain() == ADOPT_EVERY
    an_orphan(tmp_path, 1)
    clock.now += 10
    assert spool.maintain() == ADOPT_EVERY - 10
    assert len(spool) == 0
    clock.now += ADOPT_EVERY - 10
    assert spool.maintain() == ADOPT_EVERY
    assert len(spool) == 1
    spool.close()


def test_what_is_adopted_while_we_close_is_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "0.journal").symlink_to("nowhere")
    an_orphan(tmp_path, 3)
    spool = a_spool(tmp_path, trouble=lambda *_: spool.close())  # told between the two files
    spool.maintain()
    (tmp_path / "0.journal").unlink()
    assert len(spool) == 0
    assert recovered(tmp_path) == [0, 1, 2]


def test_a_closed_spool_adopts_nothing(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    spool.close()
    an_orphan(tmp_path, 1)
    assert spool.maintain() > 0
    assert recovered(tmp_path) == [0]


def test_close_deletes_what_is_done_and_leaves_the_rest(tmp_path: Path) -> None:
    before = descriptors()
    spool = a_spool(tmp_path)
    put_all(spool, 3)
    spool.release(spool.take(3, 1_000))
    spool.close()
    assert segments(tmp_path) == []
    spool = a_spool(tmp_path)
    put_all(spool, 3)
    spool.release(spool.take(2, 1_000))
    spool.close()
    spool.close()
    assert descriptors() == before
    assert recovered(tmp_path) == [2]


# Receipts


def test_receipts_come_with_their_events(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    receipts = [None if number % 3 == 0 else (lambda *_: None) for number in range(9)]
    for number, receipt in enumerate(receipts):
        spool.put(entry(number, receipt=receipt))
    assert [receipt for _, receipt in take_all(spool)] == receipts
    assert not spool._receipts
    spool.close()


@pytest.mark.parametrize("first", ["the first batch", "the second batch"])
def test_of_two_batches_one_is_settled_without_the_other(tmp_path: Path, first: str) -> None:
    spool = a_spool(tmp_path)
    put_all(spool, 4)
    one, two = spool.take(2, 10**6), spool.take(2, 10**6)
    spool.release(one if first == "the first batch" else two)
    crash(spool)
    assert recovered(tmp_path) == ([2, 3] if first == "the first batch" else [0, 1, 2, 3])


def test_a_batch_that_was_settled_is_not_settled_again(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    put_all(spool, 4)
    batch = spool.take(2, 10**6)
    spool.release(batch)
    other = spool.take(2, 10**6)
    assert spool._taker.release(batch) == batch
    crash(spool)
    assert numbers(other) == recovered(tmp_path) == [2, 3]


def test_who_leaves_is_told_what_is_kept_and_what_is_lost(tmp_path: Path) -> None:
    clock = Clock()
    spool = a_spool(tmp_path, clock=clock, trouble=Troubles().tell)
    receipt = lambda *_: None  # noqa: E731
    put_all(spool, 1)
    spool.put(entry(1, receipt=receipt))
    spool.put(entry(2, receipt=receipt))
    under_way = spool.take(2, 10**6)
    spool._without_disk("the test says so")
    put_all(spool, 2, first=3)
    lost, kept = spool.leave([*under_way, *spool._fallback.take(1, 10**6)])
    assert numbers(lost) == [3, 4]
    assert (numbers(kept), [receipt for _, receipt in kept]) == ([1, 2], [receipt, receipt])
    spool.close()
    assert recovered(tmp_path) == [0, 1, 2]


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST])
def test_what_memory_holds_instead_is_counted_among_what_came_and_what_waits(
    tmp_path: Path, overflow: Overflow
) -> None:
    """By these counts the pusher is woken."""
    clock = Clock()
    spool = a_spool(tmp_path, overflow, clock=clock, trouble=Troubles().tell, memory=2)
    put_all(spool, 2)
    before = spool.came, spool.came_bytes, spool.waiting_bytes
    spool._without_disk("the test says so")
    size = len(entry(2)[0].body)
    put_all(spool, 2, first=2)
    grown = [now - then for now, then in zip((spool.came, spool.came_bytes, spool.waiting_bytes), before, strict=True)]
    assert grown == [2, 2 * size, 2 * size]
    assert len(spool.put(entry(4))) == 1
    assert (len(spool), spool.accepted, spool.waiting_bytes - before[2]) == (4, 5, 2 * size)
    clock.now += RETRY
    put_all(spool, 1, first=5)
    taken = spool.take(4, 10**6)
    assert (len(taken), len(spool), spool.waiting_bytes) == (4, 1, size)
    spool.release([*taken, *spool.take(4, 10**6)])
    assert (len(spool), spool.accepted, spool.waiting_bytes) == (0, 6, 0)
    spool.close()


# Re-entry


def snapshot(directory: Path, to: Path) -> list[int]:
    """What would be recovered if the process were killed now."""
    shutil.copytree(directory, to)
    try:
        return recovered(to)
    finally:
        shutil.rmtree(to)


LAYOUTS = [
    pytest.param(LARGE, THREE_LARGE, id="a segment each"),
    pytest.param(100, 2 * HEADER + 3 * weight(event(0, 100)), id="a segment for several"),
    pytest.param(100, MIN_SPOOL_BYTES, id="room for all"),
]


@pytest.mark.parametrize(
    ("overflow", "filled", "taken"),
    [
        (Overflow.DROP_NEWEST, 0, 0),
        (Overflow.DROP_OLDEST, 2, 0),
        (Overflow.DROP_OLDEST, 3, 0),
        (Overflow.BLOCK, 3, 0),
        *itertools.product(Overflow, [2, 3], [1]),
    ],
)
@pytest.mark.parametrize(("size", "max_bytes"), LAYOUTS)
def test_a_put_within_a_put_keeps_the_bound_and_loses_nothing_uncounted(
    tmp_path: Path, size: int, max_bytes: int, overflow: Overflow, taken: int, filled: int
) -> None:
    for at in points(max_bytes, overflow, taken, filled):
        directory = tmp_path / "spool"
        directory.mkdir()
        spool = a_spool(directory, overflow, max_bytes=max_bytes)
        put_all(spool, filled, size)
        held = spool.take(taken, 10**6)
        lost: list[Entry] = []
        interrupted = Interrupted(at, lambda lost=lost, spool=spool: lost.extend(spool.put(entry(10, size))))
        lost += interrupted.during(lambda spool=spool: spool.put(entry(11, size)))
        if interrupted.points < at:
            spool.close()
            break
        check(spool, directory, tmp_path / "copy", [*range(filled), 10, 11], held, lost, max_bytes)
        shutil.rmtree(directory)
    assert at > 5


def check(
    spool: Spool,
    directory: Path,
    copy: Path,
    entries: Sequence[int],
    held: Sequence[Entry],
    lost: Sequence[Entry],
    max_bytes: int,
) -> None:
    """Each event is in one place, the counts are exact, and what is not lost is on disk."""
    expected = Counter(entries) - Counter(numbers(lost))
    assert spool.accepted == len(entries)
    assert len(spool) == len(entries) - len(lost) - len(held)
    assert bytes_on_disk(directory) == spool.figures()["spool_bytes"] <= max_bytes
    assert Counter(snapshot(directory, copy)) == expected
    inside = [*held, *take_all(spool)]
    assert Counter(numbers(inside)) == expected
    assert (len(spool), spool.waiting_bytes, spool.pop_damaged()[0]) == (0, 0, 0)
    spool.release(inside)
    active = spool._shelf.active
    assert segments(directory) == ([] if active is None else [active.path])
    assert list(spool.put(entry(99))) == []
    crash(spool)
    assert recovered(directory) == [99]


@pytest.mark.parametrize("recent", [0, RECENT])
@pytest.mark.parametrize("during", ["take", "release", "maintain", "close"])
@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST])
@pytest.mark.parametrize(("size", "max_bytes"), LAYOUTS)
def test_a_put_within_anything_else_keeps_every_event_in_one_place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    max_bytes: int,
    overflow: Overflow,
    during: str,
    recent: int,
) -> None:
    monkeypatch.setattr(segment_module, "RECENT_BYTES", recent)
    for at in points(max_bytes, overflow, during, recent):
        directory, copy = tmp_path / "spool", tmp_path / "copy"
        directory.mkdir()
        earlier = a_spool(directory, overflow, max_bytes=max_bytes)
        put_all(earlier, 1, size)
        crash(earlier)
        spool = a_spool(directory, overflow, max_bytes=max_bytes)
        if during != "maintain":
            spool.maintain()
        put_all(spool, 2, size, first=1)
        held = spool.take(1, 10) if during == "release" else []
        calls: dict[str, Callable[[], Any]] = {
            "take": lambda spool=spool: spool.take(1, 10),
            "release": lambda spool=spool, held=held: spool.release(held),
            "maintain": spool.maintain,
            "close": spool.close,
        }
        lost: list[Entry] = []
        interrupted = Interrupted(at, lambda lost=lost, spool=spool: lost.extend(spool.put(entry(10, size))))
        result = interrupted.during(calls[during])
        if interrupted.points < at:
            spool.close()
            break
        gone = Counter(numbers(lost))
        if during == "take":
            gone += Counter(numbers(result))
            assert Counter(snapshot(directory, copy)) == Counter([0, 1, 2, 10]) - Counter(numbers(lost))
            spool.release(result)
        elif during == "release":
            gone += Counter(numbers(held))
        assert spool.accepted == 4
        if during == "close":
            spool.close()
            assert Counter(recovered(directory)) + gone == Counter([0, 1, 2, 10])
        else:
            assert len(spool) == 4 - sum(gone.values())
            inside = take_all(spool)
            assert Counter(numbers(inside)) + gone == Counter([0, 1, 2, 10])
            assert (len(spool), spool.waiting_bytes, spool.pop_damaged()[0]) == (0, 0, 0)
            assert bytes_on_disk(directory) == spool.figures()["spool_bytes"]
            spool.release(inside)
            spool.close()
            assert segments(directory) == []
        shutil.rmtree(directory)
    assert at > 5


def test_a_put_within_a_put_that_the_disk_refuses(tmp_path: Path) -> None:
    for at in itertools.count(1):
        directory = tmp_path / "spool"
        directory.mkdir()
        spool = a_spool(directory, trouble=Troubles().tell, clock=Clock())
        put_all(spool, 2, 100)
        interrupted = Interrupted(at, lambda spool=spool: spool.put(entry(10, 10)))
        with files_limited_to(HEADER + 2 * weight(event(0, 100)) + 50):
            interrupted.during(lambda spool=spool: spool.put(entry(11, 100)))
        if interrupted.points < at:
            break
        assert (len(spool), spool.accepted) == (4, 4)
        assert Counter(numbers(take_all(spool))) == Counter([0, 1, 10, 11])
        assert (len(spool), spool.waiting_bytes, spool.pop_damaged()[0]) == (0, 0, 0)
        spool.close()
        shutil.rmtree(directory)
    assert at > 5


@pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError])
def test_what_a_signal_handler_raises_leaves_the_counts_exact(tmp_path: Path, kind: type[BaseException]) -> None:
    """Ctrl-C or an alarm within a log call: whatever became of its event, the ones after it are delivered.

    A TimeoutError is an OSError, and no failure of the disk all the same.
    """

    def interrupt() -> None:
        raise kind

    for at in itertools.count(1):
        directory = tmp_path / "spool"
        directory.mkdir()
        spool = a_spool(directory, trouble=Troubles().tell)
        put_all(spool, 1, 100)
        interrupted = Interrupted(at, interrupt)
        try:
            interrupted.during(lambda spool=spool: spool.put(entry(10, 100)))
        except kind:
            if spool._shelf.lock._is_owned():  # type: ignore[attr-defined]  # between its acquisition and the block
                spool._shelf.lock.release()
        put_all(spool, 1, 100, first=2)
        assert spool.figures()["unjournaled"] == 0
        left = shutil.copytree(directory, tmp_path / "left")
        taken = take_all(spool)
        found = numbers(taken)
        assert recovered(left) == found, "the file says whether it came to be"
        shutil.rmtree(left)
        assert [number for number in found if number != 10] == [0, 2]
        assert spool.accepted == len(found) + spool.pop_damaged()[0]
        assert (len(spool), spool.waiting_bytes) == (0, 0)
        spool.release(taken)
        spool.close()
        assert segments(directory) == []
        shutil.rmtree(directory)
        if interrupted.points < at:
            break
    assert at > 5


def test_a_signal_handler_may_put_while_its_thread_is_inside_put(tmp_path: Path) -> None:
    spool = a_spool(tmp_path, max_bytes=10**9)
    from_handler = 0

    def handler(_number: int, _frame: object) -> None:
        nonlocal from_handler
        number = from_handler = from_handler + 1  # in one step: it may be interrupted, too
        spool.put(entry(-number))

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    puts = 0
    try:
        deadline = time.monotonic() + 10
        while from_handler < 100 and time.monotonic() < deadline:
            puts += 1
            spool.put(entry(puts))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert from_handler >= 100
    crash(spool)
    assert sorted(recovered(tmp_path)) == [number for number in range(-from_handler, puts + 1) if number]


# Threads, processes, memory


class HeldWrites:
    """Writes of records to any file wait until they are let go, then fail with ``error``, if there is one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: int | None = None
        self._began = threading.Semaphore(0)
        self._may_go = threading.Event()
        self._threads: list[threading.Thread] = []
        self._pwrite = os.pwrite
        monkeypatch.setattr(os, "pwrite", self._write)

    def _write(self, descriptor: int, data: bytes, offset: int) -> int:
        if data.startswith(MAGIC) and threading.current_thread() in self._threads:
            self._began.release()
            assert self._may_go.wait(10)
            if self.error is not None:
                raise OSError(self.error, os.strerror(self.error))
        return self._pwrite(descriptor, data, offset)

    def begin(self, call: Callable[[], object]) -> None:
        """``call`` in a thread, until it writes."""
        thread = threading.Thread(target=call)
        self._threads.append(thread)
        thread.start()
        assert self._began.acquire(timeout=10)

    def end(self) -> None:
        """Let all go on, and wait for them."""
        self._may_go.set()
        for thread in self._threads:
            thread.join(10)


def test_nothing_is_read_beyond_what_is_still_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool, writes = a_spool(tmp_path), HeldWrites(monkeypatch)
    put_all(spool, 1)
    writes.begin(lambda: put_all(spool, 1, first=1))
    put_all(spool, 1, first=2)
    early = take_all(spool)
    assert (numbers(early), len(spool), spool.accepted) == ([0], 2, 3)
    spool.release(early)
    assert take_all(spool) == []
    writes.end()
    late = take_all(spool)
    assert numbers(late) == [1, 2]
    spool.release(late)
    spool.close()
    assert segments(tmp_path) == []


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST])
def test_a_segment_that_is_still_written_to_is_not_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overflow: Overflow
) -> None:
    spool, writes = a_spool(tmp_path, overflow), HeldWrites(monkeypatch)
    put_all(spool, 1)
    writes.begin(lambda: put_all(spool, 1, first=1))
    lost = [number for number in range(2, 40) for number in numbers(spool.put(entry(number, 60_000)))]
    writes.end()
    came = numbers(take_all(spool))
    assert {0, 1} <= set(came)
    assert sorted([*lost, *came]) == list(range(40))
    assert spool.pop_damaged() == (0, [])
    spool.close()


def test_close_leaves_a_file_open_to_those_who_write_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its number might be that of another file by the time of the write."""
    before = descriptors()
    spool, writes = a_spool(tmp_path), HeldWrites(monkeypatch)
    writes.begin(lambda: put_all(spool, 1))
    writes.begin(lambda: put_all(spool, 1, first=1))
    spool.close()
    other = [(tmp_path / f"other{number}").open("wb") for number in range(5)]
    writes.end()
    for file in other:
        file.close()
        assert Path(file.name).stat().st_size == 0
    assert descriptors() == before
    assert sorted(recovered(tmp_path)) == [0, 1]


def test_a_forked_child_closes_what_its_parent_is_writing_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool, writes = a_spool(tmp_path), HeldWrites(monkeypatch)
    put_all(spool, 1)
    writes.begin(lambda: put_all(spool, 1, first=1))
    child = os.fork()
    if not child:
        before = descriptors()
        spool.reset()
        os._exit(before - descriptors())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    writes.end()
    assert numbers(take_all(spool)) == [0, 1]
    spool.close()


def test_writes_that_fail_at_once_leave_no_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever fails first."""
    troubles = Troubles()
    spool, writes = a_spool(tmp_path, trouble=troubles.tell), HeldWrites(monkeypatch)
    put_all(spool, 1)
    size = spool.figures()["spool_bytes"]
    for number in range(1, 9):
        writes.begin(lambda number=number: put_all(spool, 1, first=number))  # type: ignore[misc]
    writes.error = errno.ENOSPC
    writes.end()
    assert (spool.figures()["spool_bytes"], spool.accepted, len(spool)) == (size, 9, 9)
    taken = take_all(spool)
    assert sorted(numbers(taken)) == list(range(9))
    spool.release(taken)
    spool.close()
    assert set(troubles.topics) == {"spool"}
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_before_another_that_does_not_leaves_a_gap_that_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    troubles = Troubles()
    spool, writes = a_spool(tmp_path, trouble=troubles.tell), HeldWrites(monkeypatch)
    writes.begin(lambda: put_all(spool, 1))
    put_all(spool, 1, first=1)
    writes.error = errno.EIO
    writes.end()
    assert sorted(numbers(take_all(spool))) == [0, 1]
    assert (len(spool), spool.accepted, spool.pop_damaged()) == (0, 2, (0, []))
    crash(spool)
    assert recovered(tmp_path) == [1]
    assert set(troubles.topics) == {"spool"}


@pytest.mark.usefixtures("nothing_recent")
def test_a_write_that_fails_in_a_segment_that_cannot_be_read_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left to another time is no longer accepted; what did not get there is, in memory."""
    spool, writes = a_spool(tmp_path, trouble=Troubles().tell), HeldWrites(monkeypatch)
    put_all(spool, 1)
    writes.begin(lambda: put_all(spool, 1, first=1))
    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, os.strerror(errno.EIO))))
        assert take_all(spool) == []
    writes.error = errno.EIO
    writes.end()
    assert (spool.accepted, len(spool)) == (1, 1)
    assert numbers(take_all(spool)) == [1]
    assert recovered(tmp_path) == [0]


def test_a_process_that_is_killed_amid_writes_leaves_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        spool, writes = a_spool(tmp_path), HeldWrites(patched)
        writes.begin(lambda: put_all(spool, 1))
        put_all(spool, 2, first=1)
        writes.begin(lambda: put_all(spool, 1, first=3))
        for each in segments(tmp_path):  # as it is at this moment
            each.with_name(f"0{each.name}").write_bytes(each.read_bytes())
        writes.end()
    spool.release(take_all(spool))
    spool.close()
    assert recovered(tmp_path) == [1, 2]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("overflow", list(Overflow))
def test_eight_threads_put_while_one_takes_and_releases(tmp_path: Path, overflow: Overflow) -> None:
    spool = a_spool(tmp_path, overflow, block_timeout=30)
    size = 4_000  # 4.8 MB through a spool of one
    lost: list[Entry] = []
    came: list[int] = []
    ready = threading.Barrier(9)

    def put_many(first: int) -> None:
        ready.wait(10)
        for number in range(first, first + 150):
            lost.extend(spool.put(entry(number, size)))

    threads = [threading.Thread(target=put_many, args=(first,)) for first in range(0, 1_200, 150)]
    for thread in threads:
        thread.start()
    ready.wait(10)
    under_way: list[list[Entry]] = []
    while any(thread.is_alive() for thread in threads):
        assert spool.figures()["spool_bytes"] <= MIN_SPOOL_BYTES
        under_way.append(spool.take(20, 10**5))
        came += numbers(under_way[-1])
        if len(under_way) > 2:
            spool.release(under_way.pop(0))
    for batch in under_way:
        spool.release(batch)
    rest = take_all(spool)
    spool.release(rest)
    came += numbers(rest)
    assert spool.accepted == 1_200
    assert sorted([*came, *numbers(lost)]) == list(range(1_200))
    assert overflow is not Overflow.BLOCK or not lost
    spool.close()
    assert segments(tmp_path) == []


def test_a_forked_child_keeps_nothing_of_its_parents(tmp_path: Path) -> None:
    """It begins empty, and holds no lock: what its parent leaves is anybody's while the child still lives."""
    spool = a_spool(tmp_path)
    put_all(spool, 3)
    under_way = spool.take(1, 10)
    told, tell = os.pipe()
    wait, go = os.pipe()
    child = os.fork()
    if not child:
        spool.reset()
        put_all(spool, 2, first=10)
        right = (len(spool), spool.accepted, len(under_way)) == (2, 2, 1)
        os.write(tell, b"y" if right else b"n")
        os.read(wait, 1)
        os._exit(0)
    try:
        assert os.read(told, 1) == b"y"
        crash(spool)
        assert recovered(tmp_path) == [0, 1, 2]
        assert len(segments(tmp_path)) == 1
    finally:
        os.write(go, b"!")
        os.waitpid(child, 0)
        for descriptor in (told, tell, wait, go):
            os.close(descriptor)
    assert recovered(tmp_path) == [10, 11]


def test_taking_holds_a_batch_in_memory_and_no_more(tmp_path: Path) -> None:
    spool = a_spool(tmp_path, max_bytes=64 * 1024 * 1024)
    put_all(spool, 5_000, 8_000)
    tracemalloc.start()
    try:
        came = 0
        while batch := spool.take(500, 10**6):
            came += len(batch)
            spool.release(batch)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert came == 5_000
    assert peak < 5_000_000, "a batch of 1 MB, its records, and the chunk they were read from"
    spool.close()


def test_what_waits_is_in_memory_as_far_as_it_is_recent_and_no_further(tmp_path: Path) -> None:
    spool = a_spool(tmp_path, max_bytes=64 * 1024 * 1024)
    tracemalloc.start()
    try:
        put_all(spool, 5_000, 8_000)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert RECENT < held < 2.5 * RECENT, "of 40 MB in five segments: of the first one, and at most of one more"
    assert numbers(take_all(spool)) == list(range(5_000))
    spool.close()


def test_none_is_passed_over_that_came_while_enough_was_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fifth is in the file alone: what comes after it is not kept beside the third and fourth."""
    monkeypatch.setattr(segment_module, "RECENT_BYTES", 3 * weight(event(0)) + 1)
    spool = a_spool(tmp_path)
    put_all(spool, 5)
    assert numbers(spool.take(2, 10**6)) == [0, 1]
    put_all(spool, 1, first=5)
    assert numbers(take_all(spool)) == [2, 3, 4, 5]
    spool.close()


def test_what_was_read_from_the_file_all_the_same_is_kept_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_module, "RECENT_BYTES", 3 * weight(event(0)) + 1)
    spool = a_spool(tmp_path)
    put_all(spool, 5)
    assert numbers(spool.take(4, 10**6)) == [0, 1, 2, 3]
    put_all(spool, 2, first=5)
    [segment] = spool._shelf.segments
    assert len(segment.recent) == 2
    assert numbers(take_all(spool)) == [4, 5, 6], "from the file, as the first of them is only there"
    assert len(segment.recent) == 0
    spool.close()


def test_what_is_recent_is_the_same_event_as_in_the_file_and_is_not_read_from_it(tmp_path: Path) -> None:
    """So a file that is damaged or cut while its process lives costs nothing of it."""
    for name in ("live", "left"):
        (tmp_path / name).mkdir()
    spool = a_spool(tmp_path / "live", trouble=Troubles().tell)
    for number in range(3):
        assert not spool.put((Draft("things", b'{"n":%d}' % number, 1_790_000_000.25 + number), None))
    assert not spool.put((Event("others", b'{"id":"complete"}'), None))
    shutil.copytree(tmp_path / "live", tmp_path / "left", dirs_exist_ok=True)
    os.truncate(segments(tmp_path / "live")[0], 0)
    sent = take_all(spool)
    heir = a_spool(tmp_path / "left")
    heir.maintain()
    assert take_all(heir) == sent
    assert [event.properties.get("n") for event, _ in sent] == [0, 1, 2, None]
    for each in (spool, heir):
        each.close()


@pytest.mark.parametrize("short", [0, 1])
def test_a_draft_counts_as_large_as_it_will_be(tmp_path: Path, short: int) -> None:
    body = b'{"n":1}'
    spool = a_spool(tmp_path)
    for _ in range(3):
        assert not spool.put((Draft("things", body, 1_790_000_000.25), None))
    taken = spool.take(3, 2 * (len(body) + HEAD_BYTES) - short)
    assert len(taken) == 2 - short
    assert {len(event.body) for event, _ in taken} == {len(body) + HEAD_BYTES}
    spool.close()


def test_an_event_that_is_put_twice_is_two(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    one = entry(1)
    for _ in range(2):
        assert not spool.put(one)
    first, second = take_all(spool)
    assert first == second
    spool.release([first])
    assert recovered(shutil.copytree(tmp_path, tmp_path.with_name("left"))) == [1], "the one is settled, not the other"
    spool.release([second])
    assert len(spool) == 0
    spool.close()
    assert segments(tmp_path) == []


def test_what_is_not_to_be_held_is_counted_all_the_same(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
    spool.accept()
    put_all(spool, 1)
    assert (spool.accepted, len(spool)) == (2, 1)
    spool.close()


def test_a_write_that_failed_and_reached_the_file_is_the_event_that_memory_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the process sends, and what is found in its file after it: one id, so the server stores one event."""
    spool = a_spool(tmp_path, trouble=Troubles().tell)
    draft = Draft("things", b'{"n":1}', 1_790_000_000.5)
    assert not spool.put((draft, None))
    pwrite = os.pwrite

    def write_and_fail(descriptor: int, data: bytes, offset: int) -> int:
        pwrite(descriptor, data, offset)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", write_and_fail)
        assert not spool.put((draft, None))
    assert spool.figures()["unjournaled"] == 1
    sent = [event.properties["id"] for event, _ in take_all(spool)]
    crash(spool)
    heir = a_spool(tmp_path)
    heir.maintain()
    assert [event.properties["id"] for event, _ in take_all(heir)] == sent
    assert len(set(sent)) == 2
    heir.close()


def test_one_whom_memory_tells_is_not_told_by_the_spool_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = lambda *_: None  # noqa: E731
    spool = a_spool(tmp_path, trouble=Troubles().tell)
    put_all(spool, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda *_: 0)
        assert not spool.put(entry(1, receipt=receipt))
    assert [receipt for _, receipt in spool.take(10, 10**6)] == [None, receipt]
    assert spool.leave(()) == ([], [])
    spool.close()


def test_a_close_leaves_to_others_what_was_given_up_with_events_under_way(tmp_path: Path) -> None:
    before = descriptors()
    spool = a_spool(tmp_path)
    put_all(spool, 2)
    under_way = spool.take(1, 1)
    with spool._lock:
        spool._shelf.give_up(spool._shelf.segments[0])
    assert spool.leave(under_way) == ([], [])
    spool.close()
    assert descriptors() == before
    assert recovered(tmp_path) == [0, 1]


def test_a_reset_lets_go_of_every_file(tmp_path: Path) -> None:
    """Also of one that was given up with events under way, and of one that is just being adopted."""
    before = descriptors()
    spool = a_spool(tmp_path)
    put_all(spool, 2)
    assert spool.take(1, 1)
    with spool._lock:
        spool._shelf.give_up(spool._shelf.segments[0])
    put_all(spool, 1)
    assert spool._open(an_orphan(tmp_path, 1)) is not None
    assert descriptors() == before + 3
    spool.reset()
    assert descriptors() == before


def test_what_ends_the_closing_of_a_segment_is_raised_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By then the event is in it: its place is nothing to give back."""

    def interrupted(spool: Spool, segment: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Spool, "_close", interrupted)
    spool = a_spool(tmp_path)
    put_all(spool, 1)
    active = spool._shelf.active
    assert active is not None
    active.is_closing = True
    with pytest.raises(KeyboardInterrupt):
        put_all(spool, 1, first=1)
    assert len(spool) == 2
    spool.close()
