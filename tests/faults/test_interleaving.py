"""Log calls at every step of the sending thread's work with the spool: none of their events may be passed over.

The steps are bytecodes, of what is done without the lock above all. Where Python really changes threads is one thing
today and another in the next version, so that a spool that is right at every step is right.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from connect_logging._buffer import MemoryBuffer
from connect_logging._durability import MIN_SPOOL_BYTES
from connect_logging._journal.spool import Spool
from connect_logging._journal.taking import Taker
from connect_logging._types import Overflow
from connect_logging.event import Event

BODY = b'{"text":"' + b"x" * 60_000 + b'"}'
"""Two such events fill the smallest segment."""


class Interruption:
    """Calls ``act`` once, before the ``step``-th bytecode that runs in any of ``codes``. ``came``: whether it did."""

    def __init__(self, codes: set[CodeType], step: int, act: Any) -> None:
        self.came = False
        self._codes = codes
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
        if event == "opcode":
            self._left -= 1
            if self._left < 0 and not self.came:
                self.came = True
                self._act()
        return self._trace


CODES = {
    "take": {Taker.take.__code__, Taker.read_out.__code__},
    "release": {Taker.release.__code__},
    "adopt": {Spool._adopt.__code__, Taker.read_out.__code__, Spool.maintain.__code__},
}


@pytest.mark.parametrize("waiting", [0, 1, 2])
@pytest.mark.parametrize("method", CODES)
def test_no_event_is_passed_over_wherever_a_log_call_comes(
    tmp_path: Path, figure: Any, method: str, waiting: int
) -> None:
    """``waiting`` events are there, three more come at once: the segment that is being written is full, and more."""
    passed_over: list[int] = []
    step = 0
    while True:
        spool = Spool(
            directory := tmp_path / str(step),
            max_bytes=MIN_SPOOL_BYTES,
            overflow=Overflow.DROP_NEWEST,
            block_timeout=0,
            fallback=MemoryBuffer(
                max_events=100, max_bytes=10**9, overflow=Overflow.DROP_NEWEST, block_timeout=0, clock=lambda: 0.0
            ),
            trouble=lambda *told: pytest.fail(str(told)),
            clock=lambda: 0.0,
        )
        directory.mkdir()
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
