"""How one database reads a property of an event. The compiler writes everything else, which all of them share.

A *column* below is a property that events have. Every expression is NULL when the property is missing, null or of
another kind, and holds no text that came from a user, but maybe names of properties, quoted, that have nothing but
letters, digits and underscores. A *parameter* is what stands for one in a statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from ..._grammar.calendars import Calendar
from ..._grammar.model import Path, Scalar, Span

Kind: TypeAlias = Literal["text", "number", "integer", "boolean"]
"""As what a property is read: a string in binary collation; any number, as a double; exactly, when it is a number
without a fraction and within 64 bits; true or false."""

Type: TypeAlias = Literal[Kind, "moment", "texts", "numbers", "integers", "booleans"]
"""Of a parameter. A moment: microseconds since 1970. The last are lists, for dialects that use them."""


@dataclass(frozen=True, slots=True)
class Column:
    """A property: its path in events, and the parameters that its steps are.

    ``extracts``: what a dialect has asked to be computed once for each event, SQL by name. The names begin with
    ``name``, which no other column has.
    """

    name: str
    path: Path
    steps: Sequence[str] = ()
    extracts: dict[str, str] = field(default_factory=dict)

    def extract(self, suffix: str, expression: str) -> str:
        """The name under which an expression is computed."""
        name = f"{self.name}{suffix}"
        self.extracts[name] = expression
        return name


class Source(NamedTuple):
    """Where events are: ``table`` and ``conditions`` are SQL of ours, with ``parameters`` by name."""

    table: str
    conditions: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = {}


class Dialect(Protocol):
    """The expressions that differ between databases."""

    timestamp: str
    """The column with the time of an event."""

    def parameter(self, name: str, type_: Type) -> str:
        """What stands for the parameter ``name`` in a statement."""

    def argument(self, value: Any) -> Any:
        """What is given for a parameter that has ``value``."""

    def moment(self, parameter: str) -> str:
        """A moment as something to compare ``timestamp`` with."""

    def is_missing(self, column: Column) -> str:
        """Whether the property is missing or null; never NULL itself."""

    def value(self, column: Column, kind: Kind) -> str:
        """The property when it is of that kind."""

    def among(self, column: Column, kind: Kind, values: Sequence[Scalar], parameter: Callable[[Any, Type], str]) -> str:
        """Whether the property, read as ``kind``, is one of ``values``. ``parameter`` makes one."""

    def has_element(self, column: Column, kind: Kind, value: str) -> str:
        """Whether the property is an array of which an element, read as ``kind``, is ``value``, a parameter."""

    def has_part(self, text: str, part: str, place: Literal["contains", "startsWith", "endsWith"]) -> str:
        """Whether a text has a part at a place."""

    def scalar(self, column: Column) -> str:
        """A string, number or boolean as JSON text. Equal numbers give equal text: ``1`` for 1 and 1.0."""

    def sort_keys(self, scalar: str) -> Sequence[str]:
        """What orders scalars, given as that text: numbers, strings by code points, false, true."""

    def distinct(self, scalar: str) -> str:
        """How many different ones there are."""

    def total(self, numbers: str) -> str:
        """The sum of an expression of doubles, with little rounding, NULL when there are none."""

    def extreme(self, numbers: str, which: Literal["min", "max"]) -> str:
        """The lowest or the highest of an expression of doubles, NULL when there are none."""

    def percentile(self, numbers: str, fraction: float) -> str:
        """Where ``fraction`` of an expression of doubles lies below, between ranks by linear interpolation.

        NULL when there are none.
        """

    def finite(self, number: str) -> str:
        """A double, or NULL for an infinity or none: JSON has no such numbers."""

    def unit(self, calendar: Calendar, span: Span) -> str:
        """The number of the unit that an event's time is in, which is within ``span``."""
