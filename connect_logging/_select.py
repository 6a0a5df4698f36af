"""What is computed of the events of a row, and how rows are ordered."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

Direction: TypeAlias = Literal["asc", "desc"]


class Aggregate(msgspec.Struct, frozen=True):
    """``document``: as a query's ``select`` has it under an alias."""

    document: Any


class Order(msgspec.Struct, frozen=True):
    """``column``: an alias, or a path of ``group_by``."""

    column: str
    direction: Direction


def count() -> Aggregate:
    """The number of events."""
    return Aggregate("count")


def sum(path: str) -> Aggregate:
    """The sum of the numbers under ``path``; None when there are none, as with all that follow."""
    return Aggregate({"sum": path})


def avg(path: str) -> Aggregate:
    """Their mean."""
    return Aggregate({"avg": path})


def min(path: str) -> Aggregate:
    """The least of them."""
    return Aggregate({"min": path})


def max(path: str) -> Aggregate:
    """The greatest of them."""
    return Aggregate({"max": path})


def median(path: str) -> Aggregate:
    """Their median."""
    return Aggregate({"median": path})


def percentile(path: str, p: float) -> Aggregate:
    """What ``p`` per cent of them do not exceed; between two of them, in proportion."""
    return Aggregate({"percentile": {"property": path, "p": p}})


def distinct(path: str) -> Aggregate:
    """How many different strings, numbers and booleans there are; 0 when there are none."""
    return Aggregate({"distinct": path})


def asc(column: str) -> Order:
    """Ascending, rows without a value last."""
    return Order(column, "asc")


def desc(column: str) -> Order:
    """Descending, rows without a value last."""
    return Order(column, "desc")
