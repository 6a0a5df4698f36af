"""A valid query: frozen and typed. Nothing here reads a document; :mod:`.documents` makes these.

Invariants:

* A path is a tuple of one or more non-empty steps, its first never ``id`` or ``timestamp``.
* A condition's value fits its operator: ``exists`` has a bool, ``in`` a tuple of one kind, ``startsWith`` and
  ``endsWith`` a str, ``contains`` a scalar, an ordering a str or a number, ``eq`` and ``neq`` any scalar or None.
  Numbers are finite and within 64 bits.
* The columns of an answer (groups, then aliases) have distinct names.
* Moments are microseconds since 1970 in UTC.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from .._terms import COUNT_COLUMN, INTERVALS, Aggregation, Operator
from .calendars import Calendar
from .zones import UNIVERSAL, Zone

Path: TypeAlias = tuple[str, ...]
Scalar: TypeAlias = str | int | float | bool


class Aggregate(msgspec.Struct, frozen=True):
    """A column of the answer; ``path`` is None for count and for nothing else, as is ``percent`` but for percentile."""

    alias: str
    function: Aggregation
    path: Path | None
    percent: float | None = None


class Condition(msgspec.Struct, frozen=True):
    """What an event must meet. A missing property is None, like an explicit null."""

    path: Path
    operator: Operator
    value: Scalar | tuple[Scalar, ...] | None


class AnyOf(msgspec.Struct, frozen=True):
    """At least one of ``alternatives`` must be met, and of that each filter; one without filters always is."""

    alternatives: tuple[tuple[Filter, ...], ...]


Filter: TypeAlias = Condition | AnyOf


class Span(msgspec.Struct, frozen=True):
    """The time from ``start``, inclusive, to ``end``, exclusive; None: without bound."""

    start: int | None = None
    end: int | None = None


class Order(msgspec.Struct, frozen=True):
    """By which column of the answer rows are ordered: its place among groups and aliases."""

    column: int
    descending: bool = False


class Query(msgspec.Struct, frozen=True):
    """A valid query. ``filters`` are ANDed; ``group_by`` holds each path once, in the order given.

    ``interval``: its name. ``zone``: as it was asked for. ``non_empty``: intervals without events are left out.
    ``limit``: rows, of each interval where there is one; at most MAX_RESULT_ROWS.
    """

    select: tuple[Aggregate, ...] = ()
    filters: tuple[Filter, ...] = ()
    group_by: tuple[Path, ...] = ()
    span: Span = Span()
    interval: str | None = None
    zone: Zone | None = None
    non_empty: bool = False
    order_by: tuple[Order, ...] = ()
    limit: int | None = None

    @property
    def aggregates(self) -> tuple[Aggregate, ...]:
        """The columns after the groups: what is selected, or the count where nothing is."""
        return self.select or (Aggregate(COUNT_COLUMN, "count", None),)

    @property
    def calendar(self) -> Calendar | None:
        """The units that rows are counted by, where there is an interval."""
        return Calendar(INTERVALS[self.interval], self.zone or UNIVERSAL) if self.interval else None


def dotted(path: Path) -> str:
    """``("customer", "name")`` as users write it: ``customer.name``."""
    return ".".join(path)
