"""Minutes, hours, days, weeks, months, quarters and years in a time zone, as spans that follow each other.

A :class:`Calendar` has a clock of its own, which is local time made good for its unit: it never goes back over the
border of a unit. So an event's unit is a matter of arithmetic, which a database can do as well, and each unit is one
span of time. How the clock differs from the one on the wall:

* For minutes and hours, putting the clocks back by half an hour counts as putting them forward by half an hour: an
  hour that occurs twice is two units. A change by whole hours is no change, as hours go on to begin when they did.
* For days and longer, a change back over midnight waits for the second midnight: the day that had begun goes on. The
  hour that occurs twice within a day is in that day, which has 25.

Units have numbers: minutes, hours and days since 1970, weeks since its first Sunday, months, quarters and years since
the year 0. A unit that a change has skipped, such as a day on the date line, has no length: it begins where the next
one does.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from datetime import date
from typing import Final

from .._terms import Unit
from .zones import Segment, Zone

_MINUTE: Final = 60_000_000
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
WIDTHS: Final[Mapping[Unit, int]] = {"minute": _MINUTE, "hour": _HOUR, "day": _DAY, "week": 7 * _DAY}
"""Microseconds on the clock."""
MONTHS: Final[Mapping[Unit, int]] = {"month": 1, "quarter": 3, "year": 12}
FIRST: Final[Mapping[Unit, int]] = {"minute": 0, "hour": 0, "day": 0, "week": 3 * _DAY}
"""What the clock shows when the unit 0 begins, in microseconds since 1970: that was a Thursday."""

_ERA_DAYS: Final = 146_097
_ERA_MONTHS: Final = 4_800
_ERA: Final = date(2000, 1, 1).toordinal()
_EPOCH: Final = date(1970, 1, 1).toordinal()
"""The calendar repeats every 400 years, which takes us beyond the years that ``date`` knows."""


class Calendar:
    """The units ``unit`` in ``zone``. ``segments``: by how much the clock is ahead of UTC, and since when."""

    def __init__(self, unit: Unit, zone: Zone) -> None:
        self.unit = unit
        short = unit in ("minute", "hour")
        self.segments = _lifted(zone.segments, WIDTHS[unit]) if short else _waiting(zone.segments)
        self._starts = [start for start, _ in self.segments]
        self._first_units = [self._at(start + offset) for start, offset in self.segments]

    def number(self, moment: int) -> int:
        """Of the unit that ``moment`` is in."""
        _, offset = self.segments[bisect_right(self._starts, moment) - 1]
        return self._at(moment + offset)

    def start(self, number: int) -> int:
        """The moment at which a unit begins."""
        width = WIDTHS.get(self.unit)
        clock = number * width + FIRST[self.unit] if width else _of_months(number * MONTHS[self.unit])
        place = max(bisect_left(self._first_units, number) - 1, 0)
        while True:
            start, offset = self.segments[place]
            moment = max(start, clock - offset)
            place += 1
            if place == len(self.segments) or moment < self._starts[place]:
                return moment

    def clocks(self, start: int | None, end: int | None) -> tuple[Segment, ...]:
        """Those of ``segments`` that matter from ``start`` to ``end``, both included; None: without bound."""
        first = 0 if start is None else bisect_right(self._starts, start) - 1
        last = len(self._starts) if end is None else bisect_right(self._starts, end)
        return self.segments[first : max(last, first + 1)]

    def _at(self, clock: int) -> int:
        width = WIDTHS.get(self.unit)
        return (clock - FIRST[self.unit]) // width if width else _months(clock) // MONTHS[self.unit]


def _lifted(segments: tuple[Segment, ...], width: int) -> tuple[Segment, ...]:
    """Each offset by as little more than the one before as leaves units beginning when they do."""
    first, *others = segments
    lifted = [(first[0], first[1] % width)]
    for start, offset in others:
        before = lifted[-1][1]
        ahead = (offset - before) % width
        if ahead:
            lifted.append((start, before + ahead))
    return tuple(lifted)


def _waiting(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Each change that would go back to an earlier date waits until that date is over again."""
    first, *others = segments
    waiting = [first]
    for start, offset in others:
        today = (start - 1 + waiting[-1][1]) // _DAY
        waiting.append((max(start, today * _DAY - offset), offset))
    return tuple(waiting)


def _months(clock: int) -> int:
    """Months since the year 0 began."""
    era, day = divmod(clock // _DAY + _EPOCH - _ERA, _ERA_DAYS)
    found = date.fromordinal(_ERA + day)
    return era * _ERA_MONTHS + found.year * 12 + found.month - 1


def _of_months(months: int) -> int:
    era, month = divmod(months - 2000 * 12, _ERA_MONTHS)
    day = date(2000 + month // 12, month % 12 + 1, 1).toordinal() - _EPOCH + era * _ERA_DAYS
    return day * _DAY
