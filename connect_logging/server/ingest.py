"""A body becomes stored events, with a result for each. Knows no HTTP and no SQL.

Invariants: an event is judged by :mod:`connect_logging.rules` alone, as on the client; one bad event of a batch
leaves the others as they are; what is stored is our own encoding of what was understood, so that two readers of a
sloppy JSON text (a name given twice) can never disagree about it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import cache
from typing import Any, Final, TypeAlias

import anyio
import anyio.to_thread
import msgspec

from .._types import STORED_TEXT, Clock, Properties, Violation
from ..event import new_id
from ..exceptions import ConnectError, InvalidEventError
from ..rules import (
    MAX_BATCH_EVENTS,
    MAX_EVENT_BYTES,
    MAX_NAME_LENGTH,
    EventRules,
    canonical_id,
    collection_violation,
    too_large,
)
from .alike import SURELY_SMALL, Alike, PlainValue
from .stores.base import NewEvent, Outcome, Store, Stored
from .stores.batch import Batch
from .threads import Waits
from .timestamps import Timestamps

MAX_BATCH_COLLECTIONS: Final = 500
"""In one batch. A new one takes the store some milliseconds, and several thousand in one commit half a minute."""

_ABSENT: Final = object()
_THREAD_FROM: Final = 131_072
"""Bytes of a batch that are worth a thread, so that the server keeps answering others: two or three milliseconds."""
_SURELY_FEW: Final = 262_144
"""Bytes of JSON with so few parts that all can be counted once they are read; of more, reading ends at the limit."""
_SURELY_SMALL: Final = 4_194_304
"""Bytes of a batch whose events can be read however large they are. It is what a client of ours sends at most."""
_CHECKING: Final = 1
"""Batches checked in a thread at a time. More are not quicker: the writer and the server would wait for their turns."""

_STORED: Final = msgspec.Raw(STORED_TEXT)
_DUPLICATE: Final = msgspec.Raw(b'{"success":true,"duplicate":true,"message":null}')

_Failures: TypeAlias = dict[str, list[str | None]]
"""By collection: for each event what is wrong with it, or None."""

_Inner: TypeAlias = PlainValue | list[PlainValue] | dict[str, PlainValue]
UsualProperties: TypeAlias = dict[str, PlainValue | list[_Inner] | dict[str, _Inner]]
"""As which a decoder finds the values of nearly all events valid: plain ones on three levels."""

_encode = msgspec.json.Encoder().encode


class MalformedError(ConnectError):
    """A body that is not what the route takes, as a whole."""


class TooManyEventsError(ConnectError):
    """A batch with more events, or of more collections, than one request may have."""


class _Name(str):
    """A collection as a batch names it. Equal to itself alone, so that one named twice is seen."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


_Named: TypeAlias = dict[_Name, msgspec.Raw]

_decode_batch = msgspec.json.Decoder(_Named, dec_hook=lambda _, text: _Name(text)).decode
_decode_events = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_event = msgspec.json.Decoder(Properties).decode
_decode_usual = msgspec.json.Decoder(UsualProperties).decode


