"""Many events from a file or an iterable, in batches, each of which the server acknowledges.

Invariants:

* An import that was interrupted, however, may be started again: every event has the same id as before, its own or one
  made of the source's name, its place and its content, and what the server has already is counted as a duplicate.
  Nothing is stored twice, and events of two sources are never taken for one.
* Memory does not grow with the source: what waits is bounded by the sink, whose ``submit`` then waits for room.
* An event that cannot be stored is told of with its place, and leaves the others as they are.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from ._http import is_temporary
from ._types import Fate, Properties, Violation
from .event import Event, EventFactory, Receipt
from .exceptions import DamagedSourceError, InvalidEventError, RequestError, UnavailableError
from .responses import ImportResult

Source: TypeAlias = str | os.PathLike[str] | Iterable[Mapping[str, Any] | str | bytes]
"""A path of JSON lines, gzipped when it ends with ``.gz``, or events, each a dict or a line of JSON."""

MAX_LINE: Final = 1024 * 1024
"""Bytes. A line of an event at its limit, every character of it escaped, is half of this."""
MAX_ERRORS: Final = 1_000
"""Told of one by one; all are counted."""

_TOLD_EVERY: Final = 1_000
_TICK: Final = 0.2
"""Seconds between two tellings while the last events are on their way."""

_decode = msgspec.json.Decoder(Properties).decode


class Readable(Protocol):
    """A file of bytes."""

    def readline(self, size: int, /) -> bytes:
        """Up to the next line's end, or ``size`` bytes."""


class Sink(Protocol):
    """A pusher of events."""

    def submit(self, event: Event, receipt: Receipt) -> None:
        """Take ``event``, and wait while there is no room; ``receipt`` is told what became of it."""

    def flush(self, timeout: float) -> bool:
        """True when all is settled, False after ``timeout`` seconds."""


class Import:
    """One import of the source called ``name``.

    ``progress`` is told now and then what has been done so far, in the thread of :meth:`run`.
    """

    def __init__(
        self,
        collection: str,
        name: str,
        sink: Sink,
        factory: EventFactory,
        progress: Callable[[ImportResult], object] | None,
    ) -> None:
        self._collection = collection
        self._name = name.encode("utf-8", "surrogateescape")
        self._sink = sink
        self._factory = factory
        self._progress = progress
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(Fate, 0)
        self._errors: list[tuple[int, str]] = []
        self._stopped: tuple[str, int | None] | None = None

    def run(self, source: Source) -> ImportResult:
        """Import all of ``source``.

        Raises InvalidEventError for the collection; UnavailableError, or RequestError for a key or an address that is
        wrong, when the server no longer takes events; DamagedSourceError.
        """
        for place, item in enumerate(_items(source), start=1):
            if self._stopped:
                break
            self._add(place, item)
            if place % _TOLD_EVERY == 0:
                self._tell()
        while not self._sink.flush(_TICK):
            self._tell()
        self._tell()
        if self._stopped:
            raise self._interruption(*self._stopped)
        return self.result()

    def result(self) -> ImportResult:
        """What has been done so far."""
        with self._lock:
            stored, known, refused = (self._counts[fate] for fate in (Fate.DELIVERED, Fate.DUPLICATE, Fate.REJECTED))
            return ImportResult(stored, known, refused, tuple(sorted(self._errors)))

    def _add(self, place: int, item: Mapping[str, Any] | str | bytes) -> None:
        if place == 1:
            item = _without_mark(item)
        if isinstance(item, str | bytes) and not item.strip():
            return
        try:
            event = self._factory.from_mapping(self._collection, _identified(self._name, place, item))
        except InvalidEventError as error:
            if "collection" in {violation.rule for violation in error.violations}:
                raise
            self._settle(place, None, Fate.REJECTED, str(error), None)
        else:
            self._sink.submit(event, partial(self._settle, place))

    def _settle(self, place: int, _: Event | None, fate: Fate, message: str | None, http_status: int | None) -> None:
        """Called by the sink's thread."""
        with self._lock:
            self._counts[fate] += 1
            if fate is Fate.REJECTED and len(self._errors) < MAX_ERRORS:
                self._errors.append((place, message or "the server gave no reason"))
            elif fate is Fate.DROPPED and self._stopped is None:
                self._stopped = message or "not sent", http_status

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self.result())

    def _interruption(self, reason: str, http_status: int | None) -> RequestError:
        done = self.result()
        told = (
            f"the import stopped: {reason}. {done.imported_events + done.duplicate_events:,} events are stored;"
            " start it again, and none is stored twice"
        )
        if http_status is None or is_temporary(http_status):
            return UnavailableError(told, http_status)
        return RequestError(told, http_status)


def name_of(source: Source) -> str:
    """Of a path, wherever one stands, the same; of an iterable, which has none, an empty one."""
    return str(Path(source).absolute()) if isinstance(source, str | os.PathLike) else ""


def _items(source: Source) -> Iterator[Mapping[str, Any] | str | bytes]:
    if not isinstance(source, str | os.PathLike):
        yield from source
        return
    path = Path(source)
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield from lines(file, str(path))


def lines(file: Readable, called: str) -> Iterator[bytes]:
    """The lines; of one that is too long the beginning, which is no event. Raises DamagedSourceError."""
    try:
        for line in iter(partial(file.readline, MAX_LINE), b""):
            rest = line
            while len(rest) == MAX_LINE and not rest.endswith(b"\n"):
                rest = file.readline(MAX_LINE)
            yield line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DamagedSourceError(
            f"{called} is damaged: {error}. Import it again when it is whole: no event is stored twice"
        ) from None


def _without_mark(item: Mapping[str, Any] | str | bytes) -> Mapping[str, Any] | str | bytes:
    """The first item of a source without the byte order mark that some editors begin a file with."""
    if isinstance(item, bytes):
        return item.removeprefix(BOM_UTF8)
    return item.removeprefix("\ufeff") if isinstance(item, str) else item


def _identified(name: bytes, place: int, item: Mapping[str, Any] | str | bytes) -> Mapping[str, Any]:
    """The event at ``place`` with an id: without one of its own, that of this content at this place of this source."""
    event: Mapping[str, Any]
    if isinstance(item, str | bytes):
        event = _decoded(item)
        content = item.strip()
    elif isinstance(item, Mapping) and "id" not in item:
        event, content = item, _content(item)
    else:
        return item
    if "id" in event:
        return event
    text = content.encode() if isinstance(content, str) else content
    return {"id": hashlib.blake2b(b"%b\0%d:%b" % (name, place, text), digest_size=16).hexdigest(), **event}


def _decoded(line: str | bytes) -> Properties:
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        reason = f"no event as JSON in one line of up to {MAX_LINE:,} bytes: {error}"
    raise InvalidEventError([Violation("", "json", reason)])


def _content(event: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(dict(event), enc_hook=str)
    except Exception:  # noqa: BLE001 - no event, as the rules will say
        return b""
