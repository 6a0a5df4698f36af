"""From a document to a :class:`Query`, or an InvalidQueryError with every fault, one entry a field.

Client and server decide with this package and no other, so what the client sends, the server does not refuse for its
form.

Names that the grammar does not know are ignored at the top level, where SDKs let users add their own, and
refused everywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .._terms import AGGREGATIONS, COUNT_COLUMN, INTERVALS, MAX_RESULT_ROWS, Aggregation
from ..rules import MAX_NAME_LENGTH
from .filters import read_filters
from .model import Aggregate, Order, Path, Query, dotted
from .reading import MAX_PARTS, Faults, read_path, read_whole
from .timeframes import is_relative, read_timeframe, read_timezone

_NOT_OF_EXPORTS: Final = ("select", "groupBy", "interval", "orderBy", "limit")
_DIRECTIONS: Final = {"asc": False, "desc": True}


def read_query(document: Mapping[str, Any], now: float) -> Query:
    """The query that ``document`` says. ``now``: seconds since 1970, for relative timeframes."""
    faults = Faults()
    group_by = _group_by(document.get("groupBy"), faults)
    select = _select(document.get("select"), {dotted(path) for path in group_by}, faults)
    interval = _interval(document.get("interval"), faults)
    timeframe = document.get("timeframe")
    zone = read_timezone(document, document.get("interval") is not None or is_relative(timeframe), faults)
    columns = [*map(dotted, group_by), *([each.alias for each in select] or [COUNT_COLUMN])]
    parsed = Query(
        select=select,
        filters=read_filters(document.get("filter"), faults),
        group_by=group_by,
        span=read_timeframe(timeframe, zone, now, faults),
        interval=interval,
        zone=zone,
        non_empty=_flag(document.get("nonEmpty"), faults),
        order_by=_order_by(document.get("orderBy"), columns, faults),
        limit=_limit(document.get("limit"), faults),
    )
    faults.raise_any()
    return parsed


def read_export_query(document: Mapping[str, Any], now: float) -> Query:
    """The query of an export: filters and timeframe."""
    faults = Faults()
    for field in _NOT_OF_EXPORTS:
        if document.get(field) not in (None, {}, []):
            faults.add(field, "not for exports, which take filter, timeframe and timezone")
    timeframe = document.get("timeframe")
    zone = read_timezone(document, is_relative(timeframe), faults)
    filters = read_filters(document.get("filter"), faults)
    span = read_timeframe(timeframe, zone, now, faults)
    faults.raise_any()
    return Query(filters=filters, span=span)


def _select(document: object, groups: set[str], faults: Faults) -> tuple[Aggregate, ...]:
    if document is None:
        return ()
    if not isinstance(document, dict):
        faults.add("select", 'an object such as {"total": {"sum": "price"}}')
        return ()
    aggregates = []
    for alias, wanted in document.items():
        field = f"select.{alias}"
        if not isinstance(alias, str) or not 0 < len(alias) <= MAX_NAME_LENGTH:
            faults.add(field, f"an alias has 1 to {MAX_NAME_LENGTH} characters")
        elif alias == COUNT_COLUMN:
            faults.add(field, f"{COUNT_COLUMN} is a column of our own: choose another alias")
        elif alias in groups:
            faults.add(field, "this is also a column of groupBy: choose another alias")
        elif aggregate := _aggregate(alias, wanted, field, faults):
            aggregates.append(aggregate)
    if len(aggregates) > MAX_PARTS:
        faults.add("select", f"at most {MAX_PARTS} aggregates, not {len(aggregates)}")
    return tuple(aggregates)


def _aggregate(alias: str, wanted: object, field: str, faults: Faults) -> Aggregate | None:
    if isinstance(wanted, str) and wanted.lower() == "count":
        return Aggregate(alias, "count", None)
    if not isinstance(wanted, dict) or len(wanted) != 1:
        others = ", ".join(name for name in AGGREGATIONS if name != "count")
        faults.add(field, f'"count", or one of {others} with a property: {{"sum": "price"}}')
        return None
    [(name, target)] = wanted.items()
    function: Aggregation | None = AGGREGATIONS.get(name.lower()) if isinstance(name, str) else None
    if function is None:
        faults.add(field, f"unknown aggregation {name!r}: {', '.join(AGGREGATIONS)}")
    elif function == "count":
        faults.add(field, 'count has no property: write "count"')
    elif function == "percentile":
        return _percentile(alias, target, field, faults)
    elif (path := read_path(target, field, faults)) is not None:
        return Aggregate(alias, function, path)
    return None


def _percentile(alias: str, target: object, field: str, faults: Faults) -> Aggregate | None:
    if not isinstance(target, dict) or target.keys() != {"property", "p"}:
        faults.add(field, 'a property and p, from 0 to 100: {"percentile": {"property": "price", "p": 95}}')
        return None
    path, percent = read_path(target["property"], field, faults), target["p"]
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
        faults.add(field, "p is a number from 0 to 100")
        return None
    return Aggregate(alias, "percentile", path, float(percent)) if path else None


def _group_by(document: object, faults: Faults) -> tuple[Path, ...]:
    if document is None:
        return ()
    names = [document] if isinstance(document, str) else document
    if not isinstance(names, list):
        faults.add("groupBy", "a property or an array of properties")
        return ()
    parsed = (read_path(name, "groupBy", faults) for name in names)
    paths = tuple(dict.fromkeys(path for path in parsed if path is not None))
    if len(paths) > MAX_PARTS:
        faults.add("groupBy", f"at most {MAX_PARTS} properties, not {len(paths)}")
    return paths


def _interval(name: object, faults: Faults) -> str | None:
    if name is None:
        return None
    if not isinstance(name, str) or name.lower() not in INTERVALS:
        faults.add("interval", f"one of {', '.join(INTERVALS)}")
        return None
    return name.lower()


def _flag(value: object, faults: Faults) -> bool:
    if value is not None and not isinstance(value, bool):
        faults.add("nonEmpty", "true or false")
    return value is True


def _order_by(document: object, columns: Sequence[str], faults: Faults) -> tuple[Order, ...]:
    """The places of ``columns``; one that is named again no longer matters."""
    if document is None:
        return ()
    orders: dict[int, Order] = {}
    for wanted in document if isinstance(document, list) else [document]:
        match wanted:
            case str() as column:
                direction: object = "asc"
            case dict() if len(wanted) == 1:
                [(column, direction)] = wanted.items()
            case _:
                faults.add("orderBy", 'a column, {column: "asc"} or {column: "desc"}, or an array of these')
                continue
        if column not in columns:
            faults.add("orderBy", f"{column!r} is no column of the answer, which has {', '.join(columns)}")
        elif not isinstance(direction, str) or direction.lower() not in _DIRECTIONS:
            faults.add("orderBy", 'a column is ordered "asc" or "desc"')
        else:
            place = columns.index(column)
            orders.setdefault(place, Order(place, _DIRECTIONS[direction.lower()]))
    return tuple(orders.values())


def _limit(value: object, faults: Faults) -> int | None:
    if value is None:
        return None
    limit = read_whole(value)
    if limit is None or not 1 <= limit <= MAX_RESULT_ROWS:
        faults.add("limit", f"a whole number from 1 to {MAX_RESULT_ROWS:,}")
    return limit
