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
_unpack_time = _TIME.unpack_from
_pack_head = HEAD.pack
_COMPLETE: Final = bytes(_TIME.size)
"""0 in the place of a time: the event is complete."""
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

    def events(self, payloads: Iterable[bytes], seed: int, offsets: Iterable[int]) -> list[Event | None]:
        """The events in the ``payloads`` of the records at ``offsets`` of a segment with ``seed``.

        None in the place of one that holds none, whatever its checksum says.
        """
        found: list[Event | Draft | None] = []
        prefix, collection, begin = b"", None, 0
        for payload in payloads:
            if not prefix or not payload.startswith(prefix):
                prefix = payload[: 2 + int.from_bytes(payload[:2], "little")]
                collection = self._collections.get(prefix) or self._collection(prefix)
                begin = len(prefix) + _TIME.size
            if collection is None or payload[begin : begin + 1] != b"{":
                found.append(None)
                prefix = b""
                continue
            [created] = _unpack_time(payload, len(prefix))
            if created == 0.0:
                found.append(Event(collection, payload[begin:]))
            elif 0.0 < created < YEAR_10000:
                found.append(Draft(collection, payload[begin:], created))
            else:
                found.append(None)
        return self._completion.events(found, seed, offsets)

    def as_read(self, events: Iterable[Event | Draft], seed: int, offsets: Iterable[int]) -> list[Event]:
        """What :meth:`events` finds in the records of ``events`` at ``offsets`` of a segment."""
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

    def _collection(self, prefix: bytes) -> str | None:
        """What ``prefix``, a name behind its length, names."""
        try:
            collection = prefix[2:].decode()
        except UnicodeDecodeError:
            return None
        if len(self._collections) < _KNOWN:
            self._collections[prefix] = collection
        return collection
