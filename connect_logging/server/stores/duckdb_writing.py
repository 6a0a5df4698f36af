"""What the writer of a DuckDB store does in a transaction, and how its tables are named and found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import compress
from typing import Any, Final, NamedTuple, Self, TypeAlias

import duckdb
import msgspec

from .batch import Batch, Kind, Shape
from .duckdb_file import planned
from .duckdb_keys import RecentIds, keys_of
from .requests import Delete, Insert, Name

EXPIRED_AT_ONCE: Final = 200_000
"""Old events that are deleted in one transaction, for which others wait."""

_STRUCTURES_KNOWN: Final = 256
_TYPES: Final[dict[Kind, str | list[str]]] = {
    "text": "VARCHAR",
    "whole": "UBIGINT",
    "fraction": "DOUBLE",
    "boolean": "BOOLEAN",
    "texts": ["VARCHAR"],
}

_encode = msgspec.json.Encoder().encode


class Expire(NamedTuple):
    """Events from before ``before`` to be deleted, up to EXPIRED_AT_ONCE of them. Microseconds since 1970."""

    name: Name
    before: int


class DeleteEmpty(NamedTuple):
    """A collection to be deleted unless it has events."""

    name: Name


Removal: TypeAlias = Delete | Expire | DeleteEmpty
Request: TypeAlias = Insert | Removal


class Transaction:
    """One transaction of the writer. ``tables`` become the store's once it is committed; ``recent`` is told then.

    ``cursor``: the writer's, see :meth:`~.duckdb_file.DuckDBFile.writer`. The transaction begins with the first of
    several statements; one statement is a transaction by itself. Each call of DuckDB lets the interpreter go several
    times, and under load the writer waits each time to have it back.
    """

    def __init__(self, cursor: duckdb.DuckDBPyConnection, tables: Mapping[Name, str], recent: RecentIds) -> None:
        self._cursor = cursor
        self._recent = recent
        self._added: list[tuple[str, Sequence[str], Sequence[int]]] = []
        self._has_begun = False
        self.tables = dict(tables)
        self.stored = 0
        """New events."""

    @property
    def filled(self) -> set[str]:
        """The tables that have new events."""
        return {table for table, _, _ in self._added}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Commit, unless the block failed: then the cursor is closed, which rolls back."""
        if kind is None:
            if self._has_begun:
                self._cursor.commit()
            for added in self._added:
                self._recent.add(*added)

    def do(self, requests: Sequence[Request]) -> list[Any]:
        """What each of ``requests`` came to. They came together and have no order, so deletions go first."""
        results: list[Any] = [{} for _ in requests]
        removals: list[tuple[int, Removal]] = []
        parts: defaultdict[Name, list[tuple[dict[str, Sequence[bool]], Batch]]] = defaultdict(list)
        for place, request in enumerate(requests):
            if not isinstance(request, Insert):
                removals.append((place, request))
                continue
            for collection, batch in request.events.items():
                parts[request.project, collection].append((results[place], batch))
        if removals or len(parts) > 1 or not parts.keys() <= self.tables.keys():
            self._cursor.begin()
            self._has_begun = True
        if removals:
            with planned(self._cursor):
                for place, removal in removals:
                    results[place] = self._remove(removal)
        for name, inserts in parts.items():
            fresh = self.insert(name, Batch.joined([batch for _, batch in inserts]))
            position = 0
            for result, batch in inserts:
                result[name[1]] = fresh[position : position + len(batch)]
                position += len(batch)
        return results

    def delete(self, name: Name) -> bool:
        """Delete a collection; False when there is none, or no event in it."""
        table = self.tables.pop(name, None)
        if table is None:
            return False
        self._recent.forget(table)
        had_events = not is_empty(self._cursor, table)
        self._cursor.execute(f"DROP TABLE {table}")
        self._cursor.execute("UPDATE collections SET project = '', name = '' WHERE project = ? AND name = ?", [*name])
        return had_events

    def expire(self, name: Name, before: int) -> int:
        """Delete old events; how many it were."""
        table = self.tables.get(name)
        if table is None:
            return 0
        self._recent.forget(table)
        self._cursor.execute(
            f"DELETE FROM {table} WHERE rowid IN"  # noqa: S608 - a name of ours
            f" (SELECT rowid FROM {table} WHERE timestamp < make_timestamp(?) LIMIT {EXPIRED_AT_ONCE})",
            [before],
        )
        [(count,)] = self._cursor.fetchall()
        return int(count)

    def _remove(self, request: Removal) -> int | bool:
        if isinstance(request, Expire):
            return self.expire(request.name, request.before)
        if isinstance(request, DeleteEmpty):
            table = self.tables.get(request.name)
            return table is not None and is_empty(self._cursor, table) and self.delete(request.name)
        return self.delete(request.name)

    def insert(self, name: Name, batch: Batch) -> list[bool]:
        """Insert what is new in ``batch``, and say of each event whether it was."""
        keys = keys_of(batch.ids)
        table = self.tables.get(name)
        seen = self._seen(table, batch.ids, keys) if table else set()
        fresh = _fresh(batch.ids, seen)
        self.stored += sum(fresh)
        if any(fresh):
            self._append(table or self._create(name), [*compress(keys, fresh)], batch.chosen(fresh))
        return fresh

    def _append(self, table: str, keys: Sequence[int], batch: Batch) -> None:
        columns = [_encode(column).decode() for column in (keys, batch.ids, batch.timestamps)]
        value = "document::JSON::VARIANT"
        if batch.shape is not None:
            value = "json_transform_strict(document, ?)::VARIANT"
            columns.insert(0, structure(batch.shape))
        self._cursor.execute(
            f"INSERT INTO {table} SELECT key, id, make_timestamp(time), {value} FROM (SELECT"  # noqa: S608 - ours
            " unnest(?::JSON::UBIGINT[]) AS key, unnest(?::JSON::VARCHAR[]) AS id, unnest(?::JSON::BIGINT[]) AS time,"
            " unnest(string_split(?, chr(10))) AS document)",
            [*columns, batch.lines[:-1].decode()],
        )
        self._added.append((table, batch.ids, keys))

    def _seen(self, table: str, ids: Sequence[str], keys: Sequence[int]) -> set[str]:
        """Of ``ids`` those that are in ``table``, and maybe others that are."""
        seen, old = self._recent.look(self._cursor, table, ids, keys)
        if not old:
            return seen
        with planned(self._cursor):
            return seen | self._stored(table, old)

    def _stored(self, table: str, keys: Sequence[int]) -> set[str]:
        """The ids in ``table`` that have one of ``keys``.

        In two steps, so that only keys are read of rows that do not match; asked in one, five times slower.
        """
        self._cursor.execute(
            f"SELECT id FROM {table} WHERE rowid IN"  # noqa: S608 - a name of ours
            f" (SELECT rowid FROM {table} WHERE key IN (SELECT unnest(?::JSON::UBIGINT[])))",
            [_encode(keys).decode()],
        )
        return {identity for (identity,) in self._cursor.fetchall()}

    def _create(self, name: Name) -> str:
        """The table of a collection that has none."""
        [number] = self._cursor.execute("SELECT coalesce(max(number), 0) + 1 FROM collections").fetchall()[0]
        self._cursor.execute("INSERT INTO collections VALUES (?, ?, ?)", [number, *name])
        self._cursor.execute(
            f"CREATE TABLE {table_of(number)}"
            "(key UBIGINT NOT NULL, id VARCHAR NOT NULL, timestamp TIMESTAMP NOT NULL, doc VARIANT NOT NULL)"
        )
        return self.tables.setdefault(name, table_of(number))


