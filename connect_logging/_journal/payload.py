"""What a record holds for the buffer: the collection of an event, when it was logged, and its body.

A draft, which a log call leaves without id and timestamp, gets them here, when it is read: the timestamp from the time
in its record, the id from where the record lies. So whoever reads it, however often, finds the same event.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from struct import Struct
from typing import Final
from zlib import crc32

from .._completion import SEED_BITS, Completion
from ..event import YEAR_10000, Draft, Event
from .framing import HEAD, MAGIC

_LENGTH: Final = Struct("<H")
_TIME: Final = Struct("<d")
_pack_time = _TIME.pack
_unpack_time = _TIME.unpack
_pack_head = HEAD.pack
_COMPLETE: Final = bytes(_TIME.size)
"""In the place of a time: the event is complete."""
_KNOWN: Final = 1_024
"""Collections whose prefix is remembered; bounded, as a name may come from user data."""


def seed_of(segment: str) -> int:
    """What the ids of a segment's drafts have in common: a digest of the segment's name."""
    return int.from_bytes(blake2b(segment.encode(), digest_size=8).digest(), "big") >> (64 - SEED_BITS)


class Codec:
    """Events to records and payloads to events. Safe to share between threads."""

    def __init__(self) -> None:
        self._prefixes: dict[str, tuple[bytes, int, int]] = {}
        self._collections: dict[bytes, str] = {}
        self._completion = Completion()

    def record(self, event: Event | Draft) -> bytes:
        """The whole record; framed here, as that saves a copy in every log call."""
        prefix, checksum, size = self._prefixes.get(event.collection) or self._prefix(event.collection)
        body = event.body
        time = _pack_time(event.created) if type(event) is Draft else _COMPLETE
        head = _pack_head(MAGIC, size + len(body), crc32(body, crc32(time, checksum)))
        return b"".join((head, prefix, time, body))

    def event(self, payload: bytes, seed: int, offset: int) -> Event | None:
        """The event in the ``payload`` of the record at ``offset`` of a segment with ``seed``.

        None when there is none, whatever the checksum says.
        """
        if len(payload) < 2:
            return None
        end = 2 + (payload[0] | payload[1] << 8)
        name, time, begin = payload[2:end], payload[end : end + 8], end + 8
        try:
            collection = self._collections.get(name) or self._collection(name)
        except UnicodeDecodeError:
            return None
        if payload[begin : begin + 1] != b"{":
            return None
        if time == _COMPLETE:
            return Event(collection, payload[begin:])
        [created] = _unpack_time(time)
        if not 0.0 < created < YEAR_10000:
            return None
        [event] = self._completion.events([Draft(collection, payload[begin:], created)], seed, [offset])
        return event

    def as_read(self, events: Iterable[Event | Draft], seed: int, offsets: Iterable[int]) -> list[Event]:
        """What :meth:`event` returns for the records of ``events`` at ``offsets`` of a segment."""
        return self._completion.events(events, seed, offsets)

    def overhead(self, collection: str) -> int:
        """Bytes of a record of ``collection`` in front of the body."""
        _, _, size = self._prefixes.get(collection) or self._prefix(collection)
        return HEAD.size + size

    def _prefix(self, collection: str) -> tuple[bytes, int, int]:
        """What is before the time, its checksum, and its size with the time."""
        name = collection.encode()
        prefix = _LENGTH.pack(len(name)) + name
        known = prefix, crc32(prefix), len(prefix) + _TIME.size
        if len(self._prefixes) < _KNOWN:
            self._prefixes[collection] = known
        return known

    def _collection(self, name: bytes) -> str:
        collection = name.decode()
        if len(self._collections) < _KNOWN:
            self._collections[name] = collection
        return collection
