"""Which types the values of a property have, learned from the events by the queries that ask for it.

Until rows of a table are deleted it grows at its end alone, and its rows keep their row ids (:mod:`.duckdb_file` has
DuckDB merge none). So what was learned of its first rows stays true, and a query has only those to look at that have
come since. Once rows are deleted new ones may get their ids: :meth:`PropertyTypes.without` begins anew for the table.

Invariant: the types that are told are those of all events that the transaction reads, and maybe of others.
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
    """Of the rows before ``end``, which are all of a table that holds ``rows``."""

    rows: int
    end: int
    types: frozenset[str]


_NOTHING: Final = _Learned(0, 0, frozenset())


class PropertyTypes:
    """What has been learned. Safe to share between threads: at worst, the same is learned twice.

    ``most``: properties remembered; beyond that all are forgotten, as their names come from users. ``step``: row ids
    looked at in one go, so that a query which takes too long leaves the next one less to do.
    """

    def __init__(self, most: int = 4_096, step: int = 1_000_000) -> None:
        self._most = most
        self._step = step
        self._learned: dict[tuple[str, Path], _Learned] = {}

    def of(self, cursor: duckdb.DuckDBPyConnection, table: str, path: Path) -> Collection[str]:
        """The types of ``path``; two of them where there are more, too. Raises duckdb.Error.

        The transaction of ``cursor`` began before rows of ``table`` were deleted, if they were: see :meth:`without`.
        """
        rows, end, types = self._learned.get((table, path), _NOTHING)
        [(count,)] = cursor.execute(f"SELECT count(*) FROM {table}").fetchall()  # noqa: S608 - a name of ours
        if count == rows:
            return types
        start, stop = row_ids(cursor, table, end)
        while start < stop and len(types) < _ENOUGH:
            end = min(start + self._step, stop)
            types |= _look(cursor, table, path, start, end)
            start = end
            if len(self._learned) >= self._most:
                self._learned.clear()
            self._learned[table, path] = _Learned(count if end == stop else 0, end, types)
        return types

    def without(self, table: str) -> PropertyTypes:
        """What has been learned of all other tables, to be used by who begins after rows of ``table`` were deleted."""
        others = PropertyTypes(self._most, self._step)
        others._learned = {about: learned for about, learned in [*self._learned.items()] if about[0] != table}
        return others


def row_ids(cursor: duckdb.DuckDBPyConnection, table: str, start: int = 0) -> tuple[int, int]:
    """The first row id from ``start`` on, and the one after the last; the same when there is none."""
    source = f"FROM {table} WHERE rowid >= ?"
    cursor.execute(f"SELECT (SELECT rowid {source} LIMIT 1), max(rowid) + 1 {source}", [start, start])
    [(first, end)] = cursor.fetchall()
    return (start, start) if end is None else (first, end)


def _look(cursor: duckdb.DuckDBPyConnection, table: str, path: Path, begin: int, end: int) -> set[str]:
    value = "variant_extract(" * len(path) + "doc" + ", ?)" * len(path)
    cursor.execute(
        f"SELECT DISTINCT variant_typeof({value}) FROM {table} WHERE rowid >= ? AND rowid < ?",  # noqa: S608 - as above
        [*path, begin, end],
    )
    return {kind for (kind,) in cursor.fetchall()} - {None, _NULL}
