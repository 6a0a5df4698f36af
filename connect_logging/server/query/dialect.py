"""How one database reads a property of an event. The compiler writes everything else, which all of them share.

A *column* below is the name of a property that the compiler has extracted. Every expression is NULL when the
property is missing, null or of another kind, and holds no text that came from a user.
"""

from __future__ import annotations

from typing import Protocol


class Dialect(Protocol):
    """The expressions that differ between databases."""

    timestamp: str
    """The column with the time of an event."""
    moment: str
    """Microseconds since 1970, given as a parameter, as something to compare ``timestamp`` with."""

    def extract(self, depth: int) -> str:
        """The property ``depth`` steps down in an event, with one parameter a step, outermost first."""

    def text(self, column: str) -> str:
        """The property when it is a string."""

    def number(self, column: str) -> str:
        """The property as a double when it is a number."""

    def integer(self, column: str) -> str:
        """The property, exactly, when it is a number without a fraction and within 64 bits."""

    def boolean(self, column: str) -> str:
        """The property when it is true or false."""

    def scalar(self, column: str) -> str:
        """A string, number or boolean as JSON text. Equal numbers give equal text: ``1`` for 1 and 1.0."""

    def total(self, numbers: str) -> str:
        """The sum of an expression of doubles, with little rounding, NULL when there are none."""


class DuckDBDialect:
    """DuckDB 2: events in a VARIANT column ``doc``, whose numbers are UINT64, INT64 or DOUBLE."""

    timestamp = "timestamp"
    moment = "make_timestamp(?)"

    def extract(self, depth: int) -> str:
        """Nested calls: a single one does not take a path, and so a parameter can never be read as one."""
        return "variant_extract(" * depth + "doc" + ", ?)" * depth

    def text(self, column: str) -> str:
        """A string, in binary collation."""
        return f"CASE WHEN variant_typeof({column}) = 'VARCHAR' THEN {column}::VARCHAR END"

    def number(self, column: str) -> str:
        """Any number as a double; the guard keeps out booleans and strings, which a cast would read."""
        return (
            f"CASE WHEN variant_typeof({column}) IN ('UINT64', 'INT64', 'DOUBLE') THEN TRY_CAST({column} AS DOUBLE) END"
        )

    def integer(self, column: str) -> str:
        """Integers, and doubles without a fraction that are no larger than these."""
        double = f"TRY_CAST({column} AS DOUBLE)"
        return (
            f"CASE WHEN variant_typeof({column}) IN ('UINT64', 'INT64') THEN TRY_CAST({column} AS HUGEINT)"
            f" WHEN variant_typeof({column}) = 'DOUBLE' AND trunc({double}) = {double} AND abs({double}) < 2e19"
            f" THEN {double}::HUGEINT END"
        )

    def boolean(self, column: str) -> str:
        """A boolean, of which the type alone is the value."""
        return f"CASE variant_typeof({column}) WHEN 'BOOL_TRUE' THEN true WHEN 'BOOL_FALSE' THEN false END"

    def scalar(self, column: str) -> str:
        """JSON text; an array or object, which cannot be queried, counts as missing."""
        return (
            f"CASE WHEN variant_typeof({column}) = 'VARCHAR' THEN to_json({column}::VARCHAR)::VARCHAR"
            f" WHEN variant_typeof({column}) IN ('UINT64', 'INT64', 'DOUBLE')"
            f" THEN coalesce(({self.integer(column)})::VARCHAR, {column}::VARCHAR)"
            f" ELSE ({self.boolean(column)})::VARCHAR END"
        )

    def total(self, numbers: str) -> str:
        """Compensated (Kahan) summation."""
        return f"fsum({numbers})"
