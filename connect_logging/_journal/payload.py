"""What a record holds for the buffer: the length and name of an event's collection, then the event's body."""

from __future__ import annotations

from struct import Struct
from typing import Final
from zlib import crc32

from ..event import Event
from .framing import HEAD, MAGIC

_LENGTH: Final = Struct("<H")
_KNOWN: Final = 1_024
"""Collections whose prefix is remembered; bounded, as a name may come from user data."""


class Codec:
    """Events to records and payloads to events. Safe to share between threads."""

    def __init__(self) -> None:
        self._prefixes: dict[str, tuple[bytes, int]] = {}
        self._collections: dict[bytes, str] = {}

    def record(self, event: Event) -> bytes:
        """The whole record; framed here, as that saves a copy in every log call."""
        prefix, checksum = self._prefixes.get(event.collection) or self._prefix(event.collection)
        body = event.body
        return b"".join((HEAD.pack(MAGIC, len(prefix) + len(body), crc32(body, checksum)), prefix, body))

    def event(self, payload: bytes) -> Event | None:
        """The event in ``payload``; None when there is none, whatever its checksum says."""
        if len(payload) < _LENGTH.size:
            return None
        begin = _LENGTH.size + _LENGTH.unpack_from(payload)[0]
        name = payload[_LENGTH.size : begin]
        try:
            collection = self._collections.get(name) or self._collection(name)
        except UnicodeDecodeError:
            return None
        body = payload[begin:]
        return Event(collection, body) if body[:1] == b"{" else None

    def _prefix(self, collection: str) -> tuple[bytes, int]:
        name = collection.encode()
        prefix = _LENGTH.pack(len(name)) + name
        known = prefix, crc32(prefix)
        if len(self._prefixes) < _KNOWN:
            self._prefixes[collection] = known
        return known

    def _collection(self, name: bytes) -> str:
        collection = name.decode()
        if len(self._collections) < _KNOWN:
            self._collections[name] = collection
        return collection
