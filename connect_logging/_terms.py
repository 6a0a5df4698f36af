"""The words of the query language, for client and server alike.

Names are matched without regard to case (one SDK sends ``"Count"``). :data:`OPERATORS` maps every spelling, in
lower case, to the one that the rest of the code uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

Operator: TypeAlias = Literal[
    "eq", "neq", "gt", "gte", "lt", "lte", "exists", "startsWith", "endsWith", "contains", "in"
]
Aggregation: TypeAlias = Literal["count", "sum", "avg", "min", "max"]

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
AGGREGATIONS: Final[Mapping[str, Aggregation]] = MappingProxyType(
    {"count": "count", "sum": "sum", "avg": "avg", "min": "min", "max": "max"}
)
PERIODS: Final = ("minutes", "hours", "days", "weeks", "months", "quarters", "years")
"""What ``{"current": {period: n}}`` and ``{"previous": {period: n}}`` count in."""
RELATIVE_TIMEFRAMES: Final = (
    *(f"{which}_{unit}" for unit in ("minute", "hour") for which in ("this", "last")),
    "today",
    "yesterday",
    *(f"{which}_{unit}" for unit in ("week", "month", "quarter", "year") for which in ("this", "last")),
)
INTERVALS: Final = ("minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "yearly")

COUNT_COLUMN: Final = "_count"
"""The events in a row, under a name that no select may take. Answered when a query selects nothing."""
MAX_RESULT_ROWS: Final = 10_000
"""Rows of one answer, over all its intervals; documented."""
UNQUERYABLE: Final = ("id", "timestamp")
"""Root properties that no filter, select or groupBy may name; documented."""
