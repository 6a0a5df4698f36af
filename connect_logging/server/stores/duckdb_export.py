"""An export: the events of one transaction as bytes, in order, without holding many of them.

Sorted in one go, 1,000,000 events of 210 bytes would take 400 MB, for as long as a slow client reads. So they are read
in slices of time of some 20,000 events and 8 MiB each, which took 70 MB at their most, however many there were. A
slice is found by DuckDB's zone maps when events came in about the order of their timestamps, and by a scan of the
timestamps otherwise. The bounds are approximate quantiles: a slice may be larger, up to all events of one microsecond,
and DuckDB then sorts within its memory limit, on disk if need be.

Parquet is written into a file by DuckDB, sorted as a whole in the same way, and read from there.

The names of properties stand in statements as quoted identifiers, in those for Parquet alone. Everything else that
users have written is a parameter.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Final

import duckdb
from msgspec.structs import replace

from ..._grammar.model import Query, Span
from ..query.compiler import compile_matching
from ..query.dialect import Source
from ..query.duckdb_dialect import DuckDBDialect
from .base import TooManyError
from .duckdb_columns import Extracted, beyond_int64
from .duckdb_lines import csv_line
from .duckdb_overview import mean_size, shapes
from .shapes import Types
from .tables import columns_of, csv_header

_SLICE_EVENTS: Final = 20_000
_SLICE_BYTES: Final = 8 * 1024 * 1024
_MAX_SLICES: Final = 5_000
PIECE_BYTES: Final = 256 * 1024
_IN_ORDER: Final = "ORDER BY timestamp, id"
_EXTRACTED_IN_ORDER: Final = "ORDER BY extracted.timestamp, extracted.id"
"""By what the events have, where what is selected has names of users as well: a property may be called ``Timestamp``,
and DuckDB takes that for the same name."""
_DIALECT: Final = DuckDBDialect()


class Exporter:
    """The events of ``table`` that ``query`` is about, in the transaction of ``cursor``."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, table: str, query: Query) -> None:
        self._cursor = cursor
        self._source = Source(table)
        self._query = query
        self._matching = compile_matching(query, self._source, _DIALECT)
        self._count: int = self._one("SELECT count(*)")
        [stored] = self._row(f"SELECT count(*) FROM {table}", {})  # noqa: S608 - a name of ours
        self._mean = mean_size(cursor, table, stored)

    def check(self, max_events: int) -> None:
        """Raises TooManyError when there are more events."""
        if self._count > max_events:
            raise TooManyError(f"{self._count:,} events; this export has at most {max_events:,}: narrow the query")

    def json_lines(self, line: str) -> Iterator[bytes]:
        """A line for each event. ``line``: the expression that makes it."""
        for slice_ in self._slices():
            yield from self._lines(slice_, line, Extracted({}), "\n")

    def csv(self) -> Iterator[bytes]:
        """A line with the names of the columns, and one for each event."""
        slices = self._slices()
        extracted = Extracted(self._properties(slices))
        yield f"{csv_header(extracted.names)}\r\n".encode()
        for slice_ in slices:
            yield from self._lines(slice_, csv_line(extracted.columns), extracted, "\r\n")

    def parquet(self, scratch: Path) -> IO[bytes]:
        """A file whose name is already gone again from ``scratch``, a directory that is made when it is missing."""
        extracted = Extracted(self._properties(self._slices()))
        source = extracted.source(self._matching)
        whole = extracted.whole()
        tests = self._row(
            f"SELECT {', '.join(['count(*)', *map(beyond_int64, whole)])} {source.sql}", source.parameters
        )
        beyond = [column for column, is_beyond in zip(whole, tests[1:], strict=True) if is_beyond]
        scratch.mkdir(mode=0o700, exist_ok=True)
        path = scratch / f"{secrets.token_hex(12)}.parquet"
        target = str(path).replace("'", "''")
        try:
            self._cursor.execute(
                f"COPY (SELECT {extracted.selected(beyond)} {source.sql} {_EXTRACTED_IN_ORDER})"
                f" TO '{target}' (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)",
                source.parameters,
            )
            return path.open("rb")
        finally:
            path.unlink(missing_ok=True)

    def _lines(self, slice_: Query, line: str, extracted: Extracted, end: str) -> Iterator[bytes]:
        source = extracted.source(compile_matching(slice_, self._source, _DIALECT))
        self._cursor.execute(f"SELECT {line} {source.sql} {_IN_ORDER}", source.parameters)
        size = max(1, int(PIECE_BYTES / self._mean))
        while rows := self._cursor.fetchmany(size):
            yield "".join(text + end for (text,) in rows).encode()

    def _slices(self) -> list[Query]:
        """The query, cut into queries of consecutive spans of time."""
        per_slice = max(1, min(_SLICE_EVENTS, int(_SLICE_BYTES / self._mean)))
        number = min(_MAX_SLICES, -(-self._count // per_slice))
        if number <= 1:
            return [self._query]
        shares = ", ".join(f"{place / number:.6f}" for place in range(1, number))
        bounds = self._one(f"SELECT approx_quantile(epoch_us(timestamp), [{shares}])")
        span = self._query.span
        return [
            replace(self._query, span=Span(*each)) for each in pairwise([span.start, *sorted(set(bounds)), span.end])
        ]

    def _properties(self, slices: Sequence[Query]) -> Types:
        """The properties of all events and the types of their values, by name. Raises TooManyError."""
        matched = (compile_matching(slice_, self._source, _DIALECT) for slice_ in slices)
        return columns_of(shape for each in matched for shape in shapes(self._cursor, each.sql, each.parameters))

    def _one(self, select: str) -> Any:
        """The one value that ``select`` makes of the events."""
        [value] = self._row(f"{select} {self._matching.sql}", self._matching.parameters)
        return value

    def _row(self, sql: str, values: Mapping[str, Any]) -> tuple[Any, ...]:
        [row] = self._cursor.execute(sql, values).fetchall()
        return row
