"""A query as one statement with parameters, and its rows as the answer's.

Invariants: values are parameters, as are the steps of paths where the dialect cannot quote them; aliases never reach
the database; the rest of a statement's text depends only on the *shape* of the query: on which operators and
aggregations it has, its calendar, and the types of what it asks for. A column is read by its place.

Groups and comparisons are exact for every number an event can hold. Aggregates are computed in doubles, as the
protocol's SDKs read them: whole results are exact up to 2**53.

    SELECT * FROM (
        SELECT <interval>, <groups>, <aggregates>
        FROM (SELECT *, <what properties are read as, once> FROM <source> WHERE <timeframe>) WHERE <filters>
        GROUP BY ALL
    ) QUALIFY <limit in each interval> ORDER BY <interval>, <order>, <groups> LIMIT <n>
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from ..._grammar.model import Aggregate, Condition, Filter, Path, Query, Scalar, Span, dotted
from ..._terms import MAX_RESULT_ROWS
from .dialect import Column, Dialect, Kind, Source, Type

Row: TypeAlias = dict[str, Any]
"""Of the answer: a dotted path or an alias to a str, number, bool or None."""

_Reader: TypeAlias = tuple[str, Callable[[Any], Any]]

_EXACT: Final = 2**53
"""Up to here a double holds every integer."""
_BEYOND_INTEGERS: Final = 2e19
"""Above every integer that an event can hold."""
_COMPARISONS: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


class Line(NamedTuple):
    """A row of the answer, and the unit of the calendar that it is of; 0 where there is none."""

    unit: int
    row: Row


@dataclass(frozen=True, slots=True)
class Statement:
    """``sql`` with ``parameters`` by name; :meth:`line` reads what it returns."""

    sql: str
    parameters: Mapping[str, Any]
    _has_interval: bool
    _columns: tuple[_Reader, ...]

    def line(self, values: Sequence[Any]) -> Line:
        """One row of the database as one of the answer."""
        unit, values = (values[0], values[1:]) if self._has_interval else (0, values)
        return Line(unit, {name: read(value) for (name, read), value in zip(self._columns, values, strict=True)})


class Matching(NamedTuple):
    """``FROM … WHERE …`` with ``parameters`` by name: the events that a query is about, with all their columns."""

    sql: str
    parameters: Mapping[str, Any]


def compile_query(query: Query, source: Source, dialect: Dialect) -> Statement:
    """The statement for ``query``. It returns one row more than an answer may have when there are too many."""
    return _Compiler(dialect, source).compile(query)


def compile_matching(query: Query, source: Source, dialect: Dialect) -> Matching:
    """What :func:`compile_query` would read, without what it would answer: the timeframe and the filters."""
    return _Compiler(dialect, source).matching(query)


class _Compiler:
    """The state of one compilation: the properties and the parameters used so far."""

    def __init__(self, dialect: Dialect, source: Source) -> None:
        self._dialect = dialect
        self._source = source
        self._properties: dict[Path, Column] = {}
        self._parameters = {**source.parameters}

    def compile(self, query: Query) -> Statement:
        calendar = query.calendar
        interval = [f"{self._dialect.unit(calendar, query.span)} AS unit"] if calendar else []
        groups = [self._dialect.scalar(self._column(path)) for path in query.group_by]
        columns = [*groups, *map(self._aggregate, query.aggregates)]
        named = [f"{column} AS c{place}" for place, column in enumerate(columns)]
        matching = self.matching(query)
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
            return f" ORDER BY {', '.join(terms)} LIMIT {query.limit or rows}"
        first = ""
        if query.limit is not None and groups:
            first = f" QUALIFY row_number() OVER (PARTITION BY unit ORDER BY {', '.join(terms)}) <= {query.limit}"
        return f"{first} ORDER BY {', '.join(['unit', *terms])} LIMIT {rows}"

    def matching(self, query: Query) -> Matching:
        """To be called last: the properties that the rest of a statement reads are extracted here as well."""
        conditions = self._all_of(query.filters)
        extracted = [
            f"{expression} AS {name}"
            for column in self._properties.values()
            for name, expression in column.extracts.items()
        ]
        where = " AND ".join([*self._source.conditions, *self._timeframe(query.span)])
        sql = (
            f"FROM (SELECT {', '.join(['*', *extracted])} FROM {self._source.table}"  # noqa: S608 - nor here
            f"{where and f' WHERE {where}'}) WHERE {conditions}"
        )
        return Matching(sql, self._parameters)

    def _timeframe(self, span: Span) -> list[str]:
        bounds = {">=": span.start, "<": span.end}
        return [
            f"{self._dialect.timestamp} {comparison} {self._dialect.moment(self._parameter(moment, 'moment'))}"
            for comparison, moment in bounds.items()
            if moment is not None
        ]

    def _column(self, path: Path) -> Column:
        if path not in self._properties:
            steps = [self._parameter(step, "text") for step in path]
            self._properties[path] = Column(f"p{len(self._properties)}", path, steps)
        return self._properties[path]

    def _aggregate(self, aggregate: Aggregate) -> str:
        if aggregate.path is None:
            return "count(*)"
        dialect, column = self._dialect, self._column(aggregate.path)
        numbers = dialect.value(column, "number")
        match aggregate.function:
            case "distinct":
                return dialect.distinct(dialect.scalar(column))
            case "sum":
                return dialect.finite(dialect.total(numbers))
            case "avg":
                return dialect.finite(f"{dialect.total(numbers)} / count({numbers})")
            case "median":
                return dialect.finite(dialect.percentile(numbers, 0.5))
            case "percentile":
                assert aggregate.percent is not None
                return dialect.finite(dialect.percentile(numbers, aggregate.percent / 100))
            case "min" | "max" as which:
                return dialect.extreme(numbers, which)
            case "count":  # of all events, which has no path
                raise AssertionError(aggregate)

    def _all_of(self, filters: Sequence[Filter]) -> str:
        return " AND ".join(map(self._filter, filters)) or "true"

    def _filter(self, wanted: Filter) -> str:
        if isinstance(wanted, Condition):
            return self._condition(wanted)
        return f"({' OR '.join(f'({self._all_of(each)})' for each in wanted.alternatives) or 'false'})"

    def _condition(self, condition: Condition) -> str:
        """A condition that is NULL or false for what does not match; the caller ANDs them."""
        if condition.value == ():
            return "false"  # nothing is read of the property, and some databases refuse a parameter without use
        column, value = self._column(condition.path), condition.value
        match condition.operator:
            case "exists":
                return f"{'NOT ' if value else ''}({self._dialect.is_missing(column)})"
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
                text = self._dialect.value(column, "text")
                return self._dialect.has_part(text, self._parameter(value, "text"), operator)
            case operator:
                return self._compare(column, _COMPARISONS[operator], value)

    def _equals(self, column: Column, value: Scalar | tuple[Scalar, ...] | None) -> str:
        if value is None:
            return self._dialect.is_missing(column)
        return self._compare(column, "=", value)

    def _compare(self, column: Column, comparison: str, value: Scalar | tuple[Scalar, ...] | None) -> str:
        """Compare with the property as what ``value`` is: one of another type never matches."""
        assert isinstance(value, str | int | float)
        kind, exact = _exactly(value)
        test = f"({self._dialect.value(column, kind)}) {comparison} {self._parameter(exact, kind)}"
        if kind != "integer":
            return test
        # Doubles would call neighbours equal here; a property with a fraction is far enough for them.
        double = f"({self._dialect.value(column, 'number')}) {comparison} {self._parameter(float(value), 'number')}"
        return f"coalesce({test}, {double})"

    def _among(self, column: Column, values: Sequence[Any]) -> str:
        """One of ``values``, which are of one kind."""
        lists: dict[Kind, list[Scalar]] = {}
        for value in values:
            kind, exact = _exactly(value)
            lists.setdefault(kind, []).append(exact)
        tests = [self._dialect.among(column, kind, found, self._parameter) for kind, found in lists.items()]
        return f"({' OR '.join(tests)})"

    def _contains(self, column: Column, value: Any) -> str:
        """A part of a string, or an element of an array."""
        kind, exact = _exactly(value)
        parameter = self._parameter(exact, kind)
        element = self._dialect.has_element(column, kind, parameter)
        if kind != "text":
            return element
        return f"({element} OR {self._dialect.has_part(self._dialect.value(column, 'text'), parameter, 'contains')})"

    def _parameter(self, value: Any, type_: Type) -> str:
        name = f"v{len(self._parameters)}"
        self._parameters[name] = self._dialect.argument(value)
        return self._dialect.parameter(name, type_)


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
