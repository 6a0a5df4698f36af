"""What the table of events holds, told with bounded work: figures exactly, properties from a sample.

A sample is the newest events, some of the oldest, and others by a hash of their ids, so that only their documents are
read. A document's shape is what its text becomes when all values are taken out of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from ..query.dialect import Source
from .base import Collection, Property
from .clickhouse_connection import Reader
from .clickhouse_lines import json_line_size
from .clickhouse_tables import Tables
from .shapes import ARRAY, OBJECT, properties_of

_SAMPLE: Final = 20_000
"""Events."""
_SAMPLE_BYTES: Final = 32 * 1024 * 1024

_STRING: Final = r'"(?:[^"\\]|\\.)*"'
_VALUES: Final = rf'({_STRING}:)|(")(?:[^"\\]|\\.)*(")|-?[0-9]+(?:([.eE])[-+.0-9eE]*)?'
"""Kept are names, the quotes of a text, and of a number what tells that it is a double."""
_ARRAYS: Final = rf"({_STRING})|(\[)(?:[,.eE]|\"\"|true|false|null)*(\])"
_SCALARS: Final = re.compile(rf"{_STRING}|true|false|null|[.eE]|(?<=[:\[,])(?=[,\]}}])")
_AS_JSON: Final = {"": "0", ".": "0.5", "e": "0.5", "E": "0.5"}
_KINDS: Final = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN", type(None): "NULL"}


def events_of(tables: Tables, project: str, collection: str) -> Source:
    """The events of a collection, each once."""
    return Source(
        f"{tables.events} FINAL",
        ("project = {project:String}", "collection = {collection:String}"),
        {"project": project, "collection": collection},
    )


def where(source: Source, *more: str) -> str:
    """FROM and WHERE of what is read from a source."""
    return f"FROM {source.table} WHERE {' AND '.join([*source.conditions, *more])}"


def times(reader: Reader, source: Source) -> tuple[int | None, int | None]:
    """The first and the last time, or maybe from earlier to later: rows that count no more are looked at as well."""
    table = source.table.removesuffix(" FINAL")
    sql = f"SELECT minOrNull(timestamp), maxOrNull(timestamp) {where(source._replace(table=table))}"
    [(first, last)] = reader.rows(sql, source.parameters)
    return first, last


def summaries(reader: Reader, tables: Tables, project: str) -> list[Collection]:
    """The figures of a project's collections, by name."""
    sql = (
        f"SELECT collection, count(), sum({json_line_size()}), min(timestamp), max(timestamp)"  # noqa: S608 - ours
        f" FROM {tables.events} FINAL WHERE project = {{project:String}} GROUP BY collection ORDER BY collection"
    )
    return [Collection(*row) for row in reader.rows(sql, {"project": project})]


def summary(reader: Reader, source: Source) -> Collection | None:
    """The figures of a collection; None when it has no events."""
    sql = (
        f"SELECT {{collection:String}}, count(), sum({json_line_size()}), minOrNull(timestamp), maxOrNull(timestamp)"
        f" {where(source)}"
    )
    [row] = reader.rows(sql, source.parameters)
    return Collection(*row) if row[1] else None


def properties(reader: Reader, source: Source, figures: Collection) -> list[Property]:
    """The properties of a collection, by name; at most MAX_PROPERTIES."""
    wanted = min(_SAMPLE, max(1, _SAMPLE_BYTES * figures.events // figures.bytes))
    parameters: dict[str, Any] = {**source.parameters}
    more: list[str] = []
    if figures.events > wanted:
        newest = wanted / 2 / figures.events
        [(first, last)] = reader.rows(
            f"SELECT quantile({newest / 50})(timestamp), quantile({1 - newest})(timestamp) {where(source)}", parameters
        )
        parameters |= {"first": int(first), "last": int(last), "each": max(1, round(2 * figures.events / wanted))}
        more = ["(timestamp <= {first:Int64} OR timestamp >= {last:Int64} OR cityHash64(id) % {each:UInt64} = 0)"]
    sampled = f"FROM (SELECT raw {where(source, *more)} LIMIT {2 * wanted})"
    return properties_of(shapes(reader, sampled, parameters))


def shapes(reader: Reader, source: str, parameters: Mapping[str, Any]) -> Iterator[Any]:
    """The shapes of the documents in ``source``, FROM and WHERE, each once; see :mod:`.shapes`."""
    parameters = {**parameters, "values": _VALUES, "arrays": _ARRAYS}
    without_values = r"replaceRegexpAll(raw, {values:String}, '\\1\\2\\3\\4')"
    shape = rf"replaceRegexpAll({without_values}, {{arrays:String}}, '\\1\\2\\3')"
    return _read(reader.blocks(f"SELECT DISTINCT {shape} {source}", parameters))


def _read(blocks: Iterable[Sequence[tuple[Any, ...]]]) -> Iterator[Any]:
    for block in blocks:
        for (text,) in block:
            yield read_shape(text)


def read_shape(text: str) -> Any:
    """A shape as ClickHouse has told it."""
    json = _SCALARS.sub(lambda found: _AS_JSON.get(found[0], found[0]), text)
    return _typed(msgspec.json.decode(json))


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _typed(inner) for name, inner in value.items()} or OBJECT
    return [ARRAY] if isinstance(value, list) else _KINDS[type(value)]
