"""Records: how they are laid out, and how they are found again, through damage."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final
from zlib import crc32

import msgspec

MAGIC: Final = b"\xffCJ\x01"
MAX_PAYLOAD: Final = 70_000

HEAD: Final = Struct("<4sII")
"""Magic, length of the payload, its CRC-32."""

_HEAD_SIZE: Final = HEAD.size
_unpack_head = HEAD.unpack_from
MAX_RECORD: Final = HEAD.size + MAX_PAYLOAD


class Record(msgspec.Struct, frozen=True, gc=False):
    """``start`` and ``end`` are offsets in the file."""

    start: int
    end: int
    payload: bytes


class Found(msgspec.Struct, frozen=True):
    """What a stretch of a file holds: ``records``, the ``damaged`` (start, end) between them, and up to where."""

    records: Sequence[Record]
    damaged: Sequence[tuple[int, int]]
    end: int


def find_records(data: bytes, offset: int, *, last: bool, most: int | None = None) -> Found:
    """The records in ``data``, which begins at ``offset`` of its file; at most ``most`` of them.

    A record that ``data`` breaks off is damage when it is the ``last`` of the file; else it is left for the next call,
    which is to begin at ``end``.
    """
    records: list[Record] = []
    damaged: list[tuple[int, int]] = []
    at, size = 0, len(data)
    while at < size and (most is None or len(records) < most):
        if size - at >= _HEAD_SIZE:
            magic, length, checksum = _unpack_head(data, at)
            end = at + _HEAD_SIZE + length
            if magic == MAGIC and length <= MAX_PAYLOAD and end <= size:
                payload = data[at + _HEAD_SIZE : end]
                if crc32(payload) == checksum:
                    records.append(Record(offset + at, offset + end, payload))
                    at = end
                    continue
        if not last and _may_go_on(data, at):
            break
        following = _next_magic(data, at + 1, last)
        damaged.append((offset + at, offset + following))
        at = following
    return Found(records, _joined(damaged), offset + at)


def _may_go_on(data: bytes, at: int) -> bool:
    """Whether what begins at ``at`` could be a record of which only a part is here."""
    if len(data) - at < HEAD.size:
        return data.startswith(MAGIC[: len(data) - at], at)
    magic, length, _ = HEAD.unpack_from(data, at)
    return bool(magic == MAGIC and length <= MAX_PAYLOAD and at + HEAD.size + length > len(data))


def _next_magic(data: bytes, at: int, last: bool) -> int:
    """Where the next record may begin: at a magic, or at what may be the first bytes of one."""
    found = data.find(MAGIC, at)
    if found >= 0:
        return found
    if not last:
        for kept in range(min(len(MAGIC) - 1, len(data) - at), 0, -1):
            if data.endswith(MAGIC[:kept]):
                return len(data) - kept
    return len(data)


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Neighbours as one: a false magic within damage does not make it two."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
