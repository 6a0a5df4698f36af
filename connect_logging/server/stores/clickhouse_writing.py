"""What the writer of a ClickHouse store does: one INSERT for a group, after asking which ids are there already.

The question decides what a request is answered, and that a retry writes nothing. It does not keep an id from being
stored twice, as another server may store it at the same time: that is the table's, of which reads say FINAL.

Ids are asked for as JSON in base64, which stands in the statement, quoted: a parameter holds 128 KiB at most, and to
escape it took three times as long as to find the ids.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Final

import msgspec

from .batch import Batch
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


def write(database: ClickHouse, tables: Tables, inserts: Sequence[Insert], version: int) -> list[dict[str, list[bool]]]:
    """Store what is new among ``inserts``, in one block, and say of each event whether it was. Raises StoreError."""
    seen = _stored(database, tables, inserts)
    results: list[dict[str, list[bool]]] = []
    new: list[tuple[Name, Batch]] = []
    for insert in inserts:
        result: dict[str, list[bool]] = {}
        for collection, batch in insert.events.items():
            name = insert.project, collection
            ids = seen[name]
            fresh = result[collection] = []
            for identity in batch.ids:
                fresh.append(identity not in ids)
                ids.add(identity)
            if any(fresh):
                new.append((name, batch.chosen(fresh)))
        results.append(result)
    if new:
        settings = {**_INSERT, **_ON_CLUSTER} if tables.on_cluster else _INSERT
        database.insert(_FAILURE, tables.events, _columns(new, version), settings)
    return results


def _columns(parts: Sequence[tuple[Name, Batch]], version: int) -> list[Column]:
    whole = Batch.joined([batch for _, batch in parts])
    return [
        Column("project", "LowCardinality(String)", [project for (project, _), batch in parts for _ in batch.ids]),
        Column("collection", "LowCardinality(String)", [each for (_, each), batch in parts for _ in batch.ids]),
        Column("id", "String", whole.ids),
        Column("timestamp", "Int64", whole.timestamps),
        Column("version", "UInt64", [version] * len(whole)),
        Column("raw", "String", whole.documents),
    ]


def _stored(database: ClickHouse, tables: Tables, inserts: Sequence[Insert]) -> dict[Name, set[str]]:
    """By collection, the ids among those of ``inserts`` that it has."""
    wanted: dict[Name, dict[str, None]] = {}
    for insert in inserts:
        for collection, batch in insert.events.items():
            wanted.setdefault((insert.project, collection), {}).update(dict.fromkeys(batch.ids))
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
