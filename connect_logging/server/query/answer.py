"""The document that answers a query: rows, in intervals where they were asked for, the empty ones filled in.

Which intervals there are: those from the start of the timeframe to its end or now, whichever is earlier; where it has
no start, from the first event that matches, where it has no end and no start, to the last. None that has events is
missing. Bounds are those of the whole interval, also where the timeframe cuts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..._grammar.calendars import Calendar
from ..._grammar.model import Query, Span, dotted
from ..._grammar.zones import EPOCH, MICROSECOND
from ..._terms import MAX_INTERVALS, MAX_RESULT_ROWS
from ...exceptions import ConnectError
from .compiler import Line, Row


class TooManyResultsError(ConnectError):
    """An answer would be longer than answers may be."""


def check_intervals(query: Query, now: float) -> None:
    """Raise TooManyResultsError when so many intervals are asked for, whatever the events are. ``now``: seconds."""
    calendar = query.calendar
    if calendar and not query.non_empty:
        _filled(calendar, query.span, (), now)


def answer(query: Query, lines: Sequence[Line], now: float) -> dict[str, Any]:
    """``{"metadata": …, "results": …}`` for what a store has found. Raises TooManyResultsError."""
    if len(lines) > MAX_RESULT_ROWS:
        raise TooManyResultsError(f"too many results: a query answers at most {MAX_RESULT_ROWS:,} rows")
    calendar = query.calendar
    metadata = {
        "groups": [dotted(path) for path in query.group_by],
        "interval": query.interval,
        "timezone": query.zone.name if query.zone else None,
    }
    results = _intervals(calendar, query, lines, now) if calendar else [line.row for line in lines]
    return {"metadata": metadata, "results": results}


def _intervals(calendar: Calendar, query: Query, lines: Sequence[Line], now: float) -> list[dict[str, Any]]:
    rows: dict[int, list[Row]] = {}
    for line in lines:
        rows.setdefault(line.unit, []).append(line.row)
    units = list(rows) if query.non_empty else _filled(calendar, query.span, list(rows), now)
    bounds = ((unit, calendar.start(unit), calendar.start(unit + 1)) for unit in units)
    return [
        {"interval": {"start": _text(start), "end": _text(end)}, "results": rows.get(unit, [])}
        for unit, start, end in bounds
        if start < end  # not one that the clocks have skipped
    ]


def _filled(calendar: Calendar, span: Span, found: Sequence[int], now: float) -> Iterable[int]:
    """The units of all intervals; ``found``: those that have events, ascending."""
    until = int(now * 1_000_000)
    if span.end is not None:
        until = min(until, span.end - 1)
    first, lasts = found[:1], found[-1:]
    if span.start is not None:
        first = [calendar.number(span.start)]
    if span != Span() and (span.start is None or span.start <= until):
        lasts = [*lasts, calendar.number(until)]
    if not first or not lasts:
        return ()
    units = range(first[0], max(lasts) + 1)
    if len(units) > MAX_INTERVALS:
        raise TooManyResultsError(
            f"too many intervals: an answer has at most {MAX_INTERVALS:,}, the empty ones included; ask for a shorter"
            ' timeframe or a longer interval, or leave out the empty ones with "nonEmpty": true'
        )
    return units


def _text(moment: int) -> str:
    """ISO 8601 in UTC. No interval begins within a second."""
    try:
        return (EPOCH + moment * MICROSECOND).isoformat().replace("+00:00", "Z")
    except OverflowError:  # one that reaches beyond the years that can be written
        return "0001-01-01T00:00:00Z" if moment < 0 else "9999-12-31T23:59:59Z"
