"""An export: the events of one state as bytes, in order, made and sorted by ClickHouse, in one statement.

A statement reads the parts that were there when it began. Which columns there are is asked before; what is stored in
between has a lower version than all that was there, and is left out. Not so what another server stores whose clock is
behind: it comes along, in the columns that there are.

    all values of a property are                  its column of Parquet
    whole numbers within 64 bits with a sign      Int64
    whole numbers, some of them beyond            Decimal(20, 0)
    numbers                                       Float64
    strings; booleans                             String; Bool
    arrays, or of several types                   String, with JSON

What is missing is null. An object is told by its properties, in columns of their own. The names of properties stand in
statements as quoted identifiers, in those for Parquet alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from ..._grammar.model import Query, dotted
from ..query.clickhouse_dialect import ClickHouseDialect, text_of, type_of, value_of_raw
from ..query.compiler import Matching, compile_matching
from ..query.dialect import Column, Source
from .base import Form, TooManyError
from .clickhouse_connection import Reader
from .clickhouse_lines import csv_cells, csv_line, double, json_line
from .clickhouse_overview import shapes
from .shapes import Types
from .tables import column_name, columns_of, csv_header

_IN_ORDER: Final = "ORDER BY timestamp, id"
_BYTES: Final = "RawBLOB"
"""ClickHouse's name for values as they are, with nothing between them."""
_DIALECT: Final = ClickHouseDialect()
_WHOLE: Final = frozenset({"BIGINT"})
_NUMBERS: Final = _WHOLE | {"DOUBLE"}


class Exporter:
    """The events of ``source`` that ``query`` is about."""

    def __init__(self, reader: Reader, source: Source, query: Query) -> None:
        self._reader = reader
        self._source = source
        self._query = query
        self._matching = compile_matching(query, source, _DIALECT)

    def check(self, max_events: int) -> None:
        """Raises TooManyError when there are more events."""
        [(count,)] = self._reader.rows(f"SELECT count() {self._matching.sql}", self._matching.parameters)
        if count > max_events:
            raise TooManyError(f"{count:,} events; this export has at most {max_events:,}: narrow the query")

    def pieces(self, form: Form) -> Iterator[bytes]:
        """The export. Raises TooManyError."""
        match form:
            case "connect":
                yield from _whole_lines(self._lines(json_line(3), self._matching))
            case "jsonl":
                yield from _whole_lines(self._lines(json_line(6), self._matching))
            case "csv":
                extracted = self._extracted()
                line = csv_line(extracted.cells())
                pieces = self._lines(line, extracted.source())
                first = next(pieces, b"")  # from here on the state is that of the export
                yield f"{csv_header(extracted.names)}\r\n".encode() + first
                yield from pieces
            case "parquet":
                extracted = self._extracted()
                selected = extracted.selected(self._beyond(extracted))
                source = extracted.source()
                yield from self._reader.pieces(
                    f"SELECT {selected} {source.sql} {_IN_ORDER}", source.parameters, "Parquet"
                )

    def _lines(self, line: str, source: Matching) -> Iterator[bytes]:
        return self._reader.pieces(f"SELECT {line} AS line {source.sql} {_IN_ORDER}", source.parameters, _BYTES)

    def _extracted(self) -> _Extracted:
        """The properties of what is there now, for statements that leave out what is not. No clock of ours tells:
        versions are of the clocks of those who have stored."""
        [(version,)] = self._reader.rows(f"SELECT min(version) {self._matching.sql}", self._matching.parameters)
        now = self._source._replace(
            conditions=(*self._source.conditions, "version >= {version:UInt64}"),
            parameters={**self._source.parameters, "version": version},
        )
        matching = compile_matching(self._query, now, _DIALECT)
        return _Extracted(columns_of(shapes(self._reader, matching.sql, matching.parameters)), matching)

    def _beyond(self, extracted: _Extracted) -> list[Column]:
        """The columns of whole numbers that 64 bits with a sign do not hold."""
        whole = extracted.whole()
        if not whole:
            return []
        tests = ", ".join(f"max({value_of_raw(column, 'integer')}) >= {2**63}" for column in whole)
        source = extracted.source()
        [row] = self._reader.rows(f"SELECT {tests} {source.sql}", source.parameters)
        return [column for column, is_beyond in zip(whole, row, strict=True) if is_beyond]


class _Extracted:
    """The properties in ``types``, read from the text of documents, and named in ``names``."""

    def __init__(self, types: Types, matching: Matching) -> None:
        self.names = [dotted(path) for path in types]
        self._types = types
        self._matching = matching
        self._parameters = {**matching.parameters}
        prefix = _beginning_of_none(self.names)
        self._columns = [
            Column(f"{prefix}{place}", path, [*map(self._parameter, path)]) for place, path in enumerate(types)
        ]

    def source(self) -> Matching:
        """To be called last: what the rest of a statement reads is extracted here."""
        extracts = [f"{each} AS {name}" for column in self._columns for name, each in column.extracts.items()]
        selected = ", ".join(["id", "timestamp", *extracts])
        return Matching(f"FROM (SELECT {selected} {self._matching.sql})", self._parameters)

    def whole(self) -> list[Column]:
        """Those of whole numbers."""
        listed = zip(self._columns, self._types.values(), strict=True)
        return [column for column, types in listed if types & _WHOLE and types <= _WHOLE | {"NULL"}]

    def cells(self) -> str:
        """All cells of a line; see :func:`.clickhouse_lines.csv_cells`."""
        return csv_cells([*map(text_of, self._columns)], [*map(type_of, self._columns)])

    def _parameter(self, step: str) -> str:
        name = f"step{len(self._parameters)}"
        self._parameters[name] = step
        return _DIALECT.parameter(name, "text")

    def selected(self, beyond: list[Column]) -> str:
        """What Parquet has, named."""
        listed = zip(self.names, self._columns, self._types.values(), strict=True)
        return ", ".join(
            [
                "id, fromUnixTimestamp64Micro(timestamp, 'UTC') AS timestamp",
                *(
                    f"{_typed(column, types, column in beyond)} AS {_identifier(column_name(name))}"
                    for name, column, types in listed
                ),
            ]
        )


def _beginning_of_none(names: Sequence[str]) -> str:
    """What none of ``names`` begins with: ClickHouse takes a column of ours for one of Parquet that is called so."""
    prefix = "x"
    while any(name.startswith(prefix) for name in names):
        prefix += "_"
    return prefix


def _json_value(column: Column) -> str:
    """A property as JSON; NULL for what is missing or null, and for an object that is not empty."""
    type_, text = type_of(column), text_of(column)
    is_nothing = f"{type_} = 'Null' OR ({type_} = 'Object' AND {text} != '{{}}')"
    return f"multiIf({is_nothing}, NULL, {type_} = 'Double', {double(value_of_raw(column, 'number'))}, {text})"


def _typed(column: Column, types: set[str], is_beyond: bool) -> str:
    known = types - {"NULL"}
    if known and known <= _WHOLE:
        integer = value_of_raw(column, "integer")
        # There is no way from Int128 to this decimal but by a text.
        return f"CAST(toString({integer}), 'Nullable(Decimal(20, 0))')" if is_beyond else f"toInt64({integer})"
    if known and known <= _NUMBERS:
        return value_of_raw(column, "number")
    if known == {"BOOLEAN"}:
        return value_of_raw(column, "boolean")
    if known == {"VARCHAR"}:
        return value_of_raw(column, "text")
    return _json_value(column)


def _identifier(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        lines, end, begun = (rest + piece).rpartition(b"\n")
        if end:
            yield lines + end
        rest = begun
    if rest:
        yield rest
