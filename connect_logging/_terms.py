"""The words of the query language, for client and server alike.

Names are matched without regard to case (one SDK sends ``"Count"``). :data:`OPERATORS` maps every spelling, in
lower case, to the one that the rest of the code uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

Operator: TypeAlias = Literal[
    "eq", "neq", "gt", "gte", "lt", "lte", "exists", "startsWith", "endsWith", "contains", "in"
]
Aggregation: TypeAlias = Literal["count", "sum", "avg", "min", "max", "distinct", "median", "percentile"]
"""The last three are our own: Connect had five."""
Interval: TypeAlias = Literal["minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "yearly"]
RelativeTimeframe: TypeAlias = Literal[
    "this_minute",
    "last_minute",
    "this_hour",
    "last_hour",
    "today",
    "yesterday",
    "this_week",
    "last_week",
    "this_month",
    "last_month",
    "this_quarter",
    "last_quarter",
    "this_year",
    "last_year",
]
ExportFormat: TypeAlias = Literal["jsonl", "csv", "parquet"]
Unit: TypeAlias = Literal["minute", "hour", "day", "week", "month", "quarter", "year"]
"""Of the calendar; weeks begin on Sunday."""

_UNITS: Final[tuple[Unit, ...]] = get_args(Unit)
_DAYS: Final = {"this_day": "today", "last_day": "yesterday"}

OPERATORS: Final[Mapping[str, Operator]] = MappingProxyType(
    {
        "eq": "eq",
        "neq": "neq",
        "ne": "neq",  # connect-js
        "gt": "gt",
        "gte": "gte",
        "lt": "lt",
        "lte": "lte",
        "exists": "exists",
        "startswith": "startsWith",
        "endswith": "endsWith",
        "endswidth": "endsWith",  # the documentation's own spelling
        "contains": "contains",
        "in": "in",
    }
)
AGGREGATIONS: Final[Mapping[str, Aggregation]] = MappingProxyType({name: name for name in get_args(Aggregation)})
PERIODS: Final[Mapping[str, Unit]] = MappingProxyType({f"{unit}s": unit for unit in _UNITS})
"""What ``{"current": {period: n}}`` and ``{"previous": {period: n}}`` count in."""
RELATIVE_TIMEFRAMES: Final[Mapping[str, tuple[Unit, int]]] = MappingProxyType(
    {
        _DAYS.get(f"{which}_{unit}", f"{which}_{unit}"): (unit, back)
        for unit in _UNITS
        for back, which in enumerate(("this", "last"))
    }
)
"""Each names one period: its unit, and how many periods before the current one it is."""
INTERVALS: Final[Mapping[str, Unit]] = MappingProxyType(
    {
        "minutely": "minute",
        "hourly": "hour",
        "daily": "day",
        "weekly": "week",
        "monthly": "month",
        "quarterly": "quarter",
        "yearly": "year",
    }
)

COUNT_COLUMN: Final = "_count"
"""The events in a row, under a name that no select may take. Answered when a query selects nothing."""
MAX_RESULT_ROWS: Final = 10_000
"""Rows of one answer, over all its intervals; documented."""
MAX_INTERVALS: Final = 10_000
"""Of one answer, those without events included."""
UNQUERYABLE: Final = ("id", "timestamp")
"""Root properties that no filter, select or groupBy may name; documented."""
EXPORT_FORMATS: Final[tuple[ExportFormat, ...]] = get_args(ExportFormat)
"""Of downloads."""
FORMULA: Final = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
"""A text in CSV that begins so may be calculated by a spreadsheet. Some take the wide forms of the signs as well."""
