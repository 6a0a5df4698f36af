"""What a record holds for the buffer: the collection of an event, when it was logged, and its body.

A draft, which a log call leaves without id and timestamp, gets them here, when it is read: the timestamp from the time
in its record, the id from where the record lies. So whoever reads it, however often, finds the same event.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct
from typing import Final
from zlib import crc32

from uuid_utils import UUID

from ..event import YEAR_10000, Arrival, Completion, Draft, Event
from .framing import HEAD, MAGIC

_LENGTH: Final = Struct("<H")
_TIME: Final = Struct("<d")
_pack_time = _TIME.pack
_pack_head = HEAD.pack
_COMPLETE: Final = bytes(_TIME.size)
"""In the place of a time: the event is complete."""
_KNOWN: Final = 1_024
"""Collections whose prefix is remembered; bounded, as a name may come from user data."""

_OFFSET_BITS: Final = 24
_SEED_BITS: Final = 50


def seed_of(segment: str) -> int:
    """What the ids of a segment's drafts have in common: a digest of the segment's name."""
    return int.from_bytes(blake2b(segment.encode(), digest_size=8).digest(), "big") >> (64 - _SEED_BITS)


def draft_id(seed: int, offset: int, created: float) -> str:
    """The id of the draft whose record begins at ``offset``: a UUID of version 7, in the order of time and offset."""
    high, low = divmod(offset % (1 << _OFFSET_BITS), 1 << 12)
    milliseconds = int(created * 1_000) & ((1 << 48) - 1)
    random = low << _SEED_BITS | seed ^ (offset >> _OFFSET_BITS)
    return str(UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | random))


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
        if len(payload) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(payload)[0]
        name, time, body = payload[_LENGTH.size : end], payload[end : end + 8], payload[end + 8 :]
        try:
            collection = self._collections.get(name) or self._collection(name)
        except UnicodeDecodeError:
            return None
        if body[:1] != b"{":
            return None
        if time == _COMPLETE:
            return Event(collection, body)
        [created] = _TIME.unpack(time)
        if not 0.0 < created < YEAR_10000:
            return None
        return self._complete(Draft(collection, body, created), seed, offset)

    def as_it_may_lie(self, arrival: Arrival, seed: int, offset: int) -> Arrival:
        """``arrival`` with the id that it has at ``offset``.

        A write that failed may have reached the file all the same: who finds it there and who sends it from elsewhere
        must send one event.
        """
        event, receipt = arrival
        return (self._complete(event, seed, offset) if isinstance(event, Draft) else event), receipt

    def _complete(self, draft: Draft, seed: int, offset: int) -> Event:
        return self._completion.event(draft, draft_id(seed, offset, draft.created))

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
