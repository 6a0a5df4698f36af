"""Log calls at every step of the sending thread's work with the spool: none of their events may be passed over.

The steps are bytecodes, of what is done without the lock above all. Where Python really changes threads is one thing
today and another in the next version, so that a spool that is right at every step is right. Additions are no such
steps: where the spool counts, it is at every call and every turn of a loop that another thread comes in, with an event
that has its place and is not written yet.
"""

from __future__ import annotations

import dis
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from connect_logging._buffer import MemoryBuffer
from connect_logging._durability import MIN_SPOOL_BYTES
from connect_logging._journal.payload import Codec
from connect_logging._journal.reading import read_events, recall_events
from connect_logging._journal.segment import Segment
from connect_logging._journal.shelf import Shelf
from connect_logging._journal.spool import Spool
from connect_logging._journal.taking import Taker
from connect_logging._types import Overflow
from connect_logging.event import Event

BODY = b'{"text":"' + b"x" * 60_000 + b'"}'
"""Two such events fill the smallest segment."""


class Interruption:
    """Calls ``act`` once, before the ``step``-th bytecode that runs in any of ``codes``. ``came``: whether it did.

    ``is_step``: of a frame, whether its next bytecode counts.
    """

    def __init__(self, codes: set[CodeType], step: int, act: Any, is_step: Any = lambda _: True) -> None:
        self.came = False
        self._codes = codes
        self._is_step = is_step
        self._left = step
        self._act = act

    def __enter__(self) -> Interruption:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if self.came or frame.f_code not in self._codes:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode" and self._is_step(frame):
            self._left -= 1
            if self._left < 0 and not self.came:
                self.came = True
                self._act()
        return self._trace


CODES = {
    "take": {Taker.take.__code__, Taker.read_out.__code__},
    "recall": {Taker._read.__code__, recall_events.__code__},
    "release": {Taker.release.__code__},
    "adopt": {Spool._adopt.__code__, Taker.read_out.__code__, Spool.maintain.__code__},
}


def a_spool(directory: Path, overflow: Overflow = Overflow.DROP_NEWEST) -> Spool:
    directory.mkdir(exist_ok=True)
    memory = MemoryBuffer(max_events=100, max_bytes=10**9, overflow=overflow, block_timeout=0, clock=lambda: 0.0)
    return Spool(
        directory,
        max_bytes=MIN_SPOOL_BYTES,
        overflow=overflow,
        block_timeout=0,
        fallback=memory,
        trouble=lambda *_: None,
        clock=lambda: 0.0,
    )


@pytest.mark.parametrize("waiting", [0, 1, 2])
@pytest.mark.parametrize("method", CODES)
def test_no_event_is_passed_over_wherever_a_log_call_comes(
    tmp_path: Path, figure: Any, method: str, waiting: int
) -> None:
    """``waiting`` events are there, three more come at once: the segment that is being written is full, and more."""
    passed_over: list[int] = []
    step = 0
    while True:
        spool = a_spool(directory := tmp_path / str(step))
        spool._taker._trouble = spool._trouble = lambda *told: pytest.fail(str(told))
        put: list[Event] = []

        def log(count: int, spool: Spool = spool, put: list[Event] = put) -> None:
            for _ in range(count):
                put.append(Event(f"c{len(put)}", BODY))
                assert not spool.put((put[-1], None))

        log(1)
        spool.release(spool.take(10, 10**9))
        log(waiting)
        taken: list[Any] = []
        with Interruption(CODES[method], step, lambda log=log: log(3)) as interruption:
            taken += spool.take(10, 10**9)
            spool.release(taken)
            spool.maintain()
        for _ in range(10):
            batch = spool.take(10, 10**9)
            spool.release(batch)
            taken += batch
        came = Counter(event.collection for event, _ in taken)
        if came != Counter(event.collection for event in put[1:]):
            passed_over.append(step)
        spool.close()
        for left in directory.iterdir():
            left.unlink()
        if not interruption.came:
            break
        step += 1
    figure("28", f"log calls at each of {step} steps of {method}, {waiting} waiting: passed over at {len(passed_over)}")
    assert passed_over == []


@cache
def after_changes(code: CodeType) -> frozenset[int]:
    """Offsets of bytecodes before which the interpreter may run another thread or a signal's handler."""
    instructions = list(dis.get_instructions(code))
    return frozenset(
        each.offset
        for before, each in pairwise(instructions)
        if before.opname.startswith(("CALL", "RESUME", "BEFORE_WITH")) or "JUMP_BACKWARD" in before.opname
    )


def where_threads_change(frame: FrameType) -> bool:
    return frame.f_lasti in after_changes(frame.f_code)


