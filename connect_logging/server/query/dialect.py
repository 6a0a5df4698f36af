"""How one database reads a property of an event. The compiler writes everything else, which all of them share.

A *column* below is a property that the compiler has extracted. Every expression is NULL when the property is missing,
null or of another kind, and holds no text that came from a user.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from ..._grammar.calendars import FIRST, MONTHS, WIDTHS, Calendar
from ..._grammar.model import Path, Span
from ..._grammar.zones import Segment

Kind: TypeAlias = Literal["text", "number", "integer", "boolean"]
"""As what a property is read: a string in binary collation; any number, as a double; exactly, when it is a number
without a fraction and within 64 bits; true or false."""


class Column(NamedTuple):
    """The name under which a property has been extracted, and its path in events."""

    name: str
    path: Path


class Dialect(Protocol):
    """The expressions that differ between databases."""

    timestamp: str
    """The column with the time of an event."""
    moment: str
    """Microseconds since 1970, given as a parameter, as something to compare ``timestamp`` with."""

    def extract(self, depth: int) -> str:
        """The property ``depth`` steps down in an event, with one parameter a step, outermost first."""

    def value(self, column: Column, kind: Kind) -> str:
        """The property when it is of that kind."""

    def has_element(self, column: Column, kind: Kind, value: str) -> str:
        """Whether the property is an array of which an element, read as ``kind``, is ``value``, a parameter."""

    def scalar(self, column: Column) -> str:
        """A string, number or boolean as JSON text. Equal numbers give equal text: ``1`` for 1 and 1.0."""

    def sort_keys(self, scalar: str) -> Sequence[str]:
        """What orders scalars, given as that text: numbers, strings by code points, false, true."""

    def total(self, numbers: str) -> str:
        """The sum of an expression of doubles, with little rounding, NULL when there are none."""

    def percentile(self, numbers: str, fraction: float) -> str:
        """Where ``fraction`` of an expression of doubles lies below, between ranks by linear interpolation."""

    def finite(self, number: str) -> str:
        """A double, or NULL for an infinity or none: JSON has no such numbers."""

    def unit(self, calendar: Calendar, span: Span) -> str:
        """The number of the unit that an event's time is in, which is within ``span``."""


_BEFORE: Final = 2**60
"""Microseconds by which times are moved, from where all that there are come to be after 1970."""
_NUMERIC: Final = "('UINT64', 'INT64', 'DOUBLE')"


_NATIVE: Final = {"UINT64": "UBIGINT", "INT64": "BIGINT", "DOUBLE": "DOUBLE", "VARCHAR": "VARCHAR"}
"""By a type of a VARIANT, that of a column which holds such values alone."""
_NO: Final = {"text": "NULL::VARCHAR", "number": "NULL::DOUBLE", "integer": "NULL::HUGEINT", "boolean": "NULL::BOOLEAN"}


class DuckDBDialect:
    """DuckDB 2: events in a VARIANT column ``doc``, whose numbers are UINT64, INT64 or DOUBLE.

    ``types``: the types that the values of a property have among the events that are asked, and maybe more; None when
    that is not known. Asking each value for its type takes thirty times as long as reading one that is known: only then
    does DuckDB read a column of its own for the property.

    ``times``: of the first and the last event that are asked, or maybe from earlier to later; None when not known.
    """

    def __init__(
        self,
        types: Callable[[Path], Collection[str] | None] = lambda path: None,
        times: Callable[[], tuple[int | None, int | None]] = lambda: (None, None),
    ) -> None:
        self._types = types
        self._times = times

    timestamp = "timestamp"
    moment = "make_timestamp(?)"

    def extract(self, depth: int) -> str:
        """Nested calls: a single one does not take a path, and so a parameter can never be read as one."""
        return "variant_extract(" * depth + "doc" + ", ?)" * depth

    def value(self, column: Column, kind: Kind) -> str:
        """Guarded by the type where there may be several, as a cast would read booleans and strings for numbers."""
        only = self._only(column)
        return _guarded(column.name, kind) if only is None else _native(column.name, kind, only)

    def _only(self, column: Column) -> str | None:
        """The type of a column of the database that could hold all values of the property, if there is one."""
        types = {*(self._types(column.path) or ())}
        if len(types) == 1:
            return _NATIVE.get(*types)
        return None

    def has_element(self, column: Column, kind: Kind, value: str) -> str:
        """By way of JSON: reading elements as VARIANT took 150 times as long."""
        if self._only(column):
            return f"{value} IS NULL"  # which it is not
        read = {
            "text": "CASE WHEN json_type(x) = 'VARCHAR' THEN x->>'$' END",
            "number": "CASE WHEN json_type(x) IN ('UBIGINT', 'BIGINT', 'DOUBLE') THEN x::DOUBLE END",
            "integer": "CASE WHEN json_type(x) IN ('UBIGINT', 'BIGINT') THEN x::HUGEINT"
            " WHEN json_type(x) = 'DOUBLE' AND abs(x::DOUBLE) < 2e19 THEN x::DOUBLE::HUGEINT END",
            "boolean": "CASE WHEN json_type(x) = 'BOOLEAN' THEN x::BOOLEAN END",
        }[kind]
        elements = (
            f"CASE WHEN starts_with(variant_typeof({column.name}), 'ARRAY(') THEN ({column.name}::JSON)::JSON[] END"
        )
        return f"list_contains(list_transform({elements}, lambda x: {read}), {value})"

    def scalar(self, column: Column) -> str:
        """JSON text; an array or object, which cannot be queried, counts as missing."""
        name = column.name
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
        """Our own arithmetic, by which the time zone is the same as where the bounds are computed.

        The clocks are those of the times that there are: to look through the changes of 200 years takes longer than
        all the rest. Division is towards zero, and so of positive numbers.
        """
        start, end = self._times()
        clocks = calendar.clocks(_latest(span.start, start), _earliest(span.end, end))
        width = WIDTHS.get(calendar.unit)
        if width:
            before = _BEFORE // width
            moved = before * width - FIRST[calendar.unit]
            return f"(epoch_us(timestamp) + {_offset(clocks, moved)}) // {width} - {before}"
        local = f"make_timestamp(epoch_us(timestamp) + {_offset(clocks)})"
        return f"(year({local}) * 12 + month({local}) - 1) // {MONTHS[calendar.unit]}"


def _guarded(name: str, kind: Kind) -> str:
    match kind:
        case "text":
            return f"CASE WHEN variant_typeof({name}) = 'VARCHAR' THEN {name}::VARCHAR END"
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


def _offset(segments: Sequence[Segment], more: int = 0) -> str:
    """By how much a clock is ahead, and ``more``: a search by halves."""
    if len(segments) == 1:
        return str(segments[0][1] + more)
    half = len(segments) // 2
    earlier, later = _offset(segments[:half], more), _offset(segments[half:], more)
    return f"CASE WHEN epoch_us(timestamp) < {segments[half][0]} THEN {earlier} ELSE {later} END"


def _latest(one: int | None, other: int | None) -> int | None:
    return max((each for each in (one, other) if each is not None), default=None)


def _earliest(one: int | None, other: int | None) -> int | None:
    return min((each for each in (one, other) if each is not None), default=None)
