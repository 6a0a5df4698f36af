"""A query as one statement with parameters, and its rows as the answer's.

Invariants: values and the steps of paths are parameters, aliases never reach the database, and the text of a
statement depends only on the *shape* of the query: on which operators and aggregations it has, its calendar, and the
types of what it asks for. A column is read by its place.

Groups and comparisons are exact for every number an event can hold. Aggregates are computed in doubles, as the
protocol's SDKs read them: whole results are exact up to 2**53.

    SELECT * FROM (
        SELECT <interval>, <groups>, <aggregates>
        FROM (SELECT *, <each property once> FROM <events> WHERE <timeframe>) WHERE <filters>
        GROUP BY ALL
    ) QUALIFY <limit in each interval> ORDER BY <interval>, <order>, <groups> LIMIT <n>
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from ..._grammar.model import Aggregate, Condition, Filter, Path, Query, Scalar, Span, dotted
from ..._terms import MAX_RESULT_ROWS
from .dialect import Column, Dialect, Kind

Row: TypeAlias = dict[str, Any]
"""Of the answer: a dotted path or an alias to a str, number, bool or None."""

_Reader: TypeAlias = tuple[str, Callable[[Any], Any]]

_EXACT: Final = 2**53
"""Up to here a double holds every integer."""
_BEYOND_INTEGERS: Final = 2e19
"""Above every integer that an event can hold."""
_COMPARISONS: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_TEXT_TESTS: Final = {"startsWith": "starts_with", "endsWith": "ends_with"}


class Line(NamedTuple):
    """A row of the answer, and the unit of the calendar that it is of; 0 where there is none."""

    unit: int
    row: Row


@dataclass(frozen=True, slots=True)
class Statement:
    """``sql`` with ``parameters`` in its order; :meth:`line` reads what it returns."""

    sql: str
    parameters: tuple[Any, ...]
    _has_interval: bool
    _columns: tuple[_Reader, ...]

    def line(self, values: Sequence[Any]) -> Line:
        """One row of the database as one of the answer."""
        unit, values = (values[0], values[1:]) if self._has_interval else (0, values)
        return Line(unit, {name: read(value) for (name, read), value in zip(self._columns, values, strict=True)})


class Matching(NamedTuple):
    """``FROM … WHERE …`` with ``parameters`` in its order: the events that a query is about, with all their columns."""

    sql: str
    parameters: tuple[Any, ...]


def compile_query(query: Query, events: str, dialect: Dialect) -> Statement:
    """The statement for ``query`` over ``events``, a table or subquery that our own code has named.

    It returns one row more than an answer may have when there are too many.
    """
    return _Compiler(dialect).compile(query, events)


def compile_matching(query: Query, events: str, dialect: Dialect) -> Matching:
    """What :func:`compile_query` would read, without what it would answer: the timeframe and the filters."""
    return _Compiler(dialect).matching(query, events)


class _Compiler:
    """The state of one compilation: the properties used so far, and the parameters of the conditions."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._properties: dict[Path, Column] = {}
        self._values: list[Any] = []

    def compile(self, query: Query, events: str) -> Statement:
        calendar = query.calendar
        interval = [f"{self._dialect.unit(calendar, query.span)} AS unit"] if calendar else []
        groups = [self._dialect.scalar(self._column(path)) for path in query.group_by]
        columns = [*groups, *map(self._aggregate, query.aggregates)]
        named = [f"{column} AS c{place}" for place, column in enumerate(columns)]
        matching = self.matching(query, events)
        sql = f"SELECT {', '.join(interval + named)} {matching.sql}"
        if interval or groups:
            sql = f"SELECT * FROM ({sql} GROUP BY ALL){self._ordered(query)}"  # noqa: S608 - no text of a user
        readers: list[_Reader] = [(dotted(path), _read_scalar) for path in query.group_by]
        readers += [(aggregate.alias, _read_number) for aggregate in query.aggregates]
        return Statement(sql, matching.parameters, bool(interval), tuple(readers))

    def _ordered(self, query: Query) -> str:
        """The order of rows, always to the last tie, and how many of them."""
        groups = len(query.group_by)
        orders = {order.column: order.descending for order in query.order_by}
        for place in range(groups):
            orders.setdefault(place, False)
        terms: list[str] = []
        for column, descending in orders.items():
            name = f"c{column}"
            keys = self._dialect.sort_keys(name) if column < groups else [name]
            terms += [f"{key} {'DESC' if descending else 'ASC'} NULLS LAST" for key in keys]
        rows = MAX_RESULT_ROWS + 1
        if query.interval is None:
            return f" ORDER BY {', '.join(terms)} LIMIT {min(query.limit or rows, rows)}"
        first = ""
        if query.limit is not None and groups:
            first = f" QUALIFY row_number() OVER (PARTITION BY unit ORDER BY {', '.join(terms)}) <= {query.limit}"
        return f"{first} ORDER BY {', '.join(['unit', *terms])} LIMIT {rows}"

    def matching(self, query: Query, events: str) -> Matching:
        """To be called last: the properties that the rest of a statement reads are extracted here as well."""
        conditions = self._all_of(query.filters)
        extracted = [
            f"{self._dialect.extract(len(path))} AS {column.name}" for path, column in self._properties.items()
        ]
        timeframe, moments = self._timeframe(query.span)
        sql = (
            f"FROM (SELECT {', '.join(['*', *extracted])} FROM {events}{timeframe})"  # noqa: S608 - nor here
            f" WHERE {conditions}"
        )
        steps = (step for path in self._properties for step in path)
        return Matching(sql, (*steps, *moments, *self._values))

    def _timeframe(self, span: Span) -> tuple[str, list[int]]:
        bounds = {">=": span.start, "<": span.end}
        moments = {comparison: moment for comparison, moment in bounds.items() if moment is not None}
        tests = [f"{self._dialect.timestamp} {comparison} {self._dialect.moment}" for comparison in moments]
        return (f" WHERE {' AND '.join(tests)}" if tests else ""), list(moments.values())

    def _column(self, path: Path) -> Column:
        return self._properties.setdefault(path, Column(f"p{len(self._properties)}", path))

    def _aggregate(self, aggregate: Aggregate) -> str:
        if aggregate.path is None:
            return "count(*)"
        dialect, column = self._dialect, self._column(aggregate.path)
        numbers = dialect.value(column, "number")
        match aggregate.function:
            case "distinct":
                return f"count(DISTINCT {dialect.scalar(column)})"
            case "sum":
                return dialect.finite(dialect.total(numbers))
            case "avg":
                return dialect.finite(f"{dialect.total(numbers)} / count({numbers})")
            case "median":
                return dialect.finite(dialect.percentile(numbers, 0.5))
            case "percentile":
                assert aggregate.percent is not None
                return dialect.finite(dialect.percentile(numbers, aggregate.percent / 100))
            case function:
                return f"{function}({numbers})"

    def _all_of(self, filters: Sequence[Filter]) -> str:
        return " AND ".join(map(self._filter, filters)) or "true"

    def _filter(self, wanted: Filter) -> str:
        if isinstance(wanted, Condition):
            return self._condition(wanted)
        return f"({' OR '.join(f'({self._all_of(each)})' for each in wanted.alternatives) or 'false'})"

    def _condition(self, condition: Condition) -> str:
        """A condition that is NULL or false for what does not match; the caller ANDs them."""
        column, value = self._column(condition.path), condition.value
        match condition.operator:
            case "exists":
                return f"{column.name} IS {'NOT ' if value else ''}NULL"
            case "eq":
                return self._equals(column, value)
            case "neq":
                return f"NOT coalesce({self._equals(column, value)}, false)"
            case "in":
                assert isinstance(value, tuple)
                return self._among(column, value)
            case "contains":
                return self._contains(column, value)
            case "startsWith" | "endsWith" as operator:
                return f"{_TEXT_TESTS[operator]}({self._dialect.value(column, 'text')}, {self._parameter(value)})"
            case operator:
                return self._compare(column, _COMPARISONS[operator], value)

    def _equals(self, column: Column, value: Scalar | tuple[Scalar, ...] | None) -> str:
        if value is None:
            return f"{column.name} IS NULL"
        return self._compare(column, "=", value)

    def _compare(self, column: Column, comparison: str, value: Scalar | tuple[Scalar, ...] | None) -> str:
        """Compare with the property as what ``value`` is: one of another type never matches."""
        dialect = self._dialect
        if isinstance(value, bool):
            return f"({dialect.value(column, 'boolean')}) {comparison} {self._parameter(value)}"
        if isinstance(value, str):
            return f"({dialect.value(column, 'text')}) {comparison} {self._parameter(value)}"
        assert isinstance(value, int | float)
        if not _EXACT <= abs(value) < _BEYOND_INTEGERS:
            return f"({dialect.value(column, 'number')}) {comparison} {self._parameter(float(value))}"
        # Doubles would call neighbours equal here; a property with a fraction is far enough for them.
        exact = f"({dialect.value(column, 'integer')}) {comparison} {self._parameter(int(value))}"
        return f"coalesce({exact}, ({dialect.value(column, 'number')}) {comparison} {self._parameter(float(value))})"

    def _among(self, column: Column, values: Sequence[Any]) -> str:
        """One of ``values``, which are of one kind: a list per expression, as a long chain of ORs is refused."""
        lists: dict[Kind, list[Any]] = {}
        for value in values:
            kind, exact = _exactly(value)
            lists.setdefault(kind, []).append(exact)
        tests = [
            f"({self._dialect.value(column, kind)}) IN ({', '.join(map(self._parameter, found))})"
            for kind, found in lists.items()
        ]
        return f"({' OR '.join(tests) or 'false'})"

    def _contains(self, column: Column, value: Any) -> str:
        """A part of a string, or an element of an array."""
        kind, exact = _exactly(value)
        element = self._dialect.has_element(column, kind, self._parameter(exact))
        if kind != "text":
            return element
        return f"({element} OR contains({self._dialect.value(column, 'text')}, {self._parameter(value)}))"

    def _parameter(self, value: Any) -> str:
        self._values.append(value)
        return "?"


def _exactly(value: Scalar) -> tuple[Kind, Scalar]:
    """As what a property that equals ``value`` is to be read, and what it then is."""
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, str):
        return "text", value
    if _EXACT <= abs(value) < _BEYOND_INTEGERS:
        return "integer", int(value)
    return "number", float(value)


def _read_scalar(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)


def _read_number(value: float | None) -> float | None:
    """An integral double as an int, which SDKs of typed languages expect of a whole number."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value
