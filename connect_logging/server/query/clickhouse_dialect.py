"""ClickHouse's dialect.

A property is read from ``doc``, a column of type JSON, when all steps of its path are plain names: a statement then
reads nothing but the columns that ClickHouse has made of that property, by type. What ``doc`` does not tell (whether
there is an object, what is in an array, exactly) and all other properties are taken from ``raw``, the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Literal

from ..._grammar.calendars import WIDTHS, Calendar
from ..._grammar.model import Scalar, Span
from .clocks import Times, clocks_within, unit_of
from .dialect import Column, Kind, Type

_PLAIN: Final = re.compile("[A-Za-z_][A-Za-z0-9_]{0,63}")
"""Names that stand in a statement, quoted."""
_TYPES: Final[dict[Type, str]] = {
    "text": "String", "number": "Float64", "integer": "Int128", "boolean": "Bool", "moment": "Int64",
    "texts": "Array(String)", "numbers": "Array(Float64)", "integers": "Array(Int128)", "booleans": "Array(Bool)",
}  # fmt: skip
_LONGEST: Final = 65_530
"""Bytes of a text that no event has: what is longer is cut, which changes no answer, to what ClickHouse takes in one
parameter, 128 KiB with each character escaped."""
_LONGEST_LIST: Final = 120_000
"""Bytes of a list in one parameter, unless it has a single value."""
_LISTS: Final[dict[Kind, Type]] = {
    "text": "texts", "number": "numbers", "integer": "integers", "boolean": "booleans"
}  # fmt: skip
_SCALARS: Final = "'String', 'Int64', 'UInt64', 'Bool'"
"""Types whose text is the scalar."""
_DAY: Final = WIDTHS["day"]


class ClickHouseDialect:
    """``times``: see :data:`.clocks.Times`."""

    def __init__(self, times: Callable[[], Times] = lambda: (None, None)) -> None:
        self._times = times

    timestamp = "timestamp"

    def parameter(self, name: str, type_: Type) -> str:
        """With its type."""
        return f"{{{name}:{_TYPES[type_]}}}"

    def argument(self, value: Any) -> Any:
        """A text that is not too long."""
        if isinstance(value, str) and len(value) > _LONGEST // 4:
            return value.encode()[:_LONGEST].decode(errors="ignore")
        return value

    def moment(self, parameter: str) -> str:
        """As it is."""
        return parameter

    def is_missing(self, column: Column) -> str:
        """Of an object ``doc`` knows the properties alone."""
        if not _is_plain(column):
            return f"({type_of(column)} = 'Null')"
        kind = column.extract("k", f"dynamicType({_native(column)})")
        return column.extract("m", f"if({kind} = 'None', JSONType({_raw(column)}) != 'Object', false)")

    def value(self, column: Column, kind: Kind) -> str:
        """By the column that ``doc`` has of each type, or by the text."""
        return (_value_of_doc if _is_plain(column) else value_of_raw)(column, kind)

    def among(self, column: Column, kind: Kind, values: Sequence[Scalar], parameter: Callable[[Any, Type], str]) -> str:
        """Sets, each of a parameter; a set has two zeros, which a sum has not."""
        value = self.value(column, kind)
        if kind == "number":
            value, values = f"{value} + 0.0", [float(each) + 0.0 for each in values]
        tests = [f"({value}) IN {parameter(part, _LISTS[kind])}" for part in _parts(map(self.argument, values))]
        return f"({' OR '.join(tests)})"

    def has_element(self, column: Column, kind: Kind, value: str) -> str:
        """Elements are JSON texts."""
        double = "toFloat64OrNull(x)"
        read = {
            "text": "if(startsWith(x, '\"'), JSONExtractString(x), NULL)",
            "number": double,
            "integer": f"coalesce(toInt128OrNull(x), {_integer(double)})",
            "boolean": "multiIf(x = 'true', true, x = 'false', false, NULL)",
        }[kind]
        return f"arrayExists(x -> ifNull({read} = {value}, false), {_elements(column)})"

    def has_part(self, text: str, part: str, place: Literal["contains", "startsWith", "endsWith"]) -> str:
        """Without patterns."""
        return f"position({text}, {part}) > 0" if place == "contains" else f"{place}({text}, {part})"

    def scalar(self, column: Column) -> str:
        """JSON text. Nothing is computed for events whose property is of another type."""
        if not _is_plain(column):
            type_, text = type_of(column), text_of(column)
            double = _double_as_scalar(value_of_raw(column, "number"))
            return f"multiIf({type_} = 'Double', {double}, {type_} IN ({_SCALARS}), {text}, NULL)"
        text, boolean = self.value(column, "text"), self.value(column, "boolean")
        double, *wholes = _numbers(column)
        cases = [
            f"{text} IS NOT NULL, toJSONString({text})",
            *(f"{whole} IS NOT NULL, toString({whole})" for whole in wholes),
            f"{double} IS NOT NULL, {_double_as_scalar(double)}",
            f"{boolean} IS NOT NULL, toString({boolean})",
        ]
        return f"multiIf({', '.join(cases)}, NULL)"

    def sort_keys(self, scalar: str) -> Sequence[str]:
        """Only numbers can be cast; integers that are equal as doubles are told apart."""
        is_text = f"startsWith({scalar}, '\"')"
        kind = f"multiIf({is_text}, 1, {scalar} IN ('true', 'false'), 2, 0)"
        return (
            f"if({scalar} IS NOT NULL, {kind}, NULL)",
            f"toFloat64OrNull({scalar})",
            f"toInt128OrNull({scalar})",
            f"if({is_text}, JSONExtractString(assumeNotNull({scalar})), {scalar})",
        )

    def distinct(self, scalar: str) -> str:
        """Exactly."""
        return f"uniqExact({scalar})"

    def total(self, numbers: str) -> str:
        """Compensated (Kahan) summation."""
        return f"sumKahanOrNull({numbers})"

    def extreme(self, numbers: str, which: Literal["min", "max"]) -> str:
        """NULL for none only if that is asked for."""
        return f"{which}OrNull({numbers})"

    def percentile(self, numbers: str, fraction: float) -> str:
        """Exact. Of numbers so far apart that their difference is no double any more, the halves are taken."""
        whole, halves = (f"quantileExactInclusiveOrNull({fraction!r})({each})" for each in (numbers, f"{numbers} / 2"))
        return f"if(isFinite({whole}), {whole}, 2 * {halves})"

    def finite(self, number: str) -> str:
        """What NULL is is not finite."""
        return f"if(isFinite({number}), {number}, NULL)"

    def unit(self, calendar: Calendar, span: Span) -> str:
        """See :meth:`.dialect.Dialect.unit`."""
        return unit_of("timestamp", calendar, clocks_within(calendar, span, self._times), _divided, months)


def type_of(column: Column) -> str:
    """What JSON's text has there: a name of ``JSONType``."""
    return column.extract("k", f"JSONType({_raw(column)})")


