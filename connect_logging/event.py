"""A frozen, validated event: from here on it is bytes, up to the wire and the journal.

:class:`EventFactory` turns a mapping into an :class:`Event`: rules, id, UTC timestamp, one encoding. Invariants:

* The caller's mapping is read once, never changed and never kept: what happens to it later changes nothing.
* The body is one compact JSON object of at most ``MAX_EVENT_BYTES``, and always holds ``id`` and ``timestamp``.
* Generated ids are UUIDs of version 7: of two events that one factory makes, the later one's sorts after the
  earlier one's; in a forked child, where they are of different milliseconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TypeAlias

import msgspec
import uuid_utils

from ._shapes import Looks
from ._types import Clock, Fate, Properties, Sent, Violation
from .exceptions import InvalidEventError
from .rules import (
    MAX_EVENT_BYTES,
    EventRules,
    collection_violation,
    parse_timestamp,
    too_large,
    unencodable,
)

HEAD_BYTES: Final = len('{"id":"01234567-89ab-7def-8123-456789abcdef","timestamp":"2026-01-01T00:00:00.000000Z",') - 1
"""By which completing a draft makes it longer."""
_MAX_DRAFT_BYTES: Final = MAX_EVENT_BYTES - HEAD_BYTES
YEAR_10000: Final = 253_402_300_800.0
"""Seconds since the epoch, from which on a timestamp has no form."""

_decode = msgspec.json.Decoder(Properties).decode


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event, ready to be sent.

    ``collection``: where it belongs. ``body``: its JSON as UTF-8 bytes, ``id`` and ``timestamp`` included.
    """

    collection: str
    body: bytes

    @property
    def properties(self) -> Properties:
        """The event as a new dict, as it is sent: datetimes are ISO strings, id and timestamp filled in."""
        return _decode(self.body)


class Draft(msgspec.Struct, frozen=True, gc=False):
    """An event as a log call leaves it: valid, encoded, and still without ``id`` and ``timestamp``.

    These two cost more than the encoding does, so whoever takes it from the buffer adds them (:mod:`._completion`).
    ``body``: the rest, an object that is not empty. ``created``: seconds since the epoch, more than 0 and before the
    year 10000, for the timestamp.
    """

    collection: str
    body: bytes
    created: float


Receipt: TypeAlias = Callable[[Event | None, Fate, str | None, int | None], None]
"""Told once what became of an event (None where it cannot be read any more): its fate, why it was not stored, and the
last HTTP status."""

Entry: TypeAlias = tuple[Event, Receipt | None]
"""An event on its way, with whom to tell; a plain tuple, as one is made in every log call."""

Arrival: TypeAlias = tuple[Event | Draft, Receipt | None]
"""An event as it comes to a buffer."""


Kept: TypeAlias = tuple[Event | None, Receipt]
"""An event that stays for the next process, if it can be read, and whom to tell."""


