"""From a segment's bytes, or what it still has in memory, to events, with what is damaged set aside."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
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


class Recalled(msgspec.Struct, frozen=True):
    """``events`` as they were put, with the offsets at which their records begin, up to the offset ``end``."""

    events: Sequence[Event | Draft]
    starts: Sequence[int]
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
    segment: Segment, codec: Codec, limit: int, most: int, max_bytes: int, *, at_least_one: bool = True
) -> Recalled | None:
    """As :func:`read_events`, without the file: of the segment's recent events, which are forgotten there.

    None where the next to be read is not among them. Under the spool's lock.
    """
    recent = segment.recent
    starts = [*recent][:most]  # all at once: others are put meanwhile, and an iterator would fail for it
    if starts[:1] != [segment.read_to]:
        return None
    del starts[bisect_left(starts, limit) :]
    try:
        if starts and segment.end - starts[0] + HEAD_BYTES * len(starts) > max_bytes:  # perhaps too much
            fit = _how_many_fit([recent[at] for at in starts], max_bytes)
            del starts[max(fit, int(at_least_one)) :]
        events = [*map(recent.pop, starts)]
    except KeyError:  # a put within this call has dropped them, or failed
        return None
    if not events:
        return Recalled((), (), segment.read_to)
    last = events[-1]
    return Recalled(events, starts, starts[-1] + codec.overhead(last.collection) + len(last.body))


def as_read(segment: Segment, codec: Codec, recalled: Recalled) -> Read:
    """What :func:`read_events` finds in the places of those that were recalled."""
    events = recalled.events
    if [*map(type, events)].count(Draft) < len(events):  # each is one of its own: one may be put twice
        events = [event if type(event) is Draft else Event(event.collection, event.body) for event in events]
    return Read(codec.as_read(events, segment.seed, recalled.starts), recalled.starts, (), recalled.end)


def _how_many_fit(events: Iterable[Event | Draft], max_bytes: int) -> int:
    sizes = accumulate([len(event.body) + HEAD_BYTES * (type(event) is Draft) for event in events])
    return bisect_right([*sizes], max_bytes)