def text_of(column: Column) -> str:
    """JSON's text there; a number without a fraction has no ``.0`` in it."""
    return column.extract("x", f"JSONExtractRaw({_raw(column)})")


def value_of_raw(column: Column, kind: Kind) -> str:
    """See :meth:`ClickHouseDialect.value`."""
    type_, text = type_of(column), text_of(column)
    match kind:
        case "text":
            return column.extract("t", f"if({type_} = 'String', JSONExtractString({text}), NULL)")
        case "number":
            is_number = f"{type_} IN ('Double', 'Int64', 'UInt64')"
            return column.extract("n", f"if({is_number}, toFloat64OrNull({text}), NULL)")
        case "integer":
            double = value_of_raw(column, "number")
            return column.extract("i", f"coalesce(toInt128OrNull({text}), {_integer(double)})")
        case "boolean":
            return column.extract("b", f"if({type_} = 'Bool', {text} = 'true', NULL)::Nullable(Bool)")


def _value_of_doc(column: Column, kind: Kind) -> str:
    native = _native(column)
    match kind:
        case "text":
            return column.extract("t", f"{native}.:String")
        case "boolean":
            return column.extract("b", f"{native}.:Bool")
    double, signed, unsigned = _numbers(column)
    if kind == "number":
        return column.extract("n", f"coalesce({double}, toFloat64({signed}), toFloat64({unsigned}))")
    return column.extract("i", f"coalesce(toInt128({signed}), toInt128({unsigned}), {_integer(double)})")