class Buffer(Protocol):
    """What keeps accepted events until the pusher has settled them: in memory or on disk.

    Safe to share between threads, and to re-enter from signal handlers and ``__del__``; what is said to be the
    pusher's is called by one thread at a time.
    """

    full_reason: str
    """Under which :meth:`put` loses events."""

    came: int
    """How many events have come to wait. Log calls look at it, and a property would cost each 700 instructions."""

    came_bytes: int
    """About the bytes of these."""

    def __len__(self) -> int:
        """Events that wait to be taken."""

    @property
    def waiting_bytes(self) -> int:
        """About the bytes of these."""

    @property
    def accepted(self) -> int:
        """Events so far: put, accepted without being held, recovered."""

    def put(self, arrival: Arrival, /) -> Sequence[Arrival]:
        """Add ``arrival`` and return the events that had to go for it, perhaps itself."""

    def accept(self) -> None:
        """Count an event that is not to be held."""

    def take(self, max_events: int, max_bytes: int) -> list[Entry]:
        """The pusher's: the oldest events that fit the limits, at least one when any waits. Not to be changed."""

    def release(self, entries: Sequence[Entry]) -> None:
        """The pusher's: these, which were taken, are settled."""

    def maintain(self) -> float:
        """The pusher's, now and then: the seconds until it is to be called again."""

    def pop_damaged(self) -> tuple[int, list[Receipt]]:
        """The pusher's: how many accepted events turned out to be unreadable since the last call, and whom to tell."""

    def leave(self, entries: Iterable[Entry]) -> tuple[list[Entry], list[Kept]]:
        """This process stops sending. Of ``entries``, which were taken, and of what waits: what is lost with it,
        and what is kept for the next process and has a receipt to be told so."""

    def figures(self) -> dict[str, int]:
        """What this buffer has to add to the statistics."""

    def hold(self) -> None:
        """Be in the middle of nothing until :meth:`let_go`: a process is about to fork, say."""

    def let_go(self) -> None:
        """Go on."""

    def reset(self) -> None:
        """Begin with nothing, in a forked child."""

    def close(self) -> None:
        """Let go of files."""


class Sender(Protocol):
    """Has another process send what waits in the buffer. The pusher's, but for what is said of forks."""

    def start(self) -> None:
        """Begin to start the process."""

    def send(self, most: int, /) -> Sent | None:
        """Have the oldest events that wait sent, at most ``most``; one of the next three methods is to follow.

        None when there are none, or they are better sent by the application itself.
        """

    def settle(self, sent: Sent, /) -> None:
        """The server has all that was sent."""

    def take(self, sent: Sent, /) -> list[Entry]:
        """Take what was sent, all of it, for more than that has to be done; none when it goes on waiting."""

    def give_back(self) -> None:
        """What was sent goes on waiting."""

    def hold(self) -> None:
        """Start no process until :meth:`let_go`: this one is about to fork."""

    def let_go(self) -> None:
        """It has forked, and this is the parent."""

    def reset(self) -> None:
        """Begin without a process, in a forked child: it is the parent's."""

    def close(self) -> None:
        """End the process, whatever it is at."""


_uuid: Callable[[], uuid_utils.UUID] = uuid_utils.uuid7
"""This one counts on from the latest time that it has seen: its ids are in order also when the clock is set back."""


def new_id() -> str:
    """A time-ordered UUID (version 7), so that stores find recent ids together."""
    return str(_uuid())


def _count_no_more() -> None:
    """A forked child has its parent's count. Were the clock behind it, both would go on with the same numbers, for as
    long as it is, and have 32 random bits between them; so a child counts nothing, which leaves 74."""
    global _uuid
    _uuid = _uncounted


def _uncounted() -> uuid_utils.UUID:
    return uuid_utils.uuid7(nanoseconds=time.time_ns())


os.register_at_fork(after_in_child=_count_no_more)


def up_to_second(second: int) -> str:
    """A timestamp without its fraction: ``2026-11-23T12:00:00.``. Raises an error where it has no such form."""
    return datetime.isoformat(datetime.fromtimestamp(second, UTC))[:19] + "."


