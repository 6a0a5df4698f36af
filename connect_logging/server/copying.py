"""Projects with their events, from one place into another, as often as it takes.

Events are read as an export has them, by timestamp and then id, and sent in slices of time. A slice that the target
holds already, by its count and digest, is not sent; of any other one the target takes by their ids what it has not. So
a copy that was interrupted is started again, and so is one of a source that has grown meanwhile. At the end both export
each collection, and what they export is compared: as many events, and the same bytes.

Invariants: the source's events and projects are only read; nothing of the target is ever replaced, neither events nor
projects; what is told to be sent is stored.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from .._grammar.model import Query, Span
from ..exceptions import ConnectError
from .projects import Project, Projects
from .stores.base import NewEvent, Store, StoreBusyError, Stored

_SLICE_EVENTS: Final = 10_000
_SLICE_BYTES: Final = 8 * 1024 * 1024
_PATIENCE: Final = 4
"""Times a slice that are held in memory before it is cut in the midst of one time."""
_IN_FLIGHT: Final = 4
"""Slices that are being stored at a time."""
_LINE: Final = re.compile(rb'\{"id":("(?:[^"\\]|\\.)*"),"timestamp":"([^"]+)"')
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00Z")
_MICROSECOND: Final = timedelta(microseconds=1)


class CopyError(ConnectError):
    """It cannot be copied; the message says why."""


class Held(NamedTuple):
    """What a store holds of a collection: how many events, and the SHA-256 of their lines in its export, in hex."""

    events: int
    digest: str


class Copied(NamedTuple):
    """``sent``: events that the target did not hold before."""

    project: str
    collection: str
    source: Held
    target: Held
    sent: int

    @property
    def is_same(self) -> bool:
        """Whether the two hold the same."""
        return self.source == self.target


class Progress(NamedTuple):
    """Of the ``total`` events of a collection so many are ``done``: they are in the target."""

    project: str
    collection: str
    done: int
    total: int


def choose(projects: Projects, project_ids: Sequence[str]) -> list[Project]:
    """The projects with these ids, or all when none is named. Raises CopyError."""
    known = {project.id: project for project in projects.list()}
    unknown = sorted({*project_ids} - known.keys())
    if unknown:
        raise CopyError(f"there is no project {', '.join(unknown)}: there are {', '.join(known) or 'none'}")
    return [known[each] for each in dict.fromkeys(project_ids)] or [*known.values()]


def copy_project(project: Project, target: Projects) -> bool:
    """Have ``project`` in ``target`` with its keys and settings; False when another one is there under its id."""
    return target.add(project) == project


def copy_events(
    project: str, source: Store, target: Store, on_progress: Callable[[Progress], object]
) -> Iterator[Copied]:
    """Copy all collections of ``project``, one after the other, and tell of each how it ended. Raises StoreError."""
    for collection in source.collections(project):
        copying = _Copying(project, collection.name, collection.events, target, on_progress)
        digest = copying.run(source.export(project, collection.name, Query(), "jsonl", stopped=threading.Event()))
        held = _held(target, project, collection.name, Query())
        yield Copied(project, collection.name, Held(copying.done, digest), held, copying.sent)


class _Slice(NamedTuple):
    """Consecutive events, and their lines. ``span``: of which they are all; None when nobody knows."""

    events: Sequence[NewEvent]
    lines: bytes
    span: Span | None


class _Copying:
    """One collection on its way. ``done``: events that are in the target, of which ``sent`` were not before."""

    def __init__(
        self, project: str, collection: str, total: int, target: Store, on_progress: Callable[[Progress], object]
    ) -> None:
        self._project = project
        self._collection = collection
        self._total = total
        self._target = target
        self._tell = on_progress
        self._flying: deque[Future[Stored]] = deque()
        self._is_new = not self._count(Query())
        self.done = 0
        self.sent = 0

    def run(self, pieces: Iterable[bytes]) -> str:
        """Copy what an export tells; the digest of that."""
        digest = hashlib.sha256()
        for each in _slices(pieces):
            digest.update(each.lines)
            if self._has(each):
                self._advance(len(each.events))
            else:
                self._send(each.events)
        while self._flying:
            self._land()
        return digest.hexdigest()

    def _has(self, each: _Slice) -> bool:
        """Whether the target holds the slice already; looked at only where that can be."""
        if self._is_new or each.span is None:
            return False
        query = Query(span=each.span)
        if self._count(query) != len(each.events):
            return False
        expected = Held(len(each.events), hashlib.sha256(each.lines).hexdigest())
        return _held(self._target, self._project, self._collection, query) == expected

    def _count(self, query: Query) -> int:
        [line] = self._target.query(self._project, self._collection, query)
        return int(line.row["_count"])

    def _send(self, events: Sequence[NewEvent]) -> None:
        while len(self._flying) >= _IN_FLIGHT:
            self._land()
        while True:
            try:
                self._flying.append(self._target.insert(self._project, {self._collection: events}))
                return
            except StoreBusyError:
                if not self._flying:
                    raise
                self._land()

    def _land(self) -> None:
        stored = self._flying.popleft().result()[self._collection]
        self.sent += sum(stored)
        self._advance(len(stored))

    def _advance(self, events: int) -> None:
        self.done += events
        self._tell(Progress(self._project, self._collection, self.done, self._total))


class _Part:
    """A slice that is being filled."""

    def __init__(self) -> None:
        self.events: list[NewEvent] = []
        self.lines: list[bytes] = []
        self.size = 0

    def holds(self, times: int) -> bool:
        """Whether it has ``times`` times what a slice has, by number or by size."""
        return len(self.events) >= times * _SLICE_EVENTS or self.size >= times * _SLICE_BYTES

    def add(self, line: bytes, event: NewEvent) -> None:
        self.events.append(event)
        self.lines.append(line)
        self.size += len(line)

    def slice(self, span: Span | None) -> _Slice:
        return _Slice(self.events, b"".join(self.lines), span)


def _slices(pieces: Iterable[bytes]) -> Iterator[_Slice]:
    """Cut where the time changes; where that is too far away elsewhere, and then the slice has no span."""
    part, start, is_whole = _Part(), None, True
    for line in (line for piece in pieces for line in piece.splitlines(keepends=True)):
        event = _event(line)
        if part.holds(1):
            ends = part.events[-1].timestamp != event.timestamp
            if ends or part.holds(_PATIENCE):
                yield part.slice(Span(start, event.timestamp) if ends and is_whole else None)
                part, start, is_whole = _Part(), event.timestamp, ends
        part.add(line, event)
    if part.events:
        yield part.slice(Span(start) if is_whole else None)


def _event(line: bytes) -> NewEvent:
    """The event in a line of an export."""
    head = _LINE.match(line)
    if head is None:
        raise CopyError("the source exports what is no event: is it of this version?")
    rest = line[head.end() :].rstrip()
    time = (datetime.fromisoformat(head[2].decode()) - _EPOCH) // _MICROSECOND
    return NewEvent(msgspec.json.decode(head[1], type=str), time, b"{}" if rest == b"}" else b"{" + rest[1:])


def _held(store: Store, project: str, collection: str, query: Query) -> Held:
    """What ``store`` exports."""
    digest, events = hashlib.sha256(), 0
    for piece in store.export(project, collection, query, "jsonl", stopped=threading.Event()):
        digest.update(piece)
        events += piece.count(b"\n")
    return Held(events, digest.hexdigest())
