"""The query document, parsed and typed.

:func:`parse_query` turns the ``query`` parameter into a frozen :class:`Query` or raises InvalidQueryError with every
fault, one entry a field. Invariants of what it returns:

* A path is a tuple of one or more non-empty steps, its first never ``id`` or ``timestamp``.
* A condition's value fits its operator: ``exists`` has a bool, ``in`` a tuple of one kind, the text operators a
  str, an ordering a str or a number, ``eq`` and ``neq`` any scalar or None. Numbers are finite and within 64 bits.
* The columns of an answer (groups, then aliases) have distinct names.

Names that the grammar does not know are ignored at the top level, where SDKs let users add their own, and
refused everywhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import json5
import msgspec

from ..._terms import AGGREGATIONS, COUNT_COLUMN, OPERATORS, UNQUERYABLE, Aggregation, Operator
from ...exceptions import ConnectError
from ...rules import MAX_DEPTH, MAX_INTEGER, MAX_NAME_LENGTH, MIN_INTEGER

MAX_QUERY_LENGTH: Final = 65_536
"""Characters of the query parameter: about what a request line can carry."""
MAX_LENIENT_LENGTH: Final = 16_384
"""Characters that are tried as JSON5, whose reader takes 10 µs for each (strict JSON: some nanoseconds)."""

MAX_PARTS: Final = 100
"""Aggregates, conditions or groups in one query, each: far above real queries, and what bounds a statement."""

Path: TypeAlias = tuple[str, ...]
Scalar: TypeAlias = str | int | float | bool


class InvalidQueryError(ConnectError):
    """A query breaks the grammar. ``errors``: ``{field: description}``, at least one."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{field}: {text}" for field, text in self.errors.items()))


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A column of the answer; ``path`` is None for count and for nothing else."""

    alias: str
    function: Aggregation
    path: Path | None


@dataclass(frozen=True, slots=True)
class Condition:
    """What an event must meet. A missing property is None, like an explicit null."""

    path: Path
    operator: Operator
    value: Scalar | tuple[Scalar, ...] | None


@dataclass(frozen=True, slots=True)
class Query:
    """A valid query. ``filters`` are ANDed; ``group_by`` holds each path once, in the order given."""

    select: tuple[Aggregate, ...]
    filters: tuple[Condition, ...] = ()
    group_by: tuple[Path, ...] = ()


def parse_query(text: str | None) -> Query:
    """Read the ``query`` parameter: strict JSON first, then JSON5 as the original service took it."""
    document = _read(text)
    faults = _Faults()
    group_by = _group_by(document.get("groupBy"), faults)
    columns = {dotted(path) for path in group_by}
    select = _select(document.get("select"), columns, faults)
    filters = _filters(document.get("filter"), faults)
    _refuse_time(document, faults)
    faults.raise_any()
    return Query(select, filters, group_by)


def parse_filters(document: object) -> tuple[Condition, ...]:
    """Read what stands under ``filter`` in a query, or ``filters`` in a filtered key. Raises InvalidQueryError."""
    faults = _Faults()
    filters = _filters(document, faults)
    faults.raise_any()
    return filters


def dotted(path: Path) -> str:
    """``("customer", "name")`` as users write it: ``customer.name``."""
    return ".".join(path)


class _Faults:
    """Collects what is wrong, the first description of each field."""

    def __init__(self) -> None:
        self._errors: dict[str, str] = {}

    def add(self, field: str, description: str) -> None:
        self._errors.setdefault(field, description)

    def raise_any(self) -> None:
        if self._errors:
            raise InvalidQueryError(self._errors)


def _read(text: str | None) -> dict[str, Any]:
    if text is None:
        raise InvalidQueryError({"query": "missing: send ?query= with a URL-encoded JSON object"})
    if len(text) > MAX_QUERY_LENGTH:
        raise InvalidQueryError({"query": f"at most {MAX_QUERY_LENGTH:,} characters, not {len(text):,}"})
    try:
        document = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        document = _read_leniently(text, str(error))
    if not isinstance(document, dict):
        raise InvalidQueryError({"query": "a query is a JSON object"})
    return document


def _read_leniently(text: str, reason: str) -> object:
    if len(text) <= MAX_LENIENT_LENGTH:
        try:
            document: object = json5.loads(text)
            msgspec.json.encode(document)  # refuses lone surrogates, which strict JSON has refused already
        except (ValueError, OverflowError, RecursionError):
            pass  # the strict reader's reason is the one that helps
        else:
            return document
    raise InvalidQueryError({"query": f"not JSON: {reason}"})


def _select(document: object, columns: set[str], faults: _Faults) -> tuple[Aggregate, ...]:
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


def _aggregate(alias: str, wanted: object, field: str, faults: _Faults) -> Aggregate | None:
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
    elif (path := _path(target, field, faults)) is not None:
        return Aggregate(alias, function, path)
    return None


def _group_by(document: object, faults: _Faults) -> tuple[Path, ...]:
    if document is None:
        return ()
    names = [document] if isinstance(document, str) else document
    if not isinstance(names, list):
        faults.add("groupBy", "a property or an array of properties")
        return ()
    parsed = (_path(name, "groupBy", faults) for name in names)
    paths = tuple(dict.fromkeys(path for path in parsed if path is not None))
    if len(paths) > MAX_PARTS:
        faults.add("groupBy", f"at most {MAX_PARTS} properties, not {len(paths)}")
    return paths


def _filters(document: object, faults: _Faults) -> tuple[Condition, ...]:
    if document is None:
        return ()
    if not isinstance(document, dict):
        faults.add("filter", 'an object such as {"price": {"gt": 10}}')
        return ()
    conditions: list[Condition] = []
    for name, wanted in document.items():
        field = f"filter.{name}"
        path = _path(name, field, faults)
        if path is not None:
            conditions.extend(_conditions(path, wanted, field, faults))
    if len(conditions) > MAX_PARTS:
        faults.add("filter", f"at most {MAX_PARTS} conditions, not {len(conditions)}")
    return tuple(conditions)


def _conditions(path: Path, wanted: object, field: str, faults: _Faults) -> list[Condition]:
    if isinstance(wanted, list):
        wanted = {"in": wanted}
    elif not isinstance(wanted, dict):
        wanted = {"eq": wanted}
    elif not wanted:
        faults.add(field, 'an operator is missing: a value, or for example {"gt": 10}')
    conditions = []
    value: Any
    for name, value in wanted.items():
        operator = OPERATORS.get(name.lower())
        if operator is None:
            faults.add(field, f"unknown operator {name!r}: {', '.join(dict.fromkeys(OPERATORS.values()))}")
            continue
        complaint = _VALUES[operator](value)
        if complaint:
            faults.add(field, f"{operator} takes {complaint}")
            continue
        conditions.append(Condition(path, operator, tuple(value) if isinstance(value, list) else value))
    return conditions


def _path(name: object, field: str, faults: _Faults) -> Path | None:
    if not isinstance(name, str):
        faults.add(field, "a property is named by a string such as customer.age")
        return None
    path = tuple(name.split("."))
    if not all(path) or len(path) > MAX_DEPTH:
        faults.add(field, f"a property is 1 to {MAX_DEPTH} names joined by dots, none of them empty")
    elif path[0] in UNQUERYABLE:
        what = "timeframe and interval" if path[0] == "timestamp" else "no query"
        faults.add(field, f"{path[0]} is for {what}")
    else:
        return path
    return None


def _refuse_time(document: Mapping[str, Any], faults: _Faults) -> None:
    """The time keys have their place here; this version has no answer for them and says so."""
    for field in ("timeframe", "interval", "timezone"):
        if document.get(field) is not None:
            faults.add(field, "not supported by this version of the server")


def _scalar(value: object) -> str:
    return "" if value is None or isinstance(value, str | bool) or _is_number(value) else _A_SCALAR


def _ordered(value: object) -> str:
    return "" if isinstance(value, str) or _is_number(value) else "a string or a number within 64 bits"


def _text(value: object) -> str:
    return "" if isinstance(value, str) else "a string"


def _flag(value: object) -> str:
    return "" if isinstance(value, bool) else "true or false"


def _one_kind(value: object) -> str:
    if isinstance(value, list):
        kinds = {"number" if _is_number(item) else type(item) for item in value}
        if len(kinds) <= 1 and kinds <= {"number", str, bool}:
            return ""
    return "an array of strings, of numbers or of booleans"


def _is_number(value: object) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return MIN_INTEGER <= value <= MAX_INTEGER
    return isinstance(value, float) and math.isfinite(value)


_A_SCALAR: Final = "a string, a number within 64 bits, true, false or null"
_VALUES: Final[Mapping[Operator, Callable[[object], str]]] = {
    "eq": _scalar,
    "neq": _scalar,
    "gt": _ordered,
    "gte": _ordered,
    "lt": _ordered,
    "lte": _ordered,
    "exists": _flag,
    "startsWith": _text,
    "endsWith": _text,
    "contains": _text,
    "in": _one_kind,
}
"""For each operator: what is wrong with a value, as what it takes instead; empty when nothing is."""
