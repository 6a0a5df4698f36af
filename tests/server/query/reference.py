"""What a query answers, worked out from the protocol's text and docs/http-api.md in plain Python, event by event.

It shares nothing with the server, neither code nor names, and takes no short cuts: every event is looked at for every
question. Queries are expected to be valid; what is wrong with others is for other tests.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

TOO_MANY = "413"
"""The answer when there are too many rows or intervals."""

START = datetime(1970, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
KNOWN = datetime(1900, 1, 1, tzinfo=UTC), datetime(2099, 12, 31, tzinfo=UTC)
DAY = timedelta(days=1)
WIDTHS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1)}


def answer(events: list[dict[str, Any]], query: dict[str, Any], now: datetime) -> Any:
    """The document of a 200, or TOO_MANY."""
    zone = zone_of(query.get("timezone"))
    start, end = timeframe(query.get("timeframe"), zone, now)
    filters = query.get("filter") or {}
    found = []
    for event in events:
        moment = moment_of(event["timestamp"])
        if (start is None or start <= moment) and (end is None or moment < end) and passes(event, filters):
            found.append((moment, event))
    groups = paths(query.get("groupBy"))
    interval = query.get("interval")
    metadata = {"groups": groups, "interval": interval and interval.lower(), "timezone": query.get("timezone")}
    if interval is None:
        results: list[Any] = rows([event for _, event in found], groups, query)
        count = len(results)
    else:
        unit = UNITS[interval.lower()]
        results = []
        count = 0
        if far_too_many(unit, start, end, now, query):
            return TOO_MANY
        for lower, upper in intervals(
            unit, zone, start, end, [moment for moment, _ in found], now, query.get("nonEmpty")
        ):
            if len(results) == 10_000:
                return TOO_MANY
            inside = [event for moment, event in found if lower <= moment < upper]
            each = rows(inside, groups, query) if inside else []
            count += len(each)
            results.append({"interval": {"start": iso(lower), "end": iso(upper)}, "results": each})
    return TOO_MANY if count > 10_000 else {"metadata": metadata, "results": results}


# Filters


def passes(event: dict[str, Any], filters: dict[str, Any]) -> bool:
    for name, wanted in filters.items():
        if name == "or" and isinstance(wanted, list) and any(isinstance(each, dict) for each in wanted):
            if not any(passes(event, each) for each in wanted):
                return False
            continue
        value = value_at(event, name)
        if isinstance(wanted, list):
            wanted = {"in": wanted}
        if not isinstance(wanted, dict):
            wanted = {"eq": wanted}
        for operator, operand in wanted.items():
            if not holds(operator.lower(), value, operand):
                return False
    return True


def holds(operator: str, value: Any, operand: Any) -> bool:
    if operator == "eq":
        return value is None if operand is None else equal(value, operand)
    if operator in ("neq", "ne"):
        return not holds("eq", value, operand)
    if operator == "exists":
        return (value is not None) is operand
    if operator == "in":
        return any(equal(value, each) for each in operand)
    if operator == "contains" and isinstance(value, list):
        return any(equal(each, operand) for each in value)
    if operator in ("startswith", "endswith", "endswidth", "contains"):
        if not isinstance(value, str) or not isinstance(operand, str):
            return False
        if operator == "contains":
            return operand in value
        return value.startswith(operand) if operator == "startswith" else value.endswith(operand)
    if kind(value) != kind(operand):
        return False
    return {
        "gt": lambda: value > operand,
        "gte": lambda: value >= operand,
        "lt": lambda: value < operand,
        "lte": lambda: value <= operand,
    }[operator]()


def kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return type(value).__name__


def equal(one: Any, other: Any) -> bool:
    """Of the same kind, and that a scalar; Python compares an int and a float exactly."""
    return kind(one) == kind(other) and kind(one) in ("boolean", "number", "str") and one == other


def value_at(event: dict[str, Any], path: str) -> Any:
    value: Any = event
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


# Rows


class Near(float):
    """A number that is subject to rounding: an answer may differ by ``slack``, which is tiny beside what was added, or
    where doubles have no more digits: half of the smallest is none."""

    def __new__(cls, number: float, size: float) -> Near:
        near = super().__new__(cls, number)
        near.slack = size * 1e-12 + sys.float_info.min
        return near


def paths(named: Any) -> list[str]:
    return list(dict.fromkeys([named] if isinstance(named, str) else named or []))


def group_value(event: dict[str, Any], path: str) -> Any:
    value = value_at(event, path)
    return value if kind(value) in ("boolean", "number", "str") else None


def rows(events: list[dict[str, Any]], groups: list[str], query: dict[str, Any]) -> list[dict[str, Any]]:
    select = query.get("select") or {"_count": "count"}
    members: dict[Any, list[dict[str, Any]]] = {} if groups else {(): []}
    for event in events:
        values = tuple(group_value(event, path) for path in groups)
        members.setdefault(tuple((kind(value), value) for value in values), []).append(event)
    found = []
    for key, group in members.items():
        row = dict(zip(groups, (value for _, value in key), strict=True))
        found.append(row | {alias: aggregate(wanted, group) for alias, wanted in select.items()})
    for path in reversed(groups):
        found = ordered(found, path, False)
    order = query.get("orderBy") or []
    for column in reversed(order if isinstance(order, list) else [order]):
        name, direction = (column, "asc") if isinstance(column, str) else next(iter(column.items()))
        found = ordered(found, name, direction.lower() == "desc")
    return found[: query.get("limit") or None]


def ordered(found: list[dict[str, Any]], column: str, descending: bool) -> list[dict[str, Any]]:
    """Rows that are equal stay in their order, and null is last either way."""

    def key(row: dict[str, Any]) -> tuple[int, Any]:
        value = row[column]
        return ["number", "str", "boolean"].index(kind(value)), value

    known = [row for row in found if row[column] is not None]
    return sorted(known, key=key, reverse=descending) + [row for row in found if row[column] is None]


def aggregate(wanted: Any, events: list[dict[str, Any]]) -> Any:
    if isinstance(wanted, str):
        return len(events)
    [(function, target)] = wanted.items()
    function = function.lower()
    path = target["property"] if function == "percentile" else target
    values = [value_at(event, path) for event in events]
    if function == "distinct":
        return len({(kind(value), value) for value in values if kind(value) in ("boolean", "number", "str")})
    numbers = sorted(float(value) for value in values if kind(value) == "number")
    if not numbers:
        return None
    size = math.fsum(map(abs, numbers))
    if function == "sum":
        return Near(math.fsum(numbers), size)
    if function == "avg":
        return Near(math.fsum(numbers) / len(numbers), size / len(numbers))
    if function in ("min", "max"):
        return numbers[0] if function == "min" else numbers[-1]
    rank = (len(numbers) - 1) * (target["p"] / 100 if function == "percentile" else 0.5)
    below, above = numbers[math.floor(rank)], numbers[math.ceil(rank)]
    return Near(below + (above - below) * (rank - math.floor(rank)), abs(below) + abs(above))


# Time


def moment_of(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


Zone = Callable[[datetime], timedelta]
"""By how much local time is ahead of UTC at a moment."""


@lru_cache(1_000)
def zone_of(named: Any) -> Zone:
    if isinstance(named, str):
        zone: tzinfo = ZoneInfo(named)
        return lambda moment: min(max(moment, KNOWN[0]), KNOWN[1]).astimezone(zone).utcoffset() or timedelta()
    hours = timedelta(minutes=round((named or 0) * 60))
    return lambda moment: hours


UNITS = {
    "minutely": "minute",
    "hourly": "hour",
    "daily": "day",
    "weekly": "week",
    "monthly": "month",
    "quarterly": "quarter",
    "yearly": "year",
}


def timeframe(wanted: Any, zone: Zone, now: datetime) -> tuple[datetime | None, datetime | None]:
    if wanted is None:
        return None, None
    if isinstance(wanted, str):
        name = {"today": "this_day", "yesterday": "last_day"}.get(wanted.lower(), wanted.lower())
        which, unit = name.split("_")
        wanted = {"current" if which == "this" else "previous": {f"{unit}s": 1}}
    for which in ("current", "previous"):
        if which in wanted:
            [(periods, count)] = wanted[which].items()
            unit = periods.lower().removesuffix("s")
            if which == "current":
                count -= 1
            this = begin(unit, zone, now)
            start = this
            for _ in range(count):
                start = begin(unit, zone, start - TICK)
            return start, after(unit, zone, now) if which == "current" else this
    start, end = (wanted.get(name) for name in ("start", "end"))
    return start and moment_of(start), end and moment_of(end)


def intervals(
    unit: str,
    zone: Zone,
    start: datetime | None,
    end: datetime | None,
    moments: list[datetime],
    now: datetime,
    only_with_events: Any,
) -> Iterator[tuple[datetime, datetime]]:
    """From the start of the timeframe, or the first event, to the end of the timeframe or now, or the last event."""
    wanted = sorted(moments)
    if not only_with_events:
        until = now if end is None else min(now, end - TICK)
        if start is not None:
            wanted = [start, *wanted] if wanted or until >= start else []
            wanted += [until] if until >= start else []
        elif end is not None and wanted:
            wanted += [until] if until > wanted[0] else []
    if not wanted:
        return
    lower = begin(unit, zone, min(wanted))
    while lower <= max(wanted):
        upper = after(unit, zone, lower)
        if not only_with_events or any(lower <= moment < upper for moment in moments):
            yield lower, upper
        elif only_with_events:
            upper = begin(unit, zone, min(moment for moment in moments if moment >= upper))
        lower = upper


def far_too_many(unit: str, start: Any, end: Any, now: datetime, query: dict[str, Any]) -> bool:
    """Whether there is no need to count."""
    longest = {"minute": 1 / 1440, "hour": 1 / 24, "day": 1.1, "week": 7.1, "month": 31.1, "quarter": 93, "year": 367}[
        unit
    ]
    until = min(now, end or now)
    return start is not None and not query.get("nonEmpty") and (until - start) / DAY / longest > 10_100


def begin(unit: str, zone: Zone, moment: datetime) -> datetime:
    """When the unit began that a moment is in."""
    if unit in WIDTHS:
        return _begin_short(WIDTHS[unit], zone, moment)
    # A day begins at the first moment that is in it or in a later one, so that a day which has begun goes on when
    # the clocks are put back over midnight.
    local = (moment + zone(moment)).replace(tzinfo=None)
    day = first_day(unit, local.date() + DAY)
    while midnight(zone, day) > moment:
        day = first_day(unit, day - DAY)
    following = next_day(unit, day)
    while midnight(zone, following) <= moment:
        day, following = following, next_day(unit, following)
    return midnight(zone, day)


def after(unit: str, zone: Zone, moment: datetime) -> datetime:
    """When the next unit begins."""
    if unit in WIDTHS:
        return _end_short(WIDTHS[unit], zone, moment)
    local = (moment + zone(moment)).replace(tzinfo=None)
    day = first_day(unit, local.date() - DAY)
    while midnight(zone, day) <= moment:
        day = next_day(unit, day)
    return midnight(zone, day)


def first_day(unit: str, day: date) -> date:
    if unit == "day":
        return day
    if unit == "week":
        return day - DAY * (day.isoweekday() % 7)
    month = {"month": day.month, "quarter": (day.month - 1) // 3 * 3 + 1, "year": 1}[unit]
    return day.replace(month=month, day=1)


def next_day(unit: str, day: date) -> date:
    return first_day(unit, day + DAY * {"day": 1, "week": 7, "month": 31, "quarter": 93, "year": 366}[unit])


@lru_cache(100_000)
def midnight(zone: Zone, day: date) -> datetime:
    """The first moment at which it is this day or a later one."""
    naive = datetime(day.year, day.month, day.day, tzinfo=UTC)
    offsets = {zone(naive + hours * timedelta(hours=1)) for hours in range(-40, 41, 8)}
    exact = [naive - offset for offset in offsets if zone(naive - offset) == offset]
    if exact:
        return min(exact)
    low, high = naive - max(offsets) - TICK, naive - min(offsets)
    while high - low > TICK:
        middle = low + (high - low) // 2
        low, high = (low, middle) if middle + zone(middle) >= naive else (middle, high)
    return high


def reading(width: timedelta, zone: Zone, moment: datetime) -> timedelta:
    """How far the clocks are in a minute or an hour."""
    return (moment + zone(moment) - START) % width


def _begin_short(width: timedelta, zone: Zone, moment: datetime) -> datetime:
    start = moment - reading(width, zone, moment)
    change = change_between(width, zone, start, moment)
    if change is None:
        return start
    before = reading(width, zone, change - TICK) + TICK
    ahead = (zone(change) - zone(change - TICK)) % width
    return change if before + ahead >= width else change - before


def _end_short(width: timedelta, zone: Zone, moment: datetime) -> datetime:
    end = moment + width - reading(width, zone, moment)
    change = change_between(width, zone, moment, end)
    if change is None:
        return end
    before = reading(width, zone, change - TICK) + TICK
    ahead = (zone(change) - zone(change - TICK)) % width
    return change if before + ahead >= width else change + width - before - ahead


def change_between(width: timedelta, zone: Zone, start: datetime, end: datetime) -> datetime | None:
    """The change of clocks, if it is one by a part of a unit; it counts as one forward, by that part."""
    if (zone(end) - zone(start)) % width == timedelta():
        return None
    while end - start > TICK:
        middle = start + (end - start) // 2
        start, end = (start, middle) if (zone(middle) - zone(end)) % width == timedelta() else (middle, end)
    return end
