"""DuckDB's dialect."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Literal

from ..._grammar.calendars import Calendar
from ..._grammar.model import Path, Scalar, Span
from .clocks import Times, clocks_within, unit_of
from .dialect import Column, Kind, Type

_NUMERIC: Final = "('UINT64', 'INT64', 'DOUBLE')"
_NATIVE: Final = {"UINT64": "UBIGINT", "INT64": "BIGINT", "DOUBLE": "DOUBLE", "VARCHAR": "VARCHAR"}
"""By a type of a VARIANT, that of a column which holds such values alone."""
_NO: Final = {"text": "NULL::VARCHAR", "number": "NULL::DOUBLE", "integer": "NULL::HUGEINT", "boolean": "NULL::BOOLEAN"}


class DuckDBDialect:
    """DuckDB 2: events in a VARIANT column ``doc``, whose numbers are UINT64, INT64 or DOUBLE.

    ``types``: the types that the values of a property have among the events that are asked, and maybe more; None when
    that is not known. Asking each value for its type takes thirty times as long as reading one that is known: only then
    does DuckDB read a column of its own for the property.

    ``times``: see :data:`.clocks.Times`.
    """

    def __init__(
        self,
        types: Callable[[Path], Collection[str] | None] = lambda path: None,
        times: Callable[[], Times] = lambda: (None, None),
    ) -> None:
        self._types = types
        self._times = times

    timestamp = "timestamp"

    def parameter(self, name: str, type_: Type) -> str:
        """Its type is the value's."""
        return f"${name}"

    def argument(self, value: Any) -> Any:
        """The value."""
        return value

    def moment(self, parameter: str) -> str:
        """A TIMESTAMP."""
        return f"make_timestamp({parameter})"

    def is_missing(self, column: Column) -> str:
        """A VARIANT that is JSON's null is NULL."""
        return f"{_extracted(column)} IS NULL"

    def among(self, column: Column, kind: Kind, values: Sequence[Scalar], parameter: Callable[[Any, Type], str]) -> str:
        """A list, as a long chain of ORs is refused."""
        return f"({self.value(column, kind)}) IN ({', '.join(parameter(value, kind) for value in values)})"

    def has_part(self, text: str, part: str, place: Literal["contains", "startsWith", "endsWith"]) -> str:
        """Without patterns."""
        function = {"contains": "contains", "startsWith": "starts_with", "endsWith": "ends_with"}[place]
        return f"{function}({text}, {part})"

    def distinct(self, scalar: str) -> str:
        """Exactly."""
        return f"count(DISTINCT {scalar})"

    def extreme(self, numbers: str, which: Literal["min", "max"]) -> str:
        """As everywhere."""
        return f"{which}({numbers})"

    def value(self, column: Column, kind: Kind) -> str:
        """Guarded by the type where there may be several, as a cast would read booleans and strings for numbers."""
        only = self._only(column)
        name = _extracted(column)
        return _guarded(name, kind) if only is None else _native(name, kind, only)

    def _only(self, column: Column) -> str | None:
        """The type of a column of the database that could hold all values of the property, if there is one."""
        types = {*(self._types(column.path) or ())}
        if len(types) == 1:
            return _NATIVE.get(*types)
        return None

    def has_element(self, column: Column, kind: Kind, value: str) -> str:
        """By way of JSON: reading elements as VARIANT took 150 times as long."""
        name = _extracted(column)  # also where it is not read: DuckDB refuses parameters without use
        if self._only(column):
            return f"{value} IS NULL"  # which it is not
        read = {
            "text": "CASE WHEN json_type(x) = 'VARCHAR' THEN x->>'$' END",
            "number": "CASE WHEN json_type(x) IN ('UBIGINT', 'BIGINT', 'DOUBLE') THEN x::DOUBLE END",
            "integer": "CASE WHEN json_type(x) IN ('UBIGINT', 'BIGINT') THEN x::HUGEINT"
            " WHEN json_type(x) = 'DOUBLE' AND abs(x::DOUBLE) < 2e19 THEN x::DOUBLE::HUGEINT END",
            "boolean": "CASE WHEN json_type(x) = 'BOOLEAN' THEN x::BOOLEAN END",
        }[kind]
        elements = f"CASE WHEN starts_with(variant_typeof({name}), 'ARRAY(') THEN ({name}::JSON)::JSON[] END"
        return f"list_contains(list_transform({elements}, lambda x: {read}), {value})"

    def scalar(self, column: Column) -> str:
        """JSON text; an array or object, which cannot be queried, counts as missing."""
        name = _extracted(column)
        integer = f"({self.value(column, 'integer')})::VARCHAR"
        match self._only(column):
            case "VARCHAR":
                return f"to_json({name}::VARCHAR)::VARCHAR"
            case "DOUBLE":
                return f"coalesce({integer}, {name}::VARCHAR)"
            case "UBIGINT" | "BIGINT":
                return integer
            case _:
                return (
                    f"CASE WHEN variant_typeof({name}) = 'VARCHAR' THEN to_json({name}::VARCHAR)::VARCHAR"
                    f" WHEN variant_typeof({name}) IN {_NUMERIC} THEN coalesce({integer}, {name}::VARCHAR)"
                    f" ELSE ({self.value(column, 'boolean')})::VARCHAR END"
                )

    def sort_keys(self, scalar: str) -> Sequence[str]:
        """Only numbers can be cast; integers that are equal as doubles are told apart."""
        is_text = f"starts_with({scalar}, '\"')"
        kind = f"CASE WHEN {is_text} THEN 1 WHEN {scalar} IN ('true', 'false') THEN 2 ELSE 0 END"
        return (
            f"CASE WHEN {scalar} IS NOT NULL THEN {kind} END",
            f"TRY_CAST({scalar} AS DOUBLE)",
            f"TRY_CAST({scalar} AS HUGEINT)",
            f"CASE WHEN {is_text} THEN {scalar}->>'$' ELSE {scalar} END",
        )

    def total(self, numbers: str) -> str:
        """Compensated (Kahan) summation."""
        return f"fsum({numbers})"

    def percentile(self, numbers: str, fraction: float) -> str:
        """Exact."""
        return f"quantile_cont({numbers}, {fraction!r})"

    def finite(self, number: str) -> str:
        """A comparison, which NaN does not pass either: it is above everything."""
        return f"CASE WHEN isfinite({number}) THEN {number} END"

    def unit(self, calendar: Calendar, span: Span) -> str:
        """See :meth:`.dialect.Dialect.unit`."""
        clocks = clocks_within(calendar, span, self._times)
        return unit_of("epoch_us(timestamp)", calendar, clocks, _divided, _months)


