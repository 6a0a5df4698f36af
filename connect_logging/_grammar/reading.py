"""What all who read a part of a document share: faults by field, paths, and whole numbers."""

from __future__ import annotations

from typing import Final

from .._terms import UNQUERYABLE
from ..exceptions import InvalidQueryError
from ..rules import MAX_DEPTH
from .model import Path

MAX_PARTS: Final = 100
"""Aggregates, conditions or groups in one query, each: far above real queries, and what bounds a statement."""


class Faults:
    """Collects what is wrong, the first description of each field."""

    def __init__(self) -> None:
        self._errors: dict[str, str] = {}

    def add(self, field: str, description: str) -> None:
        """``description`` says what the field takes instead."""
        self._errors.setdefault(field, description)

    def raise_any(self) -> None:
        """Raise InvalidQueryError when there are faults."""
        if self._errors:
            raise InvalidQueryError(self._errors)


def read_whole(value: object) -> int | None:
    """A whole number, of which JSON knows no difference between 3 and 3.0; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_path(name: object, field: str, faults: Faults) -> Path | None:
    """A property as a query names it, or None and a fault."""
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
