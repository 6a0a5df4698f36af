"""``timeframe`` and ``timezone`` of a query, as a span of time.

Relative timeframes are whole units of the calendar in the zone. One that includes the current unit runs to its end:
an event whose clock is a little ahead counts as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .._terms import PERIODS, RELATIVE_TIMEFRAMES, Unit
from ..rules import parse_timestamp
from .calendars import Calendar
from .model import Span
from .reading import Faults, read_whole
from .zones import EPOCH, MICROSECOND, UNIVERSAL, Zone, read_zone

MAX_PERIODS: Final[Mapping[Unit, int]] = {
    unit: 1_900 * a_year for unit, a_year in zip(PERIODS.values(), (525_600, 8_760, 365, 52, 12, 4, 1), strict=True)
}
"""As many as do not reach back before the year 1."""
_FIELD: Final = "timeframe"
_BOUNDS: Final = frozenset({"start", "end"})


def read_timezone(document: Mapping[str, Any], allowed: bool, faults: Faults) -> Zone | None:
    """The zone that is asked for, or None. ``allowed``: there is something that a zone makes a difference to."""
    name = document.get("timezone")
    if name is None:
        return None
    zone = read_zone(name)
    if zone is None:
        faults.add("timezone", "hours from UTC, -14 to 14, or a name such as Australia/Brisbane")
    elif not allowed:
        faults.add("timezone", "only with an interval or a relative timeframe")
    return zone


def is_relative(timeframe: object) -> bool:
    """Whether a timeframe depends on the zone; also for one that is wrong."""
    return isinstance(timeframe, str) or (isinstance(timeframe, dict) and not timeframe.keys() <= _BOUNDS)


def read_timeframe(timeframe: object, zone: Zone | None, now: float, faults: Faults) -> Span:
    """The span of a ``timeframe``; all time when there is none. ``now``: seconds since 1970."""
    if timeframe is None:
        return Span()
    if isinstance(timeframe, str):
        relative = RELATIVE_TIMEFRAMES.get(timeframe.lower())
        if relative:
            unit, back = relative
            return _periods(unit, 1, back, zone, now)
    elif isinstance(timeframe, dict):
        if timeframe.keys() <= _BOUNDS:
            return _absolute(timeframe, faults)
        if len(timeframe) == 1:
            [(which, periods)] = timeframe.items()
            if which in ("current", "previous"):
                return _counted(which, periods, zone, now, faults)
    faults.add(
        _FIELD,
        f'one of {", ".join(RELATIVE_TIMEFRAMES)}, or {{"current": {{"days": 3}}}}, {{"previous": {{"days": 3}}}},'
        ' or {"start": …, "end": …}',
    )
    return Span()


def _counted(which: str, periods: object, zone: Zone | None, now: float, faults: Faults) -> Span:
    if isinstance(periods, dict) and len(periods) == 1:
        [(name, wanted)] = periods.items()
        unit = PERIODS.get(name.lower()) if isinstance(name, str) else None
        count = read_whole(wanted)
        if unit is not None and count is not None and 1 <= count <= MAX_PERIODS[unit]:
            return _periods(unit, count, int(which == "previous"), zone, now)
    faults.add(
        f"{_FIELD}.{which}",
        f'one of {", ".join(PERIODS)} with a whole number from 1, together at most 1,900 years: {{"days": 3}}',
    )
    return Span()


def _periods(unit: Unit, count: int, back: int, zone: Zone | None, now: float) -> Span:
    """``count`` units, of which the last is the current one or the one ``back`` before it."""
    calendar = Calendar(unit, zone or UNIVERSAL)
    end = calendar.number(int(now * 1_000_000)) + 1 - back
    return Span(calendar.start(end - count), calendar.start(end))


def _absolute(timeframe: dict[str, Any], faults: Faults) -> Span:
    """Without an offset a time is UTC, whatever the zone: that is for the calendar."""
    return Span(*(_moment(timeframe.get(name), f"{_FIELD}.{name}", faults) for name in ("start", "end")))


def _moment(value: object, field: str, faults: Faults) -> int | None:
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return (parse_timestamp(value) - EPOCH) // MICROSECOND
    except ValueError:
        pass
    faults.add(field, "a full ISO-8601 date-time such as 2015-07-17T11:11:11Z, within the years 1 to 9999")
    return None
