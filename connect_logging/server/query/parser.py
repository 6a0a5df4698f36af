"""From a document to a :class:`Query`, or an InvalidQueryError with every fault, one entry a field.

Names that the grammar does not know are ignored at the top level, where SDKs let users add their own, and
refused everywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..._terms import AGGREGATIONS, COUNT_COLUMN
from ...rules import MAX_NAME_LENGTH
from .filters import read_filters
from .model import Aggregate, Path, Query, dotted
from .reading import MAX_PARTS, Faults, read_document, read_path
from .timeframes import is_relative, read_timeframe, read_timezone

_NOT_OF_EXPORTS: Final = ("select", "groupBy", "interval", "orderBy", "limit")


def parse_query(text: str | None, now: float) -> Query:
    """Read the ``query`` parameter. ``now``: seconds since 1970, for relative timeframes."""
    document = read_document(text)
    faults = Faults()
    group_by = _group_by(document.get("groupBy"), faults)
    columns = {dotted(path) for path in group_by}
    select = _select(document.get("select"), columns, faults)
    filters = read_filters(document.get("filter"), faults)
    timeframe = document.get("timeframe")
    zone = read_timezone(document, is_relative(timeframe), faults)
    span = read_timeframe(timeframe, zone, now, faults)
    if document.get("interval") is not None:
        faults.add("interval", "not supported by this version of the server")
    faults.raise_any()
    return Query(select, filters, group_by, span)


def parse_export_query(query: str | Mapping[str, Any] | None, now: float) -> Query:
    """Read the query of an export, the text of a parameter or a document within another: filters and timeframe."""
    document = query if isinstance(query, Mapping) else read_document(query)
    faults = Faults()
    for field in _NOT_OF_EXPORTS:
        if document.get(field) not in (None, {}, []):
            faults.add(field, "not for exports, which take filter, timeframe and timezone")
    filters = read_filters(document.get("filter"), faults)
    timeframe = document.get("timeframe")
    zone = read_timezone(document, is_relative(timeframe), faults)
    span = read_timeframe(timeframe, zone, now, faults)
    faults.raise_any()
    return Query(filters=filters, span=span)


def _select(document: object, columns: set[str], faults: Faults) -> tuple[Aggregate, ...]:
    if document is None:
        return ()
    if not isinstance(document, dict):
        faults.add("select", 'an object such as {"total": {"sum": "price"}}')
        return ()
    aggregates = []
    for alias, wanted in document.items():
        field = f"select.{alias}"
        if not 0 < len(alias) <= MAX_NAME_LENGTH:
            faults.add(field, f"an alias has 1 to {MAX_NAME_LENGTH} characters")
        elif alias == COUNT_COLUMN:
            faults.add(field, f"{COUNT_COLUMN} is a column of our own: choose another alias")
        elif alias in columns:
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
        faults.add(field, '"count", or one of sum, avg, min, max with a property: {"sum": "price"}')
        return None
    [(name, target)] = wanted.items()
    function = AGGREGATIONS.get(name.lower())
    if function is None:
        faults.add(field, f"unknown aggregation {name!r}: count, sum, avg, min, max")
    elif function == "count":
        faults.add(field, 'count has no property: write "count"')
    elif (path := read_path(target, field, faults)) is not None:
        return Aggregate(alias, function, path)
    return None


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
