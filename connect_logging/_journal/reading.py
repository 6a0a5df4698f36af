"""From a segment's bytes, or what it still has in memory, to events, with what is damaged set aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ..event import HEAD_BYTES, Draft, Event
from .framing import MAX_RECORD, find_records
from .payload import Codec
from .segment import Segment

CHUNK: Final = 1024 * 1024
"""Bytes read at once."""


class Read(msgspec.Struct, frozen=True):
    """``events`` with the offsets at which they begin, the ``damaged`` spans among them, up to the offset ``end``."""

    events: Sequence[Event]
    starts: Sequence[int]
    damaged: Sequence[tuple[int, int]]
    end: int


def read_events(
    segment: Segment, codec: Codec, start: int, limit: int, most: int, max_bytes: int, *, at_least_one: bool = True
) -> Read:
    """The events between the offsets ``start`` and ``limit``: at most ``most``, of ``max_bytes`` of bodies together.

    The first may be larger when it is to be ``at_least_one``. Progress is made over damage, too. Raises OSError.
    """
    size = min(max(min(CHUNK, max_bytes), MAX_RECORD), limit - start)
    if size <= 0:
        return Read((), (), (), start)
    data = segment.read(start, size)
    shorter = len(data) < size  # than we were told: somebody has cut the file
    found = find_records(data, start, last=shorter or start + size >= limit, most=most)
    end = limit if shorter and found.end >= start + len(data) else found.end
    # A place that its writer did not come to fill, as he was killed, holds nothing but zeros: that is no damage.
    damaged = [(begin, end) for begin, end in found.damaged if data[begin - start : end - start].strip(b"\0")]
    begins = [record.start for record in found.records]
    events: list[Event] = []
    starts: list[int] = []
    inside = codec.events([record.payload for record in found.records], segment.seed, begins)
    for record, event in zip(found.records, inside, strict=True):
        if event is None:
            damaged.append((record.start, record.end))
            continue
        max_bytes -= len(event.body)
        if max_bytes < 0 and (events or not at_least_one):
            end = record.start
            break
        events.append(event)
        starts.append(record.start)
    return Read(events, starts, [span for span in damaged if span[0] < end], end)


def recall_events(
    segment: Segment, codec: Codec, start: int, limit: int, most: int, max_bytes: int, *, at_least_one: bool = True
) -> Read:
    """As :func:`read_events`, without the file: up to the first event that is not among the segment's recent ones.

    These are forgotten.
    """
    put: list[Event | Draft] = []
    starts: list[int] = []
    recall, collection, overhead = segment.recent.pop, "", 0
    at = start
    while at < limit and len(starts) < most and (event := recall(at, None)) is not None:
        size = len(event.body)
        if type(event) is Draft:
            max_bytes -= size + HEAD_BYTES
        else:
            max_bytes -= size
            event = Event(event.collection, event.body)  # its own: one may be put twice
        if max_bytes < 0 and (starts or not at_least_one):
            segment.recent[at] = event
            break
        if event.collection is not collection:
            collection = event.collection
            overhead = codec.overhead(collection)
        put.append(event)
        starts.append(at)
        at += overhead + size
    return Read(codec.as_read(put, segment.seed, starts), starts, (), at)
