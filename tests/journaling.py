"""For tests of the journal: events told apart by number, spools that end with the test, crashes, and re-entry."""

from __future__ import annotations

import itertools
import os
import re
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

import connect_logging._journal
from connect_logging._buffer import MemoryBuffer
from connect_logging._durability import MIN_SPOOL_BYTES
from connect_logging._journal.payload import Codec
from connect_logging._journal.segment import SUFFIX, Segment
from connect_logging._journal.spool import Spool
from connect_logging._journal.sync import Syncer
from connect_logging._types import Overflow
from connect_logging.event import Entry, Event, Receipt

FULL = os.environ.get("CONNECT_FAULTS") == "long"
"""Whether the long versions are wanted (``make faults``)."""

HEADER = 32
"""Bytes of a segment before its records."""


def rows_of(table: str) -> list[tuple[str, tuple[int, int | None]]]:
    """The rows of a table in the format's specification: what it is, offset and size."""
    text = connect_logging._journal.__doc__ or ""
    rows = re.findall(r"^ {4}(\d+) +(\d+|…) +(.*)$", re.split(rf"\n\s+{table}\n", text)[1].split("\n\n")[0], re.M)
    return [(words, (int(offset), None if size == "…" else int(size))) for offset, size, words in rows]


def event(number: int, size: int = 0) -> Event:
    """The event ``number``, of at least ``size`` bytes."""
    return Event("things", (b'{"id":%d,"text":"' % number).ljust(size - 2, b"x") + b'"}')


def entry(number: int, size: int = 0, receipt: Receipt | None = None) -> Entry:
    return event(number, size), receipt


def numbers(entries: Iterable[Entry]) -> list[int]:
    return [each.properties["id"] for each, _ in entries]


def record_of(payload: bytes) -> bytes:
    """As the specification has it."""
    return b"\xffCJ\x01" + struct.pack("<II", len(payload), crc32(payload)) + payload


def weight(each: Event) -> int:
    """Bytes of the record of ``each``."""
    return len(Codec().record(each))


class Troubles(list[tuple[str, str]]):
    """What the operator was told."""

    def tell(self, topic: str, message: str) -> None:
        self.append((topic, message))

    @property
    def topics(self) -> list[str]:
        return [topic for topic, _ in self]


def a_spool(
    directory: Path,
    overflow: Overflow = Overflow.DROP_NEWEST,
    *,
    max_bytes: int = MIN_SPOOL_BYTES,
    block_timeout: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
    trouble: Callable[[str, str], object] | None = None,
    syncer: Syncer | None = None,
    memory: int = 1_000,
) -> Spool:
    """A spool; without ``trouble`` there must be none."""
    fallback = MemoryBuffer(
        max_events=memory, max_bytes=10**9, overflow=overflow, block_timeout=block_timeout, clock=clock
    )
    return Spool(
        directory,
        max_bytes=max_bytes,
        overflow=overflow,
        block_timeout=block_timeout,
        fallback=fallback,
        trouble=trouble or no_trouble,
        clock=clock,
        syncer=syncer,
    )


def no_trouble(topic: str, message: str) -> None:
    raise AssertionError(f"{topic}: {message}")


def put_all(spool: Spool, count: int, size: int = 0, first: int = 0) -> None:
    for number in range(first, first + count):
        assert list(spool.put(entry(number, size))) == []


def take_all(spool: Spool) -> list[Entry]:
    """All that waits, in many batches."""
    taken: list[Entry] = []
    while batch := spool.take(100, 10**6):
        taken += batch
    return taken


def recovered(directory: Path, trouble: Callable[[str, str], object] | None = None) -> list[int]:
    """What a new process would send, in its order; what is done is removed."""
    spool = a_spool(directory, trouble=trouble)
    spool.maintain()
    taken = take_all(spool)
    found = numbers(taken)
    spool.release(taken)
    spool.close()
    return found


def crash(spool: Spool) -> None:
    """What ``kill -9`` leaves of ``spool``: its files are closed, and nothing else is done to them."""
    for segment in {*spool._shelf.segments, *spool._taker.owners}:
        segment.close()


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob(f"*{SUFFIX}"))


def bytes_on_disk(directory: Path) -> int:
    return sum(path.stat().st_size for path in segments(directory))


def an_orphan(directory: Path, count: int, size: int = 0) -> Path:
    """A segment of ``count`` events whose process is gone."""
    segment = Segment.create(directory)
    append(segment, [event(number, size) for number in range(count)])
    segment.close()
    return segment.path


def append(segment: Segment, events: Sequence[Event]) -> list[int]:
    """The offsets at which the events lie."""
    codec, starts = Codec(), []
    for each in events:
        record, start = codec.record(each), segment.end
        segment.write(record, start)
        segment.end = start + len(record)
        segment.unread += 1
        starts.append(start)
    return starts


def flip(path: Path, offset: int, mask: int = 0xFF) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        old = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([old ^ mask]))


def descriptors() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


class Interrupted:
    """Runs ``then`` at the ``at``-th point of a call at which a signal handler or the collector could run.

    CPython looks for these where a Python function begins, and after a call into C: what a profile function is told.
    """

    def __init__(self, at: int, then: Callable[[], object]) -> None:
        self.at, self.then, self.points = at, then, 0

    def __call__(self, _frame: object, event: str, _arg: object) -> None:
        self.points += 1
        if self.points == self.at:
            self.then()

    def during(self, call: Callable[[], Any]) -> Any:
        sys.setprofile(self)
        try:
            return call()
        finally:
            sys.setprofile(None)


def points(*case: object) -> Iterator[int]:
    """At which points of a call to interrupt it: at each, and in the short versions at each third.

    Where these begin depends on ``case``: what one case of a test leaves out, others have.
    """
    return itertools.count(1 + (0 if FULL else crc32(repr(case).encode()) % 3), 1 if FULL else 3)


@pytest.fixture
def made_spools() -> Iterator[list[Spool]]:
    """Those that a test puts here are closed at its end."""
    spools: list[Spool] = []
    yield spools
    for spool in spools:
        spool.close()
