"""The calendar as expressions, for all dialects.

Which clocks count for the times that there are, their search, and the number of the unit that a time is in: by our own
arithmetic, so that zones are those by which bounds are computed, and years all that events may have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from ..._grammar.calendars import FIRST, MONTHS, WIDTHS, Calendar
from ..._grammar.model import Span
from ..._grammar.zones import Segment

Times: TypeAlias = tuple[int | None, int | None]
"""Of the first and the last event that are asked, or maybe from earlier to later; None when not known."""

_BEFORE: Final = 2**60
"""Microseconds by which times are moved, from where all that there are come to be after 1970: databases divide
towards zero."""


def clocks_within(calendar: Calendar, span: Span, times: Callable[[], Times]) -> Sequence[Segment]:
    """Those of the events in ``span``: to look through the changes of 200 years takes longer than all the rest."""
    clocks = calendar.clocks(span.start, span.end)
    if len(clocks) > 1:
        start, end = times()
        clocks = calendar.clocks(_latest(span.start, start), _earliest(span.end, end))
    return clocks


def unit_of(
    time: str,
    calendar: Calendar,
    clocks: Sequence[Segment],
    divided: Callable[[str, int], str],
    months: Callable[[str], str],
) -> str:
    """The number of the unit of ``calendar`` that ``time``, microseconds since 1970, is in by ``clocks``.

    ``divided``: the whole part of a quotient that is not negative. ``months``: those from the year 0 to a time.
    """
    width = WIDTHS.get(calendar.unit)
    if width:
        before = _BEFORE // width
        moved = before * width - FIRST[calendar.unit]
        return f"{divided(f'{time} + {_ahead(time, clocks, moved)}', width)} - {before}"
    return divided(months(f"{time} + {_ahead(time, clocks)}"), MONTHS[calendar.unit])


def _ahead(time: str, segments: Sequence[Segment], more: int = 0) -> str:
    """By how much a clock is ahead at ``time``, an expression of microseconds, and ``more``: a search by halves."""
    if len(segments) == 1:
        return str(segments[0][1] + more)
    half = len(segments) // 2
    earlier, later = _ahead(time, segments[:half], more), _ahead(time, segments[half:], more)
    return f"CASE WHEN {time} < {segments[half][0]} THEN {earlier} ELSE {later} END"


def _latest(one: int | None, other: int | None) -> int | None:
    return max((each for each in (one, other) if each is not None), default=None)


def _earliest(one: int | None, other: int | None) -> int | None:
    return min((each for each in (one, other) if each is not None), default=None)