def codes_of(*functions: Any) -> set[CodeType]:
    """Of ``functions`` and properties, with the comprehensions in them."""

    def within(code: CodeType) -> Iterator[CodeType]:
        yield code
        for each in code.co_consts:
            if isinstance(each, CodeType):
                yield from within(each)

    plain = [each.fget if isinstance(each, property) else each for each in functions]
    return {code for each in plain for code in within(each.__code__)}


UNDER_THE_LOCK = codes_of(
    *(Taker._read, Taker._taken, Taker._went, Taker._hand_back, Taker.read_out, Taker.release, Taker.drop),
    *(Taker.lend, Taker.settle_lent, Taker.give_back),
    *(Shelf.open, Shelf.add, Shelf.seal, Shelf.finish, Shelf.give_up, Shelf._remove, Shelf._set_limit, Shelf.fits),
    *(Segment.size, Segment.done, Segment.is_idle, Segment.acknowledge, Segment.close, Segment.give_back),
    *(Spool._make_ready, Spool._make_room, Spool._not_written),
)


class UnderWay:
    """A thread that puts ``event`` and is held in the middle, its place taken, until it is told to :meth:`go_on`."""

    def __init__(self, spool: Spool, event: Event) -> None:
        self._spool = spool
        self._there, self._goes_on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._put, args=(spool, event))
        self.has_begun = False

    def begin(self) -> None:
        """Begin where there is room; where there is none it would wait for the lock."""
        shelf = self._spool._shelf
        if shelf.active is not None and shelf.active.end + 100 <= shelf.limit:
            self.has_begun = True
            self._thread.start()
            assert self._there.wait(10)

    def go_on(self) -> None:
        self._goes_on.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _put(self, spool: Spool, event: Event) -> None:
        threading.current_thread().write = self._write  # type: ignore[attr-defined]
        try:
            assert not spool.put((event, None))
        finally:
            self._there.set()

    def _write(self) -> None:
        self._there.set()
        self._goes_on.wait(10)


def take_and_release(spool: Spool) -> list[Any]:
    taken = spool.take(10, 10**9)
    spool.release(taken)
    return taken


def lend_and_settle(spool: Spool) -> list[Any]:
    lent: list[Any] = []
    while (stretch := spool.lend(10)) is not None:
        segment, _ = Segment.look_at(Path(stretch.path))
        read = read_events(segment, Codec(), stretch.start, stretch.end, stretch.most, 10**9)
        segment.close()
        lent += [(event, None) for event in read.events]
        spool.settle_lent(len(read.events), read.end)
    return lent


@pytest.mark.parametrize(
    ("send", "fails"),
    [
        (take_and_release, "nothing"),
        (take_and_release, "read"),
        (take_and_release, "write"),
        (lend_and_settle, "nothing"),
        (lend_and_settle, "write"),
    ],
)
@pytest.mark.parametrize("waiting", [1, 2])
def test_whoever_has_the_lock_finds_what_comes_meanwhile(
    tmp_path: Path, figure: Any, monkeypatch: pytest.MonkeyPatch, waiting: int, fails: str, send: Any
) -> None:
    """``waiting`` events are sent, then comes one more; another is under way meanwhile."""
    failing: set[str] = set()
    calls = {"read": Segment.read, "write": Segment.write}

    def guarded(name: str) -> Any:
        def call(segment: Segment, *what: Any) -> Any:
            if name == "write":
                getattr(threading.current_thread(), "write", lambda: None)()
            if name in failing:
                failing.remove(name)
                raise OSError(5, "it fails")
            return calls[name](segment, *what)

        return call

    for name in calls:
        monkeypatch.setattr(Segment, name, guarded(name))
    step, came = 0, True
    while came:
        spool = a_spool(directory := tmp_path / str(step), Overflow.DROP_OLDEST)
        names = [f"c{number}" for number in range(waiting)]
        under_way = UnderWay(spool, Event("under way", b'{"small":1}'))
        found: list[Any] = []
        with Interruption(UNDER_THE_LOCK, step, under_way.begin, where_threads_change) as interruption:
            for name in names:
                found += spool.put((Event(name, BODY), None))
            for segment in spool._shelf.segments:
                segment.recent.clear()  # so that it is read from the file
            failing.add(fails)
            found += send(spool)
            found += spool.put((Event("last", BODY), None))
        failing.clear()
        came = interruption.came
        if not under_way.has_begun:
            found += spool.put((Event("under way", b'{"small":1}'), None))
        else:
            under_way.go_on()
        found += send(spool)
        while batch := take_and_release(spool):
            found += batch
        assert len(spool) == 0, step
        assert spool.accepted == len(found), step
        spool.close()
        successor = a_spool(directory)
        successor.maintain()
        found += successor.take(10, 10**9)
        successor.close()
        assert sorted(event.collection for event, _ in found) == sorted([*names, "last", "under way"]), step
        step += 1
    way = send.__name__.replace("_", " ")
    figure("28", f"{way}: an event under way at each of {step} steps under the lock, {fails} fails: none lost")