def extraction(steps: Sequence[str]) -> str:
    """A property. Nested calls: a single one does not take a path, and so a parameter can never be read as one."""
    return "variant_extract(" * len(steps) + "doc" + "".join(f", {step})" for step in steps)


def _divided(number: str, by: int) -> str:
    return f"({number}) // {by}"


def _months(time: str) -> str:
    local = f"make_timestamp({time})"
    return f"year({local}) * 12 + month({local}) - 1"


def _extracted(column: Column) -> str:
    return column.extract("", extraction(column.steps))


def _guarded(name: str, kind: Kind) -> str:
    match kind:
        case "text":
            # Tried, as DuckDB may cast before it looks at the type; and an object with two names alike has no text.
            return f"CASE WHEN variant_typeof({name}) = 'VARCHAR' THEN TRY_CAST({name} AS VARCHAR) END"
        case "number":
            return f"CASE WHEN variant_typeof({name}) IN {_NUMERIC} THEN TRY_CAST({name} AS DOUBLE) END"
        case "integer":
            return (
                f"CASE WHEN variant_typeof({name}) IN ('UINT64', 'INT64') THEN TRY_CAST({name} AS HUGEINT)"
                f" WHEN variant_typeof({name}) = 'DOUBLE' THEN {_integer(f'TRY_CAST({name} AS DOUBLE)')} END"
            )
        case _:  # a boolean, of which the type alone is the value
            return f"CASE variant_typeof({name}) WHEN 'BOOL_TRUE' THEN true WHEN 'BOOL_FALSE' THEN false END"


def _native(name: str, kind: Kind, only: str) -> str:
    value = f"TRY_CAST({name} AS {only})"
    match kind, only:
        case "text", "VARCHAR":
            return value
        case "number", "UBIGINT" | "BIGINT" | "DOUBLE":
            return f"{value}::DOUBLE"
        case "integer", "UBIGINT" | "BIGINT":
            return f"{value}::HUGEINT"
        case "integer", "DOUBLE":
            return _integer(value)
        case _:
            return _NO[kind]


def _integer(double: str) -> str:
    """A double without a fraction, exactly."""
    return f"CASE WHEN trunc({double}) = {double} AND abs({double}) < 2e19 THEN {double}::HUGEINT END"
