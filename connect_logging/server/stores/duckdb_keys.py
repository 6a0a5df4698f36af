"""Keys: 64 bits of an id, by which its duplicates are looked for; part of the file's format.

A key is the front of a UUID, or of a digest of another id. So time-ordered ids have rising keys, and nearly always an
event that is new has a key above all that were stored some seconds ago. :class:`RecentIds` knows those since: then
the file need not be asked, which costs more than a millisecond a commit, and more the more is stored.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from struct import unpack
from typing import Final, NamedTuple

import duckdb

_UUID_LENGTH: Final = 36
_USUAL_LENGTH: Final = 100
"""Characters of an id beyond which it counts for more than one: it may be as long as an event."""
_DASHES: Final = (8, 13, 18, 23)


@dataclass(slots=True)
class _Known:
    floor: int
    ids: set[str] = field(default_factory=set)


class _Group(NamedTuple):
    table: str
    ids: Sequence[str]
    highest: int
    """Key."""
    weight: int


class RecentIds:
    """What the writer knows of the ids in each table, without reading them. For one thread.

    Invariant: an id in a table has a key that is at most the table's floor, or is among its known ids.

    ``most``: ids known of all tables together, some 100 bytes each, of long ones as many fewer. When there are more,
    those that came first raise the floor.
    """

    def __init__(self, most: int = 131_072) -> None:
        self._most = most
        self._weight = 0
        self._tables: dict[str, _Known] = {}
        self._groups: deque[_Group] = deque()
        """What is known, as it came."""

    def look(
        self, cursor: duckdb.DuckDBPyConnection, table: str, ids: Sequence[str], keys: Sequence[int]
    ) -> tuple[set[str], Sequence[int]]:
        """Those of ``ids``, at least one, that are in ``table``, and those of ``keys`` that it has to be asked for.

        Raises duckdb.Error.
        """
        known = self._tables.get(table)
        if known is None:
            # From the statistics of the row groups, which may be too high, but never too low.
            [(highest,)] = cursor.execute(f"SELECT max(key) FROM {table}").fetchall()  # noqa: S608 - a name of ours
            known = self._tables[table] = _Known(-1 if highest is None else highest)
        old = [key for key in keys if key <= known.floor] if min(keys) <= known.floor else ()
        return known.ids.intersection(ids), old

    def add(self, table: str, ids: Sequence[str], keys: Sequence[int]) -> None:
        """These were committed to ``table``, which is new unless :meth:`look` was asked about it."""
        self._tables.setdefault(table, _Known(-1)).ids.update(ids)
        weight = max(len(ids), len("".join(ids)) // _USUAL_LENGTH)
        self._groups.append(_Group(table, ids, max(keys), weight))
        self._weight += weight
        while self._weight > self._most:
            gone = self._groups.popleft()
            self._weight -= gone.weight
            if known := self._tables.get(gone.table):
                known.floor = max(known.floor, gone.highest)
                known.ids.difference_update(gone.ids)

    def forget(self, table: str) -> None:
        """``table`` is deleted, or events of it, or will be."""
        self._tables.pop(table, None)


def keys_of(ids: Sequence[str]) -> Sequence[int]:
    """The key of each; when all are UUIDs, as nearly always, in a quarter of the time."""
    text = "".join(ids)
    if {*map(len, ids)} == {_UUID_LENGTH} and all(text[place::_UUID_LENGTH] == "-" * len(ids) for place in _DASHES):
        with suppress(ValueError):  # not hexadecimal
            halves = bytes.fromhex(text.replace("-", ""))
            if len(halves) == 16 * len(ids):  # no white space either
                return unpack(f">{2 * len(ids)}Q", halves)[::2]
    return [*map(_key, ids)]


def _key(identity: str) -> int:
    if len(identity) == _UUID_LENGTH:
        try:
            return int.from_bytes(bytes.fromhex(identity[:8] + identity[9:13] + identity[14:18]), "big")
        except ValueError:
            pass  # another text of this length
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest(), "big")
