"""Jobs in a table of ClickHouse that servers share, each of which writes its own.

What changes often is written with the next heartbeat: while a server has jobs that are not finished, it writes them
all every two seconds. One whose heartbeat is old belongs to a server that is gone, and whoever reads it takes it for
``Failed``. That is not written down: were the server only cut off from the database, its job is told of as it is when
it is back.

Both the heartbeat and its age are by the database's clock, as servers' may differ.

Invariant: a row is written by one server alone, with a version that rises.
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from ..periodic import Periodic
from ..stores.base import StoreError
from ..stores.clickhouse_connection import ClickHouse, Column
from .jobs import Job, reached

BEAT: Final = 2.0
"""Seconds."""
GONE_AFTER: Final = 30.0
"""Seconds without a heartbeat; documented."""

_MOST: Final = 1_000
"""Jobs of a project that are looked at."""
_SETTINGS: Final = {"insert_quorum": "auto"}
_AGE: Final = "toUnixTimestamp64Micro(now64(6)) - heartbeat"

_log = logging.getLogger(__name__)
_decode: Callable[[bytes | str], Job] = msgspec.json.Decoder(Job).decode


class JobTable:
    """See :class:`.jobs.Records`. ``table``: its name, quoted."""

    def __init__(self, database: ClickHouse, table: str) -> None:
        self._database = database
        self._table = table
        self._server = f"{socket.gethostname()} {os.getpid()}"
        self._versions = itertools.count(1)
        self._lock = threading.Lock()
        self._live: dict[str, Job] = {}
        """Jobs that are not finished, or whose end is not written yet."""
        self._beating = Periodic("jobs are not written down", BEAT, self.beat)

    def left(self) -> Sequence[Job]:
        """See :meth:`.jobs.Records.left`. A server that comes back under the same name is another one."""
        return ()

    def write(self, job: Job) -> None:
        """See :meth:`.jobs.Records.write`. When it fails, a job that was written before is so with the next beat."""
        with self._lock:
            version = next(self._versions)
            if job.id in self._live:
                self._live[job.id] = job
        self._insert({job.id: job}, version)
        with self._lock:
            if job.finished:
                self._live.pop(job.id, None)
            else:
                self._live.setdefault(job.id, job)

    def note(self, job: Job) -> None:
        """See :meth:`.jobs.Records.note`."""
        with self._lock:
            self._live[job.id] = job

    def remove(self, job: Job) -> None:
        """See :meth:`.jobs.Records.remove`."""
        with self._lock:
            version = next(self._versions)
            self._live.pop(job.id, None)
        self._insert({job.id: job}, version, is_told=False)

    def find(self, project: str, identity: str) -> Job | None:
        """See :meth:`.jobs.Records.find`."""
        found = self._select("AND id = {id:String}", {"project": project, "id": identity})
        return found[0] if found else None

    def all_of(self, project: str) -> Sequence[Job]:
        """See :meth:`.jobs.Records.all_of`."""
        newest = f"ORDER BY JSONExtractString(document, 'created') DESC LIMIT {_MOST}"
        return self._select(newest, {"project": project})[::-1]

    def beat(self) -> None:
        """Write all that is not finished. Raises StoreError."""
        with self._lock:
            version = next(self._versions)
            live = {**self._live}
        if not live:
            return
        self._insert(live, version)
        with self._lock:
            for identity, job in live.items():
                if job.finished and self._live.get(identity) is job:
                    del self._live[identity]

    def close(self) -> None:
        """See :meth:`.jobs.Records.close`."""
        self._beating.close()
        try:
            self.beat()
        except StoreError as error:
            _log.warning("jobs are not written down: %s", error)

    def _insert(self, jobs: Mapping[str, Job], version: int, *, is_told: bool = True) -> None:
        """The heartbeat is the table's default: the time of the insert."""
        columns = [
            Column("id", "String", [*jobs]),
            Column("project", "String", [job.project for job in jobs.values()]),
            Column("document", "String", [msgspec.json.encode(job) if is_told else b"" for job in jobs.values()]),
            Column("server", "String", [self._server] * len(jobs)),
            Column("version", "UInt64", [version] * len(jobs)),
        ]
        self._database.insert("a job could not be written down", self._table, columns, _SETTINGS)

    def _select(self, condition: str, parameters: Mapping[str, Any]) -> list[Job]:
        rows = self._database.rows(
            "jobs could not be looked up",
            f"SELECT document, heartbeat, {_AGE} FROM {self._table} FINAL"  # noqa: S608 - a name of ours
            f" WHERE project = {{project:String}} AND document != '' {condition}",
            parameters,
        )
        return [_told(_decode(document), heartbeat, age) for document, heartbeat, age in rows]


def _told(job: Job, heartbeat: int, age: int) -> Job:
    """What is to be told of a job; times in microseconds."""
    if job.finished or age < GONE_AFTER * 1_000_000:
        return job
    gone = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=heartbeat, seconds=GONE_AFTER)
    return msgspec.structs.replace(
        job,
        status="Failed",
        finished=gone.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        error=f"the server that did this is gone{reached(job)}",
    )
