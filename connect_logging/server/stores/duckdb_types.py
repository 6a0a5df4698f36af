"""Which types the values of a property have, learned from the events by the queries that ask for it.

A table only grows at its end, and its rows keep their places until it is dropped. So what was learned of its first rows
stays true, and a query has only those to look at that have come since.

Invariant: the types that are told are those of all events that the transaction reads, and maybe of later ones.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

import duckdb

from ..._grammar.model import Path

_NULL: Final = "VARIANT_NULL"
"""The type of JSON's null, which a query takes for missing, as does every cast."""
_ENOUGH: Final = 2
"""Types from which on it makes no difference how many there are."""


class _Learned(NamedTuple):
    rows: int
    types: frozenset[str]


class PropertyTypes:
    """What has been learned. Safe to share between threads: at worst, the same is learned twice.

    ``most``: properties remembered; beyond that all are forgotten, as their names come from users. ``step``: rows
    looked at in one go, so that a query which takes too long leaves the next one less to do.
    """

    def __init__(self, most: int = 4_096, step: int = 1_000_000) -> None:
        self._most = most
        self._step = step
        self._learned: dict[tuple[str, Path], _Learned] = {}

    def of(self, cursor: duckdb.DuckDBPyConnection, table: str, path: Path) -> Collection[str]:
        """The types of ``path``; two of them where there are more, too. Raises duckdb.Error."""
        rows, types = self._learned.get((table, path), _Learned(0, frozenset()))
        [(count,)] = cursor.execute(f"SELECT count(*) FROM {table}").fetchall()  # noqa: S608 - a name of ours
        while rows < count and len(types) < _ENOUGH:
            end = min(rows + self._step, count)
            types |= _look(cursor, table, path, rows, end)
            rows = end
            if len(self._learned) >= self._most:
                self._learned.clear()
            self._learned[table, path] = _Learned(rows, types)
        return types


def _look(cursor: duckdb.DuckDBPyConnection, table: str, path: Path, begin: int, end: int) -> set[str]:
    value = "variant_extract(" * len(path) + "doc" + ", ?)" * len(path)
    cursor.execute(
        f"SELECT DISTINCT variant_typeof({value}) FROM {table} WHERE rowid >= ? AND rowid < ?",  # noqa: S608 - as above
        [*path, begin, end],
    )
    return {kind for (kind,) in cursor.fetchall()} - {None, _NULL}
