"""The tables of a ClickHouse store, on one server or on a cluster.

    events(project, collection, id, timestamp, version, raw, doc)
    projects(id, document, version)
    jobs(id, project, document, server, heartbeat, version)

Why it is so:

* One table has the events of all. A request is one block then, which is stored as a whole or not at all, and a push
  makes no tables.
* Sorted by id within a collection, not by time: an id is one event whatever its time, and a retry may bring another
  time with it where the server gives it. Ids are ordered in time mostly, and so rows are; the index on ``timestamp``
  skips the rest.
* Of rows with the same key the highest ``version`` counts, in merges and in reads, which say FINAL. It falls with time
  among events: the first that was stored stays. It rises among projects and jobs: there the last one counts.
* ``timestamp``: microseconds since 1970. ClickHouse's own types of time do not reach all years that events may have.
* ``raw``: the document as it was stored. ``doc``: the same as columns, for what is asked; it cannot tell null from
  missing, nor all numbers.
* What an insert has written is on disk when it is answered.
* Of inserts into ``projects`` that bring the same token one is taken: so the first project is made once. A server alone
  remembers tokens when it is told to, and a cluster for an hour, which may be too short for a replica that lags behind.
* A job is forgotten after 30 days without a change.

On a cluster a table ``<name>_local`` is on each server, replicated within its shard, and events are distributed over
the shards by their key. Projects and jobs are few, and on every server.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from .clickhouse_address import ClickHouseAddress
from .clickhouse_connection import ClickHouse

_ON_DISK: Final = "SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
_TOKENS: Final = ", non_replicated_deduplication_window = 100, replicated_deduplication_window_seconds = 315360000"
_EVENTS: Final = (
    "(project LowCardinality(String), collection LowCardinality(String), id String, timestamp Int64, version UInt64,"
    " raw String CODEC(ZSTD(1)), doc JSON MATERIALIZED raw::JSON, INDEX times timestamp TYPE minmax GRANULARITY 1)"
)
_PROJECTS: Final = "(id String, document String, version UInt64)"
_JOBS: Final = (
    "(id String, project String, document String, server String,"
    " heartbeat Int64 DEFAULT toUnixTimestamp64Micro(now64(6)), version UInt64)"
)
_FORGOTTEN: Final = " TTL fromUnixTimestamp64Micro(heartbeat) + toIntervalDay(30)"


class Tables(NamedTuple):
    """The names of the tables, quoted and with their database. ``stored``: where events are deleted."""

    events: str
    stored: str
    projects: str
    jobs: str
    on_cluster: str
    """What a statement about ``stored`` says of the cluster; empty where there is none."""


def tables_of(address: ClickHouseAddress) -> Tables:
    """The tables at ``address``, whether they are there or not."""
    database, cluster = f"`{address.database}`", address.cluster
    return Tables(
        events=f"{database}.events",
        stored=f"{database}.events_local" if cluster else f"{database}.events",
        projects=f"{database}.projects",
        jobs=f"{database}.jobs",
        on_cluster=f" ON CLUSTER `{cluster}`" if cluster else "",
    )


def definitions(address: ClickHouseAddress) -> list[str]:
    """The statements that make what is missing at ``address``."""
    database, cluster, tables = address.database, address.cluster, tables_of(address)
    made = [f"CREATE DATABASE IF NOT EXISTS `{database}`{tables.on_cluster}"]
    kept = [
        (tables.stored, _EVENTS, f"(project, collection, id) {_ON_DISK}"),
        (tables.projects, _PROJECTS, f"id {_ON_DISK}{_TOKENS}"),
        (tables.jobs, _JOBS, f"id{_FORGOTTEN} {_ON_DISK}"),
    ]
    for table, columns, order in kept:
        engine = "ReplacingMergeTree(version)"
        if cluster:
            # Projects and jobs are replicated over all shards, and so their path has none, and the replica's name has.
            path = "{database}/{table}" + ("/{shard}" if table == tables.stored else "")
            engine = f"ReplicatedReplacingMergeTree('/clickhouse/tables/{path}', '{{shard}}-{{replica}}', version)"
        made.append(
            f"CREATE TABLE IF NOT EXISTS {table}{tables.on_cluster} {columns} ENGINE = {engine} ORDER BY {order}"
        )
    if cluster:
        made.append(
            f"CREATE TABLE IF NOT EXISTS {tables.events}{tables.on_cluster} AS {tables.stored}"
            f" ENGINE = Distributed(`{cluster}`, `{database}`, events_local, cityHash64(project, collection, id))"
        )
    return made


def make_tables(database: ClickHouse) -> Tables:
    """Make what is missing. Raises StoreError."""
    for statement in definitions(database.address):
        database.run("the tables could not be made", statement)
    return tables_of(database.address)
