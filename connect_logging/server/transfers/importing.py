"""Lines become stored events, in the order in which they come: read, checked as any event, committed in chunks.

Invariants: one chunk is being committed while the next is read, and none more, so memory is flat and the source waits
for the disk; a bad line leaves the others as they are; what was committed stays, whatever happens then, and
``progress.lines`` says how far that is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from ...exceptions import InvalidEventError
from ..ingest import Ingest, MalformedError
from ..stores.base import NewEvent, Outcome, StoppedError, Store, StoreBusyError, Stored
from .lines import MAX_LINE_BYTES, Line

MAX_ERRORS: Final = 100
"""Lines that are told of; the others are counted."""
_MAX_ERROR_LENGTH: Final = 500
"""Characters: a message may name a hundred properties."""
_CHUNK_EVENTS: Final = 5_000
_CHUNK_BYTES: Final = 4 * 1024 * 1024
_CHUNK_SECONDS: Final = 1.0
"""After which less is committed as well: a source may be slow."""
_BUSY_PAUSE: Final = 0.2
"""Seconds, before a store that had too much waiting is asked again."""


class LineError(NamedTuple):
    """``line``: its number, from 1."""

    line: int
    message: str


@dataclass(slots=True)
class Progress:
    """``lines``: how many have been read and, as far as they are valid, committed. ``errors``: the first MAX_ERRORS."""

    lines: int = 0
    imported: int = 0
    duplicates: int = 0
    failed: int = 0
    errors: list[LineError] = field(default_factory=list)


class Import:
    """One import into a collection. ``count`` is told of what became of events, ``report`` of each change of
    :attr:`progress`. ``stopped``: ends it soon once it is set.

    ``make_id``: from the number of a line the id of an event that has none.
    """

    def __init__(
        self,
        store: Store,
        ingest: Ingest,
        project: str,
        collection: str,
        *,
        count: Callable[[Outcome, int], object],
        report: Callable[[], object],
        stopped: threading.Event,
        make_id: Callable[[int], str] | None = None,
    ) -> None:
        self.progress = Progress()
        self._store = store
        self._ingest = ingest
        self._project = project
        self._collection = collection
        self._count = count
        self._report = report
        self._stopped = stopped
        self._make_id = make_id
        self._committing: tuple[int, Future[Stored]] | None = None

    def feed(self, lines: Iterable[Line]) -> None:
        """Import ``lines`` to their end. Blocks. Raises StoppedError, StoreError, and what ``lines`` raises."""
        chunk: list[NewEvent] = []
        size = number = 0
        began = time.monotonic()
        try:
            for number, line in lines:
                event = self._read(number, line)
                if event is not None:
                    chunk.append(event)
                    size += len(event.document)
                if len(chunk) == _CHUNK_EVENTS or size >= _CHUNK_BYTES or time.monotonic() - began > _CHUNK_SECONDS:
                    self._commit(number, chunk)
                    chunk, size, began = [], 0, time.monotonic()
            self._commit(number, chunk)
        finally:
            self._settle()

    def _read(self, number: int, line: bytes | None) -> NewEvent | None:
        """The event in a line, or None and an error."""
        if self._stopped.is_set():
            raise StoppedError("the import was stopped")
        problem = f"a line has at most {MAX_LINE_BYTES:,} bytes"
        if line is not None:
            try:
                return self._ingest.read(line, partial(self._make_id, number) if self._make_id else None)
            except (MalformedError, InvalidEventError) as error:
                problem = str(error)
        self._fail(number, problem)
        return None

    def _fail(self, number: int, message: str) -> None:
        self._count("rejected", 1)
        self.progress.failed += 1
        if len(self.progress.errors) < MAX_ERRORS:
            shown = message if len(message) <= _MAX_ERROR_LENGTH else message[:_MAX_ERROR_LENGTH] + "…"
            self.progress.errors.append(LineError(number, shown))

    def _commit(self, number: int, chunk: list[NewEvent]) -> None:
        """Hand on ``chunk``, which ends with line ``number``, once the one before is committed."""
        self._settle()
        while chunk:
            try:
                self._committing = number, self._store.insert(self._project, {self._collection: chunk})
            except StoreBusyError:
                if self._stopped.wait(_BUSY_PAUSE):
                    raise StoppedError("the import was stopped") from None
            else:
                return
        self.progress.lines = number
        self._report()

    def _settle(self) -> None:
        if self._committing is None:
            return
        number, future = self._committing
        self._committing = None
        stored = future.result()[self._collection]
        new = sum(stored)
        self._count("stored", new)
        self._count("duplicate", len(stored) - new)
        self.progress.imported += new
        self.progress.duplicates += len(stored) - new
        self.progress.lines = number
        self._report()
