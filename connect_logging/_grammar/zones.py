"""Time zones: how far local time is from UTC, and since when.

A zone is read from the system's time zone data, or from tzdata's where the system has none. Its rules are applied
to the years 1900 to 2099; before and after, the offset is that of the border.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final, TypeAlias

import msgspec

MICROSECOND: Final = timedelta(microseconds=1)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ALWAYS: Final = -(2**62)
"""Before every moment that there is."""

_FIRST: Final = datetime(1900, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(2100, 1, 1, tzinfo=UTC)
_STEP: Final = timedelta(days=5)
"""No zone has ever changed its clocks twice within this time."""
MAX_HOURS: Final = 14
"""That local time may be from UTC."""
_MINUTE: Final = 60_000_000

Segment: TypeAlias = tuple[int, int]
"""From when, in microseconds since 1970, and by how many microseconds local time is ahead of UTC from then on."""


class Zone(msgspec.Struct, frozen=True):
    """``name``: as it was sent, a text or a number of hours. ``segments``: ascending, the first from ALWAYS."""

    name: str | int | float
    segments: tuple[Segment, ...]


UNIVERSAL: Final = Zone("UTC", ((ALWAYS, 0),))
"""What counts where no zone is named."""


def read_zone(name: object) -> Zone | None:
    """The zone that is called ``name``, or is that many hours from UTC, to the minute; None when there is none."""
    if isinstance(name, str):
        return Zone(name, _segments(name)) if name in _names() else None
    if isinstance(name, int | float) and not isinstance(name, bool) and abs(name) <= MAX_HOURS:
        return Zone(name, ((ALWAYS, round(name * 60) * _MINUTE),))
    return None


@cache
def _names() -> frozenset[str]:
    """The names there are, as the IANA's database has them: nothing else is ever looked for in a file system."""
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="ascii").split())


@lru_cache(maxsize=100)
def _segments(name: str) -> tuple[Segment, ...]:
    """Kept, as it takes 10 ms; but not of all 600 zones, which are 25 MB."""
    from zoneinfo import ZoneInfo  # most questions name no zone, and its import takes as long as all of the grammar's

    zone = ZoneInfo(name)
    offset = _offset(zone, _FIRST)
    segments = [(ALWAYS, offset // MICROSECOND)]
    moment = _FIRST
    while moment < _LAST:
        following = moment + _STEP
        if _offset(zone, following) != offset:
            change = _change(zone, moment, following)
            offset = _offset(zone, following)
            segments.append(((change - EPOCH) // MICROSECOND, offset // MICROSECOND))
        moment = following
    return tuple(segments)


def _change(zone: tzinfo, before: datetime, after: datetime) -> datetime:
    """The second at which the clocks are changed: the first with the offset of ``after``."""
    offset = _offset(zone, after)
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        before, after = (before, middle) if _offset(zone, middle) == offset else (middle, after)
    return after


def _offset(zone: tzinfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)
