"""What a table of events holds, told with bounded work: counts exactly, sizes and properties from a sample.

A sample is the newest rows and as many in 50 runs that are spread evenly over the older ones, so that it is read
from a few row groups: 0.06 s for 20,000 of 10,000,000 events on two cores. Of a table that is not larger than the
sample, what is told is exact. Where rows were deleted the sample has fewer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import duckdb
import msgspec

from .base import Collection, Property
from .duckdb_lines import MICROSECONDS, json_line
from .duckdb_types import row_ids
from .shapes import properties_of

_SIZE_SAMPLE: Final = 2_000
"""Events."""
_SHAPE_SAMPLE: Final = 20_000
_SHAPE_SAMPLE_BYTES: Final = 32 * 1024 * 1024
_RUNS: Final = 50
_LINE_SIZE: Final = f"strlen({json_line(MICROSECONDS)}) + 1"
_FETCH: Final = 256
"""Shapes at a time: one may have some 100 kB."""


def times(cursor: duckdb.DuckDBPyConnection, table: str) -> tuple[int | None, int | None]:
    """The first and the last time in ``table``, in microseconds since 1970; None when it is empty."""
    cursor.execute(f"SELECT epoch_us(min(timestamp)), epoch_us(max(timestamp)) FROM {table}")  # noqa: S608 - ours
    [(first, last)] = cursor.fetchall()
    return first, last


def summary(cursor: duckdb.DuckDBPyConnection, name: str, table: str) -> Collection | None:
    """The figures of the collection ``name`` in ``table``; None when it holds no event any more."""
    count, first, last = _row(
        cursor,
        f"SELECT count(*), epoch_us(min(timestamp)), epoch_us(max(timestamp)) FROM {table}",  # noqa: S608
    )
    if not count:
        return None
    return Collection(name, count, _size(cursor, table, count), first, last)


def mean_size(cursor: duckdb.DuckDBPyConnection, table: str, count: int) -> float:
    """The mean bytes of a JSON line in a sample of the ``count`` events in ``table``; 1 when there are none.

    For who takes events in pieces. Half of the sample are the newest: where these are larger, pieces are smaller.
    """
    sample = _sample(cursor, table, count, _SIZE_SAMPLE)
    [mean] = _row(cursor, f"SELECT avg({_LINE_SIZE}) FROM {sample}")  # noqa: S608 - ours
    return mean or 1.0


def _size(cursor: duckdb.DuckDBPyConnection, table: str, count: int) -> int:
    """About the bytes of the JSON lines of all ``count`` events in ``table``; the newest weigh as much as they are."""
    sample = _sample(cursor, table, count, _SIZE_SAMPLE)
    cursor.execute(f"SELECT is_newest, count(*), avg({_LINE_SIZE}) FROM {sample} GROUP BY is_newest")  # noqa: S608
    parts: dict[bool, tuple[int, float]] = {is_newest: (number, mean) for is_newest, number, mean in cursor.fetchall()}
    newest, mean = parts.get(True, (0, 0.0))
    _, mean_of_others = parts.get(False, (0, mean))
    return round(newest * mean + (count - newest) * mean_of_others)


def properties(cursor: duckdb.DuckDBPyConnection, table: str, figures: Collection) -> list[Property]:
    """The properties in ``table``, whose summary is ``figures``, by name; at most MAX_PROPERTIES."""
    wanted = min(_SHAPE_SAMPLE, max(1, int(_SHAPE_SAMPLE_BYTES / mean_size(cursor, table, figures.events))))
    return properties_of(shapes(cursor, f"FROM {_sample(cursor, table, figures.events, wanted)}", {}))


def shapes(cursor: duckdb.DuckDBPyConnection, source: str, values: Mapping[str, Any]) -> Iterator[Any]:
    """The shapes of the events in ``source``, FROM and WHERE, each once: see :mod:`.shapes`."""
    cursor.execute(f"SELECT DISTINCT json_structure(doc::JSON)::VARCHAR {source}", values)
    while rows := cursor.fetchmany(_FETCH):
        for (shape,) in rows:
            yield msgspec.json.decode(shape)


def _sample(cursor: duckdb.DuckDBPyConnection, table: str, count: int, wanted: int) -> str:
    """About ``wanted`` of the ``count`` rows in ``table``, to be selected from, and whether each ``is_newest``."""
    if count <= wanted:
        return f"(SELECT *, true AS is_newest FROM {table})"  # noqa: S608 - a name of ours
    first, end = row_ids(cursor, table)
    newest = end - wanted // 2
    length = max(1, wanted // 2 // _RUNS)
    runs = (first + (newest - first) * run // _RUNS for run in range(_RUNS))
    spread = " OR ".join(f"rowid BETWEEN {start} AND {start + length - 1}" for start in runs)
    is_newest = f"rowid >= {newest}"
    return f"(SELECT *, {is_newest} AS is_newest FROM {table} WHERE {is_newest} OR {spread})"  # noqa: S608 - as above


def _row(cursor: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    [row] = cursor.execute(sql).fetchall()
    return row