class EventFactory:
    """Makes events by ``rules``; ``clock`` gives seconds since the epoch, ``make_id`` the ids.

    Safe to share between threads.
    """

    def __init__(self, rules: EventRules, clock: Clock, make_id: Callable[[], str] = new_id) -> None:
        self._rules = rules
        self._looks = Looks(rules)
        self._look_of = self._looks.of
        self._clock = clock
        self._make_id = make_id
        self._second: tuple[int | None, str] = (None, "")
        self._encode = msgspec.json.Encoder(enc_hook=_plain_subclass).encode

    def from_mapping(self, collection: str, properties: Mapping[str, Any], created: float | None = None) -> Event:
        """Validate and encode ``properties``.

        ``created``: seconds since the epoch for an event without ``timestamp``; None takes the clock's.
        Raises InvalidEventError with every violation; that of the collection has the path ``collection``.
        """
        look = self._look_of(collection) if type(collection) is str else None
        if look is None:
            self._check_collection(collection)
        plain = properties if type(properties) is dict else _as_dict(properties)
        if not ((look is not None and look(plain)) or self._looks.closer(collection, plain)):
            violations = self._rules.check(plain)
            if violations:
                raise InvalidEventError(violations)
            self._looks.learn(collection, plain)
        try:
            body = self._encoded(plain, created)
        except Exception as error:  # noqa: BLE001 - a lone surrogate, or the dict is being changed meanwhile
            reason = f"the event could not be encoded: {type(error).__name__}"
            raise InvalidEventError(unencodable(plain) or [Violation("", "type", reason)]) from None
        if len(body) > MAX_EVENT_BYTES:
            raise InvalidEventError([too_large(len(body))])
        return Event(collection, body)

    def draft(self, collection: str, properties: Mapping[str, Any], created: float) -> Event | Draft:
        """As :meth:`from_mapping`, but in the usual case leaves id and timestamp to be added later."""
        look = self._look_of(collection) if type(collection) is str else None
        if (
            look is not None
            and type(properties) is dict
            and (look(properties) or self._looks.closer(collection, properties))
        ):
            try:
                body: bytes = self._encode(properties)
            except UnicodeEncodeError:
                return self.from_mapping(collection, properties, created)  # which says where
            # Whoever completes it relies on the time: an application may have put anything into its record.
            if type(created) is float and 0.0 < created < YEAR_10000 and properties and len(body) <= _MAX_DRAFT_BYTES:
                return Draft(collection, body, created)
        return self.from_mapping(collection, properties, created)

    def _check_collection(self, collection: str) -> None:
        message = collection_violation(collection)
        if message:
            raise InvalidEventError([Violation("collection", "collection", message)])
        self._looks.know(collection)

    def _encoded(self, plain: Properties, created: float | None) -> bytes:
        """The body; what the event leaves out, id or timestamp, is put in front of it as text."""
        if "id" in plain or "timestamp" in plain or not plain:
            return self._encode(self._completed(plain, created))
        return self._head(self._clock() if created is None else created) + self._encode(plain)[1:]

    def _head(self, moment: float) -> bytes:
        """A new id and the timestamp, in the place of an object's ``{``."""
        microseconds = int(moment * 1e6)
        second, text = self._second
        if second != microseconds // 1_000_000:
            text = up_to_second(microseconds // 1_000_000)
            self._second = microseconds // 1_000_000, text
        # The % form: twice as fast as an f-string with a format.
        return ('{"id":"%s","timestamp":"%s%06dZ",' % (self._make_id(), text, microseconds % 1_000_000)).encode()  # noqa: UP031

    def _completed(self, plain: Properties, created: float | None) -> Properties:
        """A copy with an id, and with the timestamp in its one form."""
        if "timestamp" in plain:
            moment = parse_timestamp(plain["timestamp"])
        else:
            moment = datetime.fromtimestamp(self._clock() if created is None else created, UTC)
        stamp = datetime.isoformat(moment).replace("+00:00", "Z")
        return {"id": plain["id"] if "id" in plain else self._make_id(), **plain, "timestamp": stamp}


def _as_dict(properties: object) -> Properties:
    try:
        if isinstance(properties, Mapping):
            return dict(properties)
        reason = f"an event is a dict of its properties, not {type(properties).__name__}"
    except Exception as error:  # noqa: BLE001 - the caller's mapping runs its own code
        reason = f"the event could not be read: {type(error).__name__}"
    raise InvalidEventError([Violation("", "type", reason)])


def _plain_subclass(value: object) -> object:
    """What msgspec asks for a subclass of a type that it knows: numpy's float64, a Timestamp of pandas."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, datetime):
        return datetime.isoformat(value).replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} is not JSON")
