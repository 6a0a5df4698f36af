"""What the writer of a ClickHouse store does: one INSERT for a group, after asking which ids are there already.

The question decides what a request is answered, and that a retry writes nothing. It does not keep an id from being
stored twice, as another server may store it at the same time: that is the table's, of which reads say FINAL.

Ids are asked for as JSON in base64, which stands in the statement, quoted: a parameter holds 128 KiB at most, and to
escape it took three times as long as to find the ids.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from .base import NewEvent
from .clickhouse_connection import ClickHouse, Column, Settings
from .clickhouse_tables import Tables
from .requests import Insert, Name

_FAILURE: Final = "the events could not be stored"
_INSERT: Final[Settings] = {
    # Servers that store at the same time make one part together; the wait for company is short, as ours have gathered.
    "async_insert": 1,
    "wait_for_async_insert": 1,
    "async_insert_use_adaptive_busy_timeout": 0,
    "async_insert_busy_timeout_max_ms": 10,
    # What ``doc`` is made with: values stay of the types that they have in JSON.
    "input_format_try_infer_dates": 0,
    "input_format_try_infer_datetimes": 0,
    "input_format_json_read_bools_as_numbers": 0,
    "input_format_json_read_bools_as_strings": 0,
    "input_format_json_read_numbers_as_strings": 0,
    "type_json_skip_duplicated_paths": 1,
}
_ASKED: Final = "Array(Tuple(String, String, Array(String)))"
_encode: Final = msgspec.json.Encoder().encode
_ON_CLUSTER: Final[Settings] = {"insert_quorum": "auto", "distributed_foreground_insert": 1}


class Row(NamedTuple):
    """An event to be stored."""

    name: Name
    event: NewEvent


def write(database: ClickHouse, tables: Tables, inserts: Sequence[Insert], version: int) -> list[dict[str, list[bool]]]:
    """Store what is new among ``inserts``, in one block, and say of each event whether it was. Raises StoreError."""
    seen = _stored(database, tables, inserts)
    results: list[dict[str, list[bool]]] = []
    rows: list[Row] = []
    for insert in inserts:
        result: dict[str, list[bool]] = {}
        for collection, events in insert.events.items():
            ids = seen[insert.project, collection]
            fresh = result[collection] = []
            for event in events:
                fresh.append(event.id not in ids)
                if fresh[-1]:
                    ids.add(event.id)
                    rows.append(Row((insert.project, collection), event))
        results.append(result)
    if rows:
        settings = {**_INSERT, **_ON_CLUSTER} if tables.on_cluster else _INSERT
        database.insert(_FAILURE, tables.events, _columns(rows, version), settings)
    return results


def _columns(rows: Sequence[Row], version: int) -> list[Column]:
    return [
        Column("project", "LowCardinality(String)", [row.name[0] for row in rows]),
        Column("collection", "LowCardinality(String)", [row.name[1] for row in rows]),
        Column("id", "String", [row.event.id for row in rows]),
        Column("timestamp", "Int64", [row.event.timestamp for row in rows]),
        Column("version", "UInt64", [version] * len(rows)),
        Column("raw", "String", [row.event.document for row in rows]),
    ]


def _stored(database: ClickHouse, tables: Tables, inserts: Sequence[Insert]) -> dict[Name, set[str]]:
    """By collection, the ids among those of ``inserts`` that it has."""
    wanted: dict[Name, dict[str, None]] = {}
    for insert in inserts:
        for collection, events in insert.events.items():
            wanted.setdefault((insert.project, collection), {}).update(dict.fromkeys(event.id for event in events))
    found: dict[Name, set[str]] = {name: set() for name in wanted}
    if found:
        asked = b64encode(_encode([(*name, [*ids]) for name, ids in wanted.items()])).decode()
        sql = (
            f"SELECT project, collection, id FROM {tables.events} WHERE (project, collection, id) IN"  # noqa: S608
            " (SELECT asked.1, asked.2, arrayJoin(asked.3)"
            f" FROM (SELECT arrayJoin(JSONExtract(base64Decode('{asked}'), '{_ASKED}')) AS asked))"
        )  # nothing of a user but in base64
        for project, collection, identity in database.rows(_FAILURE, sql):
            found[project, collection].add(identity)
    return found
