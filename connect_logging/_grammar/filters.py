"""What stands under ``filter`` in a query, or ``filters`` in a filtered key."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from .._terms import OPERATORS, Operator
from ..rules import MAX_INTEGER, MIN_INTEGER
from .model import AnyOf, Condition, Filter, Path
from .reading import MAX_PARTS, Faults, read_path

MAX_NESTING: Final = 10
"""``or`` inside each other."""
MAX_VALUES: Final = 10_000
"""Of ``in``."""


def parse_filters(document: object) -> tuple[Filter, ...]:
    """The filters of a document, which are ANDed. Raises InvalidQueryError."""
    faults = Faults()
    filters = read_filters(document, faults)
    faults.raise_any()
    return filters


def read_filters(document: object, faults: Faults) -> tuple[Filter, ...]:
    """As :func:`parse_filters`, with what is wrong in ``faults``."""
    if document is None:
        return ()
    reader = _Reader(faults)
    filters = reader.all_of(document, "filter", 0)
    if reader.parts > MAX_PARTS:
        faults.add("filter", f"at most {MAX_PARTS} conditions and alternatives, not {reader.parts}")
    return filters


class _Reader:
    """``parts``: conditions and alternatives read so far, over all levels."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.parts = 0

    def all_of(self, document: object, field: str, depth: int) -> tuple[Filter, ...]:
        if not isinstance(document, dict):
            self._faults.add(field, 'an object such as {"price": {"gt": 10}}')
            return ()
        filters: list[Filter] = []
        for name, wanted in document.items():
            inside = f"{field}.{name}"
            if name == "or" and isinstance(wanted, list) and any(isinstance(each, dict) for each in wanted):
                filters.append(self._any_of(wanted, inside, depth + 1))
            elif (path := read_path(name, inside, self._faults)) is not None:
                filters.extend(self._conditions(path, wanted, inside))
        return tuple(filters)

    def _any_of(self, documents: list[object], field: str, depth: int) -> AnyOf:
        """An array without objects is a list of values of a property that happens to be called ``or``."""
        if depth > MAX_NESTING:
            self._faults.add(field, f"at most {MAX_NESTING} or inside each other")
            return AnyOf(())
        self.parts += len(documents)
        return AnyOf(tuple(self.all_of(each, f"{field}.{place}", depth) for place, each in enumerate(documents)))

    def _conditions(self, path: Path, wanted: object, field: str) -> list[Condition]:
        if isinstance(wanted, list):
            wanted = {"in": wanted}
        elif not isinstance(wanted, dict):
            wanted = {"eq": wanted}
        elif not wanted:
            self._faults.add(field, 'an operator is missing: a value, or for example {"gt": 10}')
        self.parts += len(wanted)
        conditions = []
        value: Any
        for name, value in wanted.items():
            operator = OPERATORS.get(name.lower()) if isinstance(name, str) else None
            if operator is None:
                known = ", ".join(dict.fromkeys(OPERATORS.values()))
                self._faults.add(field, f"unknown operator {name!r}: {known}")
            elif complaint := _VALUES[operator](value):
                self._faults.add(field, f"{operator} takes {complaint}")
            else:
                conditions.append(Condition(path, operator, tuple(value) if isinstance(value, list) else value))
        return conditions


def _scalar(value: object) -> str:
    return "" if value is None or isinstance(value, str | bool) or _is_number(value) else _A_SCALAR


def _ordered(value: object) -> str:
    return "" if isinstance(value, str) or _is_number(value) else "a string or a number within 64 bits"


def _text(value: object) -> str:
    return "" if isinstance(value, str) else "a string"


def _flag(value: object) -> str:
    return "" if isinstance(value, bool) else "true or false"


def _element(value: object) -> str:
    return "a string, a number within 64 bits, true or false" if value is None else _scalar(value)


def _one_kind(value: object) -> str:
    if isinstance(value, list) and len(value) <= MAX_VALUES:
        kinds = {"number" if _is_number(item) else type(item) for item in value}
        if len(kinds) <= 1 and kinds <= {"number", str, bool}:
            return ""
    return f"an array of strings, of numbers or of booleans, at most {MAX_VALUES:,} of them"


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
    "contains": _element,
    "in": _one_kind,
}
"""For each operator: what is wrong with a value, as what it takes instead; empty when nothing is."""