@lru_cache(_STRUCTURES_KNOWN)
def structure(shape: Shape) -> str:
    """``shape`` as DuckDB's JSON functions have it. What they make of a value as that they make of it as JSON.

    As a STRUCT a document becomes a VARIANT in half the time, as it is known once for all what its values are.
    """
    return _encode(_structure(shape)).decode()


def _structure(shape: Shape) -> dict[str, Any]:
    return {name: _structure(kind) if isinstance(kind, tuple) else _TYPES[kind] for name, kind in shape}


def _fresh(ids: Sequence[str], seen: set[str]) -> list[bool]:
    """Of each id whether it is neither in ``seen``, which is changed, nor was there before in ``ids``."""
    if not seen and len({*ids}) == len(ids):
        return [True] * len(ids)
    fresh = []
    for identity in ids:
        fresh.append(identity not in seen)
        seen.add(identity)
    return fresh


def find_table(cursor: duckdb.DuckDBPyConnection, name: Name) -> str | None:
    """The table of a collection in the state that a transaction reads."""
    cursor.execute("SELECT number FROM collections WHERE project = ? AND name = ?", [*name])
    found = cursor.fetchone()
    return None if found is None else table_of(found[0])


def is_empty(cursor: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether a table holds no event."""
    return not cursor.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall()  # noqa: S608 - a name of ours


def table_of(number: int) -> str:
    """The table of the collection with this number."""
    return f"events_{number}"