class Ingest:
    """Reads bodies and hands what is valid to ``store``. ``clock``: seconds since 1970.

    ``count`` is told of every event that was stored or refused; of a batch or a store that fails it is told nothing.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        make_id: Callable[[], str] = new_id,
        count: Callable[[Outcome, int], object] = lambda outcome, count: None,
    ) -> None:
        self._store = store
        self._rules = EventRules()
        self._timestamps = Timestamps()
        self._alike = Alike(self._timestamps)
        self._clock = clock
        self._make_id = make_id
        self._checking = anyio.CapacityLimiter(_CHECKING)
        self._waits = Waits()
        self._count = count

    async def push(self, project: str, collection: str, body: bytes) -> bool:
        """Store the event in ``body``, at most MAX_EVENT_BYTES; False when its id was there already.

        Raises MalformedError, InvalidEventError (which includes the collection's name) or StoreError.
        """
        try:
            message = collection_violation(collection)
            if message:
                raise InvalidEventError([Violation("collection", "collection", message)])
            event = self.read(body)
        except (MalformedError, InvalidEventError):
            self._count("rejected", 1)
            raise
        stored = await self._waits.result(self._store.insert(project, {collection: [event]}))
        is_new = stored[collection][0]
        self._count("stored" if is_new else "duplicate", 1)
        return is_new

    async def push_batch(self, project: str, body: bytes) -> bytes:
        """Store the events in ``body``; the answer is encoded, a result for each in its order.

        Raises MalformedError, TooManyEventsError or StoreError.
        """
        if len(body) < _THREAD_FROM:
            insert, failures = self._submit(project, body)
        else:
            insert, failures = await anyio.to_thread.run_sync(self._submit, project, body, limiter=self._checking)
        stored = await self._waits.result(insert)
        self._count_all(failures, stored)
        return _results(failures, stored)

    def read(self, text: bytes | msgspec.Raw, make_id: Callable[[], str] | None = None) -> NewEvent:
        """The event in ``text``. ``make_id``: for one that has none. Raises MalformedError, InvalidEventError."""
        try:
            properties: Properties = _decode_usual(text)
            is_usual = True
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            properties = _properties(text)
            is_usual = False
        identity = properties.pop("id", _ABSENT)
        timestamp = properties.pop("timestamp", _ABSENT)
        if not (is_usual and self._rules.knows_names(properties)):
            violations = self._violations(identity, timestamp, properties)
            if violations:
                raise InvalidEventError(violations)
        try:
            name = identity if type(identity) is str else self._id(identity, make_id)
            time = int(self._clock() * 1_000_000) if timestamp is _ABSENT else self._timestamps.microseconds(timestamp)
            document = _encode(properties)
        except ValueError:
            raise InvalidEventError(self._violations(identity, timestamp, properties)) from None
        if len(document) + len(name) > SURELY_SMALL:
            size = len(_encode(_whole(identity, timestamp, properties)))
            if size > MAX_EVENT_BYTES:
                raise InvalidEventError([too_large(size)])
        return tuple.__new__(NewEvent, (name, time, document))  # NewEvent(…) takes twice as long

    def _submit(self, project: str, body: bytes) -> tuple[Future[Stored], _Failures]:
        """Check the events in ``body`` and hand on what is valid, before the server's own thread has its next turn."""
        events: dict[str, Sequence[NewEvent]] = {}
        failures: _Failures = {}
        is_small = len(body) <= _SURELY_SMALL
        for collection, part in self._parts(project, body).items():
            if isinstance(part, Batch):
                valid: Sequence[NewEvent] = part
                failures[collection] = [None] * len(part)
            else:
                valid, failures[collection] = self._one_by_one(collection, part, is_small)
                if valid:
                    self._alike.learn(project, collection, valid)
            if valid:
                events[collection] = valid
        if events:
            return self._store.insert(project, events), failures
        nothing: Future[Stored] = Future()
        nothing.set_result({})
        return nothing, failures

    def _parts(self, project: str, body: bytes) -> dict[str, Batch | list[msgspec.Raw]]:
        """The events of a batch by collection: read together where they are alike, else each still as text."""
        parts: dict[str, Batch | list[msgspec.Raw]] = {}
        count = 0
        for collection, events in _split(body).items():
            texts = None if len(body) <= _SURELY_SMALL else _texts(collection, events)
            can_be_alike = texts is None or not any(map(_is_surely_too_large, texts))
            alike = self._alike.read(project, collection, events) if can_be_alike else None
            parts[collection] = alike or texts or _texts(collection, events)
            count += len(parts[collection])
            if count > MAX_BATCH_EVENTS:
                raise _too_many_events()
        return parts

    def _one_by_one(
        self, collection: str, texts: Sequence[msgspec.Raw], is_small: bool
    ) -> tuple[list[NewEvent], list[str | None]]:
        """Those of a collection that are valid, and of each what is wrong with it. ``is_small``: of the batch."""
        message = collection_violation(collection)
        valid: list[NewEvent] = []
        failed: list[str | None] = []
        for text in texts:
            problem = message
            if problem is None:
                try:
                    if not is_small and _is_surely_too_large(text):
                        raise InvalidEventError([too_large()])
                    valid.append(self.read(text))
                except (MalformedError, InvalidEventError) as error:
                    problem = str(error)
            failed.append(problem)
        return valid, failed

    def _id(self, identity: object, make_id: Callable[[], str] | None) -> str:
        return (make_id or self._make_id)() if identity is _ABSENT else canonical_id(identity)

    def _violations(self, identity: object, timestamp: object, others: Properties) -> list[Violation]:
        return self._rules.check(_whole(identity, timestamp, others))

    def _count_all(self, failures: _Failures, stored: Stored) -> None:
        new = sum(map(sum, stored.values()))
        self._count("stored", new)
        self._count("duplicate", sum(map(len, stored.values())) - new)
        self._count("rejected", sum(len(each) - each.count(None) for each in failures.values()))


def _whole(identity: object, timestamp: object, others: Properties) -> Properties:
    """The event that these were taken from."""
    special = {"id": identity, "timestamp": timestamp}
    return {name: value for name, value in special.items() if value is not _ABSENT} | others


def _split(body: bytes) -> dict[str, msgspec.Raw]:
    """By collection, what is to be an array of its events, still as text."""
    try:
        named = _decode_batch(body) if len(body) <= _SURELY_FEW else _decode_large_batch(body)
    except msgspec.ValidationError as error:
        raise MalformedError(f"a batch is an object of arrays of events: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(_not_json(error)) from None
    batch = {str(name): events for name, events in named.items()}
    if len(batch) < len(named):
        raise MalformedError("a collection is named twice")
    if "errorMessage" in batch:
        raise MalformedError(collection_violation("errorMessage") or "")
    if len(batch) > MAX_BATCH_COLLECTIONS:
        raise _too_many_collections()
    return batch


def _decode_large_batch(body: bytes) -> _Named:
    """As of ``_decode_batch``, which would make millions of names before any is counted."""
    left = MAX_BATCH_COLLECTIONS

    def name(_: type, text: str) -> _Name:
        nonlocal left
        left -= 1
        if left < 0:
            raise _too_many_collections()
        return _Name(text)

    return msgspec.json.decode(body, type=_Named, dec_hook=name)


def _texts(collection: str, events: msgspec.Raw) -> list[msgspec.Raw]:
    """Each event of a collection, still as text. That it is JSON, :func:`_split` has seen. Raises TooManyEventsError.

    A large text is read to the limit only: 32 MiB of numbers would be 16 million objects before they are counted.
    """
    text = memoryview(events)
    is_array = bytes(text[:1]) == b"["
    try:
        if text.nbytes <= _SURELY_FEW or not is_array:
            return _decode_events(events)
        decode, default = _limited_decoder()
        return [each for each in msgspec.structs.astuple(decode(events)) if each is not default]
    except msgspec.ValidationError as error:
        if is_array:
            raise _too_many_events() from None
        at = collection[:MAX_NAME_LENGTH]
        raise MalformedError(f"a batch is an object of arrays of events: {error} - at {at!a}") from None


@cache
def _limited_decoder() -> tuple[Callable[[msgspec.Raw], Any], msgspec.Raw]:
    """For an array of at most as many elements as a batch may have events; and what stands for those it is short of.

    Of a list msgspec checks the length once it is read. With more elements than a struct has fields it stops.
    """
    default = msgspec.Raw()
    fields = [(f"event{number}", msgspec.Raw, default) for number in range(MAX_BATCH_EVENTS)]
    events = msgspec.defstruct("Events", fields, array_like=True, forbid_unknown_fields=True, gc=False)
    return msgspec.json.Decoder(events).decode, default


def _is_surely_too_large(text: msgspec.Raw) -> bool:
    """Whether an event has more values than it may have bytes, however it is written."""
    view = memoryview(text)
    return view.nbytes > MAX_EVENT_BYTES and view.nbytes - len(bytes(view).translate(None, b",[{")) > MAX_EVENT_BYTES


def _too_many_events() -> TooManyEventsError:
    return TooManyEventsError(f"a batch has at most {MAX_BATCH_EVENTS:,} events, and this one has more")


def _too_many_collections() -> TooManyEventsError:
    return TooManyEventsError(f"a batch has at most {MAX_BATCH_COLLECTIONS:,} collections, and this one has more")


def _properties(text: bytes | msgspec.Raw) -> Properties:
    try:
        return _decode_event(text)
    except msgspec.ValidationError as error:
        raise MalformedError(f"an event is a JSON object: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(_not_json(error)) from None


def _not_json(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "not JSON that this server reads: nested too deeply"
    return f"not JSON: {error}"


def _results(failures: _Failures, stored: Stored) -> bytes:
    """The answer to a batch: the stored events' results, with the failed ones at their places."""
    results: dict[str, list[object]] = {}
    for collection, failed in failures.items():
        outcomes = stored.get(collection, ())
        if len(outcomes) == len(failed) and all(outcomes):
            results[collection] = [_STORED] * len(failed)
            continue
        rest = iter(outcomes)
        results[collection] = [
            {"success": False, "duplicate": False, "message": message}
            if message is not None
            else _STORED
            if next(rest)
            else _DUPLICATE
            for message in failed
        ]
    return _encode(results)