def _numbers(column: Column) -> tuple[str, str, str]:
    """The columns that ``doc`` has of doubles, and of integers below and above 2**63."""
    native = _native(column)
    return (
        column.extract("d", f"{native}.:Float64"),
        column.extract("s", f"{native}.:Int64"),
        column.extract("u", f"{native}.:UInt64"),
    )


def _elements(column: Column) -> str:
    if _is_plain(column):
        kind = column.extract("k", f"dynamicType({_native(column)})")
        return column.extract("a", f"if(startsWith({kind}, 'Array('), JSONExtractArrayRaw({_raw(column)}), [])")
    return column.extract("a", f"if({type_of(column)} = 'Array', JSONExtractArrayRaw({text_of(column)}), [])")


def _parts(values: Iterable[Scalar]) -> Iterator[list[Scalar]]:
    """Lists that are not too long, each for a parameter."""
    part: list[Scalar] = []
    size = 0
    for value in values:
        more = 4 + (2 * len(value.encode()) if isinstance(value, str) else len(repr(value)))
        if part and size + more > _LONGEST_LIST:
            yield part
            part, size = [], 0
        part.append(value)
        size += more
    yield part


def _is_plain(column: Column) -> bool:
    return all(map(_PLAIN.fullmatch, column.path))


def _native(column: Column) -> str:
    return "doc." + ".".join(f"`{step}`" for step in column.path)


def _raw(column: Column) -> str:
    return ", ".join(["raw", *column.steps])


def _divided(number: str, by: int) -> str:
    return f"intDiv({number}, {by})"


def months(time: str) -> str:
    """The months from the year 0 to ``time``, microseconds since 1970, which begins after the year 0.

    By arithmetic, as ClickHouse's types of time do not reach all years that events may have.
    The civil calendar, counted from a March, so that a leap day is a year's last; in eras of 400 years. ClickHouse
    lets any expression have a name, which may be used elsewhere in the statement.
    """
    days = f"(intDiv({time} + {_DAY * 719_468}, {_DAY}) AS unit_days)"
    day = f"({days} % 146097 AS unit_day)"
    leaps = "intDiv(unit_day, 1460) - intDiv(unit_day, 36524) + intDiv(unit_day, 146096)"
    year = f"(intDiv({day} - ({leaps}), 365) AS unit_year)"
    day_of_year = f"unit_day - 365 * {year} - intDiv(unit_year, 4) + intDiv(unit_year, 100)"
    month = f"intDiv(5 * ({day_of_year}) + 2, 153)"
    return f"({month} + 2 + 12 * (unit_year + 400 * intDiv(unit_days, 146097)))"


def _integer(double: str) -> str:
    """A double without a fraction, exactly."""
    return f"if(trunc({double}) = {double} AND abs({double}) < 2e19, toInt128({double}), NULL)"


def _double_as_scalar(double: str) -> str:
    """Like the integer that it equals; above all integers never like one."""
    is_whole = f"trunc({double}) = {double}"
    as_double = f"concat(toString({double}), if({is_whole} AND abs({double}) < 1e21, '.0', ''))"
    return f"if({is_whole} AND abs({double}) < 2e19, toString(toInt128({double})), {as_double})"
