"""Properties as columns: extracted under names of ours, then as they are in Parquet.

    all values of a property are                  its column
    whole numbers within 64 bits with a sign      BIGINT
    whole numbers, some of them beyond            DECIMAL(20, 0)
    numbers                                       DOUBLE
    strings; booleans                             VARCHAR; BOOLEAN
    arrays, or of several types                   VARCHAR, with JSON

What is missing is null. An object is told by its properties, in columns of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..._grammar.model import dotted
from ..query.compiler import Matching
from ..query.dialect import Column
from ..query.duckdb_dialect import DuckDBDialect, extraction
from .duckdb_lines import json_value
from .shapes import Types
from .tables import column_name

_WHOLE: Final = frozenset({"UBIGINT", "BIGINT"})
_NUMBERS: Final = _WHOLE | {"DOUBLE"}
_DIALECT: Final = DuckDBDialect()


class Extracted:
    """The properties in ``types``, each in one of the ``columns`` of :meth:`source`, and named in ``names``."""

    def __init__(self, types: Types) -> None:
        self.names = [dotted(path) for path in types]
        self.columns = [f"c{place}" for place in range(len(types))]
        self._types = types

    def source(self, matching: Matching) -> Matching:
        """The events of ``matching``, as ``extracted``, with their id, timestamp, doc and the columns."""
        parameters = {**matching.parameters}

        def step(name: str) -> str:
            parameter = f"step{len(parameters)}"
            parameters[parameter] = name
            return _DIALECT.parameter(parameter, "text")

        listed = zip(self.columns, self._types, strict=True)
        extracts = [f"{extraction([*map(step, path)])} AS {column}" for column, path in listed]
        selected = ", ".join(["id", "timestamp", "doc", *extracts])
        return Matching(f"FROM (SELECT {selected} {matching.sql}) AS extracted", parameters)

    def whole(self) -> list[str]:
        """The columns of whole numbers."""
        return [column for column, types in zip(self.columns, self._types.values(), strict=True) if _is_whole(types)]

    def selected(self, beyond: Sequence[str]) -> str:
        """What Parquet has, named. ``beyond``: columns of whole numbers that 64 bits with a sign do not hold."""
        listed = zip(self.names, self.columns, self._types.values(), strict=True)
        return ", ".join(
            [
                "id, timestamp AT TIME ZONE 'UTC' AS timestamp",
                *(
                    f"{_typed(column, types, column in beyond)} AS {_identifier(name)}"
                    for name, column, types in listed
                ),
            ]
        )


def beyond_int64(column: str) -> str:
    """Whether a column of whole numbers has one that 64 bits with a sign do not hold."""
    return f"max({_whole(column)}) >= {2**63}"


def _typed(column: str, types: set[str], is_beyond: bool) -> str:
    known = types - {"NULL"}
    if known and known <= _WHOLE:
        return f"({_whole(column)})::{'DECIMAL(20, 0)' if is_beyond else 'BIGINT'}"
    if known and known <= _NUMBERS:
        return _DIALECT.value(Column(column, ()), "number")
    if known == {"BOOLEAN"}:
        return _DIALECT.value(Column(column, ()), "boolean")
    if known == {"VARCHAR"}:
        return _DIALECT.value(Column(column, ()), "text")
    return json_value(column)


def _whole(column: str) -> str:
    """Guarded, as no other cast of an object may be tried: with names that differ in case alone it is an error."""
    return f"CASE WHEN variant_typeof({column}) IN ('UINT64', 'INT64') THEN TRY_CAST({column} AS HUGEINT) END"


def _is_whole(types: set[str]) -> bool:
    return bool(types & _WHOLE) and types <= _WHOLE | {"NULL"}


def _identifier(name: str) -> str:
    return '"' + column_name(name).replace('"', '""') + '"'
